"""The ways in which applications use their sockets, one by one: socket_app.c as client and as server,
what it does at the end of its connections, and what others see of an end that is not clean."""
import functools
import os
import signal
import socket
import subprocess
import threading

import harness
from apps import BUILD, App, AppTest
from harness import Client, Ended, wait_for
from origin import reply
from wire import make_request, pattern

SOCKET_APP = os.environ.get("SKEIN_SOCKET_APP", os.path.join(BUILD, "socket_app"))
WRITES = ("whole", "vectors", "bytes", "split", "sendfile", "splice", "zerocopy", "poll", "uring")
READS = ("plain", "poll", "fionread", "peek", "waitall", "level", "edge", "edge_fionread", "lowat",
         "uring", "splice", "waitall_strict")
EXCEPTED_READS = ("splice", "waitall_strict")  # see AppTest
HUNG = harness.DEADLINE * 3  # socket_app says by itself where it hangs, and earlier


def ring_refusal():
    """Why there is no io_uring here, or None."""
    result = subprocess.run([SOCKET_APP, "ring"], capture_output=True, text=True, timeout=harness.DEADLINE)
    return result.stderr.strip() if result.returncode else None


@functools.cache
def sum_of_letters(count):
    """FNV-1a, as socket_app has it."""
    total = 2166136261
    for _ in range(count):
        total = (total ^ ord("r")) * 16777619 & 0xffffffff
    return total


class SocketsTest(AppTest):
    """A server for each way to write and to read, each in a cluster of its own."""

    paths = ()
    servers = {"whole-plain": ("whole", "plain")}
    excepted = ()

    @classmethod
    def setUpClass(cls):
        cls.running = {}
        if not cls.skip_reason:
            cls.ring_refusal = ring_refusal()
            for name, ways in cls.servers.items():
                if "uring" in ways and cls.ring_refusal:
                    continue
                app = App()
                cls.addClassCleanup(app.stop)
                cls.running[name] = app.start(SOCKET_APP, "server", str(app.address[1]), *ways)
        super().setUpClass()

    @classmethod
    def clusters(cls):
        return {"python": [cls.origin.address],
                **{name: [app.address] for name, app in cls.running.items()}}

    @classmethod
    def routes(cls):
        return [*({"match": {"path_prefix": f"/{name}/"}, "cluster": name} for name in cls.running),
                {"match": {"path_prefix": "/"}, "cluster": "python"}]

    def command(self, write="whole", read="plain", server="whole-plain", end="none"):
        address = self.excepted_address if read in EXCEPTED_READS else self.skein.address
        return [SOCKET_APP, "client", str(address[1]), write, read, server, end]

    def exchange(self, *args, **kwargs):
        """A client's run, whose bytes it has compared."""
        try:
            result = subprocess.run(self.command(*args, **kwargs), capture_output=True, text=True,
                                    timeout=HUNG)
        except subprocess.TimeoutExpired:
            self.fail(f"{args} {kwargs}: hangs")
        self.assertEqual((result.returncode, result.stdout), (0, "done\n"),
                         f"{args} {kwargs}: {result.stderr}")

    def assert_right_everywhere(self):
        """No server has complained."""
        for name, app in self.running.items():
            with open(app.log) as log:
                self.assertEqual(log.read(), "", name)


class WaysTest(SocketsTest):
    paths = harness.ProxyTest.paths
    servers = {**{f"w-{way}": (way, "plain") for way in WRITES},
               **{f"r-{way}": ("whole", way) for way in READS}, **SocketsTest.servers}
    excepted = tuple(f"r-{way}" for way in EXCEPTED_READS)

    def each(self, ways, run):
        with self.carried_share(0.3):
            for way in ways:
                with self.subTest(way=way):
                    if way == "uring" and self.ring_refusal:
                        self.skipTest(self.ring_refusal)
                    run(way)
        self.assert_right_everywhere()

    def test_client_writes(self):
        self.each(WRITES, lambda way: self.exchange(write=way))

    def test_client_reads(self):
        self.each(READS, lambda way: self.exchange(read=way))

    def test_server_writes(self):
        self.each(WRITES, lambda way: self.exchange(server=f"w-{way}"))

    def test_server_reads(self):
        self.each(READS, lambda way: self.exchange(server=f"r-{way}"))

    def test_excepted(self):
        """What is excepted at both ends is never bypassed."""
        before = self.skein.messages(listener="excepted", path="bypass")
        kernel = self.skein.messages(listener="excepted", path="kernel")
        for read in EXCEPTED_READS:
            self.exchange(read=read, server=f"r-{read}")
        self.assertEqual(self.skein.messages(listener="excepted", path="bypass"), before)
        if self.kernel == "on":
            self.assertGreater(self.skein.messages(listener="excepted", path="kernel"), kernel)

    def test_both(self):
        """The same way at both ends."""
        for write, read in (("bytes", "edge_fionread"), ("splice", "splice"), ("sendfile", "edge"),
                            ("vectors", "fionread"), ("zerocopy", "lowat"), ("poll", "level")):
            with self.subTest(write=write, read=read):
                self.exchange(write, read, f"w-{write}")
                self.exchange(write, read, f"r-{read}")
        self.assert_right_everywhere()

    def test_batches(self):
        """Many requests in one send, and what reads them."""
        for read in ("plain", "edge_fionread", "fionread", "splice", "waitall"):
            with self.subTest(read=read):
                self.exchange(server=f"r-{read}", end="batch")
                self.exchange(read=read, end="batch")
        for write in ("bytes", "vectors", "splice"):
            with self.subTest(write=write):
                self.exchange(write=write, end="batch")
                self.exchange(server=f"w-{write}", end="batch")
        self.assert_right_everywhere()

    def test_half_close(self):
        """Behind the last request; the response comes, and the end behind it."""
        for read in READS:
            with self.subTest(read=read):
                if read == "uring" and self.ring_refusal:
                    self.skipTest(self.ring_refusal)
                self.exchange(read=read, end="half")
                self.exchange(server=f"r-{read}", end="half")
        self.assert_right_everywhere()

    def test_beside_each_other(self):
        """Clients of different ways on servers of different ways, at once."""
        combinations = (("whole", "plain", "w-splice"), ("bytes", "level", "r-edge"),
                        ("sendfile", "edge", "r-splice"), ("split", "poll", "w-bytes"),
                        ("vectors", "peek", "r-fionread"), ("poll", "waitall", "w-sendfile"))
        clients = [subprocess.Popen(self.command(*ways), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                    text=True) for ways in combinations]
        for client in clients:
            out, err = client.communicate(timeout=HUNG)
            self.assertEqual((client.returncode, out), (0, "done\n"), err)
        self.assert_right_everywhere()


