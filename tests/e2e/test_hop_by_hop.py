"""Connection and the fields that go with it end at each hop (rules 38 to 41)."""
import harness
from harness import ProxyTest, unique
from origin import raw_answer, reply
from wire import make_chunked, make_request
from ways import WaysTest

# Fields that a proxy's own decisions may put into what it sends.
OWN = ("connection", "content-length", "transfer-encoding")


class RequestFieldsTest(WaysTest):
    def upstream(self, way, fields, body=None, method="GET"):
        """Plays a request; returns what the upstream saw, once per connection."""
        path, count = "/" + unique("hop"), 0
        for played, client in self.play(way, make_request(method, path, body, fields)):
            count += 1
            with self.subTest(played=played):
                self.assertEqual(client.read_response(method).status, 200)
                self.assertEqual(client.get("/direct").status, 200)
        seen = self.origin.seen(path)
        self.assertEqual(len(seen), count)
        return seen

    def check(self, fields, kept):
        """Only `kept` of the fields travel on, in order."""
        for way in self.WAYS:
            with self.subTest(fields=fields, way=way):
                expected = [(b"Host", b"h")] + [(n.encode(), v.encode()) for n, v in kept]
                for request in self.upstream(way, fields):
                    self.assertEqual(request.without(*OWN), expected)
                    for token in request.tokens("connection"):
                        self.assertIn(token, (b"keep-alive", b"close"))

    def test_connection_and_what_it_lists(self):
        keep = [("X-Keep", "1")]
        for fields in ([("Connection", "X-Foo"), ("X-Foo", "a")],
                       [("Connection", "x-foo , X-Bar"), ("X-Foo", "a"), ("x-bar", "b")],
                       [("X-Foo", "a"), ("Connection", "keep-alive, X-Foo"), ("X-Foo", "b")],
                       [("Connection", "X-Foo"), ("Connection", ",,X-Bar,"), ("X-Foo", "a"),
                        ("X-Bar", "b")],
                       [("Connection", "close-not, X-Foo"), ("X-Foo", "a")],
                       [("Connection", "keep-alive")], [("Connection", "Keep-Alive, TE")]):
            self.check(fields + keep, keep)

    def test_fields_that_are_always_hop_by_hop(self):
        keep = [("X-Keep", "1")]
        for field in (("Keep-Alive", "timeout=5"), ("Proxy-Connection", "keep-alive"),
                      ("TE", "gzip"), ("Upgrade", "foo"), ("HTTP2-Settings", "x")):
            self.check([field] + keep, keep)

    def test_fields_that_a_client_can_not_remove(self):
        """Connection names fields that the upstream relies on: such options are ignored."""
        for name, value in (("Host", None), ("Content-Length", None),
                            ("Authorization", "Basic eA=="), ("Cookie", "a=b"),
                            ("Cache-Control", "no-store"), ("Content-Type", "text/plain"),
                            ("X-Forwarded-For", "10.0.0.1"), ("X-Forwarded-Proto", "https"),
                            ("X-Real-IP", "10.0.0.1"), ("Forwarded", "for=10.0.0.1"),
                            ("Via", "1.1 a"), ("Range", "bytes=0-1"), ("Max-Forwards", "3")):
            for way in self.WAYS:
                with self.subTest(name=name, way=way):
                    fields = [("Connection", name)] + ([(name, value)] if value else [])
                    for request in self.upstream(way, fields, b"abc", "POST"):
                        self.assertEqual(request.all("host"), [b"h"])
                        self.assertEqual(request.body, b"abc")
                        if value:
                            self.assertEqual(request.all(name), [value.encode()])

    def test_te(self):
        """Of TE only `trailers` travels on, and only if Connection names it."""
        cases = [([("Connection", "TE"), ("TE", "trailers")], True),
                 ([("Connection", "te"), ("TE", "gzip;q=0.5, Trailers")], True),
                 ([("Connection", "TE"), ("TE", "gzip")], False),
                 ([("TE", "trailers")], False)]
        for fields, forwarded in cases:
            for way in self.WAYS:
                with self.subTest(fields=fields, way=way):
                    for request in self.upstream(way, fields):
                        self.assertEqual(request.tokens("te"), [b"trailers"] if forwarded else [])
                        self.assertEqual(b"te" in request.tokens("connection"), forwarded)

    def test_end_to_end_look_alikes_stay(self):
        keep = [("X-Connection", "close"), ("Keep-Alive-X", "1"), ("TEx", "y"),
                ("Upgrade-Insecure-Requests", "1"), ("Proxy-Foo", "1")]
        self.check(keep, keep)


