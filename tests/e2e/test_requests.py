"""Which requests are refused and which pass, and what the upstream then sees (rules 1 to 37).

The tables are in request_cases.py, the ways in which each case is played in ways.py.
"""
import time

import harness
from harness import unique
from request_cases import (ACCEPTED_CHUNKS, ACCEPTED_HEADS, BODIES, REFUSED_CHUNKS,
                           REFUSED_HEADS)
from wire import PAUSE, Ended, make_request, parse_head
from ways import WaysTest

CHUNKED = b"POST /@ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"


def mark(raw, marker):
    return raw.replace(b"@", marker.encode(), 1) if b"@" in raw else raw


class RefusedTest(WaysTest):
    def test_heads(self):
        for name, raw, statuses in REFUSED_HEADS:
            for way in self.WAYS:
                with self.subTest(case=name, way=way):
                    marker = unique("refused")
                    for played, client in self.play(way, mark(raw, marker)):
                        with self.subTest(played=played):
                            self.assert_refused(client, statuses)
                    self.assert_never_upstream(marker)

    def test_first_bytes_that_can_not_begin_a_request(self):
        """Refused without waiting for the end of a head that will never come."""
        for raw in (b"\x16\x03\x01\x02\x00", b"\x00", b"GET\x01"):
            with self.subTest(raw=raw):
                client = self.connect()
                client.send(raw)
                self.assert_refused(client, {400})

    def test_chunked_bodies(self):
        for name, body in REFUSED_CHUNKS:
            for way in self.WAYS:
                with self.subTest(case=name, way=way):
                    marker = unique("badchunk")
                    for played, client in self.play(way, mark(CHUNKED, marker) + body):
                        with self.subTest(played=played):
                            self.assert_refused(client, {400, 413, 431})
                    self.fence()
                    self.assert_incomplete("/" + marker)

    def assert_incomplete(self, path):
        """The upstream saw nothing of a request, or a part and then the end."""
        for request in self.origin.seen(path):
            self.origin.wait(lambda: request.conn.done, "the upstream connection ends")
            self.assertFalse(request.complete, "a broken body was completed upstream")

    def test_pipelined_garbage(self):
        """A good request before a bad one is answered, the bad one never travels."""
        for way in ("first", "later", "later cut"):
            with self.subTest(way=way):
                good, bad = unique("good"), unique("bad")
                raw = make_request("GET", "/" + good) + b"GET /%s HTTP/1.1\r\n\r\n" % bad.encode()
                client = self.send_by(way, raw)
                self.assertEqual(client.read_response().status, 200)
                self.assert_refused(client, {400})
                self.assert_never_upstream(bad)

    def test_nothing_after_a_refusal(self):
        """What follows a refused message is not a request, whatever it looks like."""
        for way in ("first", "later"):
            with self.subTest(way=way):
                hidden = unique("hidden")
                raw = (b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n"
                       b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
                client = self.send_by(way, raw + make_request("GET", "/" + hidden))
                self.assert_refused(client, {400})
                self.assert_never_upstream(hidden)

    def test_nothing_after_close(self):
        """A request behind Connection: close is ignored (RFC 9112 9.6)."""
        for way in ("first", "later"):
            with self.subTest(way=way):
                hidden = unique("hidden")
                raw = make_request("GET", "/last", fields=[("Connection", "close")])
                client = self.send_by(way, raw + make_request("GET", "/" + hidden))
                self.assertEqual(client.read_response().status, 200)
                self.assertEqual(client.read_to_end(), b"")
                self.assert_never_upstream(hidden)

    def test_endless_empty_lines(self):
        """Empty lines before a request line are skipped, but not without bound."""
        client = self.connect()
        marker = unique("empty")
        try:
            client.send(b"\r\n" * 200000)
            client.send(make_request("GET", "/" + marker))
            response = client.read_response()
        except (Ended, OSError):
            return  # closed: fine too
        self.assertIn(response.status, {200, 400, 431})


class AcceptedTest(WaysTest):
    def take(self, way, raw, marker):
        """Plays a request; returns what the upstream saw, once per connection."""
        del self.origin.requests[:]
        count = 0
        for played, client in self.play(way, raw):
            count += 1
            with self.subTest(played=played):
                response = client.read_response(raw.split()[0].decode())
                self.assertEqual(response.status, 200, f"{response!r} to {raw!r}")
                # The connection stays usable, so both sides agree where the request ended.
                self.assertEqual(client.get("/direct").body, b"direct\n")
        seen = [request for request in self.origin.requests
                if request.path.startswith("/" + marker)]
        self.assertEqual(len(seen), count)
        self.origin.wait(lambda: all(request.complete for request in seen), "whole requests")
        return seen

    def test_heads_arrive_as_they_were_sent(self):
        for name, raw, request_line in ACCEPTED_HEADS:
            for way in self.WAYS:
                with self.subTest(case=name, way=way):
                    marker = unique("accepted")
                    sent = mark(raw, marker)
                    for request in self.take(way, sent, marker):
                        self.assertEqual(request.line, mark(request_line, marker))
                        self.assertEqual(request.fields, parse_head(sent.lstrip(b"\r\n"))[1])
                        self.assertEqual(request.body, b"")

    def test_bodies_by_length(self):
        for name, raw, body in BODIES:
            for way in self.WAYS:
                with self.subTest(case=name, way=way):
                    marker = unique("body")
                    for request in self.take(way, mark(raw, marker), marker):
                        self.assertEqual(request.body, body)

    def test_chunked_bodies(self):
        for name, body in ACCEPTED_CHUNKS:
            for way in self.WAYS:
                with self.subTest(case=name, way=way):
                    marker = unique("chunked")
                    for request in self.take(way, mark(CHUNKED, marker) + body, marker):
                        self.assertEqual(request.body, b"abcdefghij")
                        self.assertIn(request.framing, ("chunked", "length"))
                        self.assertEqual(request.chunk_extensions, [], "extensions are hop-by-hop")
                        self.assertEqual(request.trailers, [], "request trailers are dropped")
                        self.assertEqual(request.all("host"), [b"h"])

    def test_tabs_around_framing_values(self):
        """Legal white space is white space."""
        for value in (b"Content-Length:\t3\t\r\n\r\nabc",
                      b"Transfer-Encoding:\tchunked\t\r\n\r\n3\r\nabc\r\n0\r\n\r\n"):
            for way in self.WAYS:
                with self.subTest(value=value, way=way):
                    marker = unique("tab")
                    raw = f"POST /{marker} HTTP/1.1\r\nHost: h\r\n".encode() + value
                    for request in self.take(way, raw, marker):
                        self.assertEqual(request.body, b"abc")

    def test_leading_zeros_are_decimal(self):
        """Never octal: 010 is ten."""
        for way in self.WAYS:
            with self.subTest(way=way):
                marker = unique("octal")
                raw = (f"POST /{marker} HTTP/1.1\r\nHost: h\r\n"
                       "Content-Length: 010\r\n\r\n0123456789".encode())
                for request in self.take(way, raw, marker):
                    self.assertEqual(request.body, b"0123456789")

    def test_transfer_encoding_spelling(self):
        for value in (b"CHUNKED", b"  chunked  ", b"Chunked"):
            for way in self.WAYS:
                with self.subTest(value=value, way=way):
                    marker = unique("spelling")
                    raw = mark(CHUNKED, marker).replace(b" chunked", value)
                    for request in self.take(way, raw + b"3\r\nabc\r\n0\r\n\r\n", marker):
                        self.assertEqual(request.body, b"abc")

    def test_gzip_then_chunked(self):
        """A legal list: refused as not implemented, or forwarded with its coding named."""
        for value in (b"gzip, chunked", b"gzip\r\nTransfer-Encoding: chunked"):
            with self.subTest(value=value):
                marker = unique("gzip")
                raw = mark(CHUNKED, marker).replace(b"chunked", value, 1)
                client = self.send_by("first", raw.replace(b"/gzip", b"/gzip", 1)
                                      + b"3\r\nabc\r\n0\r\n\r\n")
                response = client.read_response()
                self.assertIn(response.status, (200, 400, 501))
                if response.status == 200:
                    request = self.origin.seen("/" + marker)[0]
                    self.assertEqual(request.tokens("transfer-encoding"), [b"gzip", b"chunked"])
                    self.assertEqual(request.body, b"abc")

    def test_versions(self):
        """1.2 may be refused or taken as 1.1; the upstream only ever sees 1.1."""
        marker = unique("minor")
        response = self.send_by("first", f"GET /{marker} HTTP/1.2\r\nHost: h\r\n\r\n"
                                .encode()).read_response()
        self.assertIn(response.status, (200, 400, 505))
        for way in ("first", "later"):
            with self.subTest(way=way):
                marker = unique("old")
                client = self.send_by(way, f"GET /{marker} HTTP/1.0\r\nHost: h\r\n\r\n".encode())
                self.assertEqual(client.read_response().status, 200)
                request = self.origin.seen("/" + marker)[0]
                self.assertEqual(request.line, f"GET /{marker} HTTP/1.1".encode())

    def test_http_1_0_without_host(self):
        marker = unique("nohost")
        client = self.send_by("first", f"GET /{marker} HTTP/1.0\r\n\r\n".encode())
        self.assertEqual(client.read_response().status, 200)
        self.assertEqual(len(self.origin.seen("/" + marker)[0].all("host")), 1)

    def test_absolute_form_without_path(self):
        client = self.send_by("first", b"GET http://h HTTP/1.1\r\nHost: h\r\n\r\n")
        self.assertEqual(client.read_response().status, 200)
        self.assertEqual(self.origin.requests[-1].line, b"GET / HTTP/1.1")

    def test_absolute_form_decides_the_host(self):
        marker = unique("absolute")
        client = self.send_by("first", f"GET http://h:81/{marker} HTTP/1.1\r\nHost: h:81\r\n\r\n"
                              .encode())
        self.assertEqual(client.read_response().status, 200)
        self.assertEqual(self.origin.seen("/" + marker)[0].all("host"), [b"h:81"])

    def test_options_asterisk(self):
        """Forwarded as it is, or not routed, since no path matches it."""
        client = self.send_by("first", b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n")
        response = client.read_response()
        self.assertIn(response.status, (200, 404))
        if response.status == 200:
            self.assertEqual(self.origin.requests[-1].line, b"OPTIONS * HTTP/1.1")

    def test_request_line_of_8000_octets(self):
        for way in self.WAYS:
            with self.subTest(way=way):
                marker = unique("long")
                target = f"/{marker}?" + "q" * (8000 - len(marker) - 15)
                for request in self.take(way, make_request("GET", target), marker):
                    self.assertEqual(request.target, target.encode())

    def test_empty_line_between_pipelined_requests(self):
        """Old clients send CRLF after a body; it is neither body nor an error."""
        for way in ("first", "later"):
            with self.subTest(way=way):
                one, two = unique("one"), unique("two")
                raw = make_request("POST", "/" + one, b"abc") + b"\r\n"
                client = self.send_by(way, raw + make_request("GET", "/" + two))
                self.assertEqual(client.read_response().body, f"origin /{one}".encode())
                self.assertEqual(client.read_response().body, f"origin /{two}".encode())
                self.assertEqual(self.origin.seen("/" + one)[0].body, b"abc")

    def test_cut_at_every_byte(self):
        """Two segments, with the cut at each position of two pipelined messages."""
        marker = unique("split")
        raw = (make_request("POST", "/" + marker, b"0123456789")
               + make_request("GET", "/" + marker))
        client = self.warm()
        for at in range(1, len(raw)):
            client.send(raw[:at])
            time.sleep(PAUSE)
            client.send(raw[at:])
            for _ in range(2):
                self.assertEqual(client.read_response().status, 200, f"cut at {at}")
        bodies = [request.body for request in self.origin.seen("/" + marker)]
        self.assertEqual(bodies, [b"0123456789", b""] * (len(raw) - 1))


if __name__ == "__main__":
    harness.main()
