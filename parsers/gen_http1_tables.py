#!/usr/bin/env python3
"""Writes the tables of the HTTP/1.1 head framer (see http1_scan.h).

usage: gen_http1_tables.py http1_framer.h OUT.h

The grammar is RFC 9112 sections 2 to 5, narrowed to what the kernel path takes. Requests and
responses have separate states for the start line and share those for the fields; where the rules
differ, a mark tells. A state may carry a mark (remember the position at
which it was entered last) and weights (count how often it was entered). The final states are
HTTP1_SINK + enum http1_reason; their numbers come from the header, so there is one list only.
Output depends on nothing but the input.
"""

import re
import sys

CLASSES = 64
SINK = 236

DIGIT = set(b"0123456789")
HEX = set(b"0123456789abcdefABCDEF")
ALPHA = set(range(ord("a"), ord("z") + 1)) | set(range(ord("A"), ord("Z") + 1))
TCHAR = set(b"!#$%&'*+-.^_`|~") | DIGIT | ALPHA
VCHAR = set(range(0x21, 0x7F))
OWS = set(b" \t")
VALUE = VCHAR | OWS | set(range(0x80, 0x100))  # field-content, obs-text included
TARGET = VCHAR - set(b"#")
HOST = ALPHA | DIGIT | set(b"-._")  # reg-name without what nobody uses

MARKS = ["NONE", "TARGET", "QUERY", "TARGET_END", "HOST", "HOST_END", "LENGTH", "LENGTH_END",
         "UNDERSCORE", "ODD_PATH", "CONNECTION_END", "KEEP_ALIVE", "KEEP_ALIVE_END", "MINOR_0"]
MARK_BITS = 4
# Counter -> lowest bit in the sum of weights. Widths hold the most a window can have of each.
COUNTERS = {"LINES": 0, "HOSTS": 9, "LENGTHS": 17, "CODINGS": 24, "PERSISTS": 31, "CLOSES": 39,
            "KEEP_ALIVES": 48, "EXPECTS": 56}


class Automaton:
    """States by name; transitions filled in afterwards, so that they may be cyclic."""

    def __init__(self, reasons):
        self.reasons = reasons
        self.ids = {}
        self.rows = []
        self.actions = []

    def state(self, name, mark="NONE", count=None):
        """Returns the state, which fails with SYNTAX on every byte until told otherwise."""
        if name in self.ids:
            raise ValueError(f"state {name} exists")
        self.ids[name] = len(self.rows)
        self.rows.append([self.sink("SYNTAX")] * 256)
        weight = 1 << COUNTERS[count] if count else 0
        self.actions.append(MARKS.index(mark) | weight << MARK_BITS)
        return self.ids[name]

    def sink(self, reason):
        return SINK + self.reasons["HTTP1_" + reason]

    def on(self, state, chars, target):
        for c in chars:
            self.rows[state][c] = target

    def literal(self, prefix, text, first, target, otherwise, fold=False):
        """Chain from `first` over `text` to `target`; VCHARs off the chain go `otherwise`."""
        at = first
        for i, ch in enumerate(text):
            last = i == len(text) - 1
            to = target if last else self.state(f"{prefix}:{text[:i + 1]}")
            self.on(at, VCHAR, otherwise)
            self.on(at, {ord(ch.lower()), ord(ch.upper())} if fold else {ord(ch)}, to)
            at = to

    def classes(self):
        """Bytes with equal columns share a class."""
        numbers, of_byte = {}, []
        for c in range(256):
            column = tuple(row[c] for row in self.rows)
            of_byte.append(numbers.setdefault(column, len(numbers)))
        if len(numbers) > CLASSES or len(self.rows) > SINK:
            raise SystemExit(f"{len(numbers)} classes, {len(self.rows)} states: too many")
        return numbers, of_byte


def field_end(a, line, name, mark="NONE"):
    """State after the CR of a field line."""
    cr = a.state(name + "-cr", mark)
    a.on(cr, b"\n", line)
    return cr


