#include "fault.h"

#include <stddef.h>

static const struct {
    const char *name;
    unsigned status;
} _faults[_FAULT_MAX] = {
    [FAULT_BAD_REQUEST] = {"bad_request", 400},         [FAULT_BAD_CHUNK] = {"bad_chunk", 400},
    [FAULT_AMBIGUOUS_PATH] = {"ambiguous_path", 400},   [FAULT_NO_ROUTE] = {"no_route", 404},
    [FAULT_HEADER_TIMEOUT] = {"header_timeout", 408},   [FAULT_BODY_TIMEOUT] = {"body_timeout", 408},
    [FAULT_WRITE_TIMEOUT] = {"write_timeout", 408},     [FAULT_BODY_TOO_LARGE] = {"body_too_large", 413},
    [FAULT_TARGET_TOO_LONG] = {"target_too_long", 414}, [FAULT_EXPECTATION] = {"expectation", 417},
    [FAULT_HEAD_TOO_LARGE] = {"head_too_large", 431},   [FAULT_CLIENT_CLOSED] = {"client_closed", 499},
    [FAULT_NOT_IMPLEMENTED] = {"not_implemented", 501}, [FAULT_BAD_RESPONSE] = {"bad_response", 502},
    [FAULT_UPSTREAM_CLOSED] = {"upstream_closed", 502}, [FAULT_UPSTREAM_RESET] = {"upstream_reset", 502},
    [FAULT_NO_ENDPOINT] = {"no_endpoint", 503},         [FAULT_CONNECT_FAILED] = {"connect_failed", 503},
    [FAULT_CONNECT_TIMEOUT] = {"connect_timeout", 504}, [FAULT_RESPONSE_TIMEOUT] = {"response_timeout", 504},
    [FAULT_TUNNEL_TIMEOUT] = {"tunnel_timeout", 504},   [FAULT_DRAIN_TIMEOUT] = {"drain_timeout", 503},
};

const char *fault_name(enum fault f)
{
    return _faults[f].name;
}

unsigned fault_status(enum fault f)
{
    return _faults[f].status;
}

enum fault fault_of_status(int status)
{
    static const enum fault verdicts[] = {FAULT_TARGET_TOO_LONG, FAULT_EXPECTATION, FAULT_HEAD_TOO_LARGE,
                                          FAULT_NOT_IMPLEMENTED};
    for (size_t i = 0; i < sizeof(verdicts) / sizeof(verdicts[0]); i++) {
        if ((int)fault_status(verdicts[i]) == status)
            return verdicts[i];
    }
    return FAULT_BAD_REQUEST;
}
