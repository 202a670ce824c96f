"""Downstream connections: reuse, pipelining, half-close, Connection: close, HTTP/1.0."""
import threading

import harness
from harness import Client, ProxyTest, unique
from origin import answer, raw_answer, reply
from wire import Ended, make_chunked, make_request, pattern


class KeepAliveTest(ProxyTest):
    def upstreams(self, path):
        return {request.conn.number for request in self.origin.seen(path)}

    def test_one_client_many_requests(self):
        path, before, client = "/" + unique(), "/" + unique(), self.connect()
        with Client(self.skein.address) as first:
            self.assertEqual(first.get(before).status, 200)
        last = max(self.upstreams(before))
        for _ in range(20):
            self.assertEqual(client.get(path).status, 200)
        # One for the userspace path and one for the kernel path at most. What other clients have left idle
        # may all be used: a response can reach its client before its connection is idle again.
        self.assertLessEqual(len({number for number in self.upstreams(path) if number > last}), 2)

    def test_upstream_connections_outlive_clients(self):
        path = "/" + unique()
        for _ in range(20):
            with Client(self.skein.address) as client:
                self.assertEqual(client.get(path).status, 200)
        self.assertLessEqual(len(self.upstreams(path)), 2)

    def test_upstream_may_close_after_each_response(self):
        """The upstream's Connection: close is its own affair (rule 42)."""
        def script(conn, request):
            conn.read_body(request)
            conn.send(reply(b"bye", fields=[("Connection", "close")]))
            conn.finish()
        self.origin.on("/closing", script)
        for way in ("first", "later"):
            with self.subTest(way=way):
                client = self.connect() if way == "first" else self.warm()
                for _ in range(5):
                    response = client.get("/closing")
                    self.assertEqual((response.status, response.body), (200, b"bye"))
                    self.assertFalse(response.closes())

    def test_client_closes(self):
        for way in ("first", "later"):
            with self.subTest(way=way):
                path = "/" + unique()
                client = self.send_by(way, make_request("GET", path, fields=[("Connection", "close")]))
                response = client.read_response()
                self.assertEqual(response.status, 200)
                self.assertTrue(response.closes())
                self.assertEqual(client.read_to_end(), b"")
                self.assertEqual(client.ended, "fin")
                # It must not cost the upstream connection: the next client reuses it.
                self.assertEqual(self.connect().get(path).status, 200)

    def test_own_answers_keep_alive(self):
        for way in ("first", "later"):
            with self.subTest(way=way):
                client = self.connect() if way == "first" else self.warm()
                for _ in range(3):
                    response = client.get("/direct")
                    self.assertEqual((response.status, response.body), (200, b"direct\n"))
                self.assertEqual(client.get("/after").body, b"origin /after")

    def test_path_changes_on_one_connection(self):
        """Kernel messages, userspace messages and own answers in turn: never out of step."""
        client = self.warm()
        for number in range(30):
            body = pattern(number * 97, number)
            self.assertEqual(client.get(f"/g{number}").body, f"origin /g{number}".encode())
            client.send(make_request("POST", f"/c{number}", fields=[("Transfer-Encoding", "chunked")])
                        + make_chunked([body]))
            self.assertEqual(client.read_response().body, f"origin /c{number}".encode())
            self.assertEqual(self.origin.seen(f"/c{number}")[-1].body, body)
            self.assertEqual(client.get("/direct").body, b"direct\n")
            self.assertEqual(client.request("PUT", f"/p{number}", body).body,
                             f"origin /p{number}".encode())
            self.assertEqual(self.origin.seen(f"/p{number}")[-1].body, body)
            self.assertEqual(client.request("HEAD", f"/h{number}").body, b"")

    def test_many_clients(self):
        clients = [self.connect() for _ in range(300)]
        for round_ in range(4):
            for number, client in enumerate(clients):
                client.send(make_request("GET", f"/m{round_}-{number}"))
            for number, client in enumerate(clients):
                self.assertEqual(client.read_response().body,
                                 f"origin /m{round_}-{number}".encode())


class OutstandingTest(ProxyTest):
    def outstanding(self, way, body, rest=b""):
        """A request, and what is sent with it, whose response waits for an event.
        Returns the client, the request at the origin, and the event."""
        go, path = threading.Event(), "/" + unique("slow")

        def script(conn, request):
            go.wait(harness.DEADLINE)
            conn.send(reply(body))
        self.origin.on(path, script)
        client = self.send_by(way, make_request("GET", path) + rest)
        return client, self.origin.wait_request(path), go