def length_value(a, line, cr):
    """Content-Length: OWS 1*DIGIT *SP; how many digits is checked afterwards."""
    bad = a.sink("CONTENT_LENGTH")
    colon = a.state("length:", count="LENGTHS")
    before = a.state("length-ows")
    first = a.state("length-digit", mark="LENGTH")
    more = a.state("length-digits")
    after = a.state("length-end", mark="LENGTH_END")
    after_more = a.state("length-end-ows")
    end = field_end(a, line, "length", "LENGTH_END")
    for s in (colon, before, first, more, after, after_more):
        a.on(s, VALUE | {13}, bad)
    for s in (colon, before):
        a.on(s, OWS, before)
        a.on(s, DIGIT, first)
    for s in (first, more):
        a.on(s, DIGIT, more)
        a.on(s, b" ", after)
        a.on(s, b"\r", end)
    for s in (after, after_more):
        a.on(s, b" ", after_more)
        a.on(s, b"\r", cr)
    return colon


def connection_value(a, line):
    """Connection: nothing, or a list of keep-alive and close without empty elements."""
    bad = a.sink("CONNECTION")
    cr = field_end(a, line, "connection", "CONNECTION_END")
    before = a.state("connection:")
    comma = a.state("connection-,")
    keep = a.state("connection-keep-alive", count="PERSISTS")
    close = a.state("connection-close", count="CLOSES")
    after = a.state("connection-end")
    a.literal("keep", "keep-alive", before, keep, bad, fold=True)
    a.literal("close", "close", before, close, bad, fold=True)
    for s in (before, comma):
        a.on(s, VALUE | {13}, bad)
        a.on(s, OWS, s)
        a.on(s, b"kK", a.ids["keep:k"])
        a.on(s, b"cC", a.ids["close:c"])
    a.on(before, b"\r", cr)
    for s in (keep, close, after):
        a.on(s, VALUE, bad)
        a.on(s, OWS, after)
        a.on(s, b",", comma)
        a.on(s, b"\r", cr)
    return before


def literal_value(a, cr, name, text, count, reason, trailing=OWS):
    """OWS text *trailing, and nothing else."""
    bad = a.sink(reason)
    before = a.state(f"{name}:", count=count)
    before_more = a.state(f"{name}-ows")
    after = a.state(f"{name}-end")
    a.literal(name, text, before_more, after, bad, fold=True)
    first = a.rows[before_more][ord(text[0])]
    for s in (before, before_more):
        a.on(s, VALUE | {13}, bad)
        a.on(s, OWS, before_more)
        a.on(s, {ord(text[0].lower()), ord(text[0].upper())}, first)
    a.on(after, VALUE, bad)
    a.on(after, trailing, after)
    a.on(after, b"\r", cr)
    return before


def keep_alive_value(a, line):
    """Keep-Alive: where its line is, so that it can be blanked."""
    colon = a.state("keep-alive:", mark="KEEP_ALIVE", count="KEEP_ALIVES")
    more = a.state("keep-alive-value")
    end = field_end(a, line, "keep-alive", "KEEP_ALIVE_END")
    for s in (colon, more):
        a.on(s, VALUE, more)
        a.on(s, b"\r", end)
    return colon


def authorization_value(a, value, cr):
    """Authorization: schemes that authenticate a connection, not a message, are N[TLM] and N[egotiate]."""
    before = a.state("authorization:")
    a.on(before, VALUE, value)
    a.on(before, OWS, before)
    a.on(before, b"nN", a.sink("AUTH"))
    a.on(before, b"\r", cr)
    return before


def host_value(a, line, cr):
    """Host: OWS ( reg-name / "[" IPv6 "]" ) [ ":" 1*5DIGIT ] OWS."""
    bad = a.sink("HOST")
    colon = a.state("host:", count="HOSTS")
    before = a.state("host-ows")
    name_first = a.state("host-name", mark="HOST")
    name = a.state("host-name-more")
    literal = [a.state("host-[", mark="HOST")] + [a.state(f"host-[{i}") for i in range(3)]
    literal_end = a.state("host-]")
    ports = [a.state("host-port", mark="HOST_END")] + [a.state(f"host-port{i}") for i in range(1, 6)]
    after = a.state("host-end", mark="HOST_END")
    after_more = a.state("host-end-ows")
    end = field_end(a, line, "host", "HOST_END")
    for s in [colon, before, name_first, name, *literal, literal_end, *ports, after, after_more]:
        a.on(s, VALUE | {13}, bad)
    for s in (colon, before):
        a.on(s, OWS, before)
        a.on(s, HOST, name_first)
        a.on(s, b"[", literal[0])
    for s in (name_first, name):
        a.on(s, HOST, name)
    for i, s in enumerate(literal):  # literal[1] is "no colon yet", literal[3] "two or more"
        colons = max(i - 1, 0)
        a.on(s, HEX | set(b"."), literal[colons + 1])
        a.on(s, b":", literal[min(colons + 1, 2) + 1])
    a.on(literal[3], b"]", literal_end)
    for s in (name_first, name, literal_end):
        a.on(s, b":", ports[0])
        a.on(s, OWS, after)
        a.on(s, b"\r", end)
    for here, there in zip(ports, ports[1:]):
        a.on(here, DIGIT, there)
    for s in [*ports[1:], after, after_more]:
        a.on(s, OWS, after_more)
        a.on(s, b"\r", cr)
    return colon


