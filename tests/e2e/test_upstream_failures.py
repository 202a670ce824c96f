"""Upstreams that die, lie or talk out of turn: retries, aborts, and nobody gets their bytes."""
import threading

import harness
from harness import ProxyTest, unique
from origin import raw_answer, reply
from wire import make_request, pattern


class RetryTest(ProxyTest):
    def test_idle_connections_closed_by_the_upstream(self):
        client = self.warm()
        for number in range(10):
            self.origin.drop_connections()
            self.assertEqual(client.get(f"/again{number}").status, 200)

    def test_idle_connections_reset_by_the_upstream(self):
        """A reset that skein can not have noticed when it sends the next request."""
        def script(conn, request):
            conn.send(reply(b"last"))
            conn.reset()
        self.origin.on("/reset-after", script)
        client = self.warm()
        for number in range(10):
            self.assertEqual(client.get("/reset-after").body, b"last")
            self.assertEqual(client.get(f"/next{number}").status, 200)

    def dying(self, end, read=True):
        """Answers a connection's first request; dies on later ones without a byte."""
        def script(conn, request):
            if read:
                conn.read_body(request)
            if request.seq == 1:
                conn.send(reply(b"fresh"))
            elif end == "fin":
                conn.finish()
            else:
                conn.reset()
        return script

    def outcome(self, way, end, method, body):
        """Status, and how often the upstream saw the request; None if it happened to get a
        new connection, where nothing dies."""
        path = "/" + unique("retry")
        self.origin.on(path, self.dying(end))
        self.warm()  # leaves an idle connection to be reused
        client = self.send_by(way, make_request(method, path, body))
        status = client.read_response(method).status
        seen = self.origin.seen(path)
        for request in seen:
            self.assertEqual(request.body, body or b"")
        if seen[0].seq == 1:
            self.assertEqual((status, len(seen)), (200, 1))
            return None
        if status == 200:
            self.assertEqual(client.get("/after").status, 200)
        return status, len(seen)

    def test_idempotent_requests_are_retried(self):
        cases = [("GET", None), ("HEAD", None), ("PUT", b"x" * 1000), ("DELETE", None),
                 ("OPTIONS", None)]
        for method, body in cases:
            for way in ("first", "later"):
                for end in ("fin", "reset"):
                    with self.subTest(method=method, way=way, end=end):
                        outcomes = [None, (200, 2)]
                        if body and way == "later" and self.kernel == "on":
                            outcomes.append((502, 1))  # the kernel path keeps no bodies
                        self.assertIn(self.outcome(way, end, method, body), outcomes)

    def test_other_requests_are_not(self):
        for method in ("POST", "PATCH", "BREW"):
            for way in ("first", "later"):
                for end in ("fin", "reset"):
                    with self.subTest(method=method, way=way, end=end):
                        self.assertIn(self.outcome(way, end, method, b"abc"), [None, (502, 1)])

    def test_no_endless_retries(self):
        for end in ("finish", "reset"):
            for way in ("first", "later"):
                with self.subTest(end=end, way=way):
                    path = "/" + unique("never")
                    self.origin.on(path, lambda conn, request: getattr(conn, end)())
                    client = self.send_by(way, make_request("GET", path))
                    self.assertEqual(client.read_response().status, 502)
                    self.assertLessEqual(len(self.origin.seen(path)), 2)

    def test_no_retry_after_a_response_byte(self):
        """Each prefix of a response head, then the end."""
        data = reply(b"body")
        head = data.index(b"\r\n\r\n") + 4
        for end in ("finish", "reset"):
            for way in ("first", "later"):
                for cut in (1, 8, 15, 17, head - 4, head - 1):
                    with self.subTest(end=end, way=way, cut=cut):
                        path = "/" + unique("part")

                        def script(conn, request):
                            conn.send(data[:cut])
                            # Only when the bytes are surely read does a reset not destroy them.
                            sent.set()
                            go.wait(harness.DEADLINE)
                            getattr(conn, end)()
                        sent, go = threading.Event(), threading.Event()
                        self.origin.on(path, script)
                        client = self.send_by(way, make_request("GET", path))
                        self.assertTrue(sent.wait(harness.DEADLINE))
                        self.assertEqual(self.connect().get("/other").status, 200)
                        go.set()
                        self.assertEqual(client.read_response().status, 502)
                        self.assertEqual(len(self.origin.seen(path)), 1)


