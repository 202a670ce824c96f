"""Which endpoint gets a request: by each policy, the same on both paths."""
import collections
import socket
import threading

import harness
from harness import Client, wait_for
from named_origins import OneCluster, named
from origin import reply
from wire import make_chunked, make_request

KEYS = 60
NEVER = {"max_failures": 0}  # Endpoints that fail here are not ejected: that is test_health's


def break_connections(origin):
    """Ends an origin's connections, whatever they are doing."""
    for conn in origin.open_connections():
        try:
            conn.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it has ended by itself


class HashedTest(OneCluster):
    """A key's endpoint is the same for new connections and for promoted ones."""

    names = ("one", "two", "three")
    settings = {"lb_policy": "maglev", "hash_on": {"header": "X-User"}, "ejection": NEVER}

    def key(self, number):
        return [("X-Before", "1"), ("x-USER", f"user {number}"), ("X-User-Id", "7")]

    def test_same_endpoint_on_both_paths(self):
        client = self.connect()
        by_key = {}
        before = self.carried_by_kernel(direction="request")
        for number in range(KEYS):
            by_key[number] = client.request("GET", "/x", fields=self.key(number)).body
        for _ in range(2):
            for number in range(KEYS):
                self.assertEqual(client.request("GET", "/x", fields=self.key(number)).body,
                                 by_key[number], number)
        carried = self.carried_by_kernel(direction="request") - before
        for number in range(KEYS):
            with Client(self.skein.address) as fresh:
                self.assertEqual(fresh.request("GET", "/x", fields=self.key(number)).body,
                                 by_key[number], number)
                # A body in chunks, and one with a length.
                fresh.send(make_request("POST", "/x", fields=self.key(number)
                                        + [("Transfer-Encoding", "chunked")])
                           + make_chunked([b"chunk"]))
                self.assertEqual(fresh.read_response().body, by_key[number])
                self.assertEqual(fresh.request("POST", "/x", b"x" * 3000,
                                               fields=self.key(number)).body, by_key[number])
        self.assertEqual(set(by_key.values()), {b"one", b"two", b"three"})
        if self.kernel == "on":
            self.assertGreater(carried, KEYS, "the kernel path decided too")

    def test_without_a_key(self):
        """By chance: of a hundred requests each endpoint gets some, on either path."""
        client = self.connect()
        one = {client.get("/x").body for _ in range(100)}
        fresh = set()
        for _ in range(100):
            with Client(self.skein.address) as new:
                fresh.add(new.get("/x").body)
        self.assertEqual(one, fresh)
        self.assertEqual(len(one), len(self.names))

    def test_keys_move_and_come_back(self):
        """While an endpoint drains its keys go elsewhere, always to the same place; those of
        the others stay."""
        client = self.connect()

        def ask(number):
            return client.request("GET", "/x", fields=self.key(number)).body
        before = {number: ask(number) for number in range(KEYS)}
        self.assertEqual(self.skein.admin_post(f"/drain?endpoint={self.address('two')}").status, 200)
        moved = {number: ask(number) for number in range(KEYS)}
        for number in range(KEYS):
            with Client(self.skein.address) as fresh:
                self.assertEqual(fresh.request("GET", "/x", fields=self.key(number)).body,
                                 moved[number])
            if before[number] != b"two":
                self.assertEqual(moved[number], before[number])
        self.assertEqual(set(moved.values()), {b"one", b"three"})
        self.skein.admin_post(f"/undrain?endpoint={self.address('two')}")
        self.assertEqual({number: ask(number) for number in range(KEYS)}, before)

    def test_refused_goes_on(self):
        """A key whose endpoint refuses connections is served by another."""
        client = self.connect()

        def ask(number):
            response = client.request("GET", "/x", fields=self.key(number))
            self.assertEqual(response.status, 200)
            return response.body
        before = {number: ask(number) for number in range(KEYS)}
        port = self.origins["one"].address[1]
        self.origins["one"].close()
        try:
            for number in range(KEYS):
                self.assertIn(ask(number), (b"two", b"three"))
                if before[number] != b"one":
                    self.assertEqual(ask(number), before[number])
        finally:
            self.origins["one"] = type(self.origin)("one", port=port)
            self.origins["one"].default = named("one")


class CookieTest(HashedTest):
    settings = {"lb_policy": "maglev", "hash_on": {"cookie": "session"}, "ejection": NEVER}

    def key(self, number):
        return [("Cookie", f"a=b; Session=1; session=s-{number}; session=2")]


class SourceTest(OneCluster):
    names = ("one", "two", "three", "four")
    settings = {"lb_policy": "maglev", "hash_on": {"source_address": True}}

    def test_one_endpoint_per_client(self):
        seen = set()
        for number in range(24):
            source = f"127.0.{number}.9"
            client = self.connect(source=source)
            bodies = {client.get("/x").body for _ in range(5)}
            for _ in range(2):
                bodies.add(self.connect(source=source).get("/x").body)
            self.assertEqual(len(bodies), 1, source)
            seen |= bodies
        self.assertGreater(len(seen), 2)


