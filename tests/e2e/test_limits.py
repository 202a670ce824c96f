"""Sizes and counts: each limit answers with its own status, and what is within it passes."""
import threading

import harness
from harness import Client, ProxyTest, unique, wait_for
from origin import reply
from wire import make_chunked, make_request


class SizeTest(ProxyTest):
    extra = {"limits": {"header_bytes": "2KiB", "target_bytes": "1KiB", "header_count": 20,
                        "body_bytes": "100KiB"}}

    def ways(self):
        return ("first", "later", "later cut")

    def refused(self, raw, marker, statuses):
        for way in self.ways():
            with self.subTest(way=way):
                self.assert_refused(self.send_by(way, raw), statuses)
                self.assert_never_upstream(marker)

    def accepted(self, raw):
        for way in self.ways():
            with self.subTest(way=way):
                client = self.send_by(way, raw)
                self.assertEqual(client.read_response().status, 200)
                self.assertEqual(client.get("/after").status, 200)

    def test_target(self):
        for size in (1024, 1000):
            self.accepted(make_request("GET", "/" + "t" * (size - 1)))
        for size in (1025, 5000):
            marker = unique("target")
            self.refused(make_request("GET", ("/" + marker).ljust(size, "t")), marker, {414})

    def test_target_without_an_end(self):
        """Refused before the request line is complete."""
        for way in ("first", "later"):
            with self.subTest(way=way):
                self.assert_refused(self.send_by(way, b"GET /" + b"t" * 4000), {414})

    def padded(self, marker, size):
        raw = make_request("GET", "/" + marker, fields=[("X-Pad", "")])
        return raw.replace(b"X-Pad: ", b"X-Pad: " + b"p" * (size - len(raw)))

    def test_header_bytes(self):
        for size in (2048, 2000):
            self.accepted(self.padded("x", size))
        for size in (2049, 20000):
            marker = unique("head")
            self.refused(self.padded(marker, size), marker, {431})

    def test_head_without_an_end(self):
        for way in ("first", "later"):
            with self.subTest(way=way):
                raw = make_request("GET", "/x")[:-2] + b"X-Pad: " + b"p" * 4000
                self.assert_refused(self.send_by(way, raw), {431})

    def test_header_count(self):
        def fields(count):
            return [(f"X-{number}", "y") for number in range(count - 1)]  # Host is one
        self.accepted(make_request("GET", "/x", fields=fields(20)))
        for count in (21, 100):
            marker = unique("count")
            self.refused(make_request("GET", "/" + marker, fields=fields(count)), marker, {431})

    def test_body_by_length(self):
        self.accepted(make_request("POST", "/x", b"b" * 102400))
        marker = unique("body")
        self.refused(make_request("POST", "/" + marker, b"b" * 102401), marker, {413})

    def test_body_by_length_is_refused_before_it_comes(self):
        for way in ("first", "later"):
            with self.subTest(way=way):
                raw = b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000000\r\n\r\n"
                self.assert_refused(self.send_by(way, raw), {413})
                raw = raw.replace(b"Host", b"Expect: 100-continue\r\nHost")
                self.assert_refused(self.send_by(way, raw), {413})

    def test_body_by_chunks(self):
        head = "POST /%s HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        self.accepted((head % "x").encode() + make_chunked([b"b" * 10240] * 10))
        for way in ("first", "later"):
            with self.subTest(way=way):
                path = unique("chunks")
                raw = (head % path).encode() + make_chunked([b"b" * 10240] * 11)
                self.assert_refused(self.send_by(way, raw), {413})
                for request in self.origin.seen("/" + path):
                    self.origin.wait(lambda: request.conn.done, "the upstream connection ends")
                    self.assertFalse(request.complete)

    def test_chunk_that_announces_too_much(self):
        raw = (b"POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
               b"7fffffffffffffff\r\n" + b"x" * 110000)
        for way in ("first", "later"):
            with self.subTest(way=way):
                self.assert_refused(self.send_by(way, raw), {400, 413})

    def test_response_heads_have_limits_too(self):
        def script(conn, request):
            conn.send(reply(b"", fields=[("X-Pad", "p" * 100000)]))
        self.origin.on("/bighead", script)
        for way in ("first", "later"):
            with self.subTest(way=way):
                client = self.send_by(way, make_request("GET", "/bighead"))
                self.assertEqual(client.read_response().status, 502)


class DefaultsTest(ProxyTest):
    def test_header_bytes(self):
        within = make_request("GET", "/x", fields=[("X-Pad", "p" * 16000)])
        beyond = make_request("GET", "/x", fields=[("X-Pad", "p" * 17000)])
        for way in ("first", "later"):
            with self.subTest(way=way):
                self.assertEqual(self.send_by(way, within).read_response().status, 200)
                self.assert_refused(self.send_by(way, beyond), {431})

    def test_header_count(self):
        fields = [(f"X-{number}", "y") for number in range(99)]
        for way in ("first", "later"):
            with self.subTest(way=way):
                raw = make_request("GET", "/x", fields=fields)
                self.assertEqual(self.send_by(way, raw).read_response().status, 200)
                raw = make_request("GET", "/x", fields=fields + [("X-More", "z")])
                self.assert_refused(self.send_by(way, raw), {431})


class ConnectionCountTest(ProxyTest):
    extra = {"limits": {"connections": 4, "idle_upstreams": 2}}

    def test_connections(self):
        """Over the limit nobody is served, and as soon as one leaves the next one is."""
        clients = [self.warm() for _ in range(4)]
        self.wait_metric("skein_downstream_connections", 4, listener="web")
        extra = self.connect()
        try:
            extra.send(make_request("GET", "/x"))
            if not extra.quiet(0.2):
                self.assertEqual(extra.read_to_end(), b"", "served over the limit")
        except OSError:
            pass  # closed at once
        extra.close()
        for client in clients:
            self.assertEqual(client.get("/x").status, 200)
        for client in clients:
            client.close()

        def served():
            try:
                with Client(self.skein.address) as client:
                    return client.get("/x").status == 200
            except (harness.Ended, OSError):
                return False
        wait_for(served, "a free place")

    def test_idle_upstreams(self):
        """Of four upstream connections used at once two are kept."""
        gate = threading.Barrier(4)

        def script(conn, request):
            gate.wait(harness.DEADLINE)
            conn.send(reply(b"together"))
        self.origin.on("/together", script)

        def connected():
            return self.skein.metric("skein_downstream_connections", listener="web") == 0
        wait_for(connected, "earlier clients are gone")
        clients = [self.connect() for _ in range(4)]
        for client in clients:
            client.send(make_request("GET", "/together"))
        for client in clients:
            self.assertEqual(client.read_response().body, b"together")
        self.origin.wait(lambda: len(self.origin.open_connections()) <= 2, "two are closed")


if __name__ == "__main__":
    harness.main()