class BrokenBodyTest(ProxyTest):
    def broken(self, data, end, way, version=b"1.1"):
        path = "/" + unique("broken")

        def script(conn, request):
            conn.send(data)
            go.wait(harness.DEADLINE)
            if end == "reset":
                conn.reset()
            else:
                conn.finish()
        go = threading.Event()
        self.origin.on(path, script)
        request = make_request("GET", path).replace(b"HTTP/1.1", b"HTTP/" + version)
        client = self.send_by(way, request)
        head = client.read_head()  # what came before the end has been forwarded
        self.assertEqual(head.status, 200)
        go.set()
        client.buf[:0] = head.raw_head
        self.assert_aborted(client)
        self.assertEqual(self.connect().get("/other").status, 200)

    def test_aborted_bodies_are_not_passed_off_as_complete(self):
        chunked = reply(fields=[("Transfer-Encoding", "chunked")], length=False)
        length = reply(length=False, fields=[("Content-Length", "1000")])
        cases = {"length": length + b"x" * 500, "length, no byte": length,
                 "inside a chunk": chunked + b"a\r\nabc", "after a chunk": chunked + b"3\r\nabc\r\n",
                 "before the end": chunked + b"3\r\nabc\r\n0\r\n"}
        for name, data in cases.items():
            for way in ("first", "later"):
                for end in ("fin", "reset"):
                    with self.subTest(case=name, way=way, end=end):
                        self.broken(data, end, way)

    def test_aborted_chunks_are_not_complete_for_http_1_0(self):
        # To such a client FIN would be the end of the body.
        data = reply(fields=[("Transfer-Encoding", "chunked")], length=False) + b"3\r\nabc\r\n"
        for rest in (b"", b"a\r\nabc", b"0\r\n"):
            for way in ("first", "later"):
                for end in ("fin", "reset"):
                    with self.subTest(rest=rest, way=way, end=end):
                        self.broken(data + rest, end, way, b"1.0")

    def test_reset_of_a_close_delimited_body(self):
        for way in ("first", "later"):
            with self.subTest(way=way):
                self.broken(reply(b"some", length=False), "reset", way)

    def test_bad_chunks(self):
        chunked = reply(fields=[("Transfer-Encoding", "chunked")], length=False)
        for tail in (b"0x3\r\nabc\r\n0\r\n\r\n", b"3\nabc\r\n0\r\n\r\n", b"3\r\nabcd\r\n0\r\n\r\n",
                     b"g\r\n", b"3;\x01\r\nabc\r\n0\r\n\r\n", b"3\r\nabc0\r\n\r\n",
                     b"ffffffffffffffff\r\nabc"):
            with self.subTest(tail=tail):
                path = "/" + unique("chunks")
                self.origin.on(path, raw_answer(chunked + tail))
                client = self.warm()
                client.send(make_request("GET", path))
                try:
                    response = client.read_response()
                except harness.Ended:
                    continue
                self.assertEqual(response.status, 502, f"bad chunks passed as {response!r}")


BAD_HEADS = {
    "garbage": b"hello\r\n\r\n",
    "binary": b"\x00\x01\x02\x03\r\n\r\n",
    "HTTP/0.9": b"<html>\r\n\r\n",
    "bare LF": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "version": b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "status of two digits": b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
    "status of four digits": b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
    "status 099": b"HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n",
    "status 600": b"HTTP/1.1 600 OK\r\nContent-Length: 0\r\n\r\n",
    "obs-fold": b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    "NUL in a value": b"HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 0\r\n\r\n",
    "bare CR in a value": b"HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 0\r\n\r\n",
    "field without colon": b"HTTP/1.1 200 OK\r\nX\r\nContent-Length: 0\r\n\r\n",
    "empty name": b"HTTP/1.1 200 OK\r\n: x\r\nContent-Length: 0\r\n\r\n",
    "length not a number": b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
    "length negative": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    "length with plus": b"HTTP/1.1 200 OK\r\nContent-Length: +0\r\n\r\n",
    "length too big": b"HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775808\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "length list": b"HTTP/1.1 200 OK\r\nContent-Length: 3, 4\r\n\r\nabcd",
    "length and chunked": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n"
                          b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "chunked with a control": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "head too large": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: " + b"y" * 100000 + b"\r\n\r\n",
    "101 that nobody asked for": b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n"
                                 b"Upgrade: x\r\n\r\n",
}


