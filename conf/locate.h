/*
 * A YAML document that remembers where each key stands.
 *
 * libcyaml fills structs and forgets lines; errors need them. The document is parsed once
 * more with libyaml, which is cheap next to the clarity of an error with the right line.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <yaml.h>

#include "conf/errors.h"

struct conf_doc {
    yaml_document_t yaml;
    bool loaded;
};

/** Parses one YAML document and refuses what a configuration has no use for: anchors, aliases,
 * tags, several documents, deep nesting, NUL bytes in strings.
 *
 * @param buf     The file's bytes; not kept.
 * @param len     In bytes.
 * @param errors  Where errors go.
 * @param doc     The document; the caller frees it with conf_doc_free(), also after a failure.
 * @return 0, -EINVAL (reported) or -ENOMEM.
 */
int conf_doc_load(const char *buf, size_t len, struct conf_errors *errors, struct conf_doc *doc);

/** Frees a document; accepts one that is zeroed. */
void conf_doc_free(struct conf_doc *doc);

/** The line (from 1) of a key path such as `listeners[0].routes[1].cluster`.
 *
 * For a mapping's key it is the line of the key, for a list's item the line where it begins. Where
 * the path leaves the document, it is the line of the last part that exists.
 *
 * @param doc  May be NULL or empty: line 1.
 */
unsigned conf_locate(const struct conf_doc *doc, const char *path);
