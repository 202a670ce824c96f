"""Responses that must not reach a client, and odd ones that must, as bytes (rules 15, 16, 47 to 57).

A case of GOOD is (name, request, bytes, what ends the connection, expectations); of the expectations
`status`, `body` and `interim` (the statuses of 1xx responses) hold always, `fields` must be there, and
names in `absent` must not. `closes`: whether the client's connection ends with this response.
"""

GET = b"GET /@ HTTP/1.1\r\nHost: h\r\n\r\n"
HEAD = b"HEAD /@ HTTP/1.1\r\nHost: h\r\n\r\n"
OLD = b"GET /@ HTTP/1.0\r\nHost: h\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\n"
LENGTH = OK + b"Content-Length: 4\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
CHUNKS = b"3\r\nbod\r\n1\r\ny\r\n0\r\n\r\n"
POISON = b"HTTP/1.1 200 OK\r\nX-Poison: yes\r\nContent-Length: 6\r\n\r\npoison"


def head(raw, status=b"200 OK"):
    """A response without content and one more field line, given without its CRLF."""
    return b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n" + raw + b"\r\n\r\n"


# One 502, and the upstream connection ends (rules 16, 50, 51, 56).
BAD_HEADS = [
    ("garbage", b"hello\r\n\r\n"),
    ("binary", b"\x00\x01\x02\x03\r\n\r\n"),
    ("HTTP/0.9", b"<html>\r\n\r\n"),
    ("empty line before the status line", b"\r\n" + OK + b"Content-Length: 0\r\n\r\n"),
    ("bare LF", b"HTTP/1.1 200 OK\nContent-Length: 0\n\n"),
    ("bare LF after the status line", b"HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n"),
    ("bare LF at the end", OK + b"Content-Length: 0\r\n\n"),
    ("version", b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ("HTTP/1.2", b"HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ("lower-case version", b"http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ("other protocol", b"ICY 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ("two spaces", b"HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n"),
    ("tab in the status line", b"HTTP/1.1\t200 OK\r\nContent-Length: 0\r\n\r\n"),
    ("no space after the status", b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"),
    ("status of two digits", b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n"),
    ("status of four digits", b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n"),
    ("status with a letter", b"HTTP/1.1 20x OK\r\nContent-Length: 0\r\n\r\n"),
    ("status 099", b"HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n"),
    ("status 600", b"HTTP/1.1 600 OK\r\nContent-Length: 0\r\n\r\n"),
    ("control in the reason", b"HTTP/1.1 200 O\x01K\r\nContent-Length: 0\r\n\r\n"),
    ("bare CR in the reason", b"HTTP/1.1 200 O\rK\r\nContent-Length: 0\r\n\r\n"),
    ("obs-fold", OK + b"X: a\r\n b\r\nContent-Length: 0\r\n\r\n"),
    ("obs-fold of the length", OK + b"Content-Length:\r\n 0\r\n\r\n"),
    ("space before the first field", OK + b" X: a\r\nContent-Length: 0\r\n\r\n"),
    ("NUL in a value", head(b"X: a\x00b")),
    ("bare CR in a value", head(b"X: a\rb")),
    ("control in a value", head(b"X: a\x07b")),
    ("field without colon", head(b"X")),
    ("empty name", head(b": x")),
    ("space in a name", head(b"X Y: z")),
    ("length not a number", OK + b"Content-Length: x\r\n\r\n"),
    ("length empty", OK + b"Content-Length:\r\n\r\n"),
    ("length negative", OK + b"Content-Length: -1\r\n\r\n"),
    ("length with plus", OK + b"Content-Length: +0\r\n\r\n"),
    ("length in hex", OK + b"Content-Length: 0x4\r\n\r\nbody"),
    ("length too big", OK + b"Content-Length: 9223372036854775808\r\n\r\n"),
    ("two lengths", LENGTH + b"Content-Length: 3\r\n\r\nbody"),
    ("two equal lengths", LENGTH + b"Content-Length: 4\r\n\r\nbody"),
    ("length list", OK + b"Content-Length: 4, 4\r\n\r\nbody"),
    ("length and chunked", LENGTH + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("chunked and length", OK + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n"),
    ("chunked twice", OK + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    ("chunked in two lines",
     OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("chunked with a control", OK + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    ("chunked with a parameter", OK + b"Transfer-Encoding: chunked;a\r\n\r\n0\r\n\r\n"),
    ("chunked is not final", OK + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"),
    ("unknown coding", OK + b"Transfer-Encoding: x, chunked\r\n\r\n0\r\n\r\n"),
    ("chunked in HTTP/1.0", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("chunked 204", b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ("chunked 103", b"HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ("too many fields", head(b"\r\n".join(b"X: y" for _ in range(100)))),
    ("head too large", head(b"X: " + b"y" * 20000)),
    ("101 that nobody asked for",
     b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"),
]

# The head is good, then comes what is no body, or the end: (name, bytes, what ends the connection).
# A 502 if nothing was forwarded yet; otherwise it must not look complete (rules 51, 52, 54).
BAD_BODIES = [
    ("length, half", LENGTH + b"\r\nbo", "fin"),
    ("length, half, reset", LENGTH + b"\r\nbo", "reset"),
    ("length, no byte", LENGTH + b"\r\n", "fin"),
    ("inside a chunk", CHUNKED + b"a\r\nabc", "fin"),
    ("inside a chunk, reset", CHUNKED + b"a\r\nabc", "reset"),
    ("after a chunk", CHUNKED + b"3\r\nabc\r\n", "fin"),
    ("before the last CRLF", CHUNKED + b"3\r\nabc\r\n0\r\n", "fin"),
    ("inside a trailer", CHUNKED + b"3\r\nabc\r\n0\r\nX: y", "fin"),
    ("close-delimited, reset", OK + b"\r\nbody", "reset"),
    ("size with 0x", CHUNKED + b"0x3\r\nabc\r\n0\r\n\r\n", None),
    ("size not hex", CHUNKED + b"g\r\n", None),
    ("size with a space", CHUNKED + b"3 \r\nabc\r\n0\r\n\r\n", None),
    ("size of 2^64 - 1", CHUNKED + b"ffffffffffffffff\r\nabc", None),
    ("bare LF after the size", CHUNKED + b"3\nabc\r\n0\r\n\r\n", None),
    ("data longer than its size", CHUNKED + b"3\r\nabcd\r\n0\r\n\r\n", None),
    ("no line end after the data", CHUNKED + b"3\r\nabc0\r\n\r\n", None),
    ("extension with a control", CHUNKED + b"3;\x01\r\nabc\r\n0\r\n\r\n", None),
    ("bare LF at the end", CHUNKED + b"3\r\nabc\r\n0\r\n\n", None),
    ("trailer without colon", CHUNKED + b"3\r\nabc\r\n0\r\nX\r\n\r\n", None),
]

BODY = {"status": 200, "body": b"body"}
NONE = {"status": 200, "body": b""}

GOOD = [
    ("length", GET, LENGTH + b"\r\nbody", None, BODY),
    ("length 0", GET, OK + b"Content-Length: 0\r\n\r\n", None, NONE),
    ("leading zeros", GET, OK + b"Content-Length: 004\r\n\r\nbody", None, BODY),
    ("length in other letters", GET, OK + b"CONTENT-length:4\r\n\r\nbody", None, BODY),
    ("chunked", GET, CHUNKED + CHUNKS, None, BODY),
    ("chunked, odd", GET, CHUNKED + b"003;x=y\r\nbod\r\n1;z=\";\"\r\ny\r\n00;e\r\n\r\n", None, BODY),
    ("chunked in other letters", GET, OK + b"Transfer-Encoding: CHUNKED\r\n\r\n" + CHUNKS, None, BODY),
    ("chunked with trailers", GET, CHUNKED + CHUNKS[:-2] + b"X-T: y\r\n\r\n", None, BODY),
    ("gzip and chunked", GET, OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + CHUNKS, None, BODY),
    ("until the end", GET, OK + b"\r\nbody", "fin", BODY),
    ("until the end, empty", GET, OK + b"\r\n", "fin", NONE),
    ("until the end, looks like chunks", GET, OK + b"\r\n0\r\n\r\n", "fin",
     {"status": 200, "body": b"0\r\n\r\n"}),
    ("HEAD with a length", HEAD, OK + b"Content-Length: 1000\r\n\r\n", None,
     {**NONE, "fields": [(b"Content-Length", b"1000")]}),
    ("HEAD with chunked", HEAD, CHUNKED, None, NONE),
    ("HEAD with neither", HEAD, OK + b"\r\n", None, NONE),
    ("204", GET, b"HTTP/1.1 204 No Content\r\n\r\n", None, {"status": 204, "body": b""}),
    ("204 with a length", GET, b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", None,
     {"status": 204, "body": b"", "absent": ["content-length"]}),
    ("204 with a lie", GET, b"HTTP/1.1 204 No Content\r\nContent-Length: 9\r\n\r\n", None,
     {"status": 204, "body": b"", "absent": ["content-length"]}),
    ("205", GET, b"HTTP/1.1 205 Reset\r\nContent-Length: 0\r\n\r\n", None, {"status": 205, "body": b""}),
    ("304 with a length", GET, b"HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\n\r\n", None,
     {"status": 304, "body": b"", "fields": [(b"Content-Length", b"1000")]}),
    ("304 with chunked", GET, b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", None,
     {"status": 304, "body": b""}),
    ("status 299", GET, head(b"A: b", b"299 Odd"), None, {"status": 299, "body": b""}),
    ("status 599", GET, head(b"A: b", b"599 "), None, {"status": 599, "body": b""}),
    ("empty reason", GET, head(b"A: b", b"200 "), None, NONE),
    ("odd reason", GET, head(b"A: b", b"200 \t all's \"fine\" \xe9\xff"), None, NONE),
    ("space before a colon", GET, OK + b"Content-Length \t: 4\r\nX : y\r\n\r\nbody", None,
     {**BODY, "fields": [(b"X", b"y")]}),
    ("odd fields", GET, head(b"X-Empty:\r\nX-Text: \xe9\r\nX_Y: z\r\na:b"), None,
     {**NONE, "fields": [(b"X-Empty", b""), (b"X-Text", b"\xe9"), (b"X_Y", b"z"), (b"a", b"b")]}),
    ("end-to-end fields", GET,
     head(b"Allow: GET, BREW\r\nVary: *\r\nVary: a\r\nETag: W/\"x\"\r\nContent-Range: bytes */1\r\n"
          b"Cache-Control: no-transform\r\nWWW-Authenticate: Basic realm=\"a, b\"\r\n"
          b"Set-Cookie: a=b\r\nSet-Cookie: c=d\r\nLocation: /x\r\nAge: 1\r\nWarning: y"), None,
     {**NONE, "fields": [(b"Allow", b"GET, BREW"), (b"Vary", b"*"), (b"Vary", b"a"), (b"ETag", b"W/\"x\""),
                         (b"Content-Range", b"bytes */1"), (b"Cache-Control", b"no-transform"),
                         (b"WWW-Authenticate", b"Basic realm=\"a, b\""), (b"Set-Cookie", b"a=b"),
                         (b"Set-Cookie", b"c=d"), (b"Location", b"/x"), (b"Age", b"1"),
                         (b"Warning", b"y")]}),
    ("Date", GET, head(b"Date: some day"), None, {**NONE, "fields": [(b"Date", b"some day")]}),
    ("HTTP/1.0", GET, b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nbody", "fin", BODY),
    ("HTTP/1.0 until the end", GET, b"HTTP/1.0 200 OK\r\n\r\nbody", "fin", BODY),
    ("close", GET, LENGTH + b"Connection: close\r\n\r\nbody", "fin", {**BODY, "absent": ["connection"]}),
    ("hop-by-hop fields", GET,
     head(b"Connection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: max=1\r\nProxy-Connection: x\r\nUpgrade: h2"), None,
     {**NONE, "absent": ["x-hop", "keep-alive", "proxy-connection", "upgrade"]}),
    ("103 and 102 before", GET,
     b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"
     b"HTTP/1.1 103 Early Hints\r\nContent-Length: 0\r\n\r\n" + LENGTH + b"\r\nbody", None,
     {**BODY, "interim": [103, 102, 103]}),
    ("100 that nobody asked for", GET, b"HTTP/1.1 100 Continue\r\n\r\n" + LENGTH + b"\r\nbody", None,
     {**BODY, "interim": [100]}),
    ("103 before chunks", GET, b"HTTP/1.1 103 Early Hints\r\n\r\n" + CHUNKED + CHUNKS, None,
     {**BODY, "interim": [103]}),
    ("length to HTTP/1.0", OLD, LENGTH + b"\r\nbody", None, {**BODY, "closes": True}),
    ("chunked to HTTP/1.0", OLD, CHUNKED + CHUNKS, None,
     {**BODY, "absent": ["transfer-encoding"], "closes": True}),
    ("until the end to HTTP/1.0", OLD, OK + b"\r\nbody", "fin", {**BODY, "closes": True}),
    ("103 to HTTP/1.0", OLD, b"HTTP/1.1 103 Early Hints\r\n\r\n" + LENGTH + b"\r\nbody", None,
     {**BODY, "closes": True}),
]

# A complete response and more behind it, which answers nothing (rules 47, 49, 55):
# (name, request, response, body).
EXTRA = [
    ("length", GET, LENGTH + b"\r\nbody", b"body"),
    ("length 0", GET, OK + b"Content-Length: 0\r\n\r\n", b""),
    ("chunked", GET, CHUNKED + CHUNKS, b"body"),
    ("204", GET, b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    ("304", GET, b"HTTP/1.1 304 Not Modified\r\nContent-Length: 70\r\n\r\n", b""),
    ("HEAD", HEAD, OK + b"Content-Length: 70\r\n\r\n", b""),
]
