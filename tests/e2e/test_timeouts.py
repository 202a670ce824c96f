"""Every timeout fires, with the right answer, and none fires early."""
import threading
import time

import harness
from harness import Ended, ProxyTest, unique
from origin import SilentServer, reply
from wire import make_request

# Short enough for a quick test, long enough that a busy machine does not trip over it.
SHORT = 0.4
LATE = SHORT + harness.DEADLINE / 2


class TimeoutTest(ProxyTest):
    ways = ("first", "later")

    def start(self, raw_for):
        """Sends a message per way, all at once so that the waits overlap."""
        begun = []
        for way in self.ways:
            path = "/" + unique("stall")
            client = self.connect() if way == "first" else self.warm()
            since = time.monotonic()
            client.send(raw_for(path))
            begun.append((way, path, client, since))
        return begun

    def assert_in_time(self, since, least=SHORT * 0.75):
        took = time.monotonic() - since
        self.assertGreater(took, least, "too early")
        self.assertLess(took, LATE, "too late")


class HeaderTimeoutTest(TimeoutTest):
    extra = {"timeouts": {"header": "400ms"}}

    def test_stalled_head(self):
        for raw in (b"G", b"GET /", b"GET /x HTTP/1.1\r\nHost: h\r\n"):
            for way, path, client, since in self.start(lambda path: raw):
                with self.subTest(raw=raw, way=way):
                    self.assert_refused(client, {408})
                    self.assert_in_time(since)

    def test_trickled_head(self):
        """The time runs from the first byte: a byte now and then does not prolong it."""
        for way, path, client, since in self.start(lambda path: b"GET /x HTTP/1.1\r\n"):
            with self.subTest(way=way):
                try:
                    while time.monotonic() - since < LATE and client.quiet(0.02):
                        client.send(b"X: y\r\n")
                except OSError:
                    pass
                self.assert_refused(client, {408})
                self.assert_in_time(since)

    def test_idle_connections_are_not_meant(self):
        client, warm = self.connect(), self.warm()
        self.assertTrue(client.quiet(SHORT * 1.5))
        for each in (client, warm):
            self.assertEqual(each.get("/x").status, 200)


class BodyTimeoutTest(TimeoutTest):
    extra = {"timeouts": {"body": "400ms"}}

    def test_stalled_body(self):
        framings = (b"Content-Length: 100\r\n\r\nabc", b"Content-Length: 100\r\n\r\n",
                    b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
                    b"Transfer-Encoding: chunked\r\n\r\na\r\nabc")
        for framing in framings:
            raw = b"POST %s HTTP/1.1\r\nHost: h\r\n" + framing
            for way, path, client, since in self.start(lambda path: raw % path.encode()):
                with self.subTest(framing=framing, way=way):
                    self.assert_refused(client, {408})
                    self.assert_in_time(since)
                    for request in self.origin.seen(path):
                        self.origin.wait(lambda: request.conn.done, "the upstream ends")
                        self.assertFalse(request.complete)

    def test_slow_body_is_no_stall(self):
        begun = self.start(
            lambda path: f"POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 8\r\n\r\n".encode())
        for _ in range(8):
            for _, _, client, _ in begun:
                client.send(b"x")
            time.sleep(SHORT / 5)  # the stimulus: slower in sum than the timeout
        for way, path, client, since in begun:
            with self.subTest(way=way):
                self.assertEqual(client.read_response().status, 200)
                self.assertEqual(self.origin.seen(path)[0].body, b"x" * 8)


class IdleTimeoutTest(TimeoutTest):
    extra = {"timeouts": {"idle": "400ms"}}

    def test_downstream(self):
        """Closed without a word."""
        since = time.monotonic()
        for client in (self.connect(), self.warm()):
            self.assertEqual(client.read_to_end(), b"")
            self.assertEqual(client.ended, "fin")
            self.assert_in_time(since)

    def test_upstream(self):
        self.warm()
        self.origin.wait(lambda: not self.origin.open_connections(), "idle upstreams are closed")
        self.assertEqual(self.warm().get("/x").status, 200)

    def test_a_request_in_flight_is_not_idle(self):
        def script(conn, request):
            go.wait(harness.DEADLINE)
            conn.send(reply(b"slow"))
        for way in self.ways:
            with self.subTest(way=way):
                go = threading.Event()
                path = "/" + unique("slow")
                self.origin.on(path, script)
                client = self.send_by(way, make_request("GET", path))
                self.assertTrue(client.quiet(SHORT * 1.5))
                go.set()
                self.assertEqual(client.read_response().body, b"slow")