class ResponseFieldsTest(ProxyTest):
    def downstream(self, way, fields, request_fields=()):
        path = "/" + unique("hop")
        self.origin.on(path, raw_answer(reply(b"ok", fields=fields)))
        client = self.send_by(way, make_request("GET", path, fields=request_fields))
        response = client.read_response()
        self.assertEqual((response.status, response.body), (200, b"ok"))
        self.assertFalse(response.closes(), "the upstream's close is not the client's")
        self.assertEqual(client.get("/after").status, 200)
        return response

    def check(self, fields, kept):
        for way in ("first", "later"):
            with self.subTest(fields=fields, way=way):
                response = self.downstream(way, fields)
                self.assertEqual(response.without("date", *OWN),
                                 [(n.encode(), v.encode()) for n, v in kept])

    def test_removed(self):
        keep = [("X-Keep", "1"), ("Set-Cookie", "a=b"), ("Set-Cookie", "c=d")]
        for fields in ([("Connection", "X-Foo"), ("X-Foo", "a")],
                       [("Connection", "keep-alive, X-Foo"), ("X-Foo", "a"), ("x-foo", "b")],
                       [("Keep-Alive", "timeout=5, max=100"), ("Connection", "keep-alive")],
                       [("Proxy-Connection", "keep-alive")], [("Upgrade", "h2,h2c")],
                       [("Connection", "upgrade"), ("Upgrade", "h2c")]):
            self.check(fields + keep, keep)

    def test_kept(self):
        keep = [("ETag", "\"x\""), ("Vary", "Accept"), ("WWW-Authenticate", "Basic realm=\"r\""),
                ("X-Pad", "a  b"), ("Server", "o"), ("X-Text", "plain"), ("X-Empty", "")]
        self.check(keep, keep)

    def test_connection_close_is_replaced(self):
        """The upstream closes, the client's connection goes on."""
        for way in ("first", "later"):
            with self.subTest(way=way):
                self.downstream(way, [("Connection", "close")])

    def test_client_asked_for_close(self):
        for way in ("first", "later"):
            with self.subTest(way=way):
                client = self.send_by(way, make_request("GET", "/x", fields=[("Connection", "close")]))
                self.assertTrue(client.read_response().closes())
                self.assertEqual(client.read_to_end(), b"")

    def test_close_among_other_options(self):
        for value in ("foo, close", "Close", "close, close", "keep-alive, close"):
            with self.subTest(value=value):
                client = self.send_by("later", make_request("GET", "/x",
                                                            fields=[("Connection", value)]))
                self.assertTrue(client.read_response().closes())
                self.assertEqual(client.read_to_end(), b"")


class TrailersTest(ProxyTest):
    TE = [("Connection", "TE"), ("TE", "trailers")]

    def response(self, trailers, fields):
        path = "/" + unique("trailers")
        self.origin.on(path, raw_answer(
            reply(fields=[("Transfer-Encoding", "chunked")], length=False)
            + make_chunked([b"body"], trailers)))
        client = self.send_by("first", make_request("GET", path, fields=fields))
        response = client.read_response()
        self.assertEqual(response.body, b"body")
        framing = [(b"Transfer-Encoding", b"chunked")]
        for field in trailers:
            if field not in framing:
                self.assertNotIn(field, response.fields, "trailers never become header fields")
        self.assertEqual(client.get("/after").status, 200)
        return response

    def test_dropped_without_te(self):
        self.assertEqual(self.response([(b"X-Sum", b"1")], []).trailers, [])

    def test_forwarded_with_te(self):
        trailers = [(b"X-Sum", b"1"), (b"X-More", b"2")]
        self.assertEqual(self.response(trailers, self.TE).trailers, trailers)

    def test_framing_fields_are_never_trailers(self):
        bad = [(b"Content-Length", b"3"), (b"Transfer-Encoding", b"chunked"), (b"Host", b"x"),
               (b"Connection", b"close"), (b"Authorization", b"x")]
        response = self.response([(b"X-Sum", b"1")], self.TE)
        for field in bad:
            with self.subTest(field=field):
                response = self.response([field, (b"X-Sum", b"1")], self.TE)
                self.assertEqual(response.trailers, [(b"X-Sum", b"1")])


if __name__ == "__main__":
    harness.main()
