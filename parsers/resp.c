/*
 * Numbers and header lines of RESP, for callers; the parsers inline the same functions.
 */
#include "parsers/resp.h"

#include "parsers/resp_internal.h"

bool resp_number(const char *text, size_t len, int64_t *out)
{
    int64_t value;
    int n = resp_digits(text, len, &value);
    if (n <= 0 || (size_t)n != len)
        return false;
    *out = value;
    return true;
}

int resp_header(const char *data, size_t len, char *type, int64_t *value)
{
    int n = resp_header_value(data, len, value);
    if (n > 0)
        *type = data[0];
    return n;
}
