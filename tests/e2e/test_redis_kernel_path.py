"""Redis with `kernel: on`: what is carried, what falls back and how it comes back, and who dies when."""
import socket
import threading
import time

import harness
from process import hostport
from redis_commands import AWKWARD
from redis_harness import RedisTest, wait_for
from redis_servers import FakeServer, RedisServer
from redis_wire import Ended, Error, RedisClient, command, pipeline
from wire import DEADLINE

MIB = 1 << 20
EACH = 400  # commands of a client where many run beside each other


def value_of(key, size=0):
    """A value that shows whose it is."""
    return (b"<" + key + b">") * (1 + size // (len(key) + 2))


def together(work, count):
    """Runs work(number) in threads; what went wrong."""
    wrong = []

    def run(number):
        try:
            work(number)
        except Exception as error:  # noqa: any problem is the finding
            wrong.append(f"{number}: {error!r}")
    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE * 10)
    return wrong + ["one hangs" for thread in threads if thread.is_alive()]


class KernelTest(RedisTest):
    paths = ("on",)
    shards = 2
    oracle = False

    def counts(self):
        return self.carried_by_kernel(), self.skein.messages(path="userspace")

    def carried(self, send):
        """Messages by the kernel path and by userspace during send()."""
        before = self.counts()
        send()
        return tuple(int(b - a) for a, b in zip(before, self.counts()))

    def fallbacks(self, reason):
        return int(self.skein.metric("skein_fallback_total", listener="cache", reason=reason))

    def promoted(self, key=b"promoted", client=None):
        """A client whose commands on the key are carried by the kernel."""
        client = client or self.connect()
        client.expect_ok("SET", key, value_of(key))

        def get():
            self.assertEqual(client.call("GET", key), value_of(key))
        wait_for(lambda: self.carried(get) == (2, 0), "a client on the kernel path")
        return client

    def assert_comes_back(self, client, key=b"promoted"):
        self.promoted(key, client)


