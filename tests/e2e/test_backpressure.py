"""A peer that does not read: skein holds a bounded amount for it, and loses nothing."""
import hashlib
import socket
import threading
import time

import harness
from harness import ProxyTest, unique
from origin import reply
from wire import make_request, pattern

TOTAL = 48 << 20
# What may be queued while a reader stands still: skein's own buffer, plus the socket buffers of
# both hops, which the kernel tunes up to a few MiB each.
HELD = 24 << 20
BLOCK = pattern(1 << 16, 17)


def checksum(size):
    state = hashlib.sha256()
    for _ in range(size // len(BLOCK)):
        state.update(BLOCK)
    return state.hexdigest()


def push(wire, total, progress):
    """Sends BLOCK again and again; progress[0] tells how far it came."""
    for _ in range(total // len(BLOCK)):
        wire.send(BLOCK)
        progress[0] += len(BLOCK)


def stalled(progress):
    """Waits until a sender has not moved for a while; returns how far it came."""
    end = time.monotonic() + harness.DEADLINE * 2
    last, since = progress[0], time.monotonic()
    while time.monotonic() - since < 0.4 or last == 0:
        if time.monotonic() > end:
            raise AssertionError(f"the sender never stalls, it is at {progress[0]}")
        time.sleep(0.02)
        if progress[0] != last:
            last, since = progress[0], time.monotonic()
    return last


class BackPressureTest(ProxyTest):
    extra = {"limits": {"buffer": "256KiB"}}

    def setUp(self):
        super().setUp()
        self.warm().get("/direct")  # memory that is allocated once is not counted below
        self.rss = self.skein.rss()

    def assert_bounded(self, progress, total=TOTAL):
        held = stalled(progress)
        self.assertLess(held, HELD, f"{held >> 20} MiB of {total >> 20} were accepted "
                        "for a reader that reads nothing")
        grown = self.skein.rss() - self.rss
        if not harness.SANITIZED:
            self.assertLess(grown, 16 << 20, "skein's own memory grew by that much")
        self.assertEqual(self.connect().get("/other").status, 200, "others go on")

    def slow_reader(self, way):
        progress = [0]
        path = "/" + unique("slow")

        def script(conn, request):
            conn.send(reply(length=False, fields=[("Content-Length", str(TOTAL))]))
            conn.sock.settimeout(None)
            push(conn, TOTAL, progress)
        self.origin.on(path, script)
        client = self.connect(rcvbuf=1 << 16)
        if way == "later":
            self.warm(client)
        client.send(make_request("GET", path))
        self.assert_bounded(progress)
        response = client.read_head()
        state = hashlib.sha256()
        for piece in client.each_piece(response, False, False):
            state.update(piece)
        self.assertEqual(state.hexdigest(), checksum(TOTAL), "bytes lost or out of order")
        self.assertEqual(client.get("/after").status, 200)

    def test_slow_reader(self):
        self.slow_reader("first")

    def test_slow_reader_after_warm_up(self):
        self.slow_reader("later")

    def slow_upstream(self, way):
        go = threading.Event()
        path = "/" + unique("slow")

        def script(conn, request):
            go.wait(harness.DEADLINE * 4)
            state = hashlib.sha256()
            conn.read_body(request, state.update)
            conn.send(reply(state.hexdigest().encode()))
        self.origin.on(path, script)
        client = self.connect(deadline=harness.DEADLINE * 2)
        if way == "later":
            self.warm(client)
        progress = [0]
        client.send(f"POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {TOTAL}\r\n\r\n".encode())
        client.sock.settimeout(None)
        sender = threading.Thread(target=push, args=(client, TOTAL, progress), daemon=True)
        sender.start()
        try:
            self.assert_bounded(progress)
        finally:
            go.set()
        sender.join(harness.DEADLINE * 3)
        client.sock.settimeout(harness.DEADLINE)
        self.assertEqual(client.read_response().body.decode(), checksum(TOTAL))
        self.assertEqual(client.get("/after").status, 200)

    def test_slow_upstream(self):
        self.slow_upstream("first")

    def test_slow_upstream_after_warm_up(self):
        self.slow_upstream("later")

    def test_reader_that_leaves(self):
        """A stalled download whose client goes away frees everything."""
        for end in ("close", "reset"):
            with self.subTest(end=end):
                progress = [0]
                path = "/" + unique("leaves")
                ended = threading.Event()

                def script(conn, request):
                    conn.send(reply(length=False, fields=[("Content-Length", str(TOTAL))]))
                    conn.sock.settimeout(None)
                    try:
                        push(conn, TOTAL, progress)
                    except OSError:
                        ended.set()
                        raise
                self.origin.on(path, script)
                client = self.warm(self.connect(rcvbuf=1 << 16))
                client.send(make_request("GET", path))
                stalled(progress)
                getattr(client, end)()
                self.assertTrue(ended.wait(harness.DEADLINE), "the upstream connection ends")
                self.wait_metric("skein_downstream_connections", 1, listener="web")


class WaitingBehindTest(ProxyTest):
    """What comes from a peer that takes nothing waits behind what is queued for it, in the work queue."""

    paths = ("off", "on")  # what an application sends past TCP has no work queue

    # So much fills the buffers of a connection whose reader stands still, and some waits in front of
    # them, but not enough for userspace to take over.
    QUEUED = (560_000, 610_000, 660_000)
    # More than a receive buffer, less than what is held for a peer that takes nothing.
    BEHIND = pattern(800_000, 19)
    FLOOD = 200 << 20

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.origin.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 13)

    def paced(self, wire, data):
        """Slowly enough for a queue to be emptied as far as its socket takes it."""
        for at in range(0, len(data), 8192):
            wire.send(data[at:at + 8192])
            time.sleep(0.003)

    def background(self, work, *args):
        thread = threading.Thread(target=work, args=args, daemon=True)
        thread.start()
        return thread

    def fallen_back(self, reason):
        return self.skein.metric("skein_fallback_total", listener="web", reason=reason)

    def early(self, size, answer):
        """A request whose server calls answer(conn) before it reads; `go`, returned, lets it read."""
        path = "/" + unique("early")
        sent, go = threading.Event(), threading.Event()

        def script(conn, request):
            sent.wait(harness.DEADLINE * 4)
            sender = self.background(answer, conn)
            go.wait(harness.DEADLINE * 4)
            conn.read_body(request)
            sender.join()
        self.origin.on(path, script)
        client = self.warm()
        raw = make_request("POST", path, pattern(size, 3))
        self.paced(client, raw[:-1000])
        sent.set()
        time.sleep(0.2)
        client.send(raw[-1000:])
        return client, go

    def test_answer_behind_a_request(self):
        for size in self.QUEUED:
            with self.subTest(size=size):
                client, go = self.early(size, lambda conn: conn.send(reply(self.BEHIND)))
                go.set()
                response = client.read_response()
                self.assertEqual((response.status, response.body == self.BEHIND), (200, True))
        if self.kernel == "on":
            self.assertGreater(self.fallen_back("early_response"), 0)

    def late(self, size):
        """A client that has asked for more than it reads."""
        path = "/" + unique("late")
        body = reply(pattern(size, 5))
        done = threading.Event()

        def script(conn, request):
            self.paced(conn, body)
            done.set()
        self.origin.on(path, script)
        client = self.warm(self.connect(rcvbuf=1 << 14, deadline=harness.DEADLINE * 2))
        client.send(make_request("GET", path))
        done.wait(harness.DEADLINE)
        return client

    def test_request_behind_a_response(self):
        for size in self.QUEUED:
            with self.subTest(size=size):
                path = "/" + unique("post")

                def script(conn, request):
                    conn.send(reply(hashlib.sha256(conn.read_body(request)).digest()))
                self.origin.on(path, script)
                client = self.late(size)
                sender = self.background(client.send, make_request("POST", path, self.BEHIND))
                time.sleep(0.2)
                self.assertEqual(client.read_response().body, pattern(size, 5))
                self.assertEqual(client.read_response().body, hashlib.sha256(self.BEHIND).digest())
                sender.join()
        if self.kernel == "on":
            self.assertGreater(self.fallen_back("pipelined"), 0)

    def flood(self, wire, progress):
        try:
            push(wire, self.FLOOD, progress)
        except OSError:
            pass  # cut off

    def assert_bounded(self, progress):
        stalled(progress)
        self.assertLess(progress[0], HELD)

    def test_flood_behind_a_request(self):
        for size in self.QUEUED:
            with self.subTest(size=size):
                progress = [0]

                def answer(conn):
                    conn.send(reply(length=False, fields=[("Content-Length", str(self.FLOOD))]))
                    self.flood(conn, progress)
                client, go = self.early(size, answer)
                self.assert_bounded(progress)
                client.reset()
                go.set()

    def test_flood_behind_a_response(self):
        for size in self.QUEUED:
            with self.subTest(size=size):
                progress = [0]
                client = self.late(size)
                client.sock.settimeout(1)
                self.background(self.flood, client, progress)
                self.assert_bounded(progress)
                client.reset()


if __name__ == "__main__":
    harness.main()
