/*
 * Checks a document against libcyaml's schema before libcyaml reads it.
 *
 * libcyaml stops at the first error and names its place only in a log. This walks the same schema
 * tables, so there is still one list of keys, and reports everything it finds.
 */
#pragma once

#include <cyaml/cyaml.h>

#include "conf/errors.h"
#include "conf/locate.h"

/** Reports unknown, missing and duplicate keys, values of the wrong type, unknown names, and lists
 * that are too short or too long.
 *
 * @param doc     Loaded, or empty.
 * @param schema  Of types mapping, sequence, string, uint and enum.
 * @return 0 or -EINVAL (reported).
 */
int conf_check_structure(const struct conf_doc *doc, const cyaml_schema_value_t *schema,
                         struct conf_errors *errors);
