/*
 * MD5 by libcrypto. The algorithm is looked up once: that costs more than a short key's digest.
 */
#include "parsers/redis_hash.h"

#include <errno.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static EVP_MD *md5;

static void _fetch(void)
{
    md5 = EVP_MD_fetch(NULL, "MD5", NULL);
}

int redis_md5_init(void)
{
    pthread_once(&once, _fetch);

    return md5 ? 0 : -ENOTSUP;
}

void redis_md5(const void *data, size_t len, uint8_t digest[16])
{
    /* Fails for want of memory only. There is no other answer: a wrong digest is a lost key. */
    if (!EVP_Digest(data, len, digest, NULL, md5, NULL))
        abort();
}
