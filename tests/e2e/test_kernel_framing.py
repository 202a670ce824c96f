"""Only with `kernel: on`: which framings are carried, and what goes on in userspace where one is not."""
import hashlib
import os
import shutil
import subprocess
import threading
import time

import harness
from harness import Client, unique
from kernel_harness import KernelTest
from origin import answer, raw_answer, reply
from process import temp_dir
from together import together
from wire import make_chunked, make_request, pattern

CHUNKED = [("Transfer-Encoding", "chunked")]
BODY = pattern(200001, 3)


def digest(data):
    return hashlib.sha256(data).hexdigest().encode()


def digest_script(conn, request):
    conn.send(reply(digest(conn.read_body(request))))


class CarriedTest(KernelTest):
    def setUp(self):
        super().setUp()
        self.origin.on("/digest", digest_script)

    def test_requests(self):
        chunked = make_request("POST", "/digest", fields=CHUNKED)
        cases = {"chunked": chunked + make_chunked([b"abc"]),
                 "no chunk": chunked + make_chunked([]),
                 "many chunks": chunked + make_chunked([BODY[at:at + 999] for at in range(0, 200001, 999)]),
                 "a large chunk": chunked + make_chunked([BODY]),
                 "expect": make_request("POST", "/digest", b"a", [("Expect", "100-continue")]),
                 "keep-alive": make_request("GET", "/x", fields=[("Connection", "keep-alive, Keep-Alive"),
                                                                 ("Keep-Alive", "timeout=5")])}
        for name, raw in cases.items():
            with self.subTest(case=name):
                self.assertEqual(self.carried(raw), (2, 0))
        self.assertEqual(self.fallbacks().get("chunk", 0), 0)

    def test_responses(self):
        hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        old = b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\nContent-Length: 2\r\n\r\nok"
        cases = {"chunked": reply(fields=CHUNKED, length=False) + make_chunked([BODY[:7], BODY[7:]]),
                 "chunked to HEAD": reply(fields=CHUNKED, length=False),
                 "interim": hints + hints + reply(b"ok"), "1.0": old,
                 "keep-alive": reply(b"ok", fields=[("Keep-Alive", "timeout=5"), ("Connection", "keep-alive")])}
        for name, raw in cases.items():
            with self.subTest(case=name):
                self.origin.on("/r", raw_answer(raw))
                method = "HEAD" if name.endswith("HEAD") else "GET"
                self.assertEqual(self.carried(make_request(method, "/r"), method), (2, 0))

    def test_content(self):
        """What the client gets, and what the server got, is what was sent; hop-by-hop fields are not."""
        body = make_chunked([BODY[at:at + 5000] for at in range(0, 200001, 5000)])
        self.origin.on("/r", raw_answer(
            reply(fields=[("Keep-Alive", "timeout=77"), *CHUNKED], length=False) + body))
        client = self.promoted()
        path = "/" + unique("content")
        self.origin.on(path, digest_script)

        def send():
            response = client.get("/r")
            self.assertEqual((response.body, response.framing), (BODY, "chunked"))
            self.assertNotIn(b"timeout=77", response.raw_head)
            client.send(make_request("POST", path, fields=[("Keep-Alive", "timeout=78"), *CHUNKED]) + body)
            self.assertEqual(client.read_response().body, digest(BODY))
        self.assertEqual(self.kernel_messages(send), (4, 0))
        self.assertEqual(self.origin.seen(path)[0].all("keep-alive"), [])
        self.assert_never_upstream("timeout=78")

    def test_version_of_an_old_server(self):
        self.origin.on("/old", raw_answer(
            b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 8\r\n\r\nHTTP/1.0"))
        client = self.promoted()
        for _ in range(10):
            response = client.get("/old")
            self.assertEqual((response.minor, response.body), (1, b"HTTP/1.0"))

    def test_the_client_waits_for_100(self):
        def script(conn, request):
            conn.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            digest_script(conn, request)
        self.origin.on("/wait", script)
        client = self.promoted()

        def send():
            for size in (1, 5000, 200001):
                client.send(make_request("PUT", "/wait", BODY[:size], [("Expect", "100-continue")])[:-size])
                self.assertEqual(client.read_head().status, 100)
                client.send(BODY[:size])
                self.assertEqual(client.read_response().body, digest(BODY[:size]))
        self.assertEqual(self.kernel_messages(send), (6, 0))

    def test_head_in_pieces(self):
        """Byte by byte it is too many pieces, and userspace's; in a few it is carried."""
        client = self.promoted()
        raw = make_request("POST", "/digest", b"body")

        def few():
            client.send_cut(raw, len(raw) // 4 + 1)
            self.assertEqual(client.read_response().body, digest(b"body"))
        self.assertEqual(self.kernel_messages(few), (2, 0))
        for _ in range(3):
            client = self.promoted()
            client.send_cut(raw, 1)
            self.assertEqual(client.read_response().body, digest(b"body"))


class HandedOverTest(KernelTest):
    """A body that begins on the kernel path and does not stay there arrives as one."""

    ODD = {"extension first": [b"3;x=y\r\nabc\r\n", b"2\r\nde\r\n0\r\n\r\n"],
           "extension later": [b"3\r\nabc\r\n", b"2;x=y\r\nde\r\n0\r\n\r\n"],
           "trailer": [b"5\r\nabcde\r\n", b"0\r\nX-T: y\r\n\r\n"],
           "trailer in one": [b"5\r\nabcde\r\n0\r\nX-T: y\r\n\r\n"],
           "many zeros": [b"3\r\nabc\r\n", b"0000000000000002\r\nde\r\n0\r\n\r\n"],
           "inside a chunk": [b"5\r\na", b"bc", b"de\r\n0;z\r\n\r\n"]}

    def test_requests(self):
        head = make_request("POST", "/digest", fields=CHUNKED)
        self.origin.on("/digest", digest_script)
        for name, parts in self.ODD.items():
            for cut in (0, 1, 2):
                with self.subTest(case=name, cut=cut):
                    client = self.promoted()
                    pieces = [head + parts[0], *parts[1:]] if cut < 2 else [head, *parts]
                    for piece in pieces:
                        if cut:
                            client.send_cut(piece, 7)
                        else:
                            client.send(piece)
                    self.assertEqual(client.read_response().body, digest(b"abcde"))
                    self.assertEqual(client.get("/after").body, b"origin /after")
        self.assertGreater(self.fallbacks()["chunk"], 0)

    def test_responses(self):
        head = reply(fields=CHUNKED, length=False)
        for name, parts in self.ODD.items():
            for step in (0, 1, 7):
                def script(conn, request):
                    for part in (head + parts[0], *parts[1:]):
                        conn.send_pieces([part[at:at + step] for at in range(0, len(part), step)]
                                         if step else [part])
                self.origin.on("/odd", script)
                with self.subTest(case=name, step=step):
                    client = self.promoted()
                    response = client.get("/odd")
                    self.assertEqual((response.body, response.framing), (b"abcde", "chunked"))
                    self.assertEqual((response.trailers, response.chunk_extensions), ([], []))
                    self.assertEqual(client.get("/after").body, b"origin /after")
        self.assertGreater(self.fallbacks()["chunk"], 0)

    def test_malformed_request(self):
        for tail in (b"3\r\nabcd\r\n", b"3\r\nabc\r\nx\r\n", b"3\r\nabc\r\n-1\r\n"):
            with self.subTest(tail=tail):
                path = "/" + unique("bad")
                client = self.promoted()
                client.send(make_request("POST", path, fields=CHUNKED) + b"2\r\nok\r\n" + tail)
                self.assert_refused(client, {400})
                for request in self.origin.seen(path):
                    self.origin.wait(lambda: request.conn.done, "the upstream ends")
                    self.assertFalse(request.complete)

    def test_malformed_response(self):
        for tail in (b"3\r\nabcd\r\n", b"x\r\n", b"3\r\nabc\r\n\r\n0\r\n\r\n"):
            with self.subTest(tail=tail):
                self.origin.on("/bad", raw_answer(
                    reply(fields=CHUNKED, length=False) + b"2\r\nok\r\n" + tail))
                client = self.promoted()
                client.send(make_request("GET", "/bad"))
                self.assert_aborted(client)

    def test_slow_readers(self):
        """Back-pressure in the middle of chunks, in both directions, is userspace's."""
        body = pattern(12 << 20, 4)
        raw = make_chunked([body[at:at + 100003] for at in range(0, len(body), 100003)])

        def slow(conn, request):
            go.wait(harness.DEADLINE)
            digest_script(conn, request)
        self.origin.on("/slow", slow)
        self.origin.on("/big", raw_answer(reply(fields=CHUNKED, length=False) + raw))
        go = threading.Event()
        client = self.warm(self.connect(deadline=harness.DEADLINE * 2))
        sender = threading.Thread(target=client.send,
                                  args=(make_request("POST", "/slow", fields=CHUNKED) + raw,))
        sender.start()
        harness.wait_for(lambda: self.fallbacks().get("upstream_slow"), "the upstream is found to be slow")
        go.set()
        sender.join()
        self.assertEqual(client.read_response().body, digest(body))

        client = self.warm(self.connect(rcvbuf=1 << 16, deadline=harness.DEADLINE * 2))
        client.send(make_request("GET", "/big"))
        harness.wait_for(lambda: self.fallbacks().get("downstream_slow"), "the client is found to be slow")
        self.assertEqual(client.read_response().body, body)
        self.assertEqual(client.get("/after").body, b"origin /after")


class TakenOverTest(KernelTest):
    """A message that stalls is taken over wherever it is, and goes on from there."""

    STALL = 1.5  # two looks at a connection, and less than what userspace waits
    extra = {"timeouts": {"body": "2500ms", "response": "2500ms", "header": "2500ms"}}
    BODY = make_chunked([b"hello", b", the world", b"\r\n0\r\n\r\n", b"x" * 20])
    DATA = b"hello, the world\r\n0\r\n\r\n" + b"x" * 20

    def stalled(self, cuts, begin, go_on):
        """Many at once, each stalls at its own byte, and is right in the end."""
        clients = {cut: self.promoted() for cut in cuts}
        returned = self.skein.metric("skein_returned_total")
        for cut, client in clients.items():
            begin(client, cut)
        time.sleep(self.STALL)  # the stimulus
        for cut, client in clients.items():
            go_on(client, cut)
        for cut, client in clients.items():
            with self.subTest(cut=cut):
                self.check(client)
                for _ in range(3):
                    self.assertEqual(client.get("/after").body, b"origin /after")
        # A connection that was taken over is given back soon.
        returned = self.skein.metric("skein_returned_total") - returned
        self.assertGreater(returned, len(clients) * 0.8, "hardly any was taken over")

    def check(self, client):
        self.assertEqual(client.read_response().body, digest(self.DATA))

    def test_requests(self):
        self.origin.on("/digest", digest_script)
        head = make_request("POST", "/digest", fields=CHUNKED)
        self.stalled(range(0, len(self.BODY)), lambda client, cut: client.send(head + self.BODY[:cut]),
                     lambda client, cut: client.send(self.BODY[cut:]))

    def test_heads(self):
        self.origin.on("/digest", digest_script)
        raw = make_request("POST", "/digest", self.DATA)
        self.stalled(range(1, len(raw), 3), lambda client, cut: client.send(raw[:cut]),
                     lambda client, cut: client.send(raw[cut:]))

    def test_responses(self):
        raw = reply(fields=[("X-Digest", digest(self.DATA).decode()), *CHUNKED], length=False)
        cuts = range(len(raw) - 4, len(raw) + len(self.BODY), 2)
        go = threading.Event()

        def script(conn, request):
            cut = int(request.target.split(b"?")[1])
            conn.send((raw + self.BODY)[:cut])
            go.wait(harness.DEADLINE)
            conn.send((raw + self.BODY)[cut:])
        self.origin.on("/stall", script)

        def go_on(client, cut):
            go.set()
        self.check = lambda client: self.assertEqual(client.read_response().body, self.DATA)
        self.stalled(cuts, lambda client, cut: client.send(make_request("GET", f"/stall?{cut}")), go_on)


class OldServerTest(KernelTest):
    """A server that speaks nothing but HTTP/1.0, and keeps its connections."""

    def setUp(self):
        super().setUp()

        def script(conn, request):
            conn.read_body(request)
            body = b"" if request.method == b"HEAD" else b"origin " + request.target
            conn.send(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nKeep-Alive: timeout=60, max=100\r\n"
                      b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self.origin.default = script

    def test_carried(self):
        self.assertEqual(self.carried(make_request("POST", "/x", b"body")), (2, 0))
        self.assertLess(len(self.origin.connections), 5, "connections are kept")

    def test_not_kept(self):
        """One that does not say that it keeps its connection ends it, and is not asked again on it."""
        for number in range(3):
            def script(conn, request):
                conn.send(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")
                conn.finish()
            self.origin.on("/gone", script)
            with self.subTest(number=number):
                client = self.promoted()
                response = client.get("/gone")
                self.assertEqual((response.body, response.minor, response.closes()), (b"ok", 1, False))
                self.assertEqual(client.get("/after").body, b"origin /after")


class LimitTest(KernelTest):
    extra = {"limits": {"body_bytes": 10000}}

    def test_chunks_beyond_the_limit(self):
        self.origin.on("/digest", digest_script)
        raw = make_request("POST", "/digest", fields=CHUNKED)
        fits = [BODY[at:at + 1000] for at in range(0, 10000, 1000)]
        self.assertEqual(self.carried(raw + make_chunked(fits)), (2, 0))
        for cut in (0, 700):
            with self.subTest(cut=cut):
                client = self.promoted()
                if cut:
                    client.send_cut(raw + make_chunked(fits + [b"x"]), cut)
                else:
                    client.send(raw + make_chunked(fits + [b"x"]))
                self.assertEqual(client.read_response().status, 413)


class CurlTest(KernelTest):
    extra = {"limits": {"buffer": "64MiB"}}  # room for a body, should the server be the slower one

    def test_put_with_expect(self):
        """curl keeps a body back until 100 comes; several on one connection."""
        if not shutil.which("curl"):
            self.skipTest("curl is not installed")

        def script(conn, request):
            if request.get("expect"):
                conn.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            digest_script(conn, request)
        self.origin.on("/put", script)
        directory = temp_dir()
        path = os.path.join(directory, "body")
        with open(path, "wb") as file:
            file.write(pattern(3 << 20, 5))
        url = f"http://{self.skein.address[0]}:{self.skein.address[1]}/put"
        arguments = []
        for number in range(8):
            chunked = ["-H", "Transfer-Encoding: chunked"] if number % 2 else []
            arguments += ["--next"] * (number > 0)
            arguments += ["-sS", "--max-time", "20", "--expect100-timeout", "20", "-H", "Expect: 100-continue",
                          *chunked, "-T", path, url]

        def put():
            result = subprocess.run(["curl", *arguments], capture_output=True, timeout=60)
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertEqual(result.stdout, digest(pattern(3 << 20, 5)) * 8)
        try:
            self.assertGreaterEqual(self.kernel_messages(put)[0], 8)
        finally:
            shutil.rmtree(directory)


class UntilCloseTest(KernelTest):
    def test_many(self):
        """Each ends its two connections; nobody gets a byte of another's, and no slot stays behind."""
        def script(conn, request):
            conn.send(reply(b"end " + request.target + BODY, fields=[("Connection", "close")], length=False))
            conn.finish()
        self.origin.default = script
        self.origin.on("/warm", answer(b"warm"))
        self.origin.on("/x", answer(b"x"))

        def work(number):
            for turn in range(8):
                with Client(self.skein.address, deadline=harness.DEADLINE * 2) as client:
                    self.warm(client)
                    response = client.get(f"/{number}-{turn}")
                    self.assertEqual(response.body, f"end /{number}-{turn}".encode() + BODY)
        before = self.carried_by_kernel(direction="response")
        self.assertEqual(together(work, 8), [])
        self.assertGreater(self.carried_by_kernel(direction="response"), before)
        self.wait_metric("skein_downstream_connections", 0, listener="web")


if __name__ == "__main__":
    harness.main()