def field_names(a, line, ordinary, odd, actions, value):
    """Trie over the known names, case-insensitive; whatever leaves it is an ordinary name."""
    prefixes = sorted({n[:i] for n in actions for i in range(1, len(n.rstrip("*")) + 1)})
    nodes = {p: a.state(f"name:{p}") for p in prefixes}
    nodes[""] = line
    for p, s in nodes.items():
        a.on(s, TCHAR, ordinary)
        a.on(s, b"_", odd)
        if p:
            a.on(s, b":", actions.get(p, value))
        for q in prefixes:
            if len(q) == len(p) + 1 and q.startswith(p):
                a.on(s, {ord(q[-1]), ord(q[-1].upper())}, nodes[q])
        if p + "*" in actions:  # any name with this prefix
            tail = a.state(f"name:{p}*")
            for at in (s, tail):
                a.on(at, TCHAR, tail)
                a.on(at, b"_", odd)
            a.on(tail, b":", actions[p + "*"])


def fields(a, line):
    """Field lines up to the empty line; `line` is the state at the start of each."""
    value = a.state("value")
    ordinary = a.state("name")
    odd = a.state("name_", mark="UNDERSCORE")
    cr = field_end(a, line, "value")
    empty = a.state("empty")
    a.on(value, VALUE, value)
    a.on(value, b"\r", cr)
    for s, here in ((ordinary, ordinary), (odd, odd)):
        a.on(s, TCHAR, here)
        a.on(s, b":", value)
    a.on(ordinary, b"_", odd)
    hop = a.sink("HOP_FIELD")
    actions = {
        "host": host_value(a, line, cr),
        "content-length": length_value(a, line, cr),
        # llhttp, of which many servers are made, knows no coding with a tab behind it.
        "transfer-encoding": literal_value(a, cr, "coding", "chunked", "CODINGS", "TRANSFER_ENCODING", b" "),
        "connection": connection_value(a, line),
        "keep-alive": keep_alive_value(a, line),
        "proxy-*": hop,
        "te": hop,
        "trailer": hop,
        "http2-settings": hop,
        "max-forwards": hop,
        "upgrade": a.sink("UPGRADE"),
        "expect": literal_value(a, cr, "expect", "100-continue", "EXPECTS", "EXPECT"),
        "author*": authorization_value(a, value, cr),
        "www-*": a.sink("AUTH"),
    }
    field_names(a, line, ordinary, odd, actions, value)
    a.on(line, b"\r", empty)
    a.on(empty, b"\n", a.sink("OK"))


def request(a, line):
    """Request line; returns the state at its start."""
    start = a.state("q-start")
    method = a.state("q-method")
    before = a.state("q-target-start")
    slash = a.state("q-target", mark="TARGET")
    path = a.state("q-path")
    again = a.state("q-path-/")
    odd = a.state("q-path-odd", mark="ODD_PATH")
    mark = a.state("q-?", mark="QUERY")
    query = a.state("q-query")
    version = a.state("q-version", mark="TARGET_END")
    end = a.state("q-end")
    cr = a.state("q-cr")
    a.on(start, TCHAR, method)
    a.on(method, TCHAR, method)
    a.on(method, b" ", before)
    a.on(before, TARGET, a.sink("TARGET"))
    a.on(before, b"/", slash)
    # What could mean another path to somebody else: escapes, backslashes, parameters, empty and dot segments.
    for s in (slash, again, path, odd):
        a.on(s, TARGET, odd if s == odd else path)
        a.on(s, b"%\\;", odd)
        a.on(s, b"?", mark)
    a.on(path, b"/", again)
    for s in (slash, again):
        a.on(s, b"/.", odd)
    for s in (mark, query):
        a.on(s, TARGET, query)
    for s in (slash, again, path, odd, mark, query):
        a.on(s, b" ", version)
        a.on(s, b"\r\n", a.sink("VERSION"))
    a.literal("q-version", "HTTP/1.1", version, end, a.sink("VERSION"))
    a.on(end, VCHAR, a.sink("VERSION"))
    a.on(end, b"\r", cr)
    a.on(cr, b"\n", line)
    return start


