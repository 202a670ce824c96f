#pragma once

/** The time as Date says it (RFC 9110 5.6.7), of the current second; valid until the calling
 * thread asks again. */
const char *date_now(void);
