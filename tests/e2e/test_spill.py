"""Readers that are slow, then fast again: messages spill into userspace in the middle, and their
connections return to the kernel. Every byte is checked, on both paths.

SKEIN_SPILL_SECONDS says how long each path is under load.
"""
import os
import random
import threading
import time

import harness
from harness import Client, ProxyTest, wait_for
from origin import reply
from together import together
from wire import make_chunked, make_request, pattern

SECONDS = float(os.environ.get("SKEIN_SPILL_SECONDS", "7"))
CONNECTIONS = 6
# A message of this size fits into no buffers on its way.
LARGE = 4 << 20
SIZES = (64 << 10, 200_000, 1 << 20, LARGE)
# Userspace writes a blank behind the colon, the kernel leaves a head as it is: so each message
# tells which path its head took.
MARK = b"X-Mark:kernel\r\n"
# Messages after which a connection has returned: now and then one overtakes the return, or meets
# a pool that is empty because others have all connections.
RETURNS_WITHIN = 12


def by_kernel(message):
    return MARK in message.raw_head


def marked(raw):
    """A message with a field that shows its path."""
    return raw.replace(b"\r\n", b"\r\n" + MARK, 1)


def seed_of(target):
    return int(target.rsplit("-", 1)[1])


class Checker:
    """Compares pieces of a body with what it is to be."""

    def __init__(self, expected):
        self.expected = memoryview(expected)
        self.at = 0

    def __call__(self, piece):
        if self.expected[self.at:self.at + len(piece)] != piece:
            raise AssertionError(f"a wrong byte in {len(piece)} at {self.at} of {len(self.expected)}")
        self.at += len(piece)

    def end(self):
        if self.at != len(self.expected):
            raise AssertionError(f"{self.at} bytes of {len(self.expected)}")


def pieces_of(body, seed):
    """Cuts it into pieces of very different sizes."""
    rng = random.Random(seed)
    at = 0
    while at < len(body):
        size = rng.choice((1, 100, 5000, 60000, 300000))
        yield body[at:at + size]
        at += size


def framed(body, seed, chunked):
    """Framing field and bytes of a body."""
    if chunked:
        return ("Transfer-Encoding", "chunked"), make_chunked(pieces_of(body, seed))
    return ("Content-Length", str(len(body))), body


