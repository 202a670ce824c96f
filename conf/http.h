/*
 * What clusters have for HTTP alone.
 */
#pragma once

#include <stddef.h>

#include "conf/resolve.h"

/** The policies of clusters for HTTP, for errors. */
#define CONF_HTTP_POLICIES "round_robin, random, least_request or maglev with hash_on"

/** Fills http.hash_on and http.hash_name: with lb_policy maglev they tell what a cluster is for. */
void conf_resolve_hash_on(struct conf_build *build, size_t index);

/** Fills the rest of http, ejection, and the endpoints' drain; its endpoints come first.
 * @return 0 or -ENOMEM. */
int conf_resolve_http_cluster(struct conf_build *build, size_t index);

/** Reports what a cluster that is not for HTTP has of those. */
void conf_refuse_http_keys(struct conf_build *build, size_t index);