class RandomTest(OneCluster):
    names = ("one", "five")
    weights = {"five": 5}
    settings = {"lb_policy": "random"}

    def check(self, bodies):
        """Six standard deviations are 6 * sqrt(720 / 6 * 5 / 6) = 60."""
        shares = collections.Counter(bodies)
        self.assertEqual(sum(shares.values()), 720)
        self.assertLessEqual(abs(shares[b"one"] - 120), 60, dict(shares))

    def test_one_client(self):
        client = self.connect()
        self.check([client.get("/x").body for _ in range(720)])

    def test_new_clients(self):
        def one():
            with Client(self.skein.address) as client:
                return client.get("/x").body
        self.check([one() for _ in range(720)])


class LeastRequestTest(OneCluster):
    names = ("one", "two")
    settings = {"lb_policy": "least_request", "ejection": NEVER}
    extra = {"timeouts": {"response": "1s"}}

    def setUp(self):
        super().setUp()
        self.release = threading.Event()
        self.held = {name: 0 for name in self.names}

        def hold(name):
            def script(conn, request):
                conn.read_body(request)
                self.held[name] += 1
                self.release.wait(harness.DEADLINE)
                conn.send(reply(name.encode()))
            return script
        for name, origin in self.origins.items():
            origin.on("/hold", hold(name))

    def tearDown(self):
        self.release.set()
        super().tearDown()

    def idle(self):
        wait_for(lambda: self.outstanding() == (0, 0), f"nothing is outstanding: {self.outstanding()}")

    def hold(self, client):
        """Sends a request that its endpoint keeps. Returns the endpoint's name."""
        before = dict(self.held)
        client.send(make_request("GET", "/hold"))
        wait_for(lambda: self.held != before, "the request arrives")
        return next(name for name in self.names if self.held[name] != before[name])

    def test_avoids_the_busy(self):
        clients = [self.warm() for _ in range(2)]
        busy = self.hold(clients[0])
        other = next(name for name in self.names if name != busy)
        self.assertEqual(self.outstanding(), (1, 1))
        for _ in range(30):
            self.assertEqual(clients[1].get("/x").body, other.encode())
        for _ in range(10):
            with Client(self.skein.address) as fresh:
                self.assertEqual(fresh.get("/x").body, other.encode())
        self.release.set()
        self.assertEqual(clients[0].read_response().body, busy.encode())
        self.idle()

    def test_spreads_what_lasts(self):
        """On whichever path they were counted, outstanding requests differ by one at most."""
        clients = [self.warm() if number % 2 else self.connect() for number in range(12)]
        for client in clients:
            self.hold(client)
            self.assertLessEqual(abs(self.held["one"] - self.held["two"]), 1, self.held)
        self.assertEqual(self.outstanding(), (12, 12))
        self.release.set()
        for client in clients:
            self.assertEqual(client.read_response().status, 200)
        self.idle()

    def test_nothing_stays_counted(self):
        """However a request ends: answered, timed out, client gone, server gone, taken from the
        kernel path in the middle."""
        for round_ in range(3):
            self.release.clear()
            clients = [self.warm() for _ in range(6)]
            for client in clients:
                self.hold(client)
            self.assertEqual(self.outstanding(), (6, 6))
            clients[0].sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            clients[0].close()
            wait_for(lambda: self.outstanding() == (5, 5), "a client that is gone does not count")
            clients[1].send(make_request("GET", "/x"))  # Pipelined: userspace takes it.
            if round_ == 1:
                for name in self.names:
                    break_connections(self.origins[name])
            elif round_ == 2:
                for client in clients[2:]:
                    self.assertEqual(client.read_response().status, 504)
            self.release.set()
            if round_ == 0:
                for client in clients[1:]:
                    self.assertEqual(client.read_response().status, 200)
            self.idle()

    def test_faults_at_random(self):
        """Clients and connections die under load; in the end nothing is outstanding."""
        stop = threading.Event()

        def load():
            while not stop.is_set():
                try:
                    with Client(self.skein.address) as client:
                        for number in range(20):
                            if number == 13:
                                client.send(make_request("GET", "/x"))
                                break
                            client.request("GET" if number % 3 else "POST", "/x",
                                           None if number % 3 else b"x" * 5000)
                except (harness.Ended, OSError):
                    pass
        threads = [threading.Thread(target=load) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(10):
                count = self.skein.messages(direction="request")
                wait_for(lambda: self.skein.messages(direction="request") > count + 50, "load")
                for origin in self.origins.values():
                    break_connections(origin)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        self.idle()


if __name__ == "__main__":
    harness.main()
