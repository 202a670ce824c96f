"""State that needs a server's connection of its own: transactions, blocking calls,
subscriptions."""
import time

import harness
from redis_harness import RedisTest, wait_for
from redis_wire import Push, command, pipeline
from wire import DEADLINE


class TransactionTest(RedisTest):
    def setUp(self):
        super().setUp()
        self.flush()
        self.tag = self.tag_on(2, "multi")

    def play(self, *commands, protocol=None):
        """One client's commands, one by one and then as a pipeline: as redis answers them."""
        last = None
        for piped in (False, True):
            self.flush()
            pair = self.both(protocol)
            if piped:
                for client in pair:
                    client.send(pipeline(commands))
            for args in commands:
                if not piped:
                    for client in pair:
                        client.send(command(*args))
                got, wanted = (client.read() for client in pair)
                self.assertEqual(got.raw, wanted.raw, f"{args!r}, piped {piped}, in {commands!r}")
                last = got.value
            self.assert_same("PING", clients=pair)
        return last

    def test_exec(self):
        a, b = self.tag + b"a", self.tag + b"b"
        for protocol in (2, 3):
            self.play(("MULTI",), ("SET", a, "1"), ("INCR", a), ("MGET", a, b, a), ("HSET", b, "f", "v"),
                      ("HGETALL", b), ("LPUSH", a, "wrong type"), ("PING",), ("ECHO", "x"),
                      ("DEL", a, b), ("EXEC",), ("GET", a), protocol=protocol)

    def test_empty(self):
        self.play(("MULTI",), ("EXEC",))
        self.play(("MULTI",), ("DISCARD",), ("EXEC",), ("DISCARD",))
        self.play(("MULTI",), ("PING",), ("EXEC",))

    def test_discard(self):
        self.play(("SET", self.tag, "kept"), ("MULTI",), ("SET", self.tag, "lost"), ("DISCARD",),
                  ("GET", self.tag))

    def test_errors(self):
        key = self.tag
        self.play(("EXEC",), ("DISCARD",), ("MULTI", "x"), ("EXEC", "x"))
        self.play(("MULTI",), ("MULTI",), ("SET", key, "x"), ("EXEC",), ("GET", key))
        self.play(("MULTI",), ("SET", key, "x"), ("NOSUCH", "x"), ("SET", key, "y"), ("EXEC",),
                  ("GET", key))
        self.play(("MULTI",), ("GET",), ("SET", key, "x"), ("EXEC",), ("EXEC",), ("GET", key))
        self.play(("MULTI",), ("WATCH", key), ("SET", key, "x"), ("EXEC",), ("GET", key))
        self.play(("WATCH",), ("UNWATCH",), ("UNWATCH", "x"))

    def test_other_shards_before_and_after(self):
        keys = self.keys_everywhere("around")
        commands = [("SET", key, "x") for key in keys]
        self.play(*commands, ("MULTI",), ("INCR", self.tag), ("EXEC",), *commands,
                  ("MULTI",), ("INCR", keys[0]), ("EXEC",), ("MULTI",), ("SET", keys[1], "y"),
                  ("EXEC",), ("MGET", *keys))

    def test_cross_slot(self):
        client = self.connect()
        first, second = self.key_on(0), self.key_on(1)
        client.expect_ok("MULTI")
        self.assertEqual(client.call("SET", first, "1"), b"QUEUED")
        self.assert_error(client.call("SET", second, "2"), b"CROSSSLOT")
        self.assertEqual(client.call("SET", first, "3"), b"QUEUED")
        self.assert_error(client.call("EXEC"), b"EXECABORT")
        self.assertEqual(client.call("MGET", first, second), [None, None])
        client.expect_ok("MULTI")
        self.assert_error(client.call("MGET", first, second), b"CROSSSLOT")
        self.assert_error(client.call("EXEC"), b"EXECABORT")
        self.assertEqual(client.call("PING"), b"PONG")

    def test_watch(self):
        key, other = self.tag + b"w", self.tag + b"o"
        for protocol, null in ((2, b"*-1\r\n"), (3, b"_\r\n")):
            client, rival = self.connect(protocol), self.connect()
            rival.expect_ok("SET", key, "1")
            client.expect_ok("WATCH", key)
            self.assertEqual(client.call("GET", key), b"1")
            rival.expect_ok("SET", key, "2")
            client.expect_ok("MULTI")
            self.assertEqual(client.call("SET", key, "mine"), b"QUEUED")
            self.assertEqual(client.ask("EXEC").raw, null)
            self.assertEqual(rival.call("GET", key), b"2")
            client.expect_ok("WATCH", key, other)
            client.expect_ok("MULTI")
            client.call("INCR", key)
            self.assertEqual(client.call("EXEC"), [3])
            client.expect_ok("WATCH", key)
            rival.expect_ok("SET", key, "5")
            client.expect_ok("UNWATCH")
            client.expect_ok("MULTI")
            client.call("INCR", key)
            self.assertEqual(client.call("EXEC"), [6])

    def test_watch_own_change(self):
        self.play(("WATCH", self.tag), ("SET", self.tag, "x"), ("MULTI",), ("GET", self.tag),
                  ("EXEC",), ("GET", self.tag))

    def test_watch_across_shards(self):
        client = self.connect()
        self.assert_error(client.call("WATCH", self.key_on(0), self.key_on(1)), b"CROSSSLOT")
        self.assertEqual(client.call("PING"), b"PONG")

    def test_the_client_leaves_in_the_middle(self):
        """Nothing of it is run, and nobody else finds itself in a transaction."""
        for _ in range(20):
            client = self.connect()
            client.expect_ok("WATCH", self.tag)
            client.expect_ok("MULTI")
            client.call("SET", self.tag, "left")
            client.close()
            other = self.connect()
            self.assertEqual(other.call("SET", self.tag, "other"), b"OK")
            self.assertEqual(other.call("GET", self.tag), b"other")

    def test_transactions_at_once(self):
        clients = [self.connect() for _ in range(10)]
        for client in clients:
            client.expect_ok("MULTI")
        for number, client in enumerate(clients * 5):
            self.assertEqual(client.call("INCR", self.tag), b"QUEUED")
            self.assertEqual(client.call("INCR", self.tag), b"QUEUED")
        for number, client in enumerate(clients):
            first = number * 10
            self.assertEqual(client.call("EXEC"), list(range(first + 1, first + 11)))


