"""Raw sockets with deadlines, and a strict HTTP/1.1 reader for both directions.

The parsers are deliberately unforgiving: a proxy that emits a bare line feed, a doubled
Content-Length or a chunk size with a space is wrong even if every browser copes with it.
"""
import os
import re
import socket
import struct
import time

# One knob for slow builds, and SKEIN_SLOW for slow machines: every wait in the suite is a multiple
# of DEADLINE.
SANITIZED = os.environ.get("SKEIN_SANITIZED") == "1"
SLOW = float(os.environ.get("SKEIN_SLOW", "1"))
DEADLINE = (15.0 if SANITIZED else 6.0) * SLOW
# Pause between pieces of a message that is sent cut up. It only makes it likely that the
# pieces are read one by one; no assertion depends on it.
PAUSE = 0.0002

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
FIELD_LINE = re.compile(rb"(" + TOKEN + rb"):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*\Z")
STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9]) ([\t\x20-\x7e\x80-\xff]*)\Z")
REQUEST_LINE = re.compile(rb"(" + TOKEN + rb") ([\x21-\x7e]+) HTTP/1\.([01])\Z")
CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})((?:;[^\r\n]*)?)\Z")


class Ended(Exception):
    """The peer ended the connection: `how` is "fin" or "reset"; `got` is what came before."""

    def __init__(self, how, got=b"", where=""):
        super().__init__(f"{how} {where} after {bytes(got[-200:])!r} ({len(got)} bytes)")
        self.how = how
        self.got = bytes(got)


class Malformed(Exception):
    """Bytes that are not strict HTTP/1.1."""


def parse_head(raw):
    """Splits a complete head into its start line and a list of (name, value)."""
    assert raw.endswith(b"\r\n\r\n")
    lines = raw[:-4].split(b"\r\n")
    fields = []
    for line in lines[1:]:
        match = FIELD_LINE.match(line)
        if not match:
            raise Malformed(f"field line {line!r}")
        fields.append((match[1], match[2]))
    return lines[0], fields


class Message:
    """What requests and responses share: fields, body and how the body was framed."""

    def __init__(self, raw, fields):
        self.raw_head = raw
        self.fields = fields
        self.body = b""
        self.framing = "none"  # none | length | chunked | close
        self.trailers = []
        self.chunk_extensions = []

    def all(self, name):
        name = name.lower().encode() if isinstance(name, str) else name.lower()
        return [value for key, value in self.fields if key.lower() == name]

    def get(self, name):
        values = self.all(name)
        if len(values) > 1:
            raise Malformed(f"{name} is repeated: {values}")
        return values[0] if values else None

    def tokens(self, name):
        """The elements of a comma-separated field, lower-case."""
        joined = b",".join(self.all(name)).lower()
        return [part.strip() for part in joined.split(b",") if part.strip()]

    def without(self, *names):
        """Fields except those named, in order: for comparing what was forwarded."""
        drop = {name.lower().encode() for name in names}
        return [(key, value) for key, value in self.fields if key.lower() not in drop]

    def declared_framing(self):
        """("chunked", None), ("length", n) or ("none", None), strictly."""
        codings = self.all("transfer-encoding")
        length = self.get("content-length")
        if codings:
            if length is not None:
                raise Malformed("Content-Length and Transfer-Encoding")
            if len(codings) > 1 or codings[0].lower().split(b",")[-1].strip() != b"chunked":
                raise Malformed(f"Transfer-Encoding {codings}")
            return "chunked", None
        if length is not None:
            if not re.fullmatch(rb"[0-9]{1,19}", length):
                raise Malformed(f"Content-Length {length!r}")
            return "length", int(length)
        return "none", None