class SpillTest(ProxyTest):
    extra = {"limits": {"buffer": "64KiB"}}

    def setUp(self):
        super().setUp()
        self.origin.default = self.serve
        self.slow_phase = threading.Lock()  # the spill that a counter shows is this phase's
        self.serial = iter(range(1, 1 << 30))
        self.gates = {}
        self.requests_by_kernel = {}
        self.seen = {"slow": 0, "slow by kernel": 0, "returned at once": 0, "messages": 0}

    # The server

    def serve(self, conn, request):
        """Downloads: the path's seed says which bytes. Uploads: checked; read when the gate opens."""
        target = request.target.decode()
        seed = seed_of(target)
        self.requests_by_kernel[target] = by_kernel(request)
        size = int(request.get("x-size"))
        if request.method == b"GET":
            field, data = framed(pattern(size, seed), seed, b"chunked" in request.all("x-framing"))
            conn.sock.settimeout(None)
            conn.send(marked(reply(fields=[field], length=False)))
            conn.send(data)
            return
        gate = self.gates.pop(target, None)
        if gate and not gate.wait(harness.DEADLINE * 4):
            raise AssertionError(f"{target}: the gate stays shut")
        checker = Checker(pattern(size, seed))
        conn.read_body(request, checker)
        checker.end()
        conn.send(marked(reply(b"received")))

    # Spills

    def spills(self, direction):
        return self.skein.metric("skein_spills_total", listener="web", direction=direction)

    def wait_spill(self, direction, before, kernel):
        """A message that began in the kernel, and that nobody reads, leaves it."""
        self.seen["slow"] += 1
        self.seen["slow by kernel"] += kernel
        if kernel:
            wait_for(lambda: self.spills(direction) > before, f"a {direction} spills",
                     harness.DEADLINE * 4)

    # The client

    def fields(self, size, chunked):
        return [("X-Size", str(size)), ("X-Framing", "chunked" if chunked else "length")]

    def download(self, client, size, chunked, slow=False):
        seed = next(self.serial)
        target = f"/down-{seed}"
        before = self.spills("response") if slow else 0
        client.send(marked(make_request("GET", target, fields=self.fields(size, chunked))))
        response = client.read_head()
        if response.status != 200:
            raise AssertionError(f"{target}: {response!r}")
        checker = Checker(pattern(size, seed))
        if slow:
            self.wait_spill("response", before, by_kernel(response))
        for piece in client.each_piece(response, False, False):
            checker(piece)
        checker.end()
        self.seen["messages"] += 1
        return self.requests_by_kernel.pop(target) and by_kernel(response)

    def upload(self, client, size, chunked, slow=False):
        seed = next(self.serial)
        target = f"/up-{seed}"
        before = self.spills("request") if slow else 0
        gate = threading.Event()
        if slow:
            self.gates[target] = gate
        field, data = framed(pattern(size, seed), seed, chunked)
        sender = threading.Thread(target=client.send, daemon=True, args=(marked(
            make_request("POST", target, fields=self.fields(size, chunked) + [field])) + data,))
        sender.start()
        if slow:
            try:
                wait_for(lambda: target in self.requests_by_kernel, "the head arrives")
                self.wait_spill("request", before, self.requests_by_kernel[target])
            finally:
                gate.set()
        response = client.read_response()
        sender.join(harness.DEADLINE)
        if (response.status, response.body) != (200, b"received") or sender.is_alive():
            raise AssertionError(f"{target}: {response!r}")
        self.seen["messages"] += 1
        return self.requests_by_kernel.pop(target) and by_kernel(response)

    def returns(self, client, after_slow):
        """The connection's messages go by the kernel, soon."""
        for number in range(RETURNS_WITHIN):
            if self.download(client, 100, False):
                self.seen["returned at once"] += after_slow and not number
                return
            if self.kernel == "off":
                return
        raise AssertionError(f"not returned after {RETURNS_WITHIN} messages")

    def work(self, number, end):
        rng = random.Random(number)
        with Client(self.skein.address, harness.DEADLINE * 4, rcvbuf=1 << 15) as client:
            while time.monotonic() < end:
                for _ in range(rng.randrange(1, 6)):
                    way = rng.choice((self.download, self.upload))
                    way(client, rng.choice(SIZES[:3]), rng.random() < 0.5)
                self.returns(client, False)
                with self.slow_phase:
                    way = rng.choice((self.download, self.upload))
                    way(client, LARGE, rng.random() < 0.5, slow=True)
                self.returns(client, True)

    def test_slow_and_fast_readers(self):
        returned = self.skein.metric("skein_returned_total", listener="web")
        self.assertEqual(together(self.work, CONNECTIONS, time.monotonic() + SECONDS,
                                  limit=SECONDS + harness.DEADLINE * 10), [])
        self.assertGreater(self.seen["slow"], 0)
        returned = self.skein.metric("skein_returned_total", listener="web") - returned
        if self.kernel == "off":
            self.assertEqual((self.spills("request"), self.spills("response"), returned), (0, 0, 0))
            self.assertEqual(self.seen["slow by kernel"], 0)
            return
        for direction in ("request", "response"):
            self.assertGreater(self.spills(direction), 0, direction)
        self.assertGreaterEqual(returned, self.seen["slow by kernel"], "each spill is followed by a return")
        self.assertGreater(self.seen["slow by kernel"], self.seen["slow"] * 0.7)
        self.assertGreater(self.seen["returned at once"], self.seen["slow"] * 0.7)


if __name__ == "__main__":
    harness.main()
