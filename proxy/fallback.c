#include "skein/fallback.h"

const char *fallback_name(unsigned reason)
{
    static const char *const names[_FALLBACK_MAX] = {
        [HTTP1_OK] = "none",
        [HTTP1_MORE] = "incomplete_head",
        [HTTP1_TOO_LONG] = "long_head",
        [HTTP1_SYNTAX] = "syntax",
        [HTTP1_VERSION] = "version",
        [HTTP1_TARGET] = "target",
        [HTTP1_HOST] = "host",
        [HTTP1_CONTENT_LENGTH] = "content_length",
        [HTTP1_TRANSFER_ENCODING] = "transfer_encoding",
        [HTTP1_CONNECTION] = "connection",
        [HTTP1_HOP_FIELD] = "hop_by_hop_field",
        [HTTP1_UPGRADE] = "upgrade",
        [HTTP1_EXPECT] = "expect",
        [HTTP1_UNDERSCORE] = "underscore",
        [HTTP1_METHOD] = "method",
        [HTTP1_STATUS] = "status",
        [HTTP1_UNTIL_CLOSE] = "until_close",
        [HTTP1_FIELD_COUNT] = "field_count",
        [FALLBACK_PIPELINED] = "pipelined",
        [FALLBACK_LIMIT] = "limit",
        [FALLBACK_NO_ROUTE] = "no_route",
        [FALLBACK_NO_UPSTREAM] = "no_upstream",
        [FALLBACK_UPSTREAM_SLOW] = "upstream_slow",
        [FALLBACK_DOWNSTREAM_SLOW] = "downstream_slow",
        [FALLBACK_EARLY_RESPONSE] = "early_response",
        [FALLBACK_UNSOLICITED] = "unsolicited",
        [FALLBACK_STALE_LEASE] = "stale_lease",
        [FALLBACK_TARGET_GONE] = "target_gone",
        [FALLBACK_REDIRECT_FAILED] = "redirect_failed",
        [FALLBACK_INTERNAL] = "internal",
    };
    return reason < _FALLBACK_MAX ? names[reason] : "unknown";
}
