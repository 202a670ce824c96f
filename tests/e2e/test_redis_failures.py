"""Shards that die, or hang, clients that leave or do not read: the others go on, and nobody
gets another's reply."""
import hashlib
import threading
import time

import harness
from redis_harness import RedisTest, wait_for
from redis_wire import Ended, Error, RedisClient, command, pipeline
from wire import DEADLINE

MIB = 1 << 20


def value_of(key, size=0):
    """A value that carries its key, so that a reply shows whose it is."""
    return (b"<" + key + b">") * (1 + size // (len(key) + 2))


class Load:
    """Clients that set and get until stop(): every reply is checked, errors are allowed only
    for shards that were declared to fail."""

    def __init__(self, test, clients=4, allowed=()):
        self.test = test
        self.allowed = set(allowed)
        self.problems = []
        self.errors = 0
        self.answers = 0
        self.ending = threading.Event()
        test.addCleanup(self.ending.set)
        self.threads = [threading.Thread(target=self.run, args=(number,), daemon=True)
                        for number in range(clients)]
        for thread in self.threads:
            thread.start()

    def run(self, number):
        rng = self.test.random(number)
        try:
            with RedisClient(self.test.skein.address, deadline=DEADLINE * 2) as client:
                while not self.ending.is_set():
                    keys = [b"load:%d:%d" % (number, rng.randrange(200)) for _ in range(10)]
                    batch = [item for key in keys
                             for item in (("SET", key, value_of(key)), ("GET", key))]
                    for args, got in zip(batch, client.pipeline(batch)):
                        self.check(args, got)
        except Exception as problem:  # noqa: any problem is the finding
            self.problems.append(f"client {number}: {problem!r}")

    def check(self, args, got):
        key = args[1]
        if isinstance(got, Error):
            self.errors += 1
            if self.test.shard_of(key) not in self.allowed:
                self.problems.append(f"{args!r}: {got!r}")
        elif args[0] == "SET":
            if got != b"OK":
                self.problems.append(f"{args!r}: {got!r}")
        elif got != value_of(key) and not (got is None and self.test.shard_of(key) in self.allowed):
            self.problems.append(f"{args!r}: {got!r}")
        self.answers += 1

    def wait_progress(self, count=500):
        start = self.answers
        wait_for(lambda: self.problems or self.answers >= start + count,
                 f"progress of {count} replies under load", DEADLINE * 2)

    def stop(self):
        self.ending.set()
        for thread in self.threads:
            thread.join(DEADLINE * 3)
        self.test.assertFalse(any(thread.is_alive() for thread in self.threads), "a client hangs")
        self.test.assertEqual(self.problems[:5], [])


class FailureTest(RedisTest):
    oracle = False
    extra = {"timeouts": {"response": "1s", "connect": "1s"}}
    cluster = {"redis": {"retry_after": "500ms", "max_failures": 3}}

    def setUp(self):
        super().setUp()
        for server in self.servers:
            if server.process.poll() is not None:
                server.start()
        self.wait_all_back()

    def wait_all_back(self):
        client = self.connect()
        keys = self.keys_everywhere("back")
        wait_for(lambda: client.pipeline(("SET", key, "x") for key in keys) == [b"OK"] * self.shards,
                 "every shard answers", DEADLINE * 2)

    def assert_only_failing(self, client, shard):
        """A shard's keys get an error, the others are served; in split commands too."""
        keys = self.keys_everywhere("part")
        for key in keys:
            value = client.call("SET", key, value_of(key))
            if self.shard_of(key) == shard:
                self.assert_error(value)
            else:
                self.assertEqual(value, b"OK")
        values = client.call("MGET", *keys)
        if isinstance(values, Error):
            self.fail(f"one failed shard failed all of MGET: {values!r}")
        for key, value in zip(keys, values):
            if self.shard_of(key) == shard:
                self.assert_error(value)
            else:
                self.assertEqual(value, value_of(key))
        self.assert_error(client.call("MSET", *[item for key in keys for item in (key, "x")]))
        self.assert_error(client.call("EXISTS", *keys))


class KillTest(FailureTest):
    def test_kill_and_restart_under_load(self):
        load = Load(self, allowed={1})
        load.wait_progress()
        for _ in range(2):
            self.servers[1].kill()
            errors = load.errors
            wait_for(lambda: load.errors > errors, "the killed shard's errors")
            load.wait_progress()
            self.servers[1].start()
            key = self.key_on(1, "returned")
            client = self.connect()
            wait_for(lambda: client.call("SET", key, "x") == b"OK", "the shard's return")
        load.wait_progress()
        load.stop()

    def test_errors_are_quick_and_partial(self):
        self.servers[2].kill()
        for protocol in (2, 3):
            client = self.connect(protocol)
            since = time.monotonic()
            self.assert_only_failing(client, 2)
            self.assertLess(time.monotonic() - since, 3, "a refused connection is no timeout")

    def test_all_dead(self):
        client, keys = self.connect(), self.keys_everywhere("dead")
        for server in self.servers:
            server.kill()
        for value in client.pipeline([("GET", key) for key in keys] * 20):
            self.assert_error(value)
        self.assertEqual(client.call("PING"), b"PONG")
        for server in self.servers:
            server.start()
        wait_for(lambda: client.pipeline(("GET", key) for key in keys) == [None] * self.shards,
                 "all shards' return")

    def test_state_ends_with_the_shard(self):
        """Transactions, blocking calls: an error or the end, no silence."""
        tag = self.tag_on(3, "state")
        waiting, inside, watching = self.connect(), self.connect(), self.connect()
        waiting.send(command("BLPOP", tag, 0))
        inside.expect_ok("MULTI")
        inside.call("SET", tag, "x")
        watching.expect_ok("WATCH", tag)
        wait_for(lambda: self.servers[3].info("clients")["blocked_clients"] == "1", "blocked")
        self.servers[3].kill()
        inside.send(command("EXEC"))
        for client in (waiting, inside):
            try:
                self.assert_error(client.read().value)
            except Ended:
                pass
        self.servers[3].start()
        watching.send(pipeline([("MULTI",), ("INCR", tag), ("EXEC",)]))
        try:
            replies = [reply.value for reply in watching.read_many(3)]
            self.assertTrue(replies[2] is None or isinstance(replies[2], Error),
                            f"the watched key was lost, yet EXEC ran: {replies!r}")
        except Ended:
            pass


class SilentShardTest(FailureTest):
    def tearDown(self):
        for server in self.servers:
            if server.process.poll() is None:
                server.resume()
        super().tearDown()

    def test_times_out_alone(self):
        load = Load(self, clients=2, allowed={})
        self.servers[0].pause()
        load.allowed = {0}
        client = self.connect()
        key, other = self.key_on(0, "silent"), self.key_on(1, "silent")
        since = time.monotonic()
        self.assertEqual(client.call("SET", other, "x"), b"OK")
        self.assertLess(time.monotonic() - since, 0.5, "a silent shard held up another's key")
        client.send(pipeline([("GET", key), ("GET", other)]))
        self.assert_error(client.read().value)
        took = time.monotonic() - since
        self.assertGreater(took, 0.4)
        self.assertLess(took, 3.5)
        self.assertEqual(client.read().value, b"x")
        load.wait_progress(50)
        self.servers[0].resume()
        wait_for(lambda: client.call("SET", key, "y") == b"OK", "the shard's return")
        load.wait_progress()
        load.stop()

    def test_late_replies_are_nobodys(self):
        """What a shard answers after its timeout is not the answer to what came later."""
        keys = [key for number in range(100) if self.shard_of(key := b"late:%d" % number) == 2]
        client = self.connect()
        client.pipeline(("SET", key, value_of(key)) for key in keys)
        for _ in range(2):
            self.servers[2].pause()
            client.send(pipeline(("GET", key) for key in keys))
            for reply in client.read_many(len(keys)):
                self.assert_error(reply.value)
            self.servers[2].resume()
            clients = [self.connect() for _ in range(3)]
            wait_for(lambda: not isinstance(client.call("GET", keys[0]), Error), "the return")
            for other in [client, *clients]:
                for key, got in zip(reversed(keys), other.pipeline(("GET", key)
                                                                   for key in reversed(keys))):
                    self.assertEqual(got, value_of(key))

    def test_split_command_waits_once(self):
        keys = self.keys_everywhere("wait")
        client = self.connect()
        client.call("MSET", *[item for key in keys for item in (key, value_of(key))])
        self.servers[1].pause()
        self.servers[3].pause()
        since = time.monotonic()
        values = client.call("MGET", *keys)
        self.assertLess(time.monotonic() - since, 3.5)
        self.assertNotIsInstance(values, Error)
        for number, value in enumerate(values):
            if number in (1, 3):
                self.assert_error(value)
            else:
                self.assertEqual(value, value_of(keys[number]))


class EjectTest(FailureTest):
    cluster = {"redis": {"retry_after": "2s", "max_failures": 3}}

    def test_fails_quickly_until_retry_after(self):
        key, client = self.key_on(1, "eject"), self.connect()
        self.servers[1].kill()
        for _ in range(4):
            self.assert_error(client.call("GET", key))
        self.servers[1].start()
        self.servers[1].pause()
        since = time.monotonic()
        for value in client.pipeline([("GET", key)] * 50):
            self.assert_error(value)
        self.assertLess(time.monotonic() - since, 0.5, "an ejected shard was asked")
        for other in self.keys_everywhere("eject"):
            if other != key:
                self.assertEqual(client.call("SET", other, "fine"), b"OK")
        self.servers[1].resume()
        wait_for(lambda: client.call("GET", key) is None, "the return after retry_after")
        self.assertEqual(client.call("SET", key, "back"), b"OK")

    def test_error_replies_are_no_failures(self):
        client, key = self.connect(), self.key_on(1, "type")
        client.call("LPUSH", key, "x")
        for _ in range(20):
            self.assert_error(client.call("GET", key), b"WRONGTYPE")
        self.assertEqual(client.call("LLEN", key), 1)
        client.call("DEL", key)


class MoveTest(FailureTest):
    lb_policy = "ketama"
    listener = {"on_ejected": "move"}
    cluster = {"redis": {"retry_after": "1s", "max_failures": 2}}

    def wait_all_back(self):
        client = self.connect()
        wait_for(lambda: all(value == b"OK" for value in client.pipeline(
            ("SET", b"all:%d" % number, "x") for number in range(200))), "every shard answers")

    def test_keys_move_and_return(self):
        client = self.connect()
        # fnv1a_64, twemproxy's default, puts keys that differ at the end only beside each other.
        keys = [b"move:" + hashlib.md5(b"%d" % number).digest() for number in range(300)]
        client.pipeline(("SET", key, "1") for key in keys)
        here = [key for key in keys if self.servers[2].call("EXISTS", key)]
        self.assertTrue(here)
        there = [key for key in keys if key not in here]
        self.servers[2].kill()
        wait_for(lambda: client.call("SET", here[0], "2") == b"OK", "the keys to move")
        self.assertEqual(client.pipeline(("SET", key, "2") for key in here), [b"OK"] * len(here))
        self.assertEqual(client.call("MGET", *here), [b"2"] * len(here))
        self.assertEqual(client.call("MGET", *there), [b"1"] * len(there), "others did not move")
        self.servers[2].start()
        wait_for(lambda: client.call("SET", here[0], "3") == b"OK" and
                 self.servers[2].call("EXISTS", here[0]), "the keys' return")
        self.assertEqual(client.pipeline(("SET", key, "3") for key in here), [b"OK"] * len(here))
        self.assertEqual(sum(self.servers[2].call("EXISTS", key) for key in here), len(here))


class SlowReaderTest(FailureTest):
    extra = {}

    def test_bounded_memory(self):
        """Gigabytes asked for, not one byte read: little is kept, and others go on."""
        keys = self.keys_everywhere("large")
        setter = self.connect()
        for key in keys:
            setter.expect_ok("SET", key, value_of(key, MIB))
        before = self.skein.rss()
        slow = [self.connect(rcvbuf=4096) for _ in range(2)]
        asked = pipeline([("GET", key) for key in keys] * 250)
        for client in slow:
            client.sock.settimeout(1)
            try:
                client.send(asked)
            except TimeoutError:
                pass  # it stopped reading: that is allowed
        load = Load(self)
        most = 0
        end = time.monotonic() + 2
        while time.monotonic() < end and not load.problems:
            load.wait_progress(200)
            most = max(most, self.skein.rss())
        load.stop()
        if not harness.SANITIZED:  # which keeps freed memory for a while
            self.assertLess(most - before, 64 * MIB)
        for client in slow:
            client.reset()
        self.assert_usable()

    def test_it_reads_in_the_end(self):
        keys = self.keys_everywhere("late")
        client = self.connect(rcvbuf=4096)
        for key in keys:
            client.expect_ok("SET", key, value_of(key, MIB))
        self.background(client.send, pipeline([("GET", key) for key in keys] * 5
                                              + [("MGET", *keys)]))
        load = Load(self, clients=2)
        load.wait_progress(1000)
        load.stop()
        for key in keys * 5:
            self.assertTrue(client.read().value == value_of(key, MIB))
        self.assertTrue(client.read().value == [value_of(key, MIB) for key in keys])

    def test_a_command_that_never_ends(self):
        """Half a large command holds up nobody."""
        for key in self.keys_everywhere("half"):
            client = self.connect()
            client.send(b"*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$5000000\r\n" % (len(key), key) + b"x" * 300000)
        load = Load(self, clients=2)
        load.wait_progress(1000)
        load.stop()


class LeavingClientTest(FailureTest):
    def test_replies_outstanding(self):
        """Clients leave in every way with replies on their way; each reply carries its key."""
        keys = [b"leave:%d" % number for number in range(400)]
        setter = self.connect()
        for key in keys:
            setter.expect_ok("SET", key, value_of(key, 2000))
        load = Load(self)
        rng = self.random()
        for number in range(250):
            client = RedisClient(self.skein.address, protocol=2 + number % 2)
            batch = [rng.choice((("GET", rng.choice(keys)), ("MGET", *rng.choices(keys, k=8))))
                     for _ in range(rng.randrange(1, 40))]
            data = pipeline(batch)
            client.send(data[:len(data) - rng.randrange(2) * rng.randrange(20)])
            if rng.random() < 0.3:
                client.fill()
            if rng.random() < 0.5:
                client.reset()
            else:
                client.close()
            if number % 10 == 0:
                key = rng.choice(keys)
                self.assertTrue(setter.call("GET", key) == value_of(key, 2000))
        load.stop()
        for key, got in zip(keys, setter.pipeline(("GET", key) for key in keys)):
            self.assertTrue(got == value_of(key, 2000))

    def test_descriptors_return(self):
        self.assert_usable()
        before = self.skein.fds()
        for number in range(100):
            client = RedisClient(self.skein.address)
            client.send(command(*(("BLPOP", "x", 0), ("SUBSCRIBE", "x"), ("MULTI",), ("MONITOR",),
                                  ("GET", "x"))[number % 5]))
            client.close()
        wait_for(lambda: self.skein.fds() <= before + 8, "the descriptors' return")


if __name__ == "__main__":
    harness.main()