class WhatIsCarriedTest(KernelTest):
    oracle = True

    def test_single_key_commands(self):
        """Clients that wait for each reply stay on the kernel path, without an error."""
        def work(number):
            rng = self.random(number)
            with RedisClient(self.skein.address, deadline=DEADLINE * 2) as client:
                for turn in range(EACH):
                    key = b"carried:%d:%d" % (number, rng.randrange(50))
                    value = value_of(key, rng.choice((0, 10, 3000)))
                    if turn % 2:
                        client.expect_ok("SET", key, value)
                        if client.call("GET", key) != value:
                            raise AssertionError(key)
                    elif isinstance(client.call("HINCRBY", b"{h}" + key, "f", 1), Error):
                        raise AssertionError(key)
        for _ in range(2):  # the first time makes the connections
            problems = []
            kernel, userspace = self.carried(lambda: problems.extend(together(work, 8)))
            self.assertEqual(problems, [])
        self.assertGreaterEqual(kernel, (kernel + userspace) * 0.95, f"{userspace} by userspace")

    def test_fallbacks(self):
        """Each shows as its reason, is answered as a server does, and the client comes back."""
        key, big = b"promoted", b"v" * 2000
        cases = {
            "command": [("PING",), ("MGET", key, b"other"), ("DEL", b"none"), ("NOSUCH", key), ("GET",),
                        ("GET", b"k" * 300), ("OBJECT", "REFCOUNT", b"none"), ("ECHO", b"")],
            "resp_long": [("HSET", b"hash", big, b"v"), ("GET", b"k" * 2000)],
            "resp_count": [("SADD", b"many", *range(40))],
            "resp_inline": [b"GET promoted\r\n", b"\r\nGET promoted\r\n"],
            "resp_name": [b"*1\r\n$0\r\n\r\n", command(b"x" * 40, key)],
            "pipelined": [command("GET", key) * 3, command("GET", key) + b"*2\r\n$3"],
            "resp_partial": [b"*2\r\n$3\r\nG"],
        }
        rest = {b"*2\r\n$3\r\nG": b"ET\r\n$8\r\npromoted\r\n",
                command("GET", key) + b"*2\r\n$3": b"\r\nGET\r\n$8\r\npromoted\r\n"}
        alone = self.connect_alone()
        alone.expect_ok("SET", key, value_of(key))
        for reason, commands in cases.items():
            for sent in commands:
                with self.subTest(reason=reason, sent=sent[:3]):
                    client = self.promoted(key)
                    before = self.fallbacks(reason)
                    data = sent if isinstance(sent, bytes) else command(*sent)
                    client.send(data)
                    wait_for(lambda: self.fallbacks(reason) > before, f"a fallback for {reason}")
                    client.send(rest.get(data, b""))
                    alone.send(data + rest.get(data, b""))
                    for one in (client, alone):
                        one.send(command("ECHO", b"end"))
                    mark = b"$3\r\nend\r\n"
                    got, wanted = client.read_until_marker(mark), alone.read_until_marker(mark)
                    self.assertEqual(got, wanted)
                    self.assert_comes_back(client)

    def test_replies_that_do_not_fit(self):
        elements = [b"e%d" % number for number in range(600)]
        filler = self.connect()
        for start in range(0, 600, 20):
            filler.call("RPUSH", "{promoted}list", *elements[start:start + 20])
        filler.call("RPUSH", "{promoted}long", b"x" * 3000, b"y")
        for args, wanted, reasons in (
                (("LRANGE", "{promoted}list", 0, 299), elements[:300], ("resp_count",)),
                (("LRANGE", "{promoted}list", 0, 240), elements[:241], ("resp_long", "resp_partial")),
                (("LRANGE", "{promoted}long", 0, -1), [b"x" * 3000, b"y"], ("resp_long", "resp_partial"))):
            with self.subTest(args=args):
                client = self.promoted()
                before = sum(map(self.fallbacks, reasons))
                self.assertEqual(client.call(*args), wanted)
                self.assertEqual(sum(map(self.fallbacks, reasons)), before + 1)
                self.assert_comes_back(client)

    def test_same_as_a_server(self):
        """Values of up to 1 MiB, cut anywhere, and everything that a client sees is what one server says."""
        rng = self.random(1)
        alone = self.connect_alone()
        block = rng.randbytes(MIB)
        keys = [b"diff:%d" % number for number in range(20)] + [b"diff" + key for key in AWKWARD]
        before = self.counts()
        for turn in range(600):
            if turn % 20 == 0:  # what falls back often stays in userspace for longer and longer
                skein = self.promoted()
            key = rng.choice(keys)
            size = rng.choice((0, 1, 5, 100, 1700, 1780, 5000, 70000, rng.randrange(MIB + 1)))
            args = rng.choice((("SET", key, block[:size]), ("GET", key), ("GET", key), ("STRLEN", key),
                               ("APPEND", key, block[:rng.randrange(100)]), ("INCR", key), ("TTL", key),
                               ("LPUSH", b"list" + key, block[:size % 70000]), ("LINDEX", b"list" + key, 0),
                               ("HSET", b"hash" + key, b"f", block[:size]), ("HGET", b"hash" + key, b"f"),
                               ("HGETALL", b"hash" + key), ("LRANGE", b"list" + key, 0, 2), ("GETDEL", key)))
            data = command(*args)
            if rng.random() < 0.15:
                self.background(skein.send_random, data, rng, rng.randrange(1, 12)).join()
            else:
                skein.send(data)
            alone.send(data)
            got, wanted = skein.read(), alone.read()
            self.assertTrue(got.raw == wanted.raw, f"{args!r:.200}: {got} for {wanted}")
        self.assertGreater(self.counts()[0] - before[0], 200, "too little by the kernel path")
        self.assert_keys_in_place()

    def test_last_line_end_in_two_pieces(self):
        client = self.promoted()
        for number in range(20):
            data = command("SET", "promoted", b"%d" % number)
            client.send(data[:-1])
            time.sleep(0.002)  # likely a segment of its own; nothing depends on it
            client.send(data[-1:])
            self.assertEqual(client.read().value, b"OK")
            self.assertEqual(client.call("GET", "promoted"), b"%d" % number)

    def test_wrong_line_end(self):
        """A command that does not end as it said is refused; the shard's other clients do not notice."""
        other = self.promoted(b"other")
        for cut in (0, 1, 2, 3, 5):
            client = self.promoted()
            data = command("SET", "promoted", b"poison")[:-2] + b"xx"
            client.send(data[:len(data) - cut])
            if cut:
                time.sleep(0.005)
                client.send(data[len(data) - cut:])
            reply = client.read_until_marker(b"never")
            self.assertTrue(reply.startswith(b"-ERR Protocol error"), reply)
            self.assertEqual(self.connect().call("GET", "promoted"), value_of(b"promoted"))
            self.assertEqual(other.call("GET", "other"), value_of(b"other"))

    def test_second_command_before_the_reply(self):
        """Segments that come while a command is outstanding, thousands of times, at every moment."""
        def work(number):
            rng = self.random(number)
            with RedisClient(self.skein.address, deadline=DEADLINE * 2) as client:
                for turn in range(EACH):
                    keys = [b"two:%d:%d" % (number, rng.randrange(20)) for _ in range(rng.randrange(2, 4))]
                    for key in keys:
                        client.send(command("SET", key, value_of(key)))
                        for _ in range(rng.randrange(300)):
                            pass
                    for key in keys:
                        got = client.read().value
                        if got != b"OK":
                            raise AssertionError(f"{key!r} in turn {turn}: {got!r}")
                    for _ in range(3):
                        if client.call("GET", keys[0]) != value_of(keys[0]):
                            raise AssertionError(keys[0])
        self.assertEqual(together(work, 6), [])


