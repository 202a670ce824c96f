#include "conf/structure.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

/** Characters of keys that a key path can hold. */
#define PLAIN_CHARS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"

struct walk {
    yaml_document_t *yaml;
    struct conf_errors *errors;
};

/** A value in the document: its node, its key path, and the line that errors name. */
struct spot {
    const yaml_node_t *node;
    unsigned line;
    struct conf_text path;
};

static void _check(struct walk *walk, const struct spot *spot, const cyaml_schema_value_t *schema);

static const char *_found(const yaml_node_t *node)
{
    switch (node->type) {
    case YAML_MAPPING_NODE:
        return "found a mapping";
    case YAML_SEQUENCE_NODE:
        return "found a list";
    default:
        return node->data.scalar.length ? "found a single value" : "found nothing";
    }
}

static const char *_type_name(enum cyaml_type type)
{
    switch (type) {
    case CYAML_MAPPING:
        return "a mapping of keys to values";
    case CYAML_SEQUENCE:
        return "a list";
    case CYAML_UINT:
        return "a whole number";
    default:
        return "a string";
    }
}

static unsigned _line(const yaml_node_t *node)
{
    return (unsigned)node->start_mark.line + 1;
}

static bool _key_is(const yaml_node_t *key, const char *name)
{
    return key->type == YAML_SCALAR_NODE && key->data.scalar.length == strlen(name) &&
           !memcmp(key->data.scalar.value, name, key->data.scalar.length);
}

static const cyaml_schema_field_t *_field_of(const yaml_node_t *key, const cyaml_schema_field_t *fields)
{
    for (; fields->key; ++fields) {
        if (_key_is(key, fields->key))
            return fields;
    }

    return NULL;
}

static struct conf_text _join(const char *path, const char *key)
{
    return conf_path("%s%s%s", path, *path ? "." : "", key);
}

/** Appends to a list "a, b, c". */
static void _append(struct conf_text *list, const char *name)
{
    size_t n = strlen(list->text);

    snprintf(list->text + n, sizeof(list->text) - n, "%s%s", n ? ", " : "", name);
}

static struct conf_text _keys(const cyaml_schema_field_t *fields)
{
    struct conf_text list = {};

    for (; fields->key; ++fields)
        _append(&list, fields->key);

    return list;
}

/** Reports a key that stands before `pair` already. */
static void _check_duplicate(struct walk *walk, const struct spot *spot, const yaml_node_pair_t *pair,
                             const cyaml_schema_field_t *field)
{
    const yaml_node_t *key = yaml_document_get_node(walk->yaml, pair->key);

    for (yaml_node_pair_t *p = spot->node->data.mapping.pairs.start; p < pair; ++p) {
        const yaml_node_t *earlier = yaml_document_get_node(walk->yaml, p->key);

        if (!_key_is(earlier, field->key))
            continue;
        conf_error_at(walk->errors, _line(key), _join(spot->path.text, field->key).text,
                      "duplicate key, first on line %u, expected it once", _line(earlier));
        return;
    }
}

/** An odd key would make a path that can not be told from the rest of the line: name it in the text. */
static void _report_unknown(struct walk *walk, const struct spot *spot, const yaml_node_t *key,
                            const cyaml_schema_field_t *fields)
{
    const char *name = key->type == YAML_SCALAR_NODE ? (const char *)key->data.scalar.value : "";
    const char *path = *spot->path.text ? spot->path.text : "yaml";

    if (*name && strspn(name, PLAIN_CHARS) == strlen(name))
        conf_error_at(walk->errors, _line(key),
                      _join(spot->path.text, conf_printable(name, strlen(name)).text).text,
                      "unknown key, expected one of: %s", _keys(fields).text);
    else
        conf_error_at(walk->errors, _line(key), path, "unknown key %s, expected one of: %s",
                      conf_quote(name).text, _keys(fields).text);
}

static void _check_pair(struct walk *walk, const struct spot *spot, const yaml_node_pair_t *pair,
                        const cyaml_schema_field_t *fields)
{
    const yaml_node_t *key = yaml_document_get_node(walk->yaml, pair->key);
    const cyaml_schema_field_t *field = _field_of(key, fields);
    struct spot inner = {.node = yaml_document_get_node(walk->yaml, pair->value), .line = _line(key)};

    if (!field) {
        _report_unknown(walk, spot, key, fields);
        return;
    }
    _check_duplicate(walk, spot, pair, field);
    inner.path = _join(spot->path.text, field->key);
    _check(walk, &inner, &field->value);
}

static bool _has_key(struct walk *walk, const yaml_node_t *mapping, const char *name)
{
    for (yaml_node_pair_t *p = mapping->data.mapping.pairs.start; p < mapping->data.mapping.pairs.top; ++p) {
        if (_key_is(yaml_document_get_node(walk->yaml, p->key), name))
            return true;
    }

    return false;
}