class BlockingTest(RedisTest):
    oracle = False
    extra = {"timeouts": {"response": "1s"}}

    def blocked(self, shard):
        return int(self.servers[shard].info("clients")["blocked_clients"])

    def wait_blocked(self, shard, count):
        wait_for(lambda: self.blocked(shard) == count, f"{count} blocked clients")

    def test_woken_by_another(self):
        for shard in range(self.shards):
            key = self.key_on(shard, "block")
            for protocol in (2, 3):
                client, other = self.connect(protocol), self.connect()
                client.send(command("BLPOP", key, 0))
                self.wait_blocked(shard, 1)
                self.assertEqual(other.call("SET", key + b"x", "not blocked"), b"OK")
                self.assertEqual(other.call("RPUSH", key, "element"), 1)
                self.assertEqual(client.read().value, [key, b"element"])
                self.assertEqual(client.call("GET", key + b"x"), b"not blocked")

    def test_timeout(self):
        for protocol, null in ((2, b"*-1\r\n"), (3, b"_\r\n")):
            client = self.connect(protocol)
            since = time.monotonic()
            self.assertEqual(client.ask("BRPOP", "none", 0.3).raw, null)
            self.assertGreater(time.monotonic() - since, 0.25)
            self.assertEqual(client.call("PING"), b"PONG")

    def test_longer_than_the_response_timeout(self):
        """timeouts.response is for servers that do not answer, not for clients that wait."""
        client, key = self.connect(), self.key_on(1, "long")
        client.send(command("BLPOP", key, 0))
        self.wait_blocked(1, 1)
        self.assertTrue(client.quiet(2.5))
        self.connect().call("RPUSH", key, "late")
        self.assertEqual(client.read().value, [key, b"late"])

    def test_disconnect_cancels(self):
        """What is pushed after the client left is not given to nobody."""
        for shard in range(self.shards):
            key = self.key_on(shard, "gone")
            for end in ("close", "reset"):
                client = self.connect()
                client.send(command("BLPOP", key, 0))
                self.wait_blocked(shard, 1)
                getattr(client, end)()
                self.wait_blocked(shard, 0)
                other = self.connect()
                other.call("RPUSH", key, "kept")
                self.assertEqual(other.call("LRANGE", key, 0, -1), [b"kept"])
                other.call("DEL", key)

    def test_commands_behind_it_wait(self):
        key, other_key = self.key_on(0, "pipe"), self.key_on(1, "pipe")
        client, other = self.connect(), self.connect()
        client.send(pipeline([("SET", other_key, "1"), ("BLPOP", key, 0), ("INCR", other_key)]))
        self.assertEqual(client.read().value, b"OK")
        self.wait_blocked(0, 1)
        self.assertTrue(client.quiet(0.1))
        other.call("RPUSH", key, "go")
        self.assertEqual(client.read().value, [key, b"go"])
        self.assertEqual(client.read().value, 2)

    def test_kinds(self):
        tag, client, other = self.tag_on(3, "kinds"), self.connect(), self.connect()
        a, b = tag + b"a", tag + b"b"
        for waiting, push, wanted in (
                (("BLMOVE", a, b, "LEFT", "RIGHT", 0), ("RPUSH", a, "x"), b"x"),
                (("BRPOPLPUSH", a, b, 0), ("RPUSH", a, "y"), b"y"),
                (("BLMPOP", 0, 2, a, tag + b"c", "LEFT"), ("RPUSH", a, "z"), [a, [b"z"]]),
                (("BZPOPMIN", tag + b"z", tag + b"zz", 0), ("ZADD", tag + b"z", 1, "m"),
                 [tag + b"z", b"m", b"1"]),
                (("XREAD", "BLOCK", 0, "STREAMS", tag + b"s", "$"), ("XADD", tag + b"s", "1-1", "f", "v"),
                 [[tag + b"s", [[b"1-1", [b"f", b"v"]]]]])):
            client.send(command(*waiting))
            self.wait_blocked(3, 1)
            other.call(*push)
            self.assertEqual(client.read().value, wanted)
        self.assertEqual(client.call("LRANGE", b, 0, -1), [b"y", b"x"])

    def test_cross_slot(self):
        client = self.connect()
        self.assert_error(client.call("BLPOP", self.key_on(0), self.key_on(1), 1), b"CROSSSLOT")

    def test_many_at_once(self):
        clients = [self.connect() for _ in range(30)]
        keys = [b"crowd:%d" % number for number in range(30)]
        for client, key in zip(clients, keys):
            client.send(command("BLPOP", key, 0))
        wait_for(lambda: sum(map(self.blocked, range(self.shards))) == 30, "30 blocked clients")
        other = self.connect()
        for key in keys:
            other.call("RPUSH", key, b"for " + key)
        for client, key in zip(clients, keys):
            self.assertEqual(client.read().value, [key, b"for " + key])
        for client, key in zip(clients, keys):
            self.assertEqual(client.call("LLEN", key), 0)


