"""Message bodies in both directions: framing, integrity, back-pressure, truncation."""
import hashlib
import threading

import harness
from harness import ProxyTest, unique
from origin import answer, raw_answer, reply
from together import together
from wire import Ended, make_chunked, make_request, pattern

SIZES = (0, 1, 100, 4096, 65535, 65536, 65537, 300000)
BIG = 8 << 20


def sha(data):
    return hashlib.sha256(data).hexdigest()


def digest_script(conn, request):
    """Answers with the size and checksum of the body, without keeping it."""
    state, size = hashlib.sha256(), 0

    def sink(piece):
        nonlocal size
        state.update(piece)
        size += len(piece)
    conn.read_body(request, sink)
    conn.send(reply(f"{size} {state.hexdigest()}".encode()))


def digest(data):
    return f"{len(data)} {sha(data)}".encode()


class RequestBodyTest(ProxyTest):
    def setUp(self):
        super().setUp()
        self.origin.on("/digest", digest_script)

    def test_content_length(self):
        for way in ("first", "later"):
            for size in SIZES:
                with self.subTest(way=way, size=size):
                    body = pattern(size, size)
                    client = self.send_by(way, make_request("POST", "/digest", body))
                    self.assertEqual(client.read_response().body, digest(body))
                    self.assertEqual(client.get("/after").status, 200)

    def test_chunked(self):
        for way in ("first", "later"):
            for size in SIZES[1:]:
                with self.subTest(way=way, size=size):
                    body = pattern(size, size)
                    step = max(1, size // 7)
                    pieces = [body[at:at + step] for at in range(0, size, step)]
                    raw = (make_request("POST", "/digest", fields=[("Transfer-Encoding", "chunked")])
                           + make_chunked(pieces))
                    client = self.send_by(way, raw)
                    self.assertEqual(client.read_response().body, digest(body))
                    self.assertEqual(client.get("/after").status, 200)

    def test_head_and_body_in_separate_segments(self):
        """Every cut around the border between head and body."""
        body = b"0123456789"
        raw = make_request("POST", "/digest", body)
        border = len(raw) - len(body)
        client = self.warm()
        for at in range(border - 5, len(raw)):
            client.send(raw[:at])
            client.send_cut(raw[at:], 3)
            self.assertEqual(client.read_response().body, digest(body), f"at {at - border}")

    def test_big_upload(self):
        body = pattern(BIG, 3)
        for way in ("first", "later"):
            with self.subTest(way=way):
                client = self.connect() if way == "first" else self.warm()
                self.assertEqual(client.request("POST", "/digest", body).body, digest(body))
                self.assertEqual(client.get("/after").status, 200)

    def test_uploads_in_a_row(self):
        """Bodies of changing size on one connection: framing state is reset each time."""
        client = self.warm()
        for number in range(40):
            body = pattern((number * 7919) % 70001, number)
            self.assertEqual(client.request("PUT", "/digest", body).body, digest(body))

    def truncated(self, way, raw, end):
        """Sends an incomplete request and ends; the upstream must not see it complete."""
        path = "/" + unique("cut")
        client = self.send_by(way, raw.replace(b"/@", path.encode()))
        request = self.origin.wait_request(path)
        if end == "fin":
            client.half_close()
            try:
                response = client.read_response()
                self.assertIn(response.status, (400, 408), response)
            except Ended:
                pass  # closing without an answer is as good
        else:
            client.reset()
        self.origin.wait(lambda: request.conn.done, "the upstream connection ends")
        self.assertFalse(request.complete, "a truncated body was completed upstream")
        self.assertEqual(len(self.origin.seen(path)), 1, "a truncated request was sent again")

    def test_truncated_upload(self):
        short = b"POST /@ HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n" + b"x" * 50
        none = b"POST /@ HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n"
        head = b"POST /@ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        cases = {"length": short, "length, no byte": none,
                 "inside a chunk": head + b"a\r\nabc", "between chunks": head + b"3\r\nabc\r\n",
                 "before the last line": head + b"3\r\nabc\r\n0\r\n",
                 "in a trailer": head + b"3\r\nabc\r\n0\r\nX: y\r\n"}
        for name, raw in cases.items():
            for way in ("first", "later"):
                for end in ("fin", "reset"):
                    with self.subTest(case=name, way=way, end=end):
                        self.truncated(way, raw, end)


