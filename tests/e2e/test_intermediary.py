"""What a proxy owes both sides beside framing: Max-Forwards, fields that are not its own, routes that a
path's other forms would belong to, connections that were authenticated, errors with a reason."""
import harness
from harness import Ended, ProxyTest, unique
from origin import Origin, raw_answer, reply
from process import wait_for
from wire import make_request
from ways import WaysTest


class MaxForwardsTest(WaysTest):
    """Rule 45."""

    def raw(self, method, hops, path="/@"):
        return (f"{method} {path} HTTP/1.1\r\nHost: h\r\nCookie: secret=1\r\nX-A:  b\r\n"
                f"Max-Forwards: {hops}\r\n\r\n").encode()

    def test_counted_down(self):
        for method in ("TRACE", "OPTIONS"):
            for way in self.WAYS:
                for hops, left in (("1", b"0"), ("10", b"9"), ("007", b"6")):
                    with self.subTest(method=method, way=way, hops=hops):
                        path, count = "/" + unique("hops"), 0
                        for played, client in self.play(way, self.raw(method, hops, path)):
                            count += 1
                            self.assertEqual(client.read_response().status, 200, played)
                        self.assertEqual([request.all("max-forwards")
                                          for request in self.origin.seen(path)], [[left]] * count)

    def test_trace_ends_here(self):
        for way in self.WAYS:
            path = "/" + unique("end")
            raw = self.raw("TRACE", "0", path)
            for played, client in self.play(way, raw):
                with self.subTest(played=played):
                    response = client.read_response()
                    self.assertEqual(response.status, 200)
                    self.assertEqual(response.get("content-type"), b"message/http")
                    self.assertEqual(response.body, raw.replace(b"Cookie: secret=1\r\n", b""))
                    self.assertEqual(client.get("/direct").status, 200)
            self.assert_never_upstream(path)

    def test_options_end_here(self):
        for target in ("/x", "*"):
            for way in self.WAYS:
                marker = unique("end")
                raw = self.raw("OPTIONS", "0", target).replace(b"secret", marker.encode())
                for played, client in self.play(way, raw):
                    with self.subTest(played=played, target=target):
                        response = client.read_response()
                        self.assertEqual((response.status, response.body), (200, b""))
                        self.assertEqual(client.get("/direct").status, 200)
                self.assert_never_upstream(marker)


class AmbiguousPathTest(WaysTest):
    """A path of which a server may think that it belongs to another route (rule 68)."""

    @classmethod
    def setUpClass(cls):
        cls.inner = Origin("inner")
        super().setUpClass()

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        cls.inner.close()

    @classmethod
    def clusters(cls):
        return {"web": [cls.origin.address], "inner": [cls.inner.address]}

    @classmethod
    def routes(cls):
        return [{"match": {"path": "/direct"}, "respond": {"status": 200, "body": "direct\n"}},
                {"match": {"path_prefix": "/inner/"}, "cluster": "inner"},
                {"match": {"path_prefix": "/out"}, "cluster": "web"},
                {"match": {"path_prefix": "/warm"}, "cluster": "web"},
                {"match": {"path_prefix": "/fence"}, "cluster": "web"}]

    def test_refused(self):
        for path in ("/out/../inner/@", "/out/%2e%2e/inner/@", "/out/..%2finner/@", "/out/..%5Cinner/@",
                     "/out/..\\inner/@", "/out/..;a=b/inner/@", "/inner/../out/@", "/inner/%2e%2E/out/@",
                     "/out/../@", "/inner/..//out/@", "/out/a/b/../../../inner/@"):
            for way in self.WAYS:
                with self.subTest(path=path, way=way):
                    marker = unique("ambiguous")
                    raw = make_request("GET", path.replace("@", marker))
                    for played, client in self.play(way, raw):
                        with self.subTest(played=played):
                            response = client.read_response()
                            self.assertEqual(response.status, 400)
                            self.assertEqual(client.get("/direct").status, 200)
                    self.assert_never_upstream(marker, [self.origin, self.inner])

    def test_forwarded_as_they_are(self):
        """Odd paths that belong to one route however they are read."""
        for path in ("/out/@//x", "/out/@/./x", "/out/a/../@", "/out/@%2f%20%00", "/out/@;v=1", "/out/@/.hidden",
                     "/out/@\\x", "/out/@?next=/out/../inner/", "/outer/..a/@"):
            for way in self.WAYS:
                with self.subTest(path=path, way=way):
                    marker, count = unique("odd"), 0
                    raw = make_request("GET", path.replace("@", marker))
                    for played, client in self.play(way, raw):
                        count += 1
                        self.assertEqual(client.read_response().status, 200, played)
                    seen = [request.target for request in self.origin.requests
                            if marker.encode() in request.target]
                    self.assertEqual(seen, [path.replace("@", marker).encode()] * count)