class Response(Message):
    def __init__(self, raw):
        line, fields = parse_head(raw)
        super().__init__(raw, fields)
        match = STATUS_LINE.match(line)
        if not match:
            raise Malformed(f"status line {line!r}")
        self.minor, self.status, self.reason = int(match[1]), int(match[2]), match[3]
        self.interim = []  # 1xx responses that came before

    def closes(self):
        return b"close" in self.tokens("connection")

    def __repr__(self):
        return f"<{self.status} {self.framing} {len(self.body)} bytes {self.body[:60]!r}>"


class Request(Message):
    def __init__(self, raw):
        line, fields = parse_head(raw)
        super().__init__(raw, fields)
        match = REQUEST_LINE.match(line)
        if not match:
            raise Malformed(f"request line {line!r}")
        self.line = line
        self.method, self.target, self.minor = match[1], match[2], int(match[3])
        self.path = self.target.split(b"?", 1)[0].decode()
        self.complete = False
        self.seq = 0  # position on its connection, from 1

    def __repr__(self):
        return f"<{self.line.decode()} complete={self.complete}>"


class Wire:
    """A socket with a buffer; every call that can wait has a deadline."""

    def __init__(self, sock, deadline=DEADLINE):
        self.sock = sock
        self.deadline = deadline
        self.buf = bytearray()
        self.ended = None  # None | "fin" | "reset": what the peer did
        self.received = 0
        self.log = bytearray()  # first bytes received, for "was never seen" checks
        self.log_limit = 1 << 18
        sock.settimeout(deadline)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # Sending

    def send(self, data):
        self.sock.sendall(data)

    def send_cut(self, data, step=1, pause=PAUSE):
        """Sends in pieces of `step` bytes; TCP_NODELAY makes each a segment."""
        for at in range(0, len(data), step):
            self.sock.sendall(data[at:at + step])
            time.sleep(pause)

    def half_close(self):
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self):
        """Closes with RST instead of FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self):
        self.sock.close()

    # Receiving

    def fill(self):
        """Reads once into the buffer. False at the end of the connection."""
        if self.ended:
            return False
        try:
            data = self.sock.recv(1 << 18)
        except (ConnectionResetError, BrokenPipeError):
            self.ended = "reset"
            return False
        except TimeoutError:
            raise TimeoutError(f"nothing for {self.sock.gettimeout()} s after {self.received} "
                               f"bytes; unread: {bytes(self.buf[:300])!r}") from None
        if not data:
            self.ended = "fin"
            return False
        self.received += len(data)
        if len(self.log) < self.log_limit:
            self.log += data[:self.log_limit - len(self.log)]
        self.buf += data
        return True

    def take(self, count):
        data = bytes(self.buf[:count])
        del self.buf[:count]
        return data

    def read_exact(self, count):
        while len(self.buf) < count:
            if not self.fill():
                raise Ended(self.ended, self.buf, f"of {count} bytes wanted")
        return self.take(count)

    def read_until(self, mark, limit=1 << 20):
        start = 0
        while True:
            at = self.buf.find(mark, start)
            if at >= 0:
                return self.take(at + len(mark))
            if len(self.buf) > limit:
                raise Malformed(f"no {mark!r} in {limit} bytes")
            start = max(0, len(self.buf) - len(mark))
            if not self.fill():
                raise Ended(self.ended, self.buf, f"before {mark!r}")

    def read_to_end(self):
        """Everything up to the end of the connection; see `ended` for how it ended."""
        while self.fill():
            pass
        return self.take(len(self.buf))

    def quiet(self, seconds):
        """True if nothing at all, not even FIN, arrives for that long."""
        if self.buf or self.ended:
            return False
        self.sock.settimeout(seconds)
        try:
            self.fill()
            return False
        except TimeoutError:
            return True
        finally:
            self.sock.settimeout(self.deadline)

    def read_line(self):
        line = self.read_until(b"\n", 1 << 16)
        if not line.endswith(b"\r\n") or b"\r" in line[:-2]:
            raise Malformed(f"line end in {line!r}")
        return line[:-2]

    def each_chunk(self, message):
        """Yields the data of a chunked body; fills in trailers and extensions."""
        while True:
            line = self.read_line()
            match = CHUNK_LINE.match(line)
            if not match:
                raise Malformed(f"chunk line {line!r}")
            if match[2]:
                message.chunk_extensions.append(match[2])
            size = int(match[1], 16)
            if size == 0:
                break
            while size:
                if not self.buf and not self.fill():
                    raise Ended(self.ended, b"", "inside a chunk")
                piece = self.take(min(size, len(self.buf)))
                size -= len(piece)
                yield piece
            if self.read_exact(2) != b"\r\n":
                raise Malformed("chunk data without CRLF")
        while line := self.read_line():
            match = FIELD_LINE.match(line)
            if not match:
                raise Malformed(f"trailer {line!r}")
            message.trailers.append((match[1], match[2]))

    def each_piece(self, message, bodyless, until_close):
        """Yields the pieces of a message's body as they come."""
        message.framing, length = message.declared_framing()
        if bodyless:
            message.framing = "none"
        elif message.framing == "chunked":
            yield from self.each_chunk(message)
        elif message.framing == "length":
            while length:
                if not self.buf and not self.fill():
                    raise Ended(self.ended, b"", f"with {length} bytes missing")
                piece = self.take(min(length, len(self.buf)))
                length -= len(piece)
                yield piece
        elif until_close:
            message.framing = "close"
            while self.buf or self.fill():
                yield self.take(len(self.buf))
            if self.ended == "reset":
                raise Ended("reset", b"", "in a close-delimited body")


