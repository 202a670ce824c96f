"""Only with `kernel: on`: who is carried, identity of responses, deaths, slots."""
import hashlib
import random
import threading

import harness
from harness import Client, Ended, unique, wait_for
from kernel_harness import KernelTest
from origin import answer, raw_answer, reply
from together import together
from wire import make_request, pattern


class WhatIsCarriedTest(KernelTest):
    def test_carried(self):
        self.origin.on("/204", answer(status="204 No Content", length=False))
        self.origin.on("/304", answer(status="304 Not Modified", length=False))
        self.origin.on("/404", answer(b"no", status="404 Not Found"))
        cases = {"GET": make_request("GET", "/x"), "query": make_request("GET", "/x?y=z"),
                 "POST": make_request("POST", "/x", b"body"),
                 "POST of 64 KiB": make_request("POST", "/x", pattern(65536)),
                 "length 0": make_request("POST", "/x", b""), "HEAD": make_request("HEAD", "/x"),
                 "204": make_request("GET", "/204"), "304": make_request("GET", "/304"),
                 "404": make_request("GET", "/404"),
                 "many fields": make_request("GET", "/x", fields=[(f"X-{n}", "y") for n in range(30)]),
                 "keep-alive": make_request("GET", "/x", fields=[("Connection", "keep-alive")])}
        for name, raw in cases.items():
            with self.subTest(case=name):
                self.assertEqual(self.carried(raw, raw.split(b" ")[0].decode()), (2, 0))

    def test_not_carried(self):
        """These need userspace, and the connection comes back to the kernel afterwards."""
        cases = {"direct answer": make_request("GET", "/direct"),
                 "hop-by-hop": make_request("GET", "/x", fields=[("Connection", "X-Foo")]),
                 "absolute-form": make_request("GET", "http://h/x"),
                 "two Keep-Alive": make_request("GET", "/x", fields=[("Keep-Alive", "1")] * 2)}
        for name, raw in cases.items():
            with self.subTest(case=name):
                self.assertEqual(self.carried(raw)[0], 0)
                client = self.promoted()
                client.send(raw)
                client.read_response()
                kernel, _ = self.kernel_messages(lambda: [client.get("/x") for _ in range(10)])
                self.assertGreaterEqual(kernel, 10, "the connection did not come back")

    def test_responses_that_are_not_carried(self):
        """The request went by the kernel, its response does not; nothing is lost."""
        chunked = reply(fields=[("Transfer-Encoding", "chunked")], length=False)
        self.origin.on("/c", raw_answer(chunked + b"5;x=y\r\nsome \r\n6\r\nchunks\r\n0\r\n\r\n"))
        self.origin.on("/hop", answer(b"ok", fields=[("Connection", "X-Foo"), ("X-Foo", "1")]))
        self.origin.on("/close", answer(b"ok", fields=[("Connection", "close")]))
        client = self.warm()
        for _ in range(5):
            self.assertEqual(client.get("/c").body, b"some chunks")
            self.assertEqual(client.get("/hop").all("x-foo"), [])
            self.assertFalse(client.get("/close").closes())
            self.assertEqual(client.get("/x").body, b"origin /x")

    def test_the_third_request_is_carried(self):
        """Now and then a request overtakes its connection's promotion: most, not all."""
        thirds = 0
        for _ in range(50):
            client = self.connect()
            self.assertEqual(self.kernel_messages(lambda: client.get("/x"))[0], 0)
            client.get("/x")
            thirds += self.kernel_messages(lambda: client.get("/x")) == (2, 0)
        self.assertGreaterEqual(thirds, 40)


class PromoteAfterTest(KernelTest):
    extra = {"datapath": {"promote_after": 5}}

    def test_later(self):
        client = self.connect()
        early = self.kernel_messages(lambda: [client.get("/x") for _ in range(5)])
        self.assertEqual(early, (0, 10))
        client.get("/x")
        late = self.kernel_messages(lambda: [client.get("/x") for _ in range(5)])
        self.assertGreaterEqual(late[0], 8)


