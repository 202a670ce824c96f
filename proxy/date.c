#include "date.h"

#include <time.h>

const char *date_now(void)
{
    static _Thread_local char text[sizeof("Thu, 01 Jan 1970 00:00:00 GMT")];
    static _Thread_local time_t at;
    time_t now = time(NULL);
    struct tm tm;
    if (now != at || !text[0]) {
        gmtime_r(&now, &tm);
        strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &tm);
        at = now;
    }
    return text;
}