class EndsTest(SocketsTest):
    """Ends in the middle of a message, while others go on."""

    paths = harness.ProxyTest.paths

    def setUp(self):
        super().setUp()
        self.origin.on("/warm", lambda conn, request: conn.send(reply(b"warm")))
        self.stop, self.wrong, self.turns = threading.Event(), [], 0
        self.bystander = threading.Thread(target=self.go_on)
        self.bystander.start()

    def go_on(self):
        """Exchanges on one connection until the test ends."""
        try:
            with Client(self.skein.address) as client:
                while not self.stop.is_set():
                    self.upload(client, 3000)
                    self.download(client, 20000)
                    self.turns += 1
        except Exception as error:  # noqa: the test's failure, see below
            self.wrong.append(repr(error))

    def tearDown(self):
        self.stop.set()
        self.bystander.join(harness.DEADLINE * 2)
        super().tearDown()
        self.assertEqual(self.wrong, [], "a connection that has nothing to do with it")
        self.assertGreater(self.turns, 0)

    def assert_all_gone(self):
        """Nothing is left of what has ended: only the bystander, and new clients are served."""
        self.exchange()
        self.wait_metric("skein_downstream_connections", 1, listener="web")

    def end_client(self, end, status):
        """The server's side of a client that ends: the origin sees an end, never a whole request."""
        result = subprocess.run(self.command(server="python", end=end), capture_output=True, timeout=HUNG)
        self.assertEqual(result.returncode, status, result.stderr)

    @staticmethod
    def serve_counted(conn, request):
        """What socket_app's client expects of a server, with bodies of one letter."""
        conn.read_body(request)
        want = int(request.get("x-want"))
        conn.send(reply(b"r" * want, fields=[("X-Sum", f"{sum_of_letters(want):08x}"),
                                             ("X-Got", request.get("x-sum").decode())]))

    def test_client_ends(self):
        for end, status in (("reset-request", 0), ("kill-request", -signal.SIGKILL),
                            ("reset-response", 0), ("kill-response", -signal.SIGKILL)):
            for turn in range(5):
                with self.subTest(end=end, turn=turn):
                    for number in range(5):
                        self.origin.on(f"/python/{number}", self.serve_counted)
                    seen = len(self.origin.seen("/python/4"))
                    self.end_client(end, status)
                    if end.endswith("request"):
                        broken = self.origin.seen("/python/4")[seen:]
                        wait_for(lambda: all(request.conn.done for request in broken),
                                 "the server sees the end")
                        self.assertFalse([request for request in broken if request.complete])
        self.assert_all_gone()

    def test_send_after_shutdown(self):
        """It is refused, and the rest of a request does not come to the server that way."""
        body = pattern(2000)
        request = make_request("POST", "/python/late", body)
        self.origin.on("/python/late", self.serve_counted)
        for rest in (1000, len(request)):
            client = self.connect()
            for _ in range(harness.WARM_UPS + 1):
                self.upload(client, 300)
            client.send(request[:len(request) - rest])
            client.sock.shutdown(socket.SHUT_WR)
            with self.assertRaises(BrokenPipeError):
                client.sock.send(request[len(request) - rest:])
            self.assertEqual(client.read_to_end(), b"")
        self.fence()
        self.assertFalse([seen for seen in self.origin.seen("/python/late") if seen.complete])

    def end_server(self, end):
        """A client whose server ends: it never sees a whole response of what was not one."""
        client = self.connect()
        for number in range(harness.WARM_UPS):
            client.send(make_request("POST", "/whole-plain/x", b"", fields=[
                ("X-Want", "10"), ("X-Sum", "811c9dc5"), ("X-End", "none")]))
            self.assertEqual(client.read_response().status, 200)
        body = pattern(200000)
        client.send(make_request("POST", "/whole-plain/x", fields=[
            ("X-Want", "200000"), ("X-Sum", "0"), ("X-End", end), ("Content-Length", str(len(body)))]))
        try:
            client.send(body)
            response = client.read_response()
        except (Ended, OSError) as error:
            self.assertNotIsInstance(error, TimeoutError)
            return
        self.assertIn(response.status, (502, 503), response)

    def test_server_ends(self):
        for end in ("kill-request", "kill", "reset", "close"):
            for turn in range(5):
                with self.subTest(end=end, turn=turn):
                    self.end_server(end)
        for client in self.clients:
            client.close()
        self.assert_all_gone()


if __name__ == "__main__":
    harness.main()