class ManyClientsTest(KernelTest):
    """As many leases at a time as there are clients: each one finds a connection of its own, and keeps it."""
    paths = ("on", "bypass")
    CLIENTS = 100  # many times more than a search of the pool looks at, fewer than limits.idle_upstreams
    NEWCOMERS = 5
    ROUNDS = 60

    def setUp(self):
        super().setUp()
        self.all_asked = None
        self.origin.on("/together", self.answer_all)

    def answer_all(self, conn, _):
        self.all_asked.wait(harness.DEADLINE)
        conn.send(reply(b"all"))

    def round(self, clients):
        """Nobody gets a response before everybody has asked."""
        self.all_asked = threading.Barrier(len(clients))
        for client in clients:
            client.send(make_request("GET", "/together"))
        for client in clients:
            self.assertEqual(client.read_response().body, b"all")

    def settle(self, clients):
        in_a_row = 0
        for _ in range(self.ROUNDS):
            carried = self.kernel_messages(lambda: self.round(clients))
            in_a_row = in_a_row + 1 if carried == (2 * len(clients), 0) else 0
            if in_a_row == 5:
                return
        self.fail(f"{len(clients)} clients: the last round: {carried}, {self.fallbacks()}")

    def test_all_carried(self):
        clients = [self.connect() for _ in range(self.CLIENTS)]
        self.settle(clients)
        for _ in range(self.NEWCOMERS):
            clients.append(self.connect())
            self.settle(clients)


def identity_script(conn, request):
    """Answers with who asked and what was sent, padded to a size that varies."""
    body = conn.read_body(request)
    size = int(request.get("x-size"))
    text = f"{request.target.decode()} {hashlib.sha256(body).hexdigest()} ".encode()
    conn.send(reply(text + pattern(size, size)))


class IdentityTest(KernelTest):
    extra = {"workers": 2}

    def setUp(self):
        super().setUp()
        self.origin.default = identity_script

    def warm(self, client=None, target="/warm"):
        client = client or self.connect()
        for _ in range(harness.WARM_UPS):
            self.ask(client, target, 10, None)
        return client

    def ask(self, client, target, size, body):
        response = client.request("POST" if body is not None else "GET", target, body,
                                  fields=[("X-Size", str(size))])
        expected = f"{target} {hashlib.sha256(body or b'').hexdigest()} ".encode()
        if response.status != 200 or response.body != expected + pattern(size, size):
            raise AssertionError(f"{target} was answered with {response!r}")

    def work(self, number, rounds):
        rng = random.Random(number)
        with Client(self.skein.address, deadline=harness.DEADLINE * 3) as client:
            for turn in range(rounds):
                size = rng.choice((0, 1, 10, 1000, 3000, 20000))
                body = pattern(rng.choice((0, 5, 2000, 40000)), turn) if turn % 3 == 0 else None
                self.ask(client, f"/id{number}-{turn}-{unique()}", size, body)

    def test_many_clients(self):
        before = self.carried_by_kernel()
        self.assertEqual(together(self.work, 50, 30)[:5], [])
        self.assertGreater(self.carried_by_kernel() - before, 50 * 30 * 2 * 0.8)

    def test_clients_that_come_and_go(self):
        """New connections all the time, and some leave with a response outstanding."""
        def churn(number):
            for turn in range(10):
                self.work(number * 100 + turn, 4)
                client = Client(self.skein.address)
                for _ in range(3):
                    self.ask(client, "/before", 10, None)
                client.send(make_request("GET", f"/gone{number}-{turn}",
                                         fields=[("X-Size", "100000")]))
                if turn % 2:
                    client.reset()
                else:
                    client.close()
        self.assertEqual(together(churn, 16)[:5], [])

    def test_pipelined_while_outstanding(self):
        def pipeline(number):
            with Client(self.skein.address) as client:
                self.warm(client)
                for turn in range(10):
                    targets = [f"/p{number}-{turn}-{part}" for part in range(4)]
                    for target in targets:  # one segment each: some come while one is outstanding
                        client.send(make_request("GET", target, fields=[("X-Size", "500")]))
                    for target in targets:
                        body = client.read_response().body
                        if not body.startswith(target.encode() + b" "):
                            raise AssertionError(f"{target} was answered with {body[:60]!r}")
        self.assertEqual(together(pipeline, 16)[:5], [])


