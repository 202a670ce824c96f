/*
 * Names for requests: random UUIDs (RFC 9562, version 4).
 */
#pragma once

/** Characters of one, without a zero byte. */
#define REQUEST_ID_LEN 36

/** Writes a new one; threads need no lock. */
void request_id_make(char out[REQUEST_ID_LEN]);