class ResponseTimeoutTest(TimeoutTest):
    extra = {"timeouts": {"response": "400ms"}}

    def stall(self, data, method="GET", body=None):
        """The upstream sends `data` and then nothing."""
        def script(conn, request):
            conn.read_body(request)
            conn.send(data)
            conn.wait_end()

        def raw_for(path):
            self.origin.on(path, script)
            return make_request(method, path, body)
        return self.start(raw_for)

    def test_no_response(self):
        for method, body in (("GET", None), ("POST", b"abc")):
            for way, path, client, since in self.stall(b"", method, body):
                with self.subTest(method=method, way=way):
                    self.assertEqual(client.read_response().status, 504)
                    self.assert_in_time(since)
                    conn = self.origin.seen(path)[-1].conn
                    self.origin.wait(lambda: conn.done, "the upstream connection ends")
                    self.assertEqual(len(self.origin.seen(path)), 1, "not retried")

    def test_half_a_head(self):
        for way, path, client, since in self.stall(b"HTTP/1.1 200 OK\r\nX: y\r\n"):
            with self.subTest(way=way):
                self.assertEqual(client.read_response().status, 504)
                self.assert_in_time(since)

    def test_stalled_body(self):
        length = reply(length=False, fields=[("Content-Length", "100")])
        chunked = reply(length=False, fields=[("Transfer-Encoding", "chunked")])
        for data in (length + b"abc", length, chunked + b"3\r\nabc\r\n"):
            for way, path, client, since in self.stall(data):
                with self.subTest(data=data[-30:], way=way):
                    self.assert_aborted(client)
                    self.assert_in_time(since)
                    conn = self.origin.seen(path)[-1].conn
                    self.origin.wait(lambda: conn.done, "the upstream connection ends")

    def test_slow_body_is_no_stall(self):
        def script(conn, request):
            conn.send(reply(length=False, fields=[("Content-Length", "8")]))
            conn.send_pieces([b"x"] * 8, SHORT / 5)
        self.origin.on("/trickle", script)
        for way, path, client, since in self.start(lambda path: make_request("GET", "/trickle")):
            with self.subTest(way=way):
                self.assertEqual(client.read_response().body, b"x" * 8)


class ConnectTimeoutTest(TimeoutTest):
    extra = {"timeouts": {"connect": "400ms"}}

    @classmethod
    def clusters(cls):
        cls.silent = SilentServer()
        return {"web": [cls.origin.address], "silent": [cls.silent.address]}

    @classmethod
    def routes(cls):
        return [{"match": {"path_prefix": "/stall"}, "cluster": "silent"},
                {"match": {"path_prefix": "/"}, "cluster": "web"}]

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        if hasattr(cls, "silent"):
            cls.silent.close()

    def test_no_answer_to_connect(self):
        for method, body in (("GET", None), ("POST", b"abc")):
            for way, path, client, since in self.start(
                    lambda path: make_request(method, path, body)):
                with self.subTest(method=method, way=way):
                    self.assertEqual(client.read_response().status, 504)
                    self.assert_in_time(since)


