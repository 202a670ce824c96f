/* What blank() in bpf/body.h does to a framed head, for the host. */
#pragma once

#include <string.h>

#include "parsers/http1_framer.h"

static inline void http1_blank(char *head, const struct http1_head *h)
{
    char *at = head + h->blank_off;
    if (!h->blank_len)
        return;
    memmove(at, at + h->blank_len, h->blank_name);
    memset(at + h->blank_name, ' ', h->blank_len);
}
