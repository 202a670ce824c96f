#include "resp_reader.h"

#include <stdlib.h>
#include <string.h>

void resp_put(struct resp_reader *r, const void *data, size_t len)
{
    if (r->off == r->len)
        r->off = r->len = 0;
    if (r->len + len > r->cap) {
        if (r->off)
            memmove(r->data, r->data + r->off, r->len - r->off);
        r->len -= r->off;
        r->off = 0;
        while (r->len + len > r->cap)
            r->cap = r->cap ? r->cap * 2 : 4096;
        r->data = realloc(r->data, r->cap);
        if (!r->data)
            abort();
    }
    memcpy(r->data + r->len, data, len);
    r->len += len;
}

void resp_free(struct resp_reader *r)
{
    free(r->data);
    memset(r, 0, sizeof(*r));
}

/* Reads one value at `*at`. @return 1, 0 or -1 as resp_take(). An array's length goes to `number`. */
static int _item(const struct resp_reader *r, size_t *at, struct resp_item *i, long long *number)
{
    const char *begin = r->data + *at;
    const char *end = *at < r->len ? memchr(begin, '\n', r->len - *at) : NULL;
    char *digits_end;
    if (!end)
        return 0;
    if (end == begin || end[-1] != '\r')
        return -1;
    i->type = *begin;
    i->text = begin + 1;
    i->len = (size_t)(end - begin) - 2;
    *at += (size_t)(end - begin) + 1;
    if (i->type == '+' || i->type == '-')
        return 1;
    *number = strtoll(i->text, &digits_end, 10);
    if (!i->len || digits_end != end - 1 || !strchr(":$*", i->type))
        return -1;
    if (i->type != '$')
        return 1;
    if (*number < 0) {
        i->type = 'N';
        return *number == -1 ? 1 : -1;
    }
    size_t len = (size_t)*number;
    if (r->len - *at < len + 2)
        return 0;
    i->text = r->data + *at;
    i->len = len;
    *at += len + 2;
    return memcmp(i->text + len, "\r\n", 2) ? -1 : 1;
}

int resp_take(struct resp_reader *r, struct resp_value *v)
{
    size_t at = r->off;
    long long n = 0;
    v->n = 1;
    int result = _item(r, &at, &v->item[0], &n);
    if (result <= 0)
        return result;
    v->array = v->item[0].type == '*';
    if (v->array) {
        if (n < 0 || n > RESP_ITEMS)
            return -1;
        v->n = (unsigned)n;
        for (unsigned i = 0; i < v->n; i++) {
            long long ignored;
            result = _item(r, &at, &v->item[i], &ignored);
            if (result > 0 && v->item[i].type == '*')
                return -1;
            if (result <= 0)
                return result;
        }
    }
    r->off = at;
    return 1;
}