class ConnectionAuthTest(WaysTest):
    """NTLM and Negotiate authenticate a connection: it is its client's alone (rule 67)."""

    def challenge(self, scheme):
        """A server that forgets nothing on a connection: 401, 401, then it knows its client."""
        users = {}

        def script(conn, request):
            given = request.get("authorization")
            if given:
                users.setdefault(conn.number, []).append(given)
            known = len(users.get(conn.number, [])) >= 2
            body = b"user " + users[conn.number][0].split(b" ")[1] if known else b"who are you"
            conn.send(reply(body, status="200 OK" if known else "401 Unauthorized",
                            fields=[] if known else [("WWW-Authenticate", scheme)]))
        path = "/" + unique("auth")
        self.origin.on(path, script)
        return path

    def log_in(self, client, path, scheme, user):
        """@return The origin's connection."""
        for number, status in ((0, 401), (1, 401), (2, 200)):
            fields = [("Authorization", f"{scheme} {user} {number}")] if number else []
            response = client.get(path, fields=fields)
            self.assertEqual(response.status, status, f"step {number}: {response}")
        self.assertEqual(response.body, b"user " + user.encode())

    def test_a_client_keeps_its_connection(self):
        for scheme in ("NTLM", "Negotiate"):
            for way in ("first", "promoted"):
                with self.subTest(scheme=scheme, way=way):
                    path = self.challenge(scheme)
                    alice, bob, carol = ([self.connect() for _ in range(3)] if way == "first"
                                         else self.pooled(3))
                    # Step by step in turn: each step of one finds what the others left idle.
                    for number, status in ((0, 401), (1, 401), (2, 200)):
                        for client, user in ((alice, "alice"), (bob, "bob")):
                            fields = ([("Authorization", f"{scheme} {user} {number}")] if number else [])
                            response = client.get(path, fields=fields)
                            self.assertEqual(response.status, status, f"{user} {number}: {response}")
                    for _ in range(5):
                        self.assertEqual(alice.get(path).body, b"user alice")
                        self.assertEqual(carol.get(path).status, 401)
                        self.assertEqual(bob.get(path).body, b"user bob")

    def test_nobody_inherits_it(self):
        for way in ("first", "promoted"):
            with self.subTest(way=way):
                path = self.challenge("NTLM")
                alice, bob = ([self.connect() for _ in range(2)] if way == "first" else self.pooled(2))
                self.log_in(alice, path, "NTLM", "alice")
                number = self.origin.seen(path)[-1].conn.number
                alice.close()
                conn = self.origin.connections[number]
                self.origin.wait(lambda: conn.done, "the connection ends with its client")
                self.assertEqual(bob.get(path).status, 401)

    def test_it_may_end(self):
        """The server closes it: the client begins again, on another."""
        path = self.challenge("NTLM")
        client = self.connect()
        self.log_in(client, path, "NTLM", "alice")
        self.origin.drop_connections()
        self.log_in(client, path, "NTLM", "alice")

    def test_other_schemes_share(self):
        """Basic and Bearer are the request's: their connections are anybody's."""
        path = "/" + unique("basic")
        numbers = set()
        for _ in range(5):
            with harness.Client(self.skein.address) as client:
                client.get(path, fields=[("Authorization", "Basic eA==")])
            numbers.add(self.origin.seen(path)[-1].conn.number)
        self.assertEqual(len(numbers), 1)


