"""Redis with `kernel: on`: who dies when, and what becomes of the others when a shard dies or is replaced."""
import threading
import time

import harness
from process import hostport
from redis_harness import wait_for
from redis_kernel_harness import RedisKernelTest, value_of
from redis_servers import FakeServer, RedisServer
from redis_wire import Ended, Error, RedisClient, command
from together import together
from wire import DEADLINE


class DeathTest(RedisKernelTest):
    """Shard 1 does what the test says."""

    extra = {"timeouts": {"response": "1s", "connect": "1s"}}
    cluster = {"redis": {"max_failures": 1000, "retry_after": "100ms"}}

    @classmethod
    def make_server(cls, number):
        if number == 0:
            return RedisServer().start()
        cls.answer = staticmethod(cls.echo)
        cls.fake = FakeServer(lambda wire, args: cls.answer(wire, args))
        return cls.fake

    @staticmethod
    def echo(wire, args):
        wire.send(command(args[-1])[4:])

    def setUp(self):
        super().setUp()
        type(self).answer = staticmethod(self.echo)
        self.key = self.key_on(1)

    def lying(self, script=None):
        """A client that the kernel path carries to the fake, which from then on answers by the script."""
        client = self.connect()

        def get():
            self.assertEqual(client.call("GET", self.key), self.key)
        wait_for(lambda: self.carried(get) == (2, 0), "a client on the kernel path")
        if script:
            type(self).answer = staticmethod(script)
        return client

    def assert_serves(self):
        type(self).answer = staticmethod(self.echo)
        client = self.connect()
        wait_for(lambda: client.call("GET", self.key) == self.key, "the shard serves again")
        for _ in range(20):
            self.assertEqual(client.call("GET", self.key), self.key)

    def test_dies_inside_a_reply(self):
        for size in (10, 3000, 500000):
            with self.subTest(size=size):
                def half(wire, args):
                    wire.send(b"$1000000\r\n" + b"x" * size)
                    wire.close()
                client = self.lying(half)
                client.send(command("GET", self.key))
                try:
                    self.assert_error(client.read().value)
                except (Ended, ConnectionResetError):
                    pass
                self.assert_serves()

    def test_wrong_end_of_a_reply(self):
        for first, rest in ((b"$5\r\nhelloxx", b""), (b"$5\r\nhello", b"xx"), (b"$5\r\nhello\r", b"x")):
            def wrong(wire, args):
                wire.send(first)
                time.sleep(0.01)
                wire.send(rest)
            with self.subTest(first=first):
                client = self.lying(wrong)
                client.send(command("GET", self.key))
                got = client.read_until_marker(b"\r\n")
                self.assertFalse(got.endswith(b"hello\r\n") or got.endswith(b"xx"), got)
                self.assert_serves()

    def test_more_than_was_asked(self):
        for _ in range(10):
            client = self.lying(lambda wire, args: wire.send(b"+first\r\n+unasked\r\n"))
            self.assertEqual(client.call("GET", self.key), b"first")
            type(self).answer = staticmethod(self.echo)
            value = client.call("GET", self.key)
            self.assertTrue(value == self.key or isinstance(value, Error), value)
            self.assert_serves()

    def test_read_only_command_is_sent_again(self):
        """A connection that was closed while it was idle in the kernel's pool costs no reply."""
        seen = []

        def die_once(wire, args):
            seen.append(args)
            if len(seen) == 1:
                wire.close()
            else:
                self.echo(wire, args)
        client = self.lying(die_once)
        self.assertEqual(client.call("GET", self.key), self.key)
        self.assertEqual(len(seen), 2)

    def test_write_is_not_sent_again(self):
        seen = []

        def die(wire, args):
            seen.append(args)
            wire.close()
        client = self.lying(die)
        self.assert_error(client.call("SET", self.key, "v"))
        self.assertEqual(len(seen), 1)
        seen.clear()
        client = self.connect()
        type(self).answer = staticmethod(self.echo)
        self.lying(die)
        self.assert_serves()

    def test_sent_again_only_once(self):
        seen = []

        def die(wire, args):
            seen.append(args)
            wire.close()
        client = self.lying(die)
        self.assert_error(client.call("GET", self.key))
        self.assertEqual(len(seen), 2)
        self.assert_serves()

    def test_client_dies_inside_a_command(self):
        """Its half command is never another's, and the shard is not blamed."""
        data = command("SET", self.key, b"x" * 200000)
        failures = self.skein.metric("skein_upstream_ejections_total")
        for end in ("half_close", "close", "reset"):
            for size in (100, 100000):
                with self.subTest(end=end, size=size):
                    client = self.lying()
                    before = self.open_connections()
                    client.send(data[:size])
                    time.sleep(0.01)
                    getattr(client, end)()
                    self.wait_metric("skein_downstream_connections", 0, listener="cache")
                    # Its connection is closed at once, not when a timeout has passed.
                    wait_for(lambda: self.open_connections() < before, "half a command's connection ends", 0.8)
                    self.assert_serves()
                    for one in self.clients:
                        one.close()
        self.assertEqual(self.skein.metric("skein_upstream_ejections_total"), failures)

    def open_connections(self):
        return sum(sock.fileno() >= 0 for sock in self.fake.connections)

    def test_client_dies_with_a_reply_outstanding(self):
        for end in ("close", "reset"):
            go = threading.Event()

            def late(wire, args):
                go.wait(DEADLINE)
                wire.send(b"$6\r\nsecret\r\n")
            clients = [self.lying() for _ in range(4)]
            type(self).answer = staticmethod(late)
            for client in clients:
                client.send(command("GET", self.key))
            time.sleep(0.02)
            for client in clients:
                getattr(client, end)()
            type(self).answer = staticmethod(self.echo)
            go.set()
            self.assert_serves()

    def test_half_close_after_a_command(self):
        def late(wire, args):
            time.sleep(0.05)
            self.echo(wire, args)
        client = self.lying(late)
        client.send(command("GET", self.key))
        client.half_close()
        self.assertEqual(client.read().value, self.key)
        self.assertEqual(client.read_to_end(), b"")

    def test_kept_after_a_fallback(self):
        """The clock by which the kernel path is watched ends with it: nobody asked for a limit."""
        def close(wire, args):
            type(self).answer = staticmethod(self.echo)
            wire.sock.close()
        client = self.lying(close)
        self.assertEqual(client.call("GET", self.key), self.key)  # sent again, by userspace
        self.assertTrue(client.quiet(2))
        self.assertEqual(client.call("GET", self.key), self.key)

    def test_never_answers(self):
        client = self.lying(lambda wire, args: None)
        since = time.monotonic()
        self.assert_error(client.call("GET", self.key))
        self.assertLess(time.monotonic() - since, 4)
        self.assert_serves()


