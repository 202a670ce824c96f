"""Upstreams that die, lie or talk out of turn: retries, aborts, and nobody gets their bytes."""
import threading
import time

import harness
from harness import ProxyTest, unique, wait_for
from origin import raw_answer, reply
from response_cases import POISON
from wire import Ended, make_request, pattern


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
        cases = [("GET", None), ("HEAD", None), ("PUT", b"x" * 1000), ("PUT", b"x" * 3000), ("DELETE", None),
                 ("OPTIONS", None)]
        for method, body in cases:
            for way in ("first", "later"):
                for end in ("fin", "reset"):
                    with self.subTest(method=method, way=way, end=end):
                        outcomes = [None, (200, 2)]
                        if body and len(body) > 2000 and way == "later" and self.kernel == "on":
                            outcomes.append((502, 1))  # the kernel path keeps what is in its window
                        self.assertIn(self.outcome(way, end, method, body), outcomes)

    def test_other_requests_are_not(self):
        """The first of a connection is answered; later the client sees what it would have seen
        without a proxy, an idle connection that was closed (rule 66)."""
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

    def test_no_retry_after_an_interim_response(self):
        for end in ("finish", "reset"):
            for way in ("first", "later"):
                for _ in range(5):
                    with self.subTest(end=end, way=way):
                        path = "/" + unique("interim")

                        def script(conn, request):
                            conn.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
                            go.wait(harness.DEADLINE)
                            getattr(conn, end)()
                        go = threading.Event()
                        self.origin.on(path, script)
                        client = self.send_by(way, make_request("GET", path))
                        self.assertEqual(client.read_head().status, 103)
                        go.set()
                        self.assertEqual(client.read_response().status, 502)
                        self.assertEqual(len(self.origin.seen(path)), 1)


class ResetAfterResponseTest(ProxyTest):
    """A whole response, and a reset right behind it: the client gets the response."""

    def sees_who_is_gone(self):
        gone = all(request.conn.done for request in self.origin.seen(self.path))
        return gone and (self.skein.metric("skein_upstream_connections")
                         == len(self.origin.open_connections()))

    def check(self, data, method="POST"):
        def script(conn, request):
            conn.read_body(request)
            conn.send(data)
            conn.reset()
        self.path = "/" + unique("last")
        self.origin.on(self.path, script)
        for way in ("first", "later"):
            for _ in range(20):
                client = self.connect() if way == "first" else self.warm()
                wait_for(self.sees_who_is_gone, "skein sees who is gone")
                client.send(make_request(method, self.path, b"abc"))
                response = client.read_response()
                self.assertEqual((response.status, response.body[-4:]), (200, b"last"), way)
                client.close()
        self.assertEqual(len(self.origin.seen(self.path)), 40, "nothing was sent twice")

    def test_carried_by_the_kernel(self):
        self.check(reply(b"last"))

    def test_long(self):
        self.check(reply(pattern(60000) + b"last"))

    def test_head_that_needs_userspace(self):
        self.check(reply(b"last", fields=[("Connection", "X-Foo"), ("X-Foo", "1")]))

    def test_body_that_needs_userspace(self):
        chunked = reply(fields=[("Transfer-Encoding", "chunked")], length=False)
        self.check(chunked + b"4;a=b\r\nlast\r\n0\r\n\r\n")


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

    def test_reset_that_a_write_meets(self):
        """What was received before it is read later, and then there is no end, only nothing more."""
        path = "/" + unique("b")
        size = 3 << 20
        reset = threading.Event()

        def script(conn, request):
            conn.send(reply(length=False, fields=[("Connection", "close")]))
            conn.sock.settimeout(1)  # until nobody takes it any more
            try:
                conn.send(bytes(size))
            except OSError:
                pass
            conn.reset()
            reset.set()
        self.origin.on(path, script)
        client = self.warm(self.connect(rcvbuf=1 << 14))
        raw = make_request("POST", path, bytes(1000))
        client.send(raw[:-500])
        self.assertTrue(reset.wait(harness.DEADLINE))
        try:
            for at in range(len(raw) - 500, len(raw) - 100, 100):
                client.send(raw[at:at + 100])
                time.sleep(0.05)
            response = client.read_head()
            for _ in client.each_piece(response, False, True):
                pass
        except (Ended, ConnectionError):
            return
        self.assertEqual(response.status, 502, "a part is passed off as complete")


class ExtraBytesTest(ProxyTest):
    """Bytes that answer no request must reach no client (response-queue poisoning)."""

    def check_others(self, client, conn):
        self.origin.wait(lambda: conn.done, "skein ends the poisoned connection")
        for other in (client, self.connect(), self.warm()):
            response = other.get("/clean")
            self.assertEqual((response.body, response.all("x-poison")), (b"origin /clean", []))

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
