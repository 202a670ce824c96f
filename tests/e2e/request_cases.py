"""Requests that must be refused, and requests that must reach the upstream, as bytes.

Each case is (name, bytes, ...). `@` in the bytes stands for a marker that is unique per use:
no byte string with that marker may ever reach the upstream if the case is refused. Rule
numbers are those of the project's HTTP rules; the sections are RFC 9110 and RFC 9112.
"""

H = b"Host: h\r\n"
END = b"\r\n"


def line(raw):
    return raw + b"\r\n" + H + END


def field(raw):
    """A GET with one more field line, given without its CRLF."""
    return b"GET /@ HTTP/1.1\r\n" + H + raw + b"\r\n\r\n"


def post(raw, body=b""):
    return b"POST /@ HTTP/1.1\r\n" + H + raw + b"\r\n\r\n" + body


# The head alone is wrong: one error answer, connection closed, not a byte upstream.
REFUSED_HEADS = [
    # Line ends and start line (rules 1 to 6)
    ("bare LF after the start line", b"GET /@ HTTP/1.1\n" + H + END, {400}),
    ("bare LF after a field", b"GET /@ HTTP/1.1\r\nHost: h\n\r\n", {400}),
    ("bare LF at the end", b"GET /@ HTTP/1.1\r\nHost: h\r\n\n", {400}),
    ("only LF", b"GET /@ HTTP/1.1\nHost: h\n\n", {400}),
    ("bare CR in the start line", line(b"GET /@\r HTTP/1.1"), {400}),
    ("bare CR in a value", field(b"X: a\rb"), {400}),
    ("bare CR in a name", field(b"X\rY: a"), {400}),
    ("CR CR LF", b"GET /@ HTTP/1.1\r\r\n" + H + END, {400}),
    ("space before the first field", b"GET /@ HTTP/1.1\r\n " + H + END, {400}),
    ("tab before the first field", b"GET /@ HTTP/1.1\r\n\tX: y\r\n" + H + END, {400}),
    ("leading space", line(b" GET /@ HTTP/1.1"), {400}),
    ("method with a colon", line(b"GE:T /@ HTTP/1.1"), {400}),
    ("method with a control", line(b"GE\x01T /@ HTTP/1.1"), {400}),
    ("method with obs-text", line(b"G\xc3\x89T /@ HTTP/1.1"), {400}),
    ("no method", line(b"/@ HTTP/1.1"), {400}),
    ("two spaces before the target", line(b"GET  /@ HTTP/1.1"), {400}),
    ("two spaces before the version", line(b"GET /@  HTTP/1.1"), {400}),
    ("tab before the target", line(b"GET\t/@ HTTP/1.1"), {400}),
    ("tab before the version", line(b"GET /@\tHTTP/1.1"), {400}),
    ("vertical tab before the version", line(b"GET /@\x0bHTTP/1.1"), {400}),
    ("space in the target", line(b"GET /@ x HTTP/1.1"), {400}),
    ("trailing space", line(b"GET /@ HTTP/1.1 "), {400}),
    # Target (rules 7 to 11)
    ("NUL in the target", line(b"GET /@\x00x HTTP/1.1"), {400}),
    ("DEL in the target", line(b"GET /@\x7f HTTP/1.1"), {400}),
    ("control in the target", line(b"GET /@\x1f HTTP/1.1"), {400}),
    ("raw obs-text in the target", line(b"GET /@\xe9 HTTP/1.1"), {400}),
    ("fragment in the target", line(b"GET /@#frag HTTP/1.1"), {400}),
    ("target without a slash", line(b"GET @ HTTP/1.1"), {400}),
    ("target is only a query", line(b"GET ?@ HTTP/1.1"), {400}),
    ("asterisk with GET", b"GET * HTTP/1.1\r\n" + H + b"X: @\r\n\r\n", {400}),
    ("authority-form without CONNECT", line(b"GET @.h:80 HTTP/1.1"), {400}),
    ("absolute-form that contradicts Host",
     b"GET http://other/@ HTTP/1.1\r\n" + H + END, {400}),
    ("absolute-form with userinfo",
     b"GET http://u@h/@ HTTP/1.1\r\n" + H + END, {400}),
    ("absolute-form without authority", line(b"GET http:///@ HTTP/1.1"), {400}),
    ("CONNECT", b"CONNECT @.h:443 HTTP/1.1\r\nHost: @.h:443\r\n\r\n", {501}),
    # Version (rules 12, 13)
    ("HTTP/0.9", b"GET /@\r\n\r\n", {400}),
    ("HTTP/2.0 in text", line(b"GET /@ HTTP/2.0"), {400, 505}),
    ("HTTP/3", line(b"GET /@ HTTP/3"), {400, 505}),
    ("HTTP/0.9 spelled out", line(b"GET /@ HTTP/0.9"), {400, 505}),
    ("lower-case version", line(b"GET /@ http/1.1"), {400}),
    ("version with two digits", line(b"GET /@ HTTP/1.10"), {400}),
    ("version with leading zero", line(b"GET /@ HTTP/01.1"), {400}),
    ("version without dot", line(b"GET /@ HTTP/11"), {400}),
    ("version with a comma", line(b"GET /@ HTTP/1,1"), {400}),
    ("other protocol", line(b"GET /@ HTCPCP/1.0"), {400}),
    ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400, 505}),
    ("TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 40, {400}),
    # Fields (rules 15 to 18)
    ("space before the colon", field(b"X : y"), {400}),
    ("tab before the colon", field(b"X\t: y"), {400}),
    ("space before the colon of Content-Length", post(b"Content-Length : 3", b"abc"), {400}),
    ("space before the colon of Transfer-Encoding",
     post(b"Transfer-Encoding : chunked", b"0\r\n\r\n"), {400}),
    ("empty field name", field(b": y"), {400}),
    ("field without colon", field(b"X"), {400}),
    ("space in a field name", field(b"X Y: z"), {400}),
    ("obs-text in a field name", field(b"X\xe9: z"), {400}),
    ("parenthesis in a field name", field(b"X(: z"), {400}),
    ("obs-fold with space", field(b"X: a\r\n b"), {400}),
    ("obs-fold with tab", field(b"X: a\r\n\tb"), {400}),
    ("obs-fold of Transfer-Encoding",
     post(b"Transfer-Encoding:\r\n chunked", b"0\r\n\r\n"), {400}),
    ("NUL in a value", field(b"X: a\x00b"), {400}),
    ("control in a value", field(b"X: a\x08b"), {400}),
    ("vertical tab in a value", field(b"X: a\x0bb"), {400}),
    ("DEL in a value", field(b"X: a\x7fb"), {400}),
    ("Content_Length", post(b"Content_Length: 3\r\nContent-Length: 0"), {400}),
    ("Transfer_Encoding", post(b"Transfer_Encoding: chunked\r\nContent-Length: 0"), {400}),
    # Host (rule 21)
    ("no Host", b"GET /@ HTTP/1.1\r\n\r\n", {400}),
    ("two Hosts", field(b"Host: other"), {400}),
    ("two equal Hosts", field(b"Host: h"), {400}),
    ("Host with a space", b"GET /@ HTTP/1.1\r\nHost: h x\r\n\r\n", {400}),
    ("Host with a comma", b"GET /@ HTTP/1.1\r\nHost: h,x\r\n\r\n", {400}),
    ("Host with userinfo", b"GET /@ HTTP/1.1\r\nHost: u@h\r\n\r\n", {400}),
    ("Host with a path", b"GET /@ HTTP/1.1\r\nHost: h/x\r\n\r\n", {400}),
    ("Host with a query", b"GET /@ HTTP/1.1\r\nHost: h?x\r\n\r\n", {400}),
    ("Host with a bad port", b"GET /@ HTTP/1.1\r\nHost: h:8x\r\n\r\n", {400}),
    ("Host with two ports", b"GET /@ HTTP/1.1\r\nHost: h:1:2\r\n\r\n", {400}),
    # Content-Length (rules 23, 24)
    ("Content-Length with plus", post(b"Content-Length: +3", b"abc"), {400}),
    ("Content-Length with minus", post(b"Content-Length: -3", b"abc"), {400}),
    ("Content-Length in hex", post(b"Content-Length: 0x3", b"abc"), {400}),
    ("Content-Length with underscore", post(b"Content-Length: 1_0", b"abcdefghij"), {400}),
    ("Content-Length empty", post(b"Content-Length:", b""), {400}),
    ("Content-Length with inner space", post(b"Content-Length: 1 1", b"abcdefghijk"), {400}),
    ("Content-Length with a point", post(b"Content-Length: 3.0", b"abc"), {400}),
    ("Content-Length with a semicolon", post(b"Content-Length: 3;", b"abc"), {400}),
    ("Content-Length as a list", post(b"Content-Length: 3, 3", b"abc"), {400}),
    ("Content-Length as a list without space", post(b"Content-Length: 3,4", b"abcd"), {400}),
    ("Content-Length with a leading comma", post(b"Content-Length: ,3", b"abc"), {400}),
    ("Content-Length of 2^63", post(b"Content-Length: 9223372036854775808"), {400, 413}),
    ("Content-Length of 2^64 + 3", post(b"Content-Length: 18446744073709551619", b"abc"),
     {400, 413}),
    ("Content-Length of 30 digits", post(b"Content-Length: " + b"9" * 30), {400, 413}),
    ("Content-Length with vertical tab", post(b"Content-Length: \x0b3", b"abc"), {400}),
    ("Content-Length twice", post(b"Content-Length: 3\r\nContent-Length: 4", b"abcd"), {400}),
    ("Content-Length twice, equal",
     post(b"Content-Length: 3\r\nContent-Length: 3", b"abc"), {400}),
    ("Content-Length twice, apart",
     post(b"Content-Length: 3\r\nX: y\r\ncontent-length: 3", b"abc"), {400}),
    # Both, and Transfer-Encoding (rules 25 to 27)
    ("Content-Length and Transfer-Encoding",
     post(b"Content-Length: 5\r\nTransfer-Encoding: chunked", b"0\r\n\r\n"), {400}),
    ("Transfer-Encoding and Content-Length",
     post(b"Transfer-Encoding: chunked\r\nContent-Length: 5", b"0\r\n\r\n"), {400}),
    ("Transfer-Encoding identity",
     post(b"Transfer-Encoding: identity\r\nContent-Length: 3", b"abc"), {400}),
    ("Transfer-Encoding only identity", post(b"Transfer-Encoding: identity"), {400, 501}),
    ("Transfer-Encoding empty", post(b"Transfer-Encoding:", b"0\r\n\r\n"), {400}),
    ("Transfer-Encoding chunked twice",
     post(b"Transfer-Encoding: chunked, chunked", b"0\r\n\r\n"), {400}),
    ("Transfer-Encoding chunked in two lines",
     post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", b"0\r\n\r\n"), {400}),
    ("Transfer-Encoding chunked is not final",
     post(b"Transfer-Encoding: chunked, gzip", b"0\r\n\r\n"), {400}),
    ("Transfer-Encoding without chunked", post(b"Transfer-Encoding: gzip", b"abc"), {400, 501}),
    ("Transfer-Encoding with a leading comma",
     post(b"Transfer-Encoding: , chunked", b"0\r\n\r\n"), {400}),
    ("Transfer-Encoding with a parameter",
     post(b"Transfer-Encoding: chunked;q=1", b"0\r\n\r\n"), {400}),
    ("Transfer-Encoding with vertical tab",
     post(b"Transfer-Encoding: \x0bchunked", b"0\r\n\r\n"), {400}),
    ("Transfer-Encoding with form feed",
     post(b"Transfer-Encoding: chunked\x0c", b"0\r\n\r\n"), {400}),
    ("Transfer-Encoding with NUL",
     post(b"Transfer-Encoding: chunked\x00", b"0\r\n\r\n"), {400}),
    ("Transfer-Encoding in quotes",
     post(b"Transfer-Encoding: \"chunked\"", b"0\r\n\r\n"), {400, 501}),
    ("Transfer-Encoding unknown", post(b"Transfer-Encoding: xchunked", b"0\r\n\r\n"), {400, 501}),
    ("Transfer-Encoding unknown, then chunked",
     post(b"Transfer-Encoding: foo, chunked", b"0\r\n\r\n"), {501}),
    ("Transfer-Encoding in HTTP/1.0",
     b"POST /@ HTTP/1.0\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", {400}),
    ("TRACE with a body",
     b"TRACE /@ HTTP/1.1\r\n" + H + b"Content-Length: 3\r\n\r\nabc", {400}),
    # Expectations
    ("unknown expectation", post(b"Expect: the-unexpected\r\nContent-Length: 0"), {417}),
]

# A valid chunked head, then a body that is wrong (rules 32 to 37). The upstream may have seen
# the head and good chunks already, but never a complete request.
REFUSED_CHUNKS = [
    ("size with 0x", b"0x3\r\nabc\r\n0\r\n\r\n"),
    ("size with plus", b"+3\r\nabc\r\n0\r\n\r\n"),
    ("size with minus", b"-3\r\nabc\r\n0\r\n\r\n"),
    ("size with underscore", b"0_3\r\nabc\r\n0\r\n\r\n"),
    ("size with leading space", b" 3\r\nabc\r\n0\r\n\r\n"),
    ("size with trailing space", b"3 \r\nabc\r\n0\r\n\r\n"),
    ("size with trailing tab", b"3\t\r\nabc\r\n0\r\n\r\n"),
    ("size empty", b"\r\nabc\r\n0\r\n\r\n"),
    ("size not hex", b"g\r\nabc\r\n0\r\n\r\n"),
    ("size of 17 digits", b"00000000000000003\r\nabc\r\n0\r\n\r\n"),
    ("size of 2^63", b"8000000000000000\r\nabc\r\n0\r\n\r\n"),
    ("size of 2^64 + 3", b"10000000000000003\r\nabc\r\n0\r\n\r\n"),
    ("size of 2^64 - 1", b"FFFFFFFFFFFFFFFF\r\nabc\r\n0\r\n\r\n"),
    ("bare LF after the size", b"3\nabc\r\n0\r\n\r\n"),
    ("bare CR after the size", b"3\rabc\r\n0\r\n\r\n"),
    ("CR CR LF after the size", b"3\r\r\nabc\r\n0\r\n\r\n"),
    ("bare LF after the data", b"3\r\nabc\n0\r\n\r\n"),
    ("no line end after the data", b"3\r\nabc0\r\n\r\n"),
    ("data longer than its size", b"3\r\nabcd\r\n0\r\n\r\n"),
    ("data shorter than its size", b"5\r\nabc\r\n0\r\n\r\n"),
    ("extension without a name", b"3;\r\nabc\r\n0\r\n\r\n"),
    ("extension with a control", b"3;a\x01=b\r\nabc\r\n0\r\n\r\n"),
    ("extension that is no token", b"3;a b\r\nabc\r\n0\r\n\r\n"),
    ("extension with bare LF", b"3;a\nabc\r\n0\r\n\r\n"),
    ("extension with an open quote", b"3;a=\"b\r\nabc\r\n0\r\n\r\n"),
    ("extension too long", b"3;" + b"a" * 5000 + b"\r\nabc\r\n0\r\n\r\n"),
    ("bare LF after the last size", b"0\n\r\n"),
    ("bare LF at the end", b"3\r\nabc\r\n0\r\n\n"),
    ("trailer without colon", b"3\r\nabc\r\n0\r\nX\r\n\r\n"),
    ("trailer with obs-fold", b"3\r\nabc\r\n0\r\nX: y\r\n z\r\n\r\n"),
    ("trailer with space before the colon", b"3\r\nabc\r\n0\r\nX : y\r\n\r\n"),
    ("trailer with NUL", b"3\r\nabc\r\n0\r\nX: \x00\r\n\r\n"),
    ("trailer section too long", b"3\r\nabc\r\n0\r\nX: " + b"y" * 70000 + b"\r\n\r\n"),
]

# Chunked bodies that are unusual and legal; all of them carry b"abcdefghij".
ACCEPTED_CHUNKS = [
    ("one chunk", b"a\r\nabcdefghij\r\n0\r\n\r\n"),
    ("upper-case hex", b"A\r\nabcdefghij\r\n0\r\n\r\n"),
    ("leading zeros", b"000a\r\nabcdefghij\r\n0\r\n\r\n"),
    ("sixteen digits", b"000000000000000a\r\nabcdefghij\r\n0\r\n\r\n"),
    ("last chunk of many zeros", b"a\r\nabcdefghij\r\n000\r\n\r\n"),
    ("chunks of one byte", b"".join(b"1\r\n%c\r\n" % c for c in b"abcdefghij") + b"0\r\n\r\n"),
    ("extension without value", b"a;x\r\nabcdefghij\r\n0\r\n\r\n"),
    ("extension with value", b"a;x=1;y=2\r\nabcdefghij\r\n0;last\r\n\r\n"),
    ("extension with quotes", b"a;x=\"1;2\\\"\"\r\nabcdefghij\r\n0\r\n\r\n"),
    ("data that looks like framing", b"3\r\nabc\r\n7\r\ndefghij\r\n0\r\n\r\n"),
    ("trailer", b"a\r\nabcdefghij\r\n0\r\nX-T: y\r\n\r\n"),
    ("framing fields as trailers",
     b"a\r\nabcdefghij\r\n0\r\nContent-Length: 3\r\nTransfer-Encoding: gzip\r\nHost: evil\r\n\r\n"),
]

# (name, bytes, what the request line must be upstream); every field line of these arrives in
# order and byte for byte.
ACCEPTED_HEADS = [
    ("plain", line(b"GET /@ HTTP/1.1"), b"GET /@ HTTP/1.1"),
    ("one empty line before", b"\r\n" + line(b"GET /@ HTTP/1.1"), b"GET /@ HTTP/1.1"),
    ("two empty lines before", b"\r\n\r\n" + line(b"GET /@ HTTP/1.1"), b"GET /@ HTTP/1.1"),
    ("unknown method", line(b"BREW /@ HTTP/1.1"), b"BREW /@ HTTP/1.1"),
    ("method with symbols", line(b"M-X!z /@ HTTP/1.1"), b"M-X!z /@ HTTP/1.1"),
    ("lower-case method", line(b"get /@ HTTP/1.1"), b"get /@ HTTP/1.1"),
    ("DELETE", line(b"DELETE /@ HTTP/1.1"), b"DELETE /@ HTTP/1.1"),
    ("OPTIONS", line(b"OPTIONS /@ HTTP/1.1"), b"OPTIONS /@ HTTP/1.1"),
    ("encoded NUL and CRLF", line(b"GET /@%00%0d%0a%2F HTTP/1.1"),
     b"GET /@%00%0d%0a%2F HTTP/1.1"),
    ("query, dots and slashes are not touched",
     line(b"GET /@/../a//b/./c?q=/../%20&&x=?y HTTP/1.1"),
     b"GET /@/../a//b/./c?q=/../%20&&x=?y HTTP/1.1"),
    ("odd but printable target", line(b"GET /@|{}^`\"<>\\[] HTTP/1.1"),
     b"GET /@|{}^`\"<>\\[] HTTP/1.1"),
    ("absolute-form", b"GET http://h/@?q HTTP/1.1\r\n" + H + END, b"GET /@?q HTTP/1.1"),
    ("absolute-form in upper case", b"GET HTTP://h/@ HTTP/1.1\r\n" + H + END, b"GET /@ HTTP/1.1"),
    ("repeated fields keep their order", field(b"X-A: 1\r\nX-B: 2\r\nX-A: 3\r\nx-a: 4"),
     b"GET /@ HTTP/1.1"),
    ("empty value", field(b"X-Empty:"), b"GET /@ HTTP/1.1"),
    ("spaces around a value", field(b"X-Pad: \t a  b \t"), b"GET /@ HTTP/1.1"),
    ("obs-text in a value", field(b"X-Text: caf\xc3\xa9 \xff"), b"GET /@ HTTP/1.1"),
    ("all the token characters", field(b"!#$%&'*+-.^`|~09azAZ: v"), b"GET /@ HTTP/1.1"),
    ("underscore in a harmless name", field(b"X_Custom: v"), b"GET /@ HTTP/1.1"),
    ("Host with a port", b"GET /@ HTTP/1.1\r\nHost: h.example:8080\r\n\r\n", b"GET /@ HTTP/1.1"),
    ("Host is an IPv6 address", b"GET /@ HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", b"GET /@ HTTP/1.1"),
    ("Host is not first", b"GET /@ HTTP/1.1\r\nX-A: b\r\nhOST: h\r\n\r\n", b"GET /@ HTTP/1.1"),
    ("conditional and range fields",
     field(b"If-None-Match: \"x\"\r\nRange: bytes=0-1\r\nAuthorization: Basic eA==\r\n"
           b"Cookie: a=b\r\nCache-Control: no-transform"), b"GET /@ HTTP/1.1"),
]

# Requests with a Content-Length body, on methods where it is unusual too (rule 29).
BODIES = [
    ("POST", b"POST /@ HTTP/1.1\r\n" + H + b"Content-Length: 5\r\n\r\nab\r\nc", b"ab\r\nc"),
    ("PUT", b"PUT /@ HTTP/1.1\r\n" + H + b"Content-Length: 1\r\n\r\n\x00", b"\x00"),
    ("POST, length 0", b"POST /@ HTTP/1.1\r\n" + H + b"Content-Length: 0\r\n\r\n", b""),
    ("POST without length", b"POST /@ HTTP/1.1\r\n" + H + b"\r\n", b""),
    ("GET", b"GET /@ HTTP/1.1\r\n" + H + b"Content-Length: 3\r\n\r\nGET", b"GET"),
    ("DELETE", b"DELETE /@ HTTP/1.1\r\n" + H + b"Content-Length: 3\r\n\r\nabc", b"abc"),
    ("OPTIONS", b"OPTIONS /@ HTTP/1.1\r\n" + H + b"Content-Length: 3\r\n\r\nabc", b"abc"),
    ("unknown method", b"BREW /@ HTTP/1.1\r\n" + H + b"Content-Length: 3\r\n\r\nabc", b"abc"),
    ("body that looks like a request",
     b"POST /@ HTTP/1.1\r\n" + H + b"Content-Length: 35\r\n\r\n"
     b"GET /never HTTP/1.1\r\nHost: evil\r\n\r\n", b"GET /never HTTP/1.1\r\nHost: evil\r\n\r\n"),
    ("spaces around the length", b"POST /@ HTTP/1.1\r\n" + H + b"Content-Length:   3  \r\n\r\nabc",
     b"abc"),
]