class DeathTest(KernelTest):
    def outstanding(self, count, script):
        """`count` promoted clients, each with a request that `script` is handling."""
        path = "/" + unique("out")
        self.origin.on(path, script)
        clients = [self.warm() for _ in range(count)]
        for client in clients:
            client.send(make_request("GET", path))
        self.origin.wait(lambda: len(self.origin.seen(path)) >= count, "all are outstanding")
        return path, clients

    def test_upstream_dies_with_requests_outstanding(self):
        for end in ("finish", "reset"):
            with self.subTest(end=end):
                go = threading.Event()

                def script(conn, request):
                    if request.seq > 1 and not go.wait(harness.DEADLINE):
                        return
                    if request.seq > 1:
                        getattr(conn, end)()
                    else:
                        conn.send(reply(b"retried"))
                path, clients = self.outstanding(10, script)
                go.set()
                for client in clients:
                    response = client.read_response()
                    self.assertEqual((response.status, response.body), (200, b"retried"))
                    self.assertEqual(client.get("/x").body, b"origin /x")

    def others_are_served(self, conns, path):
        """The upstream connections have ended, and nobody got anything from them."""
        for conn in conns:
            self.origin.wait(lambda: conn.done, "the upstream connection is ended")
            self.assertEqual(conn.requests[-1].path, path, "it was given to another")
        for _ in range(10):
            client = self.warm()
            self.assertEqual(client.get("/x").body, b"origin /x")
            client.close()

    def test_client_resets_with_response_outstanding(self):
        go = threading.Event()

        def script(conn, request):
            go.wait(harness.DEADLINE)
            conn.send(reply(b"secret"))
        path, clients = self.outstanding(10, script)
        conns = [request.conn for request in self.origin.seen(path)]
        for client in clients:
            client.reset()
        self.wait_metric("skein_downstream_connections", 0, listener="web")
        go.set()
        self.others_are_served(conns, path)

    def test_client_closes_with_response_outstanding(self):
        """It looks half-closed until the response comes back as a reset; the upstream
        connection may be used again, since its response was complete."""
        go = threading.Event()

        def script(conn, request):
            go.wait(harness.DEADLINE)
            conn.send(reply(b"secret"))
        path, clients = self.outstanding(10, script)
        for client in clients:
            client.close()
        go.set()
        self.others_are_served([], path)
        self.wait_metric("skein_downstream_connections", 0, listener="web")

    def test_client_dies_inside_a_response(self):
        data = reply(pattern(200000))
        for end in ("close", "reset"):  # with bytes unread, close() sends a reset too
            with self.subTest(end=end):
                go = threading.Event()

                def script(conn, request):
                    conn.send(data[:100000])
                    go.wait(harness.DEADLINE)
                    conn.send(data[100000:])
                path, clients = self.outstanding(5, script)
                conns = [request.conn for request in self.origin.seen(path)]
                for client in clients:
                    client.sock.recv(1000)
                    getattr(client, end)()
                self.wait_metric("skein_downstream_connections", 0, listener="web")
                go.set()
                self.others_are_served(conns, path)

    def test_client_dies_inside_a_request(self):
        path = "/" + unique("half")
        raw = make_request("POST", path, pattern(100000))
        for end in ("half_close", "close", "reset"):
            with self.subTest(end=end):
                client = self.warm()
                count = len(self.origin.seen(path))
                client.send(raw[:50000])
                request = self.origin.wait_request(path, count + 1)
                getattr(client, end)()
                self.origin.wait(lambda: request.conn.done, "the upstream connection is ended")
                self.assertFalse(request.complete)
                self.assertEqual(self.warm().get("/x").body, b"origin /x")