class StateTest(KernelTest):
    password = "secret"

    def test_state_after_promotion(self):
        def hello(client):
            self.assertEqual(client.call("HELLO", 3).get(b"proto"), 3)
            self.assertIsNone(client.call("GET", "none"))
            client.send(command("GET", "none"))
            self.assertEqual(client.read().raw, b"_\r\n")
            self.assertEqual(len(client.call("HELLO", 2)), 14)

        def auth(client):
            self.assert_error(client.call("AUTH", "wrong"), b"WRONGPASS")
            client.expect_ok("AUTH", "secret")

        def multi(client):
            client.expect_ok("MULTI")
            self.assertEqual(client.call("SET", "tx", "1"), b"QUEUED")
            self.assertEqual(client.call("GET", "tx"), b"QUEUED")
            self.assertEqual(client.call("EXEC"), [b"OK", b"1"])

        def watch(client):
            client.expect_ok("WATCH", "promoted")
            self.connect().expect_ok("SET", "promoted", value_of(b"promoted"))
            client.expect_ok("MULTI")
            self.assertEqual(client.call("GET", "promoted"), b"QUEUED")
            self.assertIsNone(client.call("EXEC"))

        def subscribe(client):
            self.assertEqual(client.call("SUBSCRIBE", "news"), [b"subscribe", b"news", 1])
            self.assertEqual(self.connect().call("PUBLISH", "news", "x"), 1)
            self.assertEqual(client.read().value, [b"message", b"news", b"x"])
            self.assertEqual(client.call("UNSUBSCRIBE"), [b"unsubscribe", b"news", 0])

        def mute(client):
            client.send(pipeline([("CLIENT", "REPLY", "OFF"), ("SET", "mute", "1"),
                                  ("CLIENT", "REPLY", "ON")]))
            self.assertEqual(client.read().value, b"OK")
            client.send(pipeline([("CLIENT", "REPLY", "SKIP")]))
            client.send(pipeline([("SET", "mute", "2")]))
            self.assertEqual(client.call("GET", "mute"), b"2")

        def block(client):
            self.background(lambda: self.connect().call("RPUSH", "queue", "item"))
            self.assertEqual(client.call("BLPOP", "queue", 5), [b"queue", b"item"])

        for turn in (hello, auth, multi, watch, subscribe, mute, block):
            with self.subTest(turn=turn.__name__):
                client = self.promoted()
                turn(client)
                self.assert_comes_back(client)