class PipelineTest(OutstandingTest):
    def test_in_order(self):
        targets = [f"/pipe{number}" for number in range(30)]
        raw = b"".join(make_request("GET", target) for target in targets)
        for way in self.WAYS:
            with self.subTest(way=way):
                client = self.send_by(way, raw)
                for target in targets:
                    self.assertEqual(client.read_response().body, b"origin " + target.encode())

    def test_mixed(self):
        """Forwarded requests, bodies, direct answers and an error, in one segment."""
        raw = (make_request("GET", "/a") + make_request("GET", "/direct")
               + make_request("POST", "/b", b"body of b") + make_request("HEAD", "/c")
               + make_request("POST", "/d", fields=[("Transfer-Encoding", "chunked")])
               + make_chunked([b"some", b"chunks"]) + make_request("GET", "/direct")
               + make_request("GET", "/e") + b"GET /never HTTP/1.1\r\n\r\n")
        for way in self.WAYS:
            with self.subTest(way=way):
                client = self.send_by(way, raw)
                responses = client.read_all_responses(["GET"] * 3 + ["HEAD"])
                self.assertEqual([response.status for response in responses], [200] * 7 + [400])
                self.assertEqual([response.body for response in responses[:7]],
                                 [b"origin /a", b"direct\n", b"origin /b", b"", b"origin /d",
                                  b"direct\n", b"origin /e"])
                self.assertEqual(self.origin.seen("/b")[-1].body, b"body of b")
                self.assertEqual(self.origin.seen("/d")[-1].body, b"somechunks")
                self.assert_never_upstream("/never")

    def test_quick_answers_wait_for_slow_ones(self):
        """A direct answer does not overtake the upstream's."""
        for way in ("first", "later"):
            with self.subTest(way=way):
                client, _, go = self.outstanding(way, b"slow", make_request("GET", "/direct")
                                                 + make_request("GET", "/quick"))
                self.assertTrue(client.quiet(0.1), "something overtook the first response")
                go.set()
                self.assertEqual([client.read_response().body for _ in range(3)],
                                 [b"slow", b"direct\n", b"origin /quick"])

    def test_second_request_while_one_is_outstanding(self):
        for way in ("first", "later"):
            with self.subTest(way=way):
                client, _, go = self.outstanding(way, b"slow")
                client.send(make_request("POST", "/second", b"0123456789"))
                go.set()
                self.assertEqual(client.read_response().body, b"slow")
                self.assertEqual(client.read_response().body, b"origin /second")
                self.assertEqual(self.origin.seen("/second")[-1].body, b"0123456789")