class WriteTimeoutTest(TimeoutTest):
    extra = {"timeouts": {"write": "400ms"}, "limits": {"buffer": "256KiB"}}
    SIZE = 32 << 20

    def test_client_that_does_not_read(self):
        def script(conn, request):
            conn.send(reply(length=False, fields=[("Content-Length", str(self.SIZE))]))
            conn.sock.settimeout(None)
            try:
                conn.send(b"x" * self.SIZE)
            finally:
                ended.append(request.path)
        ended = []
        for way in self.ways:
            path = "/" + unique("unread")
            self.origin.on(path, script)
            client = self.connect(rcvbuf=1 << 16)
            if way == "later":
                self.warm(client)
            client.send(make_request("GET", path))
        self.origin.wait(lambda: len(ended) == 2, "both upstream connections end")
        self.wait_metric("skein_downstream_connections", 0, listener="web")

    def test_upstream_that_does_not_read(self):
        """The client gets an error or the end, and no hang."""
        def script(conn, request):
            stop.wait(harness.DEADLINE * 2)
        stop = threading.Event()
        try:
            for way in self.ways:
                with self.subTest(way=way):
                    path = "/" + unique("unread")
                    self.origin.on(path, script)
                    client = self.connect() if way == "first" else self.warm()
                    client.send(f"POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {self.SIZE}"
                                "\r\n\r\n".encode())
                    try:
                        client.send(b"x" * self.SIZE)
                    except TimeoutError:
                        self.fail("no timeout for an upstream that reads nothing")
                    except OSError:
                        pass  # refused in the middle: the answer tells
                    try:
                        self.assertIn(client.read_response().status, (408, 502, 504))
                    except Ended:
                        pass  # the answer may be lost with the unread upload
        finally:
            stop.set()

    def test_slow_reader_is_no_stall(self):
        body = b"x" * (1 << 20)
        self.origin.on("/slow", lambda conn, request: conn.send(reply(body)))
        client = self.warm(self.connect(rcvbuf=1 << 16))
        client.send(make_request("GET", "/slow"))
        got = client.read_head() and 0
        while got < len(body):
            got += len(client.read_exact(min(1 << 17, len(body) - got)))
            time.sleep(SHORT / 5)  # the stimulus
        self.assertEqual(client.get("/x").status, 200)


class TunnelTimeoutTest(TimeoutTest):
    extra = {"timeouts": {"tunnel": "400ms", "idle": "200ms", "response": "200ms"}}

    def open(self):
        def script(conn, request):
            conn.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
            while conn.buf or conn.fill():
                conn.send(conn.take(len(conn.buf)))
            ends.append(conn.ended)
            conn.finish()
        ends = []
        path = "/" + unique("tunnel")
        self.origin.on(path, script)
        client = self.connect()
        client.send(make_request("GET", path, fields=[("Connection", "upgrade"), ("Upgrade", "x")]))
        self.assertEqual(client.read_head().status, 101)
        return client, ends

    def test_silent_tunnel(self):
        client, ends = self.open()
        since = time.monotonic()
        self.assertEqual(client.read_to_end(), b"")
        self.assert_in_time(since)
        self.origin.wait(lambda: ends, "the upstream side ends too")

    def test_traffic_keeps_it_open(self):
        client, _ = self.open()
        for _ in range(10):
            time.sleep(SHORT / 5)  # the stimulus
            client.send(b"ping")
            self.assertEqual(client.read_exact(4), b"ping")


class HalfClosedTunnelTest(TimeoutTest):
    """Once one side has ended, the other may be silent for no longer than the idle timeout."""

    extra = {"timeouts": {"tunnel": "1h", "idle": "400ms"}}

    def test_silence(self):
        def script(conn, request):
            conn.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
            conn.wait_end()  # and says nothing, and does not close
            heard.set()
            gone.wait(harness.DEADLINE)
        heard, gone = threading.Event(), threading.Event()
        self.origin.on("/half", script)
        client = self.connect()
        client.send(make_request("GET", "/half", fields=[("Connection", "upgrade"), ("Upgrade", "x")]))
        self.assertEqual(client.read_head().status, 101)
        client.half_close()
        since = time.monotonic()
        self.assertTrue(heard.wait(harness.DEADLINE), "the end is passed on")
        self.assertEqual(client.read_to_end(), b"")
        gone.set()
        self.assert_in_time(since)

    def test_data_still_flows(self):
        """What the other side sends meanwhile is delivered, however long it takes."""
        def script(conn, request):
            conn.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
            conn.wait_end()
            for _ in range(8):
                time.sleep(SHORT / 4)  # the stimulus
                conn.send(b"tick")
            conn.finish()
        self.origin.on("/flows", script)
        client = self.connect()
        client.send(make_request("GET", "/flows", fields=[("Connection", "upgrade"), ("Upgrade", "x")]))
        self.assertEqual(client.read_head().status, 101)
        client.half_close()
        self.assertEqual(client.read_to_end(), b"tick" * 8)
        self.assertEqual(client.ended, "fin")


if __name__ == "__main__":
    harness.main()