class UntouchedTest(WaysTest):
    """End-to-end fields go both ways as they are (rules 19, 69)."""

    FIELDS = [(b"If-Match", b"\"a\", W/\"b\""), (b"If-None-Match", b"*"), (b"If-Range", b"\"a\""),
              (b"Range", b"bytes=0-0,-1"), (b"Cache-Control", b"no-transform, max-age=0"),
              (b"Accept-Encoding", b"gzip;q=0"), (b"Authorization", b"Bearer a.b.c"), (b"Cookie", b"a=b"),
              (b"X-Dup", b"2"), (b"Vary", b"*"), (b"X-Dup", b"1"), (b"Allow", b""), (b"x-dup", b"3")]

    def test_both_ways(self):
        lines = b"".join(name + b": " + value + b"\r\n" for name, value in self.FIELDS)
        for way in self.WAYS:
            path, count = "/" + unique("untouched"), 0
            self.origin.on(path, raw_answer(b"HTTP/1.1 206 Partial Content\r\nDate: x\r\n" + lines
                                            + b"Content-Length: 0\r\n\r\n"))
            for played, client in self.play(way, f"GET {path} HTTP/1.1\r\nHost: h\r\n".encode()
                                            + lines + b"\r\n"):
                with self.subTest(played=played):
                    count += 1
                    response = client.read_response()
                    self.assertEqual(response.without("date", "content-length"), self.FIELDS)
            seen = self.origin.seen(path)
            self.assertEqual(len(seen), count)
            for request in seen:
                self.assertEqual(request.without("host"), self.FIELDS)


class ExpectAndUpgradeTest(WaysTest):
    """What is not a plain exchange, in all ways (rules 41, 58, 59, 62)."""

    def test_expect(self):
        def script(conn, request):
            conn.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            conn.read_body(request)
            conn.send(reply(request.body))
        for way in self.WAYS:
            path = "/" + unique("expect")
            self.origin.on(path, script)
            for played, client in self.play(way, make_request("POST", path, b"0123456789",
                                                              [("Expect", "100-continue")])):
                with self.subTest(played=played):
                    response = client.read_response()
                    self.assertEqual((response.body, [r.status for r in response.interim]),
                                     (b"0123456789", [100]))
                    self.assertEqual(client.get("/direct").status, 200)

    def test_upgrade(self):
        """The request, then bytes that belong into the tunnel: cut anywhere."""
        def script(conn, request):
            request.complete = True
            self.assertFalse(conn.buf, "tunnel data before 101")
            conn.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
            conn.send(conn.read_exact(4).upper())
            conn.wait_end()
            conn.finish()
        for way in self.WAYS:
            path = "/" + unique("upgrade")
            self.origin.on(path, script)
            raw = make_request("GET", path, fields=[("Connection", "upgrade"), ("Upgrade", "x")])
            for played, client in self.play(way, raw + b"ping"):
                with self.subTest(played=played):
                    self.assertEqual(client.read_head().status, 101)
                    self.assertEqual(client.read_exact(4), b"PING")
                    client.half_close()
                    self.assertEqual(client.read_to_end(), b"")

    def test_h2c_is_not_offered(self):
        for way in self.WAYS:
            path = "/" + unique("h2c")
            fields = [("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"), ("HTTP2-Settings", "AA")]
            for played, client in self.play(way, make_request("GET", path, fields=fields)):
                with self.subTest(played=played):
                    self.assertEqual(client.read_response().status, 200)
                    self.assertEqual(client.get("/direct").status, 200)
            for request in self.origin.seen(path):
                self.assertEqual(request.all("upgrade") + request.all("http2-settings")
                                 + request.all("connection"), [])

    def test_the_last_request(self):
        """`close`, and HTTP/1.0 with keep-alive and without."""
        for line, field in (("HTTP/1.1", "close"), ("HTTP/1.0", "keep-alive"), ("HTTP/1.0", "x")):
            for way in self.WAYS:
                path, hidden = "/" + unique("last"), unique("hidden")
                raw = f"GET {path} {line}\r\nHost: h\r\nConnection: {field}\r\n\r\n".encode()
                for played, client in self.play(way, raw + make_request("GET", "/" + hidden)):
                    with self.subTest(played=played, line=line, field=field):
                        response = client.read_response()
                        self.assertEqual(response.body, b"origin " + path.encode())
                        self.assertTrue(response.closes())
                        self.assertEqual(client.read_to_end(), b"")
                        self.assertEqual(client.ended, "fin")
                self.assert_never_upstream(hidden)

    def test_the_client_ends_after_its_request(self):
        for way in self.WAYS:
            path = "/" + unique("half")
            for played, client in self.play(way, make_request("POST", path, b"0123456789")):
                with self.subTest(played=played):
                    client.half_close()
                    self.assertEqual(client.read_response().body, b"origin " + path.encode())
                    self.assertEqual(client.read_to_end(), b"")
                    self.assertEqual(client.ended, "fin")