class DeathTest(KernelTest):
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
        client.sock.settimeout(2)
        with self.assertRaises((TimeoutError, socket.timeout)):
            client.sock.recv(1)
        client.sock.settimeout(DEADLINE)
        self.assertEqual(client.call("GET", self.key), self.key)

    def test_never_answers(self):
        client = self.lying(lambda wire, args: None)
        since = time.monotonic()
        self.assert_error(client.call("GET", self.key))
        self.assertLess(time.monotonic() - since, 4)
        self.assert_serves()


class ServerClosesTest(KernelTest):
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


class SlowTest(KernelTest):
    extra = {"limits": {"buffer": "256KiB"}, "timeouts": {"write": "30s"}}

    def test_slow_reader(self):
        value = self.random(5).randbytes(8 * MIB)
        for server in self.servers:
            server.call("CONFIG", "SET", "proto-max-bulk-len", 64 * MIB)
        self.connect().expect_ok("SET", "big", value)
        slow = self.keep(RedisClient(self.skein.address, deadline=DEADLINE * 2, rcvbuf=65536))
        self.promoted(b"promoted", slow)
        others = [self.promoted(b"other:%d" % number) for number in range(4)]
        before, memory = self.fallbacks("downstream_slow"), self.skein.rss()
        slow.send(command("GET", "big"))
        start = slow.read_exact(1000)

        def go_on():
            for _ in range(50):
                for number, client in enumerate(others):
                    key = b"other:%d" % number
                    self.assertEqual(client.call("GET", key), value_of(key))
        self.assertGreaterEqual(self.carried(go_on)[0], 380)
        self.assertGreater(self.fallbacks("downstream_slow"), before)
        self.assertLess(self.skein.rss() - memory, 4 * MIB)
        rest = slow.read_exact(len(value) + 12 - 1000)
        self.assertTrue(start + rest == b"$8388608\r\n" + value + b"\r\n", "bytes lost or out of order")
        self.assert_comes_back(slow)


class IdleTest(KernelTest):
    """A client's own timeout is what counts, on the kernel path too."""

    listener = {"idle_timeout": "1s"}
    extra = {"timeouts": {"idle": "60s"}}

    def test_closed_when_idle(self):
        client = self.promoted()
        since = time.monotonic()
        self.assertEqual(client.read_to_end(), b"")
        self.assertGreater(time.monotonic() - since, 0.8)
        self.assertLess(time.monotonic() - since, 3)

    def test_kept_while_active(self):
        client = self.promoted()
        end = time.monotonic() + 2.5
        while time.monotonic() < end:
            self.assertEqual(client.call("GET", "promoted"), value_of(b"promoted"))
            time.sleep(0.3)


class NeverIdleTest(KernelTest):
    extra = {"timeouts": {"idle": "500ms"}}

    def test_kept(self):
        """Without idle_timeout a client may wait for ever, however short the one for HTTP is."""
        client = self.promoted()
        client.sock.settimeout(2.5)
        with self.assertRaises((TimeoutError, socket.timeout)):
            client.sock.recv(1)
        client.sock.settimeout(DEADLINE)
        self.assertEqual(client.call("GET", "promoted"), value_of(b"promoted"))


class WatchTest(KernelTest):
    # A quarter of it passes between two looks at a connection of the kernel path.
    extra = {"timeouts": {"body": "4s"}}

    def test_kept_when_taken_over(self):
        """The kernel path's own looks at a connection end with it, whatever took the client back."""
        client = self.promoted()
        before = self.fallbacks("pipelined")
        for server in self.servers:
            server.pause()
        try:
            client.send(command("GET", "promoted"))
            client.send(command("MULTI"))  # which keeps it in userspace
            wait_for(lambda: self.fallbacks("pipelined") > before, "a command while one is outstanding")
            self.wait_metric("skein_slots_in_use", 0)
        finally:
            for server in self.servers:
                server.resume()
        self.assertEqual(client.read().value, value_of(b"promoted"))
        self.assertEqual(client.read().value, b"OK")
        client.sock.settimeout(2.5)
        with self.assertRaises((TimeoutError, socket.timeout)):
            client.sock.recv(1)
        client.sock.settimeout(DEADLINE)
        self.assertEqual(client.call("EXEC"), [])
        self.assert_comes_back(client)


class ReloadTest(KernelTest):
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


class EjectedTest(KernelTest):
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