class BadResponseTest(ProxyTest):
    def test_bad_heads(self):
        for name, data in BAD_HEADS.items():
            for way in ("first", "later", "later cut"):
                with self.subTest(case=name, way=way):
                    path = "/" + unique("badhead")
                    step = max(1, len(data) // 100) if way.endswith("cut") else 0
                    self.origin.on(path, raw_answer(data, step))
                    client = self.send_by(way.split()[0], make_request("GET", path))
                    self.assertEqual(client.read_response().status, 502)
                    conn = self.origin.seen(path)[-1].conn
                    self.origin.wait(lambda: conn.done, "skein ends the upstream connection")


POISON = b"HTTP/1.1 200 OK\r\nX-Poison: yes\r\nContent-Length: 6\r\n\r\npoison"


class ExtraBytesTest(ProxyTest):
    """Bytes that answer no request must reach no client (response-queue poisoning)."""

    def check_others(self, client, conn):
        self.origin.wait(lambda: conn.done, "skein ends the poisoned connection")
        for other in (client, self.connect(), self.warm()):
            response = other.get("/clean")
            self.assertEqual((response.body, response.all("x-poison")), (b"origin /clean", []))

    def test_extra_bytes_behind_a_response(self):
        chunked = reply(fields=[("Transfer-Encoding", "chunked")], length=False)
        cases = {
            "length": ("GET", reply(b"good"), b"good"),
            "length 0": ("GET", reply(b""), b""),
            "chunked": ("GET", chunked + b"4\r\ngood\r\n0\r\n\r\n", b"good"),
            "204": ("GET", reply(status="204 No Content", length=False), b""),
            "304": ("GET", reply(status="304 Not Modified", length=False), b""),
            "HEAD": ("HEAD", reply(length=False, fields=[("Content-Length", "6")]), b""),
        }
        for name, (method, data, body) in cases.items():
            for way in ("first", "later"):
                for step in (0, len(data)):
                    with self.subTest(case=name, way=way, step=step):
                        path = "/" + unique("extra")
                        self.origin.on(path, raw_answer(data + POISON, step))
                        client = self.send_by(way, make_request(method, path))
                        response = client.read_response(method)
                        self.assertEqual((response.body, response.all("x-poison")), (body, []))
                        conn = self.origin.seen(path)[-1].conn
                        self.check_others(client, conn)

    def test_body_behind_a_head_response(self):
        """The body that a HEAD response must not have is not the next response's start."""
        for way in ("first", "later"):
            with self.subTest(way=way):
                path = "/" + unique("head")
                self.origin.on(path, raw_answer(reply(POISON)))
                client = self.send_by(way, make_request("HEAD", path))
                self.assertEqual(client.read_response("HEAD").status, 200)
                self.check_others(client, self.origin.seen(path)[-1].conn)

    def test_unsolicited_response(self):
        for way in ("first", "later"):
            with self.subTest(way=way):
                path = "/" + unique("unsolicited")

                def script(conn, request):
                    conn.send(reply(b"good"))
                    go.wait(harness.DEADLINE)
                    conn.send(POISON)
                    conn.wait_end()
                go = threading.Event()
                self.origin.on(path, script)
                client = self.send_by(way, make_request("GET", path))
                self.assertEqual(client.read_response().body, b"good")
                go.set()
                self.check_others(client, self.origin.seen(path)[-1].conn)

    def test_big_extra(self):
        """More than any buffer takes, so that part of it comes when the lease is long over."""
        path = "/" + unique("flood")
        self.origin.on(path, raw_answer(reply(b"good") + POISON + pattern(1 << 20)))
        client = self.warm()
        self.assertEqual(client.get(path).body, b"good")
        self.check_others(client, self.origin.seen(path)[-1].conn)


if __name__ == "__main__":
    harness.main()