class ReasonTest(ProxyTest):
    """What went wrong is counted and logged by a word (rule 70)."""

    extra = {"limits": {"header_bytes": "2KiB", "target_bytes": "1KiB", "body_bytes": "1KiB"},
             "timeouts": {"header": "200ms", "response": "300ms"}}

    def counted(self, reason):
        return self.skein.metric("skein_errors_total", listener="web", reason=reason)

    def refused(self, reason, status, raw):
        for way in ("first", "later"):
            with self.subTest(reason=reason, way=way):
                before = self.counted(reason)
                client = self.send_by(way, raw)
                self.assertEqual(client.read_response().status, status)
                wait_for(lambda: self.counted(reason) == before + 1, f"{reason} is counted")
                self.assertEqual(self.skein.metric("skein_errors_total", reason=reason,
                                                   status=str(status)), before + 1)

    def test_requests(self):
        self.refused("bad_request", 400, b"GET / HTTP/1.1\r\n\r\n")
        self.refused("target_too_long", 414, make_request("GET", "/" + "x" * 1500))
        self.refused("head_too_large", 431, make_request("GET", "/", fields=[("X", "y" * 3000)]))
        self.refused("expectation", 417, make_request("GET", "/", fields=[("Expect", "x")]))
        self.refused("not_implemented", 501, b"CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n")
        self.refused("body_too_large", 413, make_request("POST", "/", b"x" * 2000))
        self.refused("bad_chunk", 400, b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nx")
        self.refused("header_timeout", 408, b"GET / HTTP/1.1\r\n")

    def test_responses(self):
        def silent(conn, request):
            conn.wait_end()
        self.origin.on("/silent", silent)
        self.origin.on("/bad", raw_answer(b"x\r\n\r\n"))
        self.origin.on("/short", lambda conn, request: (conn.send(b"HTTP/1.1 200"), conn.finish()))
        self.refused("bad_response", 502, make_request("GET", "/bad"))
        self.refused("upstream_closed", 502, make_request("GET", "/short"))
        self.refused("response_timeout", 504, make_request("GET", "/silent"))

    def test_clients_that_leave(self):
        def silent(conn, request):
            conn.wait_end()
        for way in ("first", "later"):
            with self.subTest(way=way):
                path = "/" + unique("left")
                self.origin.on(path, silent)
                before = self.counted("client_closed")
                client = self.send_by(way, make_request("GET", path))
                self.origin.wait_request(path)
                client.reset()
                wait_for(lambda: self.counted("client_closed") == before + 1, "it is counted")


class NoServerTest(ProxyTest):
    @classmethod
    def clusters(cls):
        gone = Origin("gone")
        gone.close()
        return {"web": [gone.address]}

    @classmethod
    def routes(cls):
        return [{"match": {"path_prefix": "/web"}, "cluster": "web"}]

    def test_reasons(self):
        with self.connect() as client:
            self.assertEqual(client.get("/web").status, 503)
            self.assertEqual(client.get("/nowhere").status, 404)
        self.wait_metric("skein_errors_total", 1, listener="web", reason="connect_failed", status="503")
        self.wait_metric("skein_errors_total", 1, listener="web", reason="no_route", status="404")


if __name__ == "__main__":
    harness.main()
