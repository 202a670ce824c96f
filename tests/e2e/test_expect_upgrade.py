"""Interim responses, early final responses, Expect: 100-continue, Upgrade and tunnels."""
import threading

import harness
from harness import Ended, ProxyTest, unique
from origin import raw_answer, reply
from wire import make_request, pattern


class InterimTest(ProxyTest):
    def test_all_are_forwarded(self):
        data = (b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"
                b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </b.css>\r\n\r\n"
                + reply(b"done"))
        for step in (0, 1):
            self.origin.on("/hints", raw_answer(data, step))
            for way in ("first", "later"):
                with self.subTest(step=step, way=way):
                    client = self.send_by(way, make_request("GET", "/hints"))
                    response = client.read_response()
                    self.assertEqual([(r.status, r.all("link")) for r in response.interim],
                                     [(103, [b"</a.css>"]), (102, []), (103, [b"</b.css>"])])
                    self.assertEqual(response.body, b"done")
                    self.assertEqual(client.get("/after").body, b"origin /after")

    def test_forwarded_at_once(self):
        for way in ("first", "later"):
            with self.subTest(way=way):
                go = threading.Event()
                path = "/" + unique("hint")

                def script(conn, request):
                    conn.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
                    go.wait(harness.DEADLINE)
                    conn.send(reply(b"done"))
                self.origin.on(path, script)
                client = self.send_by(way, make_request("GET", path))
                self.assertEqual(client.read_head().status, 103)
                go.set()
                self.assertEqual(client.read_response().body, b"done")


class ExpectTest(ProxyTest):
    HEAD = (b"POST %s HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n"
            b"Content-Length: 10\r\n\r\n")

    def head(self, path):
        return self.HEAD % path.encode()

    def test_client_waits(self):
        def script(conn, request):
            conn.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            conn.read_body(request)
            conn.send(reply(request.body))
        for way in ("first", "later", "later cut"):
            with self.subTest(way=way):
                path = "/" + unique("expect")
                self.origin.on(path, script)
                client = self.send_by(way, self.head(path))
                self.assertEqual(client.read_head().status, 100)
                client.send(b"0123456789")
                response = client.read_response()
                self.assertEqual((response.body, response.interim), (b"0123456789", []))
                self.assertEqual(client.get("/after").status, 200)

    def test_client_does_not_wait(self):
        def script(conn, request):
            conn.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            conn.read_body(request)
            conn.send(reply(request.body))
        for way in ("first", "later"):
            with self.subTest(way=way):
                path = "/" + unique("expect")
                self.origin.on(path, script)
                client = self.send_by(way, self.head(path) + b"0123456789"
                                      + make_request("GET", "/after"))
                self.assertEqual(client.read_response().body, b"0123456789")
                self.assertEqual(client.read_response().body, b"origin /after")

    def test_upstream_refuses(self):
        """A final answer instead of 100: at once, and the connection is not reused."""
        for way in ("first", "later"):
            with self.subTest(way=way):
                path = "/" + unique("refuse")

                def script(conn, request):
                    conn.send(reply(b"no", status="403 Forbidden"))
                    conn.wait_end()
                self.origin.on(path, script)
                client = self.send_by(way, self.head(path))
                response = client.read_response()
                self.assertEqual((response.status, response.body), (403, b"no"))
                self.assertTrue(response.closes())
                self.assertEqual(client.read_to_end(), b"")
                self.assertEqual(client.ended, "fin")

    def test_upper_case(self):
        path = "/" + unique("expect")
        self.origin.on(path, raw_answer(b"HTTP/1.1 100 Continue\r\n\r\n" + reply(b"ok")))
        client = self.send_by("first", self.head(path).replace(b"100-c", b"100-C") + b"0123456789")
        self.assertEqual(client.read_response().status, 200)