class ServerClosesTest(RedisKernelTest):
    """Connections that the server closes while they are idle."""

    def test_killed_while_idle(self):
        clients = [self.promoted(b"idle:%d" % number) for number in range(6)]
        for _ in range(8):
            for server in self.servers:
                server.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            for number, client in enumerate(clients):
                key = b"idle:%d" % number
                self.assertEqual(client.call("GET", key), value_of(key))
                client.expect_ok("SET", key, value_of(key))

    def test_killed_under_load(self):
        """A reply is right, or an error that names the shard; nothing hangs."""
        stop = threading.Event()
        answers = []

        def work(number):
            key = b"load:%d" % number
            with RedisClient(self.skein.address, deadline=DEADLINE * 2) as client:
                while not stop.is_set():
                    got = client.call("GET", key)
                    answers.append(got)
                    if got != value_of(key) and not (isinstance(got, Error) and got.startswith(b"ERR shard ")):
                        raise AssertionError(got)
        for number in range(2):
            self.promoted(b"load:%d" % number)

        def kill():
            for _ in range(30):
                for server in self.servers:
                    server.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
                seen = len(answers)
                wait_for(lambda: len(answers) > seen + 20, "replies go on")
            stop.set()
        self.background(kill)
        self.assertEqual(together(work, 2), [])
        self.assert_comes_back(self.connect(), b"load:0")

    def test_server_restarts(self):
        client = self.promoted(b"again")
        for server in self.servers:
            server.restart()
        wait_for(lambda: client.call("SET", "again", "1") == b"OK", "it is served again")
        self.assert_comes_back(client, b"again")


class ReloadTest(RedisKernelTest):
    shards = 3

    def reload(self, servers):
        config = harness.copy_config(self.config)
        config["clusters"][0]["endpoints"] = [{"address": hostport(server.address)} for server in servers]
        self.skein.reload(config)

    def test_endpoints_change(self):
        clients = [self.promoted(b"reload:%d" % number) for number in range(6)]
        for servers in (self.servers[:2], self.servers[1:], self.servers):
            for server in self.servers:
                server.call("FLUSHALL")
            self.reload(servers)
            marks = [b"mark:%d" % number for number in range(30)]
            probe = self.connect()

            def in_place():
                for mark in marks:
                    probe.call("SET", mark, "x")
                held = [server.call("EXISTS", *marks) for server in self.servers]
                for server in self.servers:
                    server.call("FLUSHALL")
                return all((count > 0) == (server in servers) for count, server in zip(held, self.servers))
            wait_for(in_place, "new clients see the new endpoints")
            for number, client in enumerate(clients):
                for turn in range(20):
                    key = b"reload:%d:%d" % (number, turn)
                    client.expect_ok("SET", key, value_of(key))
                    self.assertEqual(client.call("GET", key), value_of(key))
            for server in self.servers:
                self.assertEqual(server.call("DBSIZE") > 0, server in servers)
            self.assert_comes_back(clients[0], b"reload:0")


class EjectedTest(RedisKernelTest):
    shards = 3
    extra = {"timeouts": {"response": "1s", "connect": "1s"}}
    cluster = {"redis": {"max_failures": 1, "retry_after": "60s"}}

    def test_each_shard(self):
        """Its commands are answered by userspace, without waiting; those of the others stay."""
        for shard in range(self.shards):
            with self.subTest(shard=shard):
                keys = self.keys_everywhere("eject")
                client = self.connect()
                for key in keys:
                    self.promoted(key, client)
                ejected = self.fallbacks("ejected")
                self.servers[shard].kill()
                wait_for(lambda: isinstance(client.call("GET", keys[shard]), Error) and
                         self.skein.metric("skein_upstream_ejections_total"), "the shard is ejected")
                for other in range(self.shards):
                    if other != shard:
                        self.promoted(keys[other], client)
                self.assert_error(client.call("GET", keys[shard]))
                self.assertGreater(self.fallbacks("ejected"), ejected)
                for other in range(self.shards):
                    if other != shard:
                        self.promoted(keys[other], client)
                self.servers[shard].start()
                self.skein.stop()
                self.start_skein()


if __name__ == "__main__":
    harness.main()
