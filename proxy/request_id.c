#include "request_id.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/random.h>

/** One system call for this many identifiers. */
#define BATCH 128

#define BYTES 16

struct batch {
    uint8_t bytes[BATCH][BYTES];
    unsigned left;
};

static void _fill(struct batch *b)
{
    size_t got = 0;
    while (got < sizeof(b->bytes)) {
        /* Fails only where the system call does not exist; less comes when a signal does. */
        ssize_t n = getrandom((uint8_t *)b->bytes + got, sizeof(b->bytes) - got, 0);
        if (n < 0)
            abort();
        got += (size_t)n;
    }
    b->left = BATCH;
}

void request_id_make(char out[REQUEST_ID_LEN])
{
    static const char hex[] = "0123456789abcdef";
    static _Thread_local struct batch b;
    if (!b.left)
        _fill(&b);
    uint8_t *id = b.bytes[--b.left];
    id[6] = (uint8_t)((id[6] & 0x0f) | 0x40); /* Version 4, */
    id[8] = (uint8_t)((id[8] & 0x3f) | 0x80); /* variant 10. */
    for (int i = 0; i < BYTES; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *out++ = '-';
        *out++ = hex[id[i] >> 4];
        *out++ = hex[id[i] & 15];
    }
}
