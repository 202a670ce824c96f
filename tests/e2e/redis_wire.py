"""RESP on raw sockets: commands, replies byte by byte, and which shard a key belongs to.

The reader is strict: lengths are canonical, every line ends with CRLF, streamed types do not
exist. What a reply was is kept as bytes (for comparing) and as a value (for reading).
"""
import binascii
import math
import socket
import time

from wire import DEADLINE, Ended, Malformed, Wire

SLOTS = 16384
AGGREGATES = b"*%~>|"
BULKS = b"$=!"
LINES = b"+-:_,#("


def to_bytes(value):
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    return str(value).encode()


def command(*args):
    """A command as a canonical multibulk."""
    args = [to_bytes(arg) for arg in args]
    parts = [b"*%d\r\n" % len(args)]
    for arg in args:
        parts.append(b"$%d\r\n%s\r\n" % (len(arg), arg))
    return b"".join(parts)


def pipeline(commands):
    return b"".join(command(*args) for args in commands)


# Values. Bulk strings are bytes, integers int, arrays list, nulls None, booleans bool.

class Status(bytes):
    """A simple string."""


class Error(bytes):
    """An error, simple or bulk, without its type byte."""

    @property
    def code(self):
        return self.split(b" ", 1)[0]


class Double(bytes):
    """A RESP3 double, as its text."""


class BigNumber(bytes):
    """A RESP3 big number, as its text."""


class Verbatim(bytes):
    """A RESP3 verbatim string with its format."""


class Map(list):
    """A RESP3 map: a list of pairs."""

    def get(self, name):
        return next((value for key, value in self if key == name), None)


class SetReply(list):
    """A RESP3 set."""


class Push(list):
    """A RESP3 push."""


def _number(text, what):
    """A canonical number, the only kind a server sends."""
    try:
        value = int(text)
    except ValueError:
        raise Malformed(f"{what} {text!r}") from None
    if str(value).encode() != text:
        raise Malformed(f"{what} {text!r} is not canonical")
    return value


class Reply:
    """One complete reply: its bytes and what they say."""

    def __init__(self, raw, value):
        self.raw = raw
        self.value = value

    def __repr__(self):
        return repr(self.raw if len(self.raw) <= 300 else
                    self.raw[:200] + b" ... " + self.raw[-60:])


class _Reader:
    """Reads one reply from a wire, keeping its bytes."""

    def __init__(self, wire):
        self.wire = wire
        self.parts = []

    def line(self):
        text = self.wire.read_until(b"\r\n")
        self.parts.append(text)
        if b"\n" in text[:-2] or b"\r" in text[:-2]:
            raise Malformed(f"bare CR or LF in {text!r}")
        return text[:1], text[1:-2]

    def bulk(self, size):
        data = self.wire.read_exact(size + 2)
        self.parts.append(data)
        if data[-2:] != b"\r\n":
            raise Malformed(f"{size} bytes without CRLF: {data[-40:]!r}")
        return data[:-2]

    def value(self):
        kind, text = self.line()
        if not kind:
            raise Malformed("an empty line where a reply begins")
        if kind in BULKS:
            size = _number(text, "bulk length")
            if size == -1 and kind == b"$":
                return None
            data = self.bulk(size)
            return {b"$": bytes, b"=": Verbatim, b"!": Error}[kind](data)
        if kind in AGGREGATES:
            return self.aggregate(kind, _number(text, "aggregate length"))
        if kind not in LINES:
            raise Malformed(f"type {kind!r} before {text[:100]!r}")
        if kind == b":":
            return _number(text, "integer")
        if kind == b"#":
            return {b"t": True, b"f": False}[text]
        if kind == b"_":
            if text:
                raise Malformed(f"null with {text!r}")
            return None
        return {b"+": Status, b"-": Error, b",": Double, b"(": BigNumber}[kind](text)

    def aggregate(self, kind, size):
        if size == -1 and kind == b"*":
            return None
        if size < 0:
            raise Malformed(f"aggregate of {size}")
        if kind == b"|":
            for _ in range(2 * size):
                self.value()
            return self.value()  # what the attribute belongs to
        if kind == b"%":
            return Map([(self.value(), self.value()) for _ in range(size)])
        elements = [self.value() for _ in range(size)]
        return {b"*": list, b"~": SetReply, b">": Push}[kind](elements)


