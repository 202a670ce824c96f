/* What HTTP keeps per worker. */
#include "http.h"

#include <errno.h>
#include <stdlib.h>

#include "worker.h"

int http_worker_init(struct worker *w)
{
    w->pools = calloc(RUNTIME_ENDPOINTS_MAX, sizeof(*w->pools));
    if (!w->pools)
        return -ENOMEM;
    for (size_t i = 0; i < RUNTIME_ENDPOINTS_MAX; i++)
        TAILQ_INIT(&w->pools[i].idle);
    return 0;
}

void http_worker_free(struct worker *w)
{
    exchange_free_list(w);
    free(w->pools);
    w->pools = NULL;
}