class HalfCloseTest(OutstandingTest):
    def test_fin_right_after_the_request(self):
        for way in ("first", "later"):
            for method, body in (("GET", None), ("POST", b"x" * 1000)):
                with self.subTest(way=way, method=method):
                    client = self.send_by(way, make_request(method, "/fin", body))
                    client.half_close()
                    self.assertEqual(client.read_response().body, b"origin /fin")
                    self.assertEqual(client.read_to_end(), b"")
                    self.assertEqual(client.ended, "fin")

    def test_fin_while_waiting(self):
        body = pattern(300000)
        for way in ("first", "later"):
            with self.subTest(way=way):
                client, _, go = self.outstanding(way, body)
                client.half_close()
                go.set()
                self.assertEqual(client.read_response().body, body)
                self.assertEqual(client.read_to_end(), b"")

    def test_fin_after_pipelined_requests(self):
        for way in ("first", "later"):
            with self.subTest(way=way):
                client = self.send_by(way, make_request("GET", "/x") * 5)
                client.half_close()
                responses = client.read_all_responses()
                self.assertEqual([response.body for response in responses], [b"origin /x"] * 5)

    def half_closes_while_reading(self, size, way, rest=b""):
        body, path = pattern(size), "/" + unique("read")
        self.origin.on(path, answer(body))
        client = self.connect(rcvbuf=4096)
        if way == "later":
            self.warm(client)
        client.send(make_request("GET", path) + rest)
        self.origin.wait_request(path)
        self.fence()
        client.half_close()
        self.fence()
        self.assertEqual(client.read_response().body, body)
        self.assertEqual(client.read_to_end(), b"")
        self.assertEqual(client.ended, "fin")

    def test_fin_while_the_response_is_read(self):
        """Of some size all is sent but what skein holds itself."""
        for way in ("first", "later"):
            for size in range(1 << 17, 1 << 20, 40000):
                with self.subTest(way=way, size=size):
                    self.half_closes_while_reading(size, way)

    def test_fin_inside_a_request_behind_a_whole_one(self):
        """What was asked for is still answered."""
        cut = b"POST /cut HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n12345"
        for way in ("first", "later"):
            for size in (100, 1 << 20):
                with self.subTest(way=way, size=size):
                    self.half_closes_while_reading(size, way, cut)

    def test_fin_on_an_idle_connection(self):
        for way in ("first", "later"):
            with self.subTest(way=way):
                client = self.connect() if way == "first" else self.warm()
                client.half_close()
                self.assertEqual(client.read_to_end(), b"")
                self.assertEqual(client.ended, "fin")

    def test_fin_inside_a_head(self):
        for way in ("first", "later"):
            with self.subTest(way=way):
                marker = unique("part")
                client = self.send_by(way, f"GET /{marker} HTTP/1.1\r\nHost: h\r\n".encode())
                client.half_close()
                try:
                    self.assertEqual(client.read_response().status, 400)
                except Ended as end:
                    self.assertEqual(end.got, b"")
                self.assert_never_upstream(marker)

    def test_reset_while_waiting(self):
        """The upstream connection of a client that is gone serves nobody else."""
        for way in ("first", "later"):
            with self.subTest(way=way):
                client, request, go = self.outstanding(way, b"for the client that is gone")
                client.reset()
                go.set()
                self.origin.wait(lambda: request.conn.done, "skein ends the upstream connection")
                self.assertEqual(request.conn.requests[-1].path, request.path)
                for _ in range(3):
                    self.assertEqual(self.connect().get("/other").body, b"origin /other")


class OldClientTest(ProxyTest):
    """HTTP/1.0: no chunks, no interim responses, the connection ends."""

    def old(self, method, target, fields=b"", body=b"", way="first"):
        raw = f"{method} {target} HTTP/1.0\r\nHost: h\r\n".encode() + fields + b"\r\n" + body
        client = self.send_by(way, raw)
        response = client.read_response(method)
        self.assertEqual(client.read_to_end(), b"")
        self.assertEqual(client.ended, "fin")
        self.assertNotEqual(response.framing, "chunked")
        self.assertEqual(response.all("transfer-encoding"), [])
        return response

    def test_content_length(self):
        for fields in (b"", b"Connection: keep-alive\r\n", b"Connection: close\r\n"):
            for way in ("first", "later"):
                with self.subTest(fields=fields, way=way):
                    self.assertEqual(self.old("GET", "/old", fields, way=way).body, b"origin /old")

    def test_chunked_is_decoded(self):
        body = pattern(100000)
        self.origin.on("/chunked", raw_answer(
            reply(fields=[("Transfer-Encoding", "chunked")], length=False)
            + make_chunked([body[:1], body[1:70000], body[70000:]])))
        for way in ("first", "later"):
            with self.subTest(way=way):
                self.assertEqual(self.old("GET", "/chunked", way=way).body, body)

    def test_close_delimited(self):
        def script(conn, request):
            conn.send(reply(b"until the end", length=False))
            conn.finish()
        self.origin.on("/until", script)
        self.assertEqual(self.old("GET", "/until").body, b"until the end")

    def test_body_and_head(self):
        response = self.old("POST", "/post", b"Content-Length: 3\r\n", b"abc")
        self.assertEqual(response.status, 200)
        self.assertEqual(self.origin.seen("/post")[-1].body, b"abc")
        self.origin.on("/head", answer(b"", fields=[("X-A", "b")]))
        self.assertEqual(self.old("HEAD", "/head").all("x-a"), [b"b"])

    def test_no_interim_responses(self):
        self.origin.on("/early", raw_answer(
            b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + reply(b"done")))
        response = self.old("GET", "/early")
        self.assertEqual((response.interim, response.body), ([], b"done"))

    def test_own_answers(self):
        self.assertEqual(self.old("GET", "/direct").body, b"direct\n")


if __name__ == "__main__":
    harness.main()