static void _check_mapping(struct walk *walk, const struct spot *spot, const cyaml_schema_value_t *schema)
{
    const cyaml_schema_field_t *fields = schema->mapping.fields;
    const yaml_node_t *node = spot->node;
    const yaml_node_pair_t *pair = node->data.mapping.pairs.start;

    for (; pair < node->data.mapping.pairs.top && !conf_errors_full(walk->errors); ++pair)
        _check_pair(walk, spot, pair, fields);

    for (; fields->key; ++fields) {
        if ((fields->value.flags & CYAML_FLAG_OPTIONAL) || _has_key(walk, node, fields->key))
            continue;
        conf_error_at(walk->errors, spot->line, _join(spot->path.text, fields->key).text,
                      "missing, expected %s", _type_name(fields->value.type));
    }
}

static void _check_sequence(struct walk *walk, const struct spot *spot, const cyaml_schema_value_t *schema)
{
    const yaml_node_item_t *items = spot->node->data.sequence.items.start;
    size_t n = (size_t)(spot->node->data.sequence.items.top - items);

    if (n < schema->sequence.min) {
        conf_error_at(walk->errors, spot->line, spot->path.text, "found %zu entries, expected at least %u", n,
                      schema->sequence.min);
        return;
    }
    if (n > schema->sequence.max) {
        conf_error_at(walk->errors, spot->line, spot->path.text, "found %zu entries, expected at most %u", n,
                      schema->sequence.max);
        return;
    }

    for (size_t i = 0; i < n && !conf_errors_full(walk->errors); ++i) {
        struct spot inner = {.node = yaml_document_get_node(walk->yaml, items[i])};

        inner.line = _line(inner.node);
        inner.path = conf_path("%s[%zu]", spot->path.text, i);
        _check(walk, &inner, schema->sequence.entry);
    }
}

/** Decimal digits without a leading zero: libcyaml would read octal. */
static bool _is_uint(const char *text)
{
    size_t len = strlen(text);
    uint64_t value = 0;

    if (!len || strspn(text, "0123456789") != len || (text[0] == '0' && len > 1))
        return false;
    for (; *text; ++text) {
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*text - '0'), &value))
            return false;
    }

    return true;
}

static void _check_enum(struct walk *walk, const struct spot *spot, const cyaml_schema_value_t *schema)
{
    const char *text = (const char *)spot->node->data.scalar.value;
    struct conf_text names = {};

    for (uint32_t i = 0; i < schema->enumeration.count; ++i) {
        if (!strcmp(text, schema->enumeration.strings[i].str))
            return;
        _append(&names, schema->enumeration.strings[i].str);
    }
    conf_error_at(walk->errors, spot->line, spot->path.text, "%s is not known, expected one of: %s",
                  conf_quote(text).text, names.text);
}

static void _check_scalar(struct walk *walk, const struct spot *spot, const cyaml_schema_value_t *schema)
{
    const char *text = (const char *)spot->node->data.scalar.value;
    bool absent = !*text && spot->node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;

    if (absent)
        conf_error_at(walk->errors, spot->line, spot->path.text, "found nothing, expected %s",
                      schema->type == CYAML_STRING ? "a string (\"\" for an empty one)" : "a value");
    else if (schema->type == CYAML_UINT && !_is_uint(text))
        conf_error_at(walk->errors, spot->line, spot->path.text, "found %s, expected a whole number",
                      conf_quote(text).text);
    else if (schema->type == CYAML_ENUM)
        _check_enum(walk, spot, schema);
}

static void _check(struct walk *walk, const struct spot *spot, const cyaml_schema_value_t *schema)
{
    enum yaml_node_type_e expected = schema->type == CYAML_MAPPING    ? YAML_MAPPING_NODE
                                     : schema->type == CYAML_SEQUENCE ? YAML_SEQUENCE_NODE
                                                                      : YAML_SCALAR_NODE;

    if (spot->node->type != expected)
        conf_error_at(walk->errors, spot->line, *spot->path.text ? spot->path.text : "yaml",
                      "%s, expected %s", _found(spot->node), _type_name(schema->type));
    else if (schema->type == CYAML_MAPPING)
        _check_mapping(walk, spot, schema);
    else if (schema->type == CYAML_SEQUENCE)
        _check_sequence(walk, spot, schema);
    else
        _check_scalar(walk, spot, schema);
}

int conf_check_structure(const struct conf_doc *doc, const cyaml_schema_value_t *schema,
                         struct conf_errors *errors)
{
    struct walk walk = {.yaml = (yaml_document_t *)&doc->yaml, .errors = errors};
    unsigned before = errors->count;
    struct spot root = {};

    root.node = doc->loaded ? yaml_document_get_root_node(walk.yaml) : NULL;
    if (!root.node) {
        conf_error_at(errors, 1, "yaml", "the file is empty, expected a mapping with the keys: %s",
                      _keys(schema->mapping.fields).text);
        return -EINVAL;
    }
    root.line = _line(root.node);
    _check(&walk, &root, schema);

    return errors->count > before ? -EINVAL : 0;
}