class EarlyResponseTest(ProxyTest):
    def early(self, path):
        def script(conn, request):
            conn.send(reply(b"too early", status="413 Content Too Large"))
            conn.wait_end()
        self.origin.on(path, script)

    def test_response_before_the_body_is_complete(self):
        for framing in ("Content-Length: 1000", "Transfer-Encoding: chunked"):
            for way in ("first", "later"):
                with self.subTest(framing=framing, way=way):
                    path = "/" + unique("early")
                    self.early(path)
                    client = self.send_by(way, f"POST {path} HTTP/1.1\r\nHost: h\r\n{framing}\r\n\r\n"
                                          "3\r\nabc\r\n".encode())
                    response = client.read_response()
                    self.assertEqual((response.status, response.body), (413, b"too early"))
                    self.assertTrue(response.closes())
                    self.assertEqual(client.read_to_end(), b"")
                    request = self.origin.seen(path)[0]
                    self.origin.wait(lambda: request.conn.done, "the upstream connection ends")
                    self.assertFalse(request.complete)

    def test_client_that_sends_on(self):
        """Bytes that come after the answer must not turn it into a reset."""
        for way in ("first", "later"):
            with self.subTest(way=way):
                path = "/" + unique("early")
                self.early(path)
                client = self.send_by(way, f"POST {path} HTTP/1.1\r\nHost: h\r\n"
                                      "Content-Length: 300000\r\n\r\n".encode())
                self.origin.wait_request(path)
                try:
                    client.send_cut(b"x" * 300000, 30000)
                except OSError:
                    pass  # what counts is the answer
                response = client.read_response()
                self.assertEqual((response.status, response.body), (413, b"too early"))

    def test_pipelined_behind_an_early_response(self):
        """The rest of the body is no request."""
        path, hidden = "/" + unique("early"), "/" + unique("hidden")
        self.early(path)
        inner = make_request("GET", hidden)
        client = self.send_by("first", f"POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: "
                              f"{len(inner) + 10}\r\n\r\n".encode())
        self.assertEqual(client.read_response().status, 413)
        try:
            client.send(inner)
        except OSError:
            pass
        client.read_to_end()
        self.fence()
        self.assertEqual(self.origin.seen(hidden), [])


UPGRADE = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Key", "eA=="),
           ("Sec-WebSocket-Version", "13")]
SWITCH = (b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
          b"Sec-WebSocket-Accept: y\r\n\r\n")