class Client(Wire):
    """A raw HTTP client."""

    def __init__(self, address, deadline=DEADLINE, rcvbuf=None, source=None):
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        if rcvbuf:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        if source:
            sock.bind((source, 0))
        sock.settimeout(deadline)
        try:
            sock.connect(address)
        except OSError:
            sock.close()
            raise
        super().__init__(sock, deadline)

    def read_head(self):
        return Response(self.read_until(b"\r\n\r\n"))

    def read_body(self, response, method="GET"):
        bodyless = (method == "HEAD" or response.status in (204, 304)
                    or 100 <= response.status < 200)
        response.body = b"".join(self.each_piece(response, bodyless, True))
        return response

    def read_response(self, method="GET"):
        """The next final response (or 101), complete; 1xx before it in `interim`."""
        interim = []
        while True:
            response = self.read_head()
            if 100 <= response.status < 200 and response.status != 101:
                interim.append(response)
                continue
            response.interim = interim
            return self.read_body(response, method)

    def read_all_responses(self, methods=()):
        """Responses up to the end of the connection, which must be clean."""
        responses = []
        while self.buf or self.fill():
            method = methods[len(responses)] if len(responses) < len(methods) else "GET"
            responses.append(self.read_response(method))
        return responses

    def request(self, method, target, body=None, fields=(), host="h"):
        self.send(make_request(method, target, body, fields, host))
        return self.read_response(method)

    def get(self, target, **kwargs):
        return self.request("GET", target, **kwargs)


def make_request(method, target, body=None, fields=(), host="h"):
    """A plain request; `body` gets a Content-Length."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}"]
    lines += [f"{name}: {value}" for name, value in fields]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b"")


def make_chunked(pieces, trailers=()):
    """A chunked body of the given pieces."""
    out = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces if piece)
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in trailers)
    return out + b"0\r\n" + lines + b"\r\n"


def pattern(size, seed=0):
    """Bytes in which a lost, doubled or swapped piece shows: no short period."""
    block = b"".join(struct.pack(">I", (seed * 7919 + i * 2654435761) & 0xffffffff)
                     for i in range(min(size, 1 << 16) // 4 + 1))
    parts = []
    for number in range(0, size, len(block)):
        parts.append(struct.pack(">Q", number) + block[8:])
    return b"".join(parts)[:size]
