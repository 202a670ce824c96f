"""Servers that end connections at the wrong moment, under load: what may be sent again is, within
the cluster's `retries`; what may not never arrives twice.

SKEIN_RETRY_SECONDS says how long each path is under load.
"""
import os
import random
import select
import socket
import threading
import time

import harness
from harness import Client, ProxyTest, unique
from origin import reply
from together import together
from wire import make_chunked, make_request, pattern

SECONDS = float(os.environ.get("SKEIN_RETRY_SECONDS", "6"))
CONNECTIONS = 16
# Longest time that the server lets a connection idle.
IDLE = 0.005


class RetriesTest(ProxyTest):
    """One cluster with `retries` as the class says."""
    retries = None

    @classmethod
    def start_skein(cls):
        cls.config = harness.make_config(cls.path, cls.clusters(), cls.routes(), cls.extra)
        if cls.retries is not None:
            cls.config["clusters"][0]["retries"] = cls.retries
        cls.skein = harness.Skein(cls.config).start()

    def retried(self):
        return self.skein.metric("skein_upstream_retries_total")


class ClosingServerTest(RetriesTest):
    def setUp(self):
        super().setUp()
        self.origin.default = self.serve
        self.rng = random.Random(1)
        self.lock = threading.Lock()
        self.serial = iter(range(1, 1 << 30))
        self.arrived = {}   # how often a request's head was read, by target
        self.ended = {"idle": 0, "outstanding": 0}
        self.outcomes = {}  # of requests that must not be repeated, by status

    # The server

    def end(self, conn, how):
        with self.lock:
            self.ended[how] += 1
            reset = self.rng.random() < 0.5
        if reset:
            conn.reset()
        else:
            conn.finish()

    def serve(self, conn, request):
        """Answers a connection's first request; ends it instead of a later answer, now and then; and
        ends it, now and then, if no other request comes in a few milliseconds."""
        target = request.target.decode()
        with self.lock:
            self.arrived[target] = self.arrived.get(target, 0) + 1
            dies, idles = self.rng.random() < 0.01, self.rng.random() < 0.1
            idle = self.rng.random() * IDLE
        body = conn.read_body(request)
        if request.seq > 1 and dies:
            self.end(conn, "outstanding")
            return
        head = request.method == b"HEAD"
        conn.send(reply(b"" if head else f"{target} {len(body)}".encode()))
        if idles and not conn.buf and not select.select([conn.sock], [], [], idle)[0]:
            self.end(conn, "idle")

    # The client

    def messages(self, target, long):
        """Requests that may be sent again as often as need be; `long`: with a head that needs userspace."""
        field = ("Transfer-Encoding", "chunked")
        return [make_request("GET", target), make_request("HEAD", target),
                make_request("GET", target, fields=[("X-Long", "x" * (3000 if long else 300))]),
                make_request("PUT", target, pattern(300)), make_request("DELETE", target, b"abc"),
                make_request("PUT", target, b"abc", fields=[("Expect", "100-continue")]),
                make_request("PUT", target, fields=[field]) + make_chunked([b"some", b"chunks"])]

    def ask(self, client, rng, long):
        target = f"/{unique('r')}"
        once = rng.random() < 0.2
        raw = make_request("POST", target, b"once") if once else rng.choice(self.messages(target, long))
        method = raw.split(b" ")[0].decode()
        if method == "GET" and rng.random() < 0.2:
            client.send_cut(raw, len(raw) // 2 + 1)
        else:
            client.send(raw)
        response = client.read_response(method)
        with self.lock:
            arrived = self.arrived.pop(target, 0)
            if once:
                self.outcomes[response.status] = self.outcomes.get(response.status, 0) + 1
        if once and (arrived > 1 or response.status not in (200, 502)):
            raise AssertionError(f"a POST arrived {arrived} times and was answered with {response!r}")
        if not once and response.status != 200:
            raise AssertionError(f"{raw[:60]!r} arrived {arrived} times: {response!r}")
        if response.status == 200 and (arrived < 1 or method != "HEAD" and
                                       not response.body.startswith(target.encode() + b" ")):
            raise AssertionError(f"{raw[:60]!r} arrived {arrived} times: {response!r}")

    def work(self, number, end, asked):
        rng = random.Random(number)
        with Client(self.skein.address, harness.DEADLINE * 2) as client:
            while time.monotonic() < end:
                self.ask(client, rng, number % 4 == 0)
                asked[number] += 1
                if rng.random() < 0.1:
                    time.sleep(rng.random() * IDLE)

    def test_idle_connections_that_end(self):
        asked = [0] * CONNECTIONS
        self.assertEqual(together(self.work, CONNECTIONS, time.monotonic() + SECONDS, asked,
                                  limit=SECONDS + harness.DEADLINE * 10), [])
        self.assertGreater(min(self.ended.values()), 0, "nothing has died")
        self.assertGreater(self.retried(), 0)
        self.assertGreater(self.outcomes.get(200, 0), 0)
        if self.kernel == "on":
            self.assertGreater(self.carried_by_kernel(), sum(asked) * 0.3)


class LimitTest(RetriesTest):
    """Requests that nobody answers are sent 1 + `retries` times."""
    retries = 3

    def arrivals(self, way, raw):
        """Status, and how often a server that ends each connection without a byte saw the request."""
        path = "/" + unique("limit")
        for end in ("finish", "reset"):
            def script(conn, request):
                conn.read_body(request)
                getattr(conn, end)()
            self.origin.on(path + end, script)
            client = self.send_by(way, raw.replace(b"/limit", (path + end).encode(), 1))
            yield client.read_response().status, len(self.origin.seen(path + end))
            self.assertEqual(client.get("/after").status, 200)

    def check(self, raw, expected):
        for way in ("first", "later"):
            for outcome in self.arrivals(way, raw):
                self.assertEqual(outcome, expected, way)

    def test_repeated(self):
        for raw in (make_request("GET", "/limit"), make_request("PUT", "/limit", b"abc"),
                    make_request("PUT", "/limit", fields=[("Transfer-Encoding", "chunked")])
                    + make_chunked([b"abc", b"de"])):
            with self.subTest(raw=raw):
                before = self.retried()
                self.check(raw, (502, 1 + self.retries))
                self.assertEqual(self.retried() - before, 4 * self.retries)

    def test_not_repeated(self):
        for raw in (make_request("POST", "/limit", b"abc"), make_request("PATCH", "/limit", b"abc"),
                    make_request("PUT", "/limit", pattern(300000))):
            with self.subTest(raw=raw[:40]):
                before = self.retried()
                self.check(raw, (502, 1))
                self.assertEqual(self.retried(), before)


class NeverTest(LimitTest):
    retries = 0


class DefaultTest(LimitTest):
    retries = 1  # what it is without the key

    @classmethod
    def start_skein(cls):
        ProxyTest.start_skein.__func__(cls)


class ClosingListener:
    """Accepts and closes."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = self.listener.getsockname()
        self.accepted = 0
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.accepted += 1
            sock.close()

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(harness.DEADLINE)


class AcceptAndCloseTest(RetriesTest):
    retries = 2

    @classmethod
    def setUpClass(cls):
        if not cls.skip_reason:
            cls.bad = ClosingListener()
        super().setUpClass()

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        cls.bad.close()

    @classmethod
    def clusters(cls):
        return {"web": [cls.bad.address], "both": [cls.bad.address, cls.origin.address]}

    @classmethod
    def routes(cls):
        return [{"match": {"path_prefix": "/both"}, "cluster": "both"},
                {"match": {"path_prefix": "/"}, "cluster": "web"}]

    def test_counts_against_the_limit(self):
        client = self.connect()
        for _ in range(5):
            before = self.bad.accepted
            self.assertEqual(client.get("/x").status, 502)
            self.assertEqual(self.bad.accepted - before, 1 + self.retries)

    def test_another_endpoint_is_asked(self):
        client = self.connect()
        for number in range(30):
            self.assertEqual(client.get(f"/both{number}").body, f"origin /both{number}".encode())


if __name__ == "__main__":
    harness.main()