class UpgradeTest(ProxyTest):
    def tunnel(self, way, script, early=b""):
        """Opens a tunnel; `script` talks on the origin's side of it."""
        path = "/" + unique("ws")

        def upgrade(conn, request):
            self.assertEqual(request.tokens("upgrade"), [b"websocket"])
            self.assertIn(b"upgrade", request.tokens("connection"))
            self.assertEqual(request.all("sec-websocket-key"), [b"eA=="])
            if early:
                self.assertTrue(conn.quiet(0.1), f"tunnel data before 101: {bytes(conn.buf)!r}")
            request.complete = True
            conn.send(SWITCH)
            script(conn)
            conn.finish()
        self.origin.on(path, upgrade)
        client = self.send_by(way, make_request("GET", path, fields=UPGRADE) + early)
        head = client.read_head()
        self.assertEqual(head.status, 101)
        self.assertEqual(head.tokens("upgrade"), [b"websocket"])
        self.assertIn(b"upgrade", head.tokens("connection"))
        self.assertEqual(head.all("sec-websocket-accept"), [b"y"])
        return client

    @staticmethod
    def echo(conn):
        while conn.buf or conn.fill():
            conn.send(conn.take(len(conn.buf)))

    def test_echo(self):
        for way in ("first", "later"):
            with self.subTest(way=way):
                client = self.tunnel(way, self.echo)
                for size in (1, 10, 1000, 100000):
                    data = pattern(size, size)
                    client.send(data)
                    self.assertEqual(client.read_exact(size), data)
                # Bytes that look like HTTP are just bytes now.
                client.send(make_request("GET", "/direct"))
                self.assertEqual(client.read_exact(len(make_request("GET", "/direct"))),
                                 make_request("GET", "/direct"))
                client.half_close()
                self.assertEqual(client.read_to_end(), b"")
                self.assertEqual(client.ended, "fin")

    def test_bulk_both_ways(self):
        data = pattern(4 << 20, 21)
        client = self.tunnel("later", self.echo)
        sender = threading.Thread(target=lambda: (client.send(data), client.half_close()))
        sender.start()
        got = client.read_to_end()
        sender.join(harness.DEADLINE)
        self.assertTrue(got == data, f"{len(got)} of {len(data)} bytes came back right")

    def test_early_bytes_wait_for_101(self):
        for way in ("first", "later"):
            with self.subTest(way=way):
                client = self.tunnel(way, self.echo, early=b"EARLY")
                self.assertEqual(client.read_exact(5), b"EARLY")

    def test_bytes_right_behind_101(self):
        client = self.tunnel("first", lambda conn: conn.send(b"greeting"))
        self.assertEqual(client.read_to_end(), b"greeting")

    def test_client_half_closes(self):
        def script(conn):
            how, data = conn.wait_end()
            conn.send(b"got " + data + b" then " + how.encode())
        for way in ("first", "later"):
            with self.subTest(way=way):
                client = self.tunnel(way, script)
                client.send(b"last words")
                client.half_close()
                self.assertEqual(client.read_to_end(), b"got last words then fin")

    def test_server_half_closes(self):
        heard = []

        def script(conn):
            conn.send(b"bye")
            conn.half_close()
            heard.append(conn.wait_end())
        client = self.tunnel("first", script)
        self.assertEqual(client.read_to_end(), b"bye")
        client.send(b"one more")
        client.half_close()
        self.origin.wait(lambda: heard, "the origin hears the client")
        self.assertEqual(heard, [("fin", b"one more")])

    def test_reset_ends_both(self):
        ends = []

        def script(conn):
            ends.append(conn.wait_end()[0])
        client = self.tunnel("first", script)
        client.reset()
        self.origin.wait(lambda: ends, "the origin sees the end")
        client = self.tunnel("first", lambda conn: conn.reset())
        client.read_to_end()

    def test_refused_upgrade(self):
        """Without 101 it stays HTTP, on the same connection."""
        for way in ("first", "later"):
            with self.subTest(way=way):
                client = self.send_by(way, make_request("GET", "/plain", fields=UPGRADE))
                self.assertEqual(client.read_response().body, b"origin /plain")
                self.assertEqual(client.get("/after").body, b"origin /after")

    def test_not_an_upgrade(self):
        """Upgrade that Connection does not name, HTTP/1.0, and h2c: not forwarded."""
        h2c = [("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"),
               ("HTTP2-Settings", "AAMAAABkAAQAAP__")]
        cases = {"no Connection": make_request("GET", "/@", fields=UPGRADE[1:]),
                 "h2c": make_request("GET", "/@", fields=h2c),
                 "HTTP/1.0": make_request("GET", "/@", fields=UPGRADE).replace(b"HTTP/1.1", b"HTTP/1.0")}
        for name, raw in cases.items():
            for way in ("first", "later"):
                with self.subTest(case=name, way=way):
                    marker = unique("plain")
                    client = self.send_by(way, raw.replace(b"@", marker.encode()))
                    self.assertEqual(client.read_response().status, 200)
                    request = self.origin.seen("/" + marker)[0]
                    self.assertEqual(request.all("upgrade") + request.all("http2-settings"), [])

    def test_upstream_dies_instead_of_101(self):
        path = "/" + unique("dies")
        self.origin.on(path, lambda conn, request: conn.finish())
        client = self.send_by("first", make_request("GET", path, fields=UPGRADE))
        try:
            self.assertEqual(client.read_response().status, 502)
        except Ended:
            self.fail("closed without an answer")


if __name__ == "__main__":
    harness.main()