class PubSubTest(RedisTest):
    def play(self, steps, protocol=None):
        """(command, number of replies) on skein and the oracle, compared byte by byte."""
        pair = self.both(protocol)
        for args, count in steps:
            for client in pair:
                client.send(command(*args))
            for _ in range(count):
                got, wanted = (client.read().raw for client in pair)
                self.assertEqual(got, wanted, f"{args!r} in {steps!r}")
        return pair

    STEPS = [(("SUBSCRIBE", "a"), 1), (("SUBSCRIBE", "a", "b", "c"), 3), (("PSUBSCRIBE", "p*", "q?"), 2),
             (("PING",), 1), (("PING", "text"), 1), (("GET", "x"), 1), (("PUBLISH", "z", "x"), 1),
             (("SET",), 1), (("NOSUCH",), 1), (("MULTI",), 1), (("DISCARD",), 1),
             (("ECHO", "x"), 1), (("MGET", "a", "b"), 1), (("SUBSCRIBE",), 1),
             (("UNSUBSCRIBE", "b", "none"), 2), (("UNSUBSCRIBE", "a", "c"), 2),
             (("PUNSUBSCRIBE", "p*"), 1), (("PUNSUBSCRIBE", "q?"), 1), (("PING",), 1), (("GET", "x"), 1),
             (("UNSUBSCRIBE",), 1), (("PUNSUBSCRIBE",), 1), (("SUBSCRIBE", "one"), 1),
             (("UNSUBSCRIBE",), 1), (("GET", "x"), 1), (("SUBSCRIBE", "again"), 1), (("RESET",), 1),
             (("GET", "x"), 1)]

    def test_resp2(self):
        """Only some commands are allowed then; redis' own words for the others."""
        self.play(self.STEPS)

    def test_resp3(self):
        """Everything is allowed, and confirmations are pushes."""
        self.play(self.STEPS, 3)

    def test_pipelined(self):
        steps = [(("SET", "x", "1"), 1), (("SUBSCRIBE", "a", "b"), 2), (("PING",), 1),
                 (("UNSUBSCRIBE", "a", "b"), 2), (("GET", "x"), 1)]
        for protocol in (None, 3):
            pair = self.both(protocol)
            for client in pair:
                client.send(pipeline(args for args, _ in steps))
            wanted = [pair[1].read().raw for _ in range(sum(count for _, count in steps))]
            got = [pair[0].read().raw for _ in wanted]
            if protocol == 3:
                got, wanted = sorted(got), sorted(wanted)
            self.assertEqual(got, wanted, protocol)

    def test_messages(self):
        for protocol in (2, 3):
            pair = self.both(protocol)
            publishers = self.both()
            for client in pair:
                client.send(command("SUBSCRIBE", "news", "news2") + command("PSUBSCRIBE", "n*"))
                client.read_many(3)
                if protocol == 3:
                    self.assertEqual(client.call("GET", "none"), None)
            for channel in ("news", "news2", "nothing", "other"):
                for message in ("hello", b"\r\n\x00", "", "x" * 100000):
                    self.assert_same("PUBLISH", channel, message, clients=publishers)
            for _ in range(4 * (2 + 2 + 1)):
                got, wanted = (client.read() for client in pair)
                self.assertEqual(got.raw == wanted.raw, True, f"{got} for {wanted}")
                self.assertEqual(isinstance(got.value, Push), protocol == 3)

    def test_quit_while_subscribed(self):
        for protocol in (2, 3):
            answers = []
            for client in self.both(protocol):
                client.send(command("SUBSCRIBE", "a"))
                client.read()
                client.send(command("QUIT"))
                answers.append(client.read_to_end())
            self.assertEqual(*answers)

    def test_publish_counts(self):
        """Publishers and subscribers meet wherever they come in."""
        subscribers = [self.connect(2 + number % 2) for number in range(6)]
        for client in subscribers:
            client.send(command("SUBSCRIBE", "crowd"))
            client.read()
        publisher = self.connect()
        self.assertEqual(publisher.call("PUBLISH", "crowd", "1"), 6)
        for client in subscribers:
            self.assertEqual(client.read().value, [b"message", b"crowd", b"1"])
        subscribers[0].close()
        wait_for(lambda: publisher.call("PUBLISH", "crowd", "2") == 5, "one has left")
        self.assertEqual(publisher.call("PUBLISH", "nobody", "x"), 0)

    def test_sharded(self):
        tags = [self.key_on(shard, "channel") for shard in range(self.shards)]
        for protocol in (2, 3):
            subscribers = []
            for channel in tags:
                client = self.connect(protocol)
                client.send(command("SSUBSCRIBE", channel))
                self.assertEqual(client.read().value, [b"ssubscribe", channel, 1])
                subscribers.append(client)
            publisher = self.connect()
            for channel, client in zip(tags, subscribers):
                self.assertEqual(publisher.call("SPUBLISH", channel, b"to " + channel), 1)
                self.assertEqual(client.read().value, [b"smessage", channel, b"to " + channel])
                client.send(command("SUNSUBSCRIBE", channel))
                self.assertEqual(client.read().value, [b"sunsubscribe", channel, 0])
                client.close()

    def test_a_subscriber_that_leaves(self):
        channel = "left"
        publisher = self.connect()
        for number in range(20):
            client = self.connect()
            client.send(command("SUBSCRIBE", channel))
            client.read()
            client.close()
            wait_for(lambda: publisher.call("PUBLISH", channel, "x") == 0, "nobody listens")

    def test_monitor(self):
        client, other = self.connect(), self.connect()
        self.assertEqual(client.call("MONITOR"), b"OK")
        key = self.key_on(0, "watched")
        seen = b""
        end = time.monotonic() + DEADLINE
        keys = self.keys_everywhere("watched")
        for key in keys:
            other.call("SET", key, "seen")
        while not any(key in seen for key in keys):
            self.assertLess(time.monotonic(), end, seen)
            self.assertTrue(client.fill())
            seen += client.take(len(client.buf))
        self.assertTrue(seen.startswith(b"+"), seen)
        client.close()
        self.assert_usable(other)


if __name__ == "__main__":
    harness.main()