def response(a, line):
    """Status line; returns the state at its start."""
    start = a.state("s-start")
    space = a.state("s-space")
    space_0 = a.state("s-space0", mark="MINOR_0")
    digits = [a.state(f"s-status{i}") for i in range(4)]
    reason = a.state("s-reason")
    cr = a.state("s-cr")
    a.literal("s-version", "HTTP/1.1", start, space, a.sink("VERSION"))
    a.on(start, VCHAR, a.sink("SYNTAX"))
    a.on(start, b"H", a.ids["s-version:H"])
    a.on(a.ids["s-version:HTTP/1."], b"0", space_0)
    for s in (space, space_0):
        a.on(s, VCHAR, a.sink("VERSION"))
        a.on(s, b" ", digits[0])
    a.on(digits[0], DIGIT, a.sink("STATUS"))
    a.on(digits[0], b"12345", digits[1])
    a.on(digits[1], DIGIT, digits[2])
    a.on(digits[2], DIGIT, digits[3])
    a.on(digits[3], b" ", reason)
    a.on(reason, VALUE, reason)
    a.on(reason, b"\r", cr)
    a.on(cr, b"\n", line)
    return start


def read_reasons(path):
    """The members of enum http1_reason, in order."""
    with open(path, encoding="ascii") as f:
        body = re.search(r"enum http1_reason \{(.*?)\};", f.read(), re.S).group(1)
    body = re.sub(r"/\*.*?\*/", "", body, flags=re.S)
    return {name.strip(): i for i, name in enumerate(n for n in body.split(",") if n.strip())}


def array(out, ctype, name, values, width):
    out.append(f"static const {ctype} {name}[{len(values)}] = {{")
    for i in range(0, len(values), width):
        out.append("    " + ", ".join(str(v) for v in values[i:i + width]) + ",")
    out.append("};")


def main():
    header, target = sys.argv[1:]
    reasons = read_reasons(header)
    a = Automaton(reasons)
    line = a.state("line", count="LINES")
    start_request, start_response = request(a, line), response(a, line)
    fields(a, line)
    classes, of_byte = a.classes()
    table = [SINK + reasons["HTTP1_SYNTAX"]] * (256 * CLASSES)
    for column, number in classes.items():
        for state, to in enumerate(column):
            table[state * CLASSES + number] = to
    out = [
        "/* Generated by gen_http1_tables.py. */",
        "#pragma once",
        f"/* {len(a.rows)} states, {len(classes)} classes */",
        f"#define HTTP1_START_REQUEST {start_request}",
        f"#define HTTP1_START_RESPONSE {start_response}",
        f"#define HTTP1_SINK {SINK}",
        f"#define HTTP1_CLASSES {CLASSES}",
        f"#define HTTP1_MARKS {1 << MARK_BITS}",
        f"#define HTTP1_MARK_BITS {MARK_BITS}",
    ]
    out += [f"#define HTTP1_MARK_{name} {i}" for i, name in enumerate(MARKS)]
    shifts = sorted(COUNTERS.items(), key=lambda item: item[1])
    for (name, shift), above in zip(shifts, [s for _, s in shifts[1:]] + [63]):
        out.append(f"#define HTTP1_COUNT_{name}(sum) ((unsigned)((sum) >> {shift}) & {(1 << (above - shift)) - 1:#x}u)")
    array(out, "unsigned char", "http1_table_class", of_byte, 24)
    array(out, "unsigned long long", "http1_table_action", a.actions + [0] * (256 - len(a.actions)), 12)
    array(out, "unsigned char", "http1_table_next", table, 24)
    with open(target, "w", encoding="ascii") as f:
        f.write("\n".join(out) + "\n")


if __name__ == "__main__":
    main()