class ResponseBodyTest(ProxyTest):
    def test_content_length(self):
        for size in SIZES:
            body = pattern(size, size)
            self.origin.on("/sized", answer(body))
            for way in ("first", "later"):
                with self.subTest(way=way, size=size):
                    client = self.send_by(way, make_request("GET", "/sized"))
                    response = client.read_response()
                    self.assertEqual((response.framing, sha(response.body)),
                                     ("length", sha(body)))
                    self.assertEqual(client.get("/after").status, 200)

    def test_chunked(self):
        body = pattern(200001, 5)
        for step in (1000, 4096, 65536, 200001):
            chunks = make_chunked([body[at:at + step] for at in range(0, len(body), step)])
            self.origin.on("/chunked", raw_answer(
                reply(fields=[("Transfer-Encoding", "chunked")], length=False) + chunks))
            for way in ("first", "later"):
                with self.subTest(way=way, step=step):
                    client = self.send_by(way, make_request("GET", "/chunked"))
                    response = client.read_response()
                    self.assertEqual((response.framing, sha(response.body)),
                                     ("chunked", sha(body)))
                    self.assertEqual(client.get("/after").status, 200)

    def test_odd_chunks(self):
        head = reply(fields=[("Transfer-Encoding", "chunked")], length=False)
        for number, tail in enumerate((b"3\r\nabc\r\n0\r\n\r\n", b"003;x=y\r\nabc\r\n00;z\r\n\r\n",
                                       b"1\r\na\r\n2;q=\"1;2\"\r\nbc\r\n0\r\nX-T: y\r\n\r\n")):
            for step in (0, 1):
                self.origin.on("/odd", raw_answer(head + tail, step))
                with self.subTest(number=number, step=step):
                    response = self.warm().get("/odd")
                    self.assertEqual((response.body, response.framing), (b"abc", "chunked"))
                    self.assertEqual(response.trailers, [], "trailers only with TE: trailers")

    def test_response_in_single_bytes(self):
        data = reply(b"0123456789", fields=[("X-A", "b")])
        self.origin.on("/bytes", raw_answer(data, 1))
        client = self.warm()
        for _ in range(3):
            response = client.get("/bytes")
            self.assertEqual(response.body, b"0123456789")
            self.assertEqual(response.all("x-a"), [b"b"])

    def test_response_cut_at_every_byte(self):
        data = reply(b"0123456789")

        def script(conn, request):
            at = int(request.target.split(b"?")[1])
            conn.send_pieces([data[:at], data[at:]])
        self.origin.on("/at", script)
        client = self.warm()
        for at in range(1, len(data)):
            self.assertEqual(client.get(f"/at?{at}").body, b"0123456789")

    def close_delimited(self, client):
        """One response whose end is the end of its connection. Userspace makes chunks of it and the
        client's connection goes on; the kernel path forwards the head as it came, so the end of the
        client's connection frames it too (RFC 9112 section 6.3)."""
        kernel = self.carried_by_kernel(direction="response")
        response = client.get("/close")
        kernel = self.carried_by_kernel(direction="response") - kernel
        self.assertEqual(response.framing, "close" if kernel else "chunked")
        if kernel:
            self.assertEqual((client.read_to_end(), client.ended), (b"", "fin"))
        else:
            self.assertFalse(response.closes())
            self.assertEqual(client.get("/after").status, 200)
        return response

    def test_close_delimited(self):
        body = pattern(100000, 7)
        for fields in ((), [("Connection", "close")]):
            def script(conn, request):
                conn.send(reply(body, fields=fields, length=False))
                conn.finish()
            self.origin.on("/close", script)
            framings = set()
            for turn in range(6):
                with self.subTest(fields=fields, turn=turn):
                    response = self.close_delimited(self.warm() if turn else self.connect())
                    self.assertEqual(sha(response.body), sha(body))
                    framings.add(response.framing)
            self.assertEqual(framings, {"chunked"} if self.kernel == "off" else {"chunked", "close"})

    def test_close_delimited_in_pieces(self):
        body = pattern(20000, 8)

        def script(conn, request):
            conn.send(reply(length=False))
            conn.send_cut(body, 777)
            conn.finish()
        self.origin.on("/close", script)
        for way in ("first", "later"):
            with self.subTest(way=way):
                response = self.close_delimited(self.connect() if way == "first" else self.warm())
                self.assertEqual(sha(response.body), sha(body))

    def test_close_delimited_broken_off(self):
        """A reset is no end: the client must not take what came for the whole."""
        def script(conn, request):
            conn.send(reply(b"some", length=False))
            go.wait(harness.DEADLINE)
            conn.reset()
        self.origin.on("/broken", script)
        for way in ("first", "later"):
            with self.subTest(way=way):
                go = threading.Event()
                client = self.send_by(way, make_request("GET", "/broken"))
                head = client.read_head()
                if head.declared_framing()[0] == "chunked":
                    self.assertEqual(client.read_exact(9), b"4\r\nsome\r\n")
                else:
                    self.assertEqual(client.read_exact(4), b"some")
                go.set()
                rest = client.read_to_end()
                self.assertEqual(rest, b"")
                if head.declared_framing()[0] != "chunked":
                    self.assertEqual(client.ended, "reset")

    def test_bodiless_responses(self):
        """HEAD, 204 and 304 have no body, whatever their Content-Length says."""
        cases = [("HEAD", "200 OK", "1000"), ("HEAD", "404 Not Found", "5"),
                 ("GET", "304 Not Modified", "1000"), ("GET", "304 Not Modified", None),
                 ("GET", "204 No Content", None), ("POST", "204 No Content", None)]
        for method, status, length in cases:
            fields = [("Content-Length", length)] if length else []
            self.origin.on("/none", raw_answer(reply(status=status, fields=fields, length=False)))
            for way in ("first", "later"):
                with self.subTest(method=method, status=status, way=way):
                    body = b"abc" if method == "POST" else None
                    client = self.send_by(way, make_request(method, "/none", body))
                    response = client.read_response(method)
                    self.assertEqual(response.status, int(status[:3]))
                    if length and response.status != 204:
                        self.assertEqual(response.get("content-length"), length.encode())
                    self.assertEqual(client.get("/after").body, b"origin /after")

    def test_head_with_chunked(self):
        self.origin.on("/headc", raw_answer(
            reply(fields=[("Transfer-Encoding", "chunked")], length=False)))
        for way in ("first", "later"):
            with self.subTest(way=way):
                client = self.send_by(way, make_request("HEAD", "/headc"))
                self.assertEqual(client.read_response("HEAD").status, 200)
                self.assertEqual(client.get("/after").body, b"origin /after")

    def test_big_download(self):
        body = pattern(BIG, 9)
        self.origin.on("/big", answer(body))
        for way in ("first", "later"):
            with self.subTest(way=way):
                client = self.connect() if way == "first" else self.warm()
                self.assertEqual(sha(client.get("/big").body), sha(body))
                self.assertEqual(client.get("/after").status, 200)

    def test_downloads_in_a_row(self):
        bodies = [pattern((number * 7919) % 70001, number) for number in range(40)]

        def script(conn, request):
            conn.send(reply(bodies[int(request.target.split(b"?")[1])]))
        self.origin.on("/row", script)
        client = self.warm()
        for number, body in enumerate(bodies):
            self.assertEqual(client.get(f"/row?{number}").body, body)