class SpillTest(KernelTest):
    extra = {"limits": {"buffer": "256KiB"}}

    def test_slow_reader_spills_and_others_go_on(self):
        body = pattern(24 << 20, 41)
        self.origin.on("/big", answer(body))
        fallbacks = self.skein.metric("skein_fallback_total", listener="web")
        slow = self.warm(self.connect(rcvbuf=1 << 16, deadline=harness.DEADLINE * 2))
        slow.send(make_request("GET", "/big"))
        start = slow.read_exact(100)  # it has begun
        others = [self.warm() for _ in range(5)]

        def others_go_on():
            for _ in range(20):
                for client in others:
                    self.assertEqual(client.get("/x").body, b"origin /x")
        kernel, userspace = self.kernel_messages(others_go_on)
        self.assertGreaterEqual(kernel, 190, "the others left the kernel path")
        self.assertGreater(self.skein.metric("skein_fallback_total", listener="web"), fallbacks,
                           "24 MiB were sent into a reader that does not read")
        rest = slow.read_exact(len(reply(body)) - len(start))
        self.assertTrue((start + rest).endswith(body), "bytes lost or out of order")
        # Spilled and drained, the connection is as good as before.
        for number in range(10):
            self.assertEqual(slow.get(f"/x{number}").body, f"origin /x{number}".encode())


class SlotTest(KernelTest):
    # Every client has its turn within the timeout.
    extra = {"datapath": {"connections": 64}, "timeouts": {"idle": f"{harness.SLOW:g}s"}, "workers": 2}

    def work(self, number):
        with Client(self.skein.address, deadline=harness.DEADLINE * 2) as client:
            for turn in range(5):
                body = client.get(f"/s{number}-{turn}").body
                if body != f"origin /s{number}-{turn}".encode():
                    raise AssertionError(f"{body!r}")

    def test_more_clients_than_slots(self):
        """The rest stays in userspace and is served too."""
        clients = [self.connect() for _ in range(150)]
        for turn in range(4):
            for number, client in enumerate(clients):
                self.assertEqual(client.get(f"/f{number}-{turn}").status, 200)
        self.assertLessEqual(self.skein.metric("skein_slots_in_use"), 64)

    def test_slots_and_fds_come_back(self):
        self.assertEqual(together(self.work, 20)[:5], [])
        self.settle()
        fds = self.skein.fds()
        for _ in range(5):
            self.assertEqual(together(self.work, 40)[:5], [])
        self.settle()
        wait_for(lambda: self.skein.fds() <= fds, "no file descriptor more than before")

    def settle(self):
        self.wait_metric("skein_downstream_connections", 0, listener="web")
        self.origin.drop_connections()
        self.wait_metric("skein_slots_in_use", 0)


class ReloadOnTheKernelPathTest(KernelTest):
    def test_promoted_connections_take_new_routes(self):
        """Or are closed between messages, so that the client comes back for them."""
        clients = [self.warm() for _ in range(5)]
        config = harness.copy_config(self.config)
        config["listeners"][0]["routes"].insert(
            0, {"match": {"path": "/x"}, "respond": {"status": 200, "body": "new\n"}})
        self.skein.reload(config)

        def fresh():
            with Client(self.skein.address) as client:
                return client.get("/x").body == b"new\n"
        wait_for(fresh, "the new route")
        for client in clients:
            try:
                self.assertEqual(client.get("/x").body, b"new\n")
            except (Ended, OSError) as end:
                self.assertEqual(getattr(end, "got", b""), b"")
        wait_for(lambda: self.kernel_messages(lambda: self.warm(target="/y"))[0] > 0,
                 "the kernel path carries messages after a reload")


if __name__ == "__main__":
    harness.main()