class RedisClient(Wire):
    """A raw Redis client. protocol: 3 greets with HELLO 3; None and 2 greet with nothing."""

    def __init__(self, address, deadline=DEADLINE, protocol=None, password=None, rcvbuf=None):
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if rcvbuf:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        sock.settimeout(deadline)
        try:
            sock.connect(address)
        except OSError:
            sock.close()
            raise
        super().__init__(sock, deadline)
        self.log_limit = 0
        self.protocol = protocol or 2
        if password:
            self.expect_ok("AUTH", password)
        if protocol == 3:
            hello = self.call("HELLO", 3)
            if not isinstance(hello, Map):
                raise Malformed(f"HELLO 3 was answered with {hello!r}")

    def read(self):
        """The next reply or push."""
        reader = _Reader(self)
        value = reader.value()
        return Reply(b"".join(reader.parts), value)

    def read_many(self, count):
        return [self.read() for _ in range(count)]

    def ask(self, *args):
        """Sends a command, returns its Reply."""
        self.send(command(*args))
        return self.read()

    def call(self, *args):
        """Sends a command, returns the reply's value; errors are values too."""
        return self.ask(*args).value

    def expect_ok(self, *args):
        value = self.call(*args)
        if value != b"OK" or not isinstance(value, Status):
            raise AssertionError(f"{args[:3]!r} was answered with {value!r}")

    def pipeline(self, commands):
        """Sends commands at once, returns their replies' values."""
        commands = list(commands)
        self.send(pipeline(commands))
        return [self.read().value for _ in commands]

    def send_random(self, data, rng, cuts):
        """Sends cut at random places; TCP_NODELAY makes each piece a segment."""
        places = sorted(rng.randrange(len(data) + 1) for _ in range(cuts))
        for start, end in zip([0] + places, places + [len(data)]):
            if start != end:
                self.sock.sendall(data[start:end])
                time.sleep(0)

    def read_until_marker(self, marker):
        """Bytes up to and with the marker, or up to the connection's end."""
        while not self.buf.endswith(marker) and self.fill():
            pass
        return self.take(len(self.buf))


# Where keys belong

def hash_tag(key):
    """The part of a key that is hashed."""
    start = key.find(b"{")
    if start < 0:
        return key
    end = key.find(b"}", start + 1)
    if end < 0 or end == start + 1:
        return key
    return key[start + 1:end]


def key_slot(key):
    return binascii.crc_hqx(hash_tag(to_bytes(key)), 0) % SLOTS


def slot_ranges(count):
    """First and last slot of each shard, as `redis-cli --cluster create` spreads them."""
    per_node, first, cursor, ranges = SLOTS / count, 0, 0.0, []
    for number in range(count):
        last = math.floor(cursor + per_node - 1 + 0.5)
        if number == count - 1:
            last = SLOTS - 1
        ranges.append((first, last))
        first = last + 1
        cursor += per_node
    return ranges


def shard_of(key, count):
    slot = key_slot(key)
    return next(number for number, (first, last) in enumerate(slot_ranges(count))
                if first <= slot <= last)


def key_on(shard, count, prefix="k"):
    """A key that belongs to a shard."""
    return next(key for number in range(100000)
                if shard_of(key := f"{prefix}:{number}".encode(), count) == shard)


def tag_on(shard, count, prefix="t"):
    """A `{tag}` that puts every key with it on a shard."""
    return b"{" + key_on(shard, count, prefix) + b"}"


__all__ = ["BigNumber", "Double", "Ended", "Error", "Malformed", "Map", "Push", "RedisClient",
           "Reply", "SetReply", "Status", "Verbatim", "command", "hash_tag", "key_on", "key_slot",
           "pipeline", "shard_of", "slot_ranges", "tag_on", "to_bytes"]