class DuplexTest(ProxyTest):
    def test_upload_and_download_at_once(self):
        """The origin answers each piece as it comes: neither direction waits for the other."""
        body = pattern(2 << 20, 11)

        def echo(conn, request):
            conn.send(reply(length=False, fields=[("Content-Length", str(len(body)))]))
            conn.read_body(request, conn.send)
        self.origin.on("/echo", echo)
        for way in ("first", "later"):
            with self.subTest(way=way):
                client = self.connect() if way == "first" else self.warm()
                sender = threading.Thread(
                    target=self.quietly, args=(client, make_request("POST", "/echo", body)))
                sender.start()
                response = client.read_response()
                sender.join(harness.DEADLINE)
                self.assertEqual(sha(response.body), sha(body))

    @staticmethod
    def quietly(client, data):
        try:
            client.send(data)
        except OSError:
            pass  # the reading side reports what went wrong

    def test_many_at_once(self):
        """Uploads and downloads on separate connections do not disturb each other."""
        body = pattern(1 << 20, 13)
        self.origin.on("/digest", digest_script)
        self.origin.on("/big", answer(body))

        def work(number):
            with harness.Client(self.skein.address) as client:
                self.warm(client)
                for _ in range(3):
                    if number % 2:
                        good = client.get("/big").body == body
                    else:
                        good = client.request("POST", "/digest", body).body == digest(body)
                    self.assertTrue(good, "wrong bytes")
        self.assertEqual(together(work, 8), [])


if __name__ == "__main__":
    harness.main()
