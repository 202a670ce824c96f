#include "conf/locate.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/** Lists and mappings inside each other; a valid file needs 7. */
#define DEPTH_MAX 16

/** What the scan of events knows. */
struct scan {
    struct conf_errors *errors;
    unsigned documents;
    unsigned depth;
    bool stop;
};

static unsigned _line_of_offset(const char *buf, size_t len, size_t offset)
{
    unsigned line = 1;

    for (size_t i = 0; i < len && i < offset; ++i)
        line += buf[i] == '\n';

    return line;
}

/** Reports what libyaml found: it has a mark for syntax, only an offset for bytes it can not read. */
static int _syntax_error(const yaml_parser_t *parser, const char *buf, size_t len, struct conf_errors *errors)
{
    const char *problem = parser->problem ? parser->problem : "not YAML";
    unsigned line = (unsigned)parser->problem_mark.line + 1;

    if (parser->error == YAML_MEMORY_ERROR)
        return -ENOMEM;
    if (parser->error == YAML_READER_ERROR)
        line = _line_of_offset(buf, len, parser->problem_offset);

    conf_error_at(errors, line, "yaml", "%s%s%s, expected valid YAML", problem, parser->context ? " " : "",
                  parser->context ? parser->context : "");

    return -EINVAL;
}

static void _refuse(struct scan *scan, const yaml_event_t *event, const char *what, const char *expected)
{
    conf_error_at(scan->errors, (unsigned)event->start_mark.line + 1, "yaml", "%s, expected %s", what,
                  expected);
}

static void _scan_properties(struct scan *scan, const yaml_event_t *event, const yaml_char_t *anchor,
                             const yaml_char_t *tag)
{
    if (anchor)
        _refuse(scan, event, "anchors are not supported", "every value written out");
    if (tag)
        _refuse(scan, event, "tags are not supported", "a value without a tag");
}

static void _scan_open(struct scan *scan, const yaml_event_t *event)
{
    if (++scan->depth <= DEPTH_MAX)
        return;
    _refuse(scan, event, "nested too deeply", "the nesting of a configuration");
    scan->stop = true;
}

static void _scan_event(struct scan *scan, const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (++scan->documents == 2) {
            _refuse(scan, event, "a second document", "one document in the file");
            scan->stop = true;
        }
        break;
    case YAML_ALIAS_EVENT:
        _refuse(scan, event, "aliases are not supported", "every value written out");
        break;
    case YAML_SCALAR_EVENT:
        _scan_properties(scan, event, event->data.scalar.anchor, event->data.scalar.tag);
        if (memchr(event->data.scalar.value, '\0', event->data.scalar.length))
            _refuse(scan, event, "a NUL byte in a string", "text");
        break;
    case YAML_SEQUENCE_START_EVENT:
        _scan_properties(scan, event, event->data.sequence_start.anchor, event->data.sequence_start.tag);
        _scan_open(scan, event);
        break;
    case YAML_MAPPING_START_EVENT:
        _scan_properties(scan, event, event->data.mapping_start.anchor, event->data.mapping_start.tag);
        _scan_open(scan, event);
        break;
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        scan->depth--;
        break;
    default:
        break;
    }
}

/** Anchors and the like are gone once libyaml has composed a document: look at its events first. */
static int _scan(const char *buf, size_t len, struct conf_errors *errors)
{
    struct scan scan = {.errors = errors};
    unsigned before = errors->count;
    yaml_parser_t parser;
    bool end = false;
    int r = 0;

    if (!yaml_parser_initialize(&parser))
        return -ENOMEM;
    yaml_parser_set_input_string(&parser, (const unsigned char *)buf, len);

    while (!r && !end && !scan.stop && !conf_errors_full(errors)) {
        yaml_event_t event;

        if (!yaml_parser_parse(&parser, &event)) {
            r = _syntax_error(&parser, buf, len, errors);
            break;
        }
        _scan_event(&scan, &event);
        end = event.type == YAML_STREAM_END_EVENT;
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);

    return r ? r : errors->count > before ? -EINVAL : 0;
}

int conf_doc_load(const char *buf, size_t len, struct conf_errors *errors, struct conf_doc *doc)
{
    yaml_parser_t parser;
    int r = _scan(buf, len, errors);

    *doc = (struct conf_doc){};
    if (r)
        return r;
    if (!yaml_parser_initialize(&parser))
        return -ENOMEM;

    yaml_parser_set_input_string(&parser, (const unsigned char *)buf, len);
    if (yaml_parser_load(&parser, &doc->yaml))
        doc->loaded = true;
    else
        r = _syntax_error(&parser, buf, len, errors);
    yaml_parser_delete(&parser);

    return r;
}

void conf_doc_free(struct conf_doc *doc)
{
    if (doc->loaded)
        yaml_document_delete(&doc->yaml);
    doc->loaded = false;
}

static const yaml_node_t *_node(const struct conf_doc *doc, int index)
{
    return yaml_document_get_node((yaml_document_t *)&doc->yaml, index);
}

static bool _is_key(const yaml_node_t *node, const char *key, size_t len)
{
    return node->type == YAML_SCALAR_NODE && node->data.scalar.length == len &&
           !memcmp(node->data.scalar.value, key, len);
}

/** Steps into a mapping; `line` becomes the key's. NULL if there is no such key. */
static const yaml_node_t *_step_key(const struct conf_doc *doc, const yaml_node_t *node, const char *key,
                                    size_t len, unsigned *line)
{
    if (node->type != YAML_MAPPING_NODE)
        return NULL;

    for (yaml_node_pair_t *pair = node->data.mapping.pairs.start; pair < node->data.mapping.pairs.top;
         ++pair) {
        const yaml_node_t *name = _node(doc, pair->key);

        if (!_is_key(name, key, len))
            continue;
        *line = (unsigned)name->start_mark.line + 1;
        return _node(doc, pair->value);
    }

    return NULL;
}

static const yaml_node_t *_step_item(const struct conf_doc *doc, const yaml_node_t *node, size_t index,
                                     unsigned *line)
{
    const yaml_node_t *item;

    if (node->type != YAML_SEQUENCE_NODE ||
        index >= (size_t)(node->data.sequence.items.top - node->data.sequence.items.start))
        return NULL;

    item = _node(doc, node->data.sequence.items.start[index]);
    *line = (unsigned)item->start_mark.line + 1;

    return item;
}

unsigned conf_locate(const struct conf_doc *doc, const char *path)
{
    const yaml_node_t *node = doc && doc->loaded ? _node(doc, 1) : NULL;
    unsigned line = node ? (unsigned)node->start_mark.line + 1 : 1;

    while (node && *path) {
        if (*path == '[') {
            char *rest;

            node = _step_item(doc, node, strtoul(path + 1, &rest, 10), &line);
            path = *rest == ']' ? rest + 1 : rest + strlen(rest);
        } else {
            size_t len = strcspn(path, ".[");

            node = _step_key(doc, node, path, len, &line);
            path += len;
        }
        path += *path == '.';
    }

    return line;
}
