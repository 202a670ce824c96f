"""Servers that lie, and servers that ask for a password."""
import time

import harness
from process import hostport
from redis_harness import RedisTest, wait_for
from redis_servers import FakeServer, RedisServer
from redis_wire import Ended, Error, command, pipeline
from wire import DEADLINE


class LyingShardTest(RedisTest):
    """One shard of two is a program that answers what the test says."""

    shards = 2
    oracle = False
    extra = {"timeouts": {"response": "1s", "connect": "1s"}}
    cluster = {"redis": {"max_failures": 1000, "retry_after": "100ms"}}

    @classmethod
    def make_server(cls, number):
        if number == 0:
            return RedisServer().start()
        cls.fake = FakeServer(lambda wire, args: cls.answer(wire, args))
        return cls.fake

    def setUp(self):
        super().setUp()
        self.honest, self.lying = self.key_on(0), self.key_on(1)

    def ask(self, data, protocol=None):
        """What a client gets when the shard answers with these bytes."""
        type(self).answer = staticmethod(lambda wire, args: wire.send(data))
        client = self.connect(protocol)
        client.send(pipeline([("SET", self.honest, "x"), ("GET", self.lying), ("GET", self.honest)]))
        self.assertEqual(client.read().value, b"OK")
        reply = client.read()
        self.assertEqual(client.read().value, b"x", f"after {data!r}")
        return reply

    def test_forms_that_pass(self):
        for data in (b"+OK\r\n", b"$-1\r\n", b"*-1\r\n", b"*0\r\n", b":-12\r\n", b"$0\r\n\r\n",
                     b"-ERR some error\r\n", b"*2\r\n-ERR inside\r\n*1\r\n$1\r\nx\r\n", b"+\r\n",
                     b"*3\r\n$-1\r\n*-1\r\n*0\r\n", b"$10\r\n\r\n\x00\r\n+OK\r\n\r\n", b"-LOADING x\r\n"):
            self.assertEqual(self.ask(data).raw, data)

    def test_resp3_forms_that_pass(self):
        for data in (b"_\r\n", b"#t\r\n", b"#f\r\n", b",1.5\r\n", b",inf\r\n", b",-inf\r\n",
                     b"(12345678901234567890\r\n", b"!10\r\nERR\r\nbulk!\r\n", b"=8\r\ntxt:text\r\n",
                     b"%1\r\n+k\r\n:1\r\n", b"~2\r\n:1\r\n:2\r\n", b"%0\r\n", b"~0\r\n",
                     b"*2\r\n%1\r\n$1\r\na\r\n~1\r\n_\r\n#f\r\n",
                     b"|1\r\n+ttl\r\n:3600\r\n$5\r\nvalue\r\n",
                     b"*2\r\n|1\r\n+note\r\n%1\r\n+a\r\n+b\r\n:1\r\n:2\r\n"):
            self.assertEqual(self.ask(data, 3).raw, data)

    def test_forms_that_do_not(self):
        """An error for the client, and the connection is not used again."""
        for data in (b"garbage\r\n", b"$?\r\n;3\r\nabc\r\n;0\r\n", b"*?\r\n:1\r\n.\r\n", b"$04\r\nabcd\r\n",
                     b"$3\r\nabcde\r\n", b"*01\r\n:1\r\n", b"$-2\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n",
                     b"\r\n", b"\x00\x00\x00\x00", b"$99999999999999999999\r\n", b"*-5\r\n",
                     b"$3 \r\nabc\r\n", b"%?\r\n", b"~?\r\n"):
            for protocol in (None, 3):
                with self.subTest(data=data, protocol=protocol):
                    accepted = self.fake.accepted
                    self.assert_error(self.ask(data, protocol).value)
                    self.ask(b"+fine\r\n", protocol)
                    self.assertGreater(self.fake.accepted, accepted, "the connection was kept")

    def test_more_than_was_asked(self):
        """Unasked bytes never become somebody's reply."""
        for _ in range(10):
            type(self).answer = staticmethod(lambda wire, args: wire.send(b"+first\r\n+unasked\r\n"))
            client = self.connect()
            self.assertEqual(client.call("GET", self.lying), b"first")
            type(self).answer = staticmethod(lambda wire, args: wire.send(b"+second\r\n"))
            value = self.connect().call("GET", self.lying)
            self.assertTrue(value == b"second" or isinstance(value, Error), value)

    def test_dies_inside_a_reply(self):
        """Cut off in the middle: the client must not take it for complete."""
        def half(wire, args):
            wire.send(b"$1000000\r\n" + b"x" * 500000)
            wire.close()
        type(self).answer = staticmethod(half)
        client = self.connect()
        client.send(command("GET", self.lying))
        try:
            reply = client.read()
            self.assert_error(reply.value)
        except Ended:
            pass
        self.assertEqual(self.connect().call("SET", self.honest, "x"), b"OK")

    def test_dies_at_once(self):
        type(self).answer = staticmethod(lambda wire, args: wire.close())
        client = self.connect()
        for _ in range(20):
            client.send(pipeline([("GET", self.lying), ("SET", self.honest, "x")]))
            self.assert_error(client.read().value)
            self.assertEqual(client.read().value, b"OK")

    def test_never_answers(self):
        type(self).answer = staticmethod(lambda wire, args: None)
        client = self.connect()
        since = time.monotonic()
        client.send(pipeline([("SET", self.honest, "x"), ("GET", self.lying), ("GET", self.honest)]))
        self.assertEqual(client.read().value, b"OK")
        self.assertLess(time.monotonic() - since, 0.7)
        self.assert_error(client.read().value)
        self.assertLess(time.monotonic() - since, 3.5)
        self.assertEqual(client.read().value, b"x")


class CloseAtOnceTest(RedisTest):
    shards = 2
    oracle = False

    @classmethod
    def make_server(cls, number):
        return FakeServer(close_at_once=True) if number else RedisServer().start()

    def test_it(self):
        client = self.connect()
        honest, closing = self.key_on(0), self.key_on(1)
        for _ in range(30):
            replies = client.pipeline([("SET", honest, "x"), ("GET", closing), ("GET", honest)])
            self.assertEqual((replies[0], replies[2]), (b"OK", b"x"))
            self.assert_error(replies[1])


class UpstreamAuthTest(RedisTest):
    shards = 2
    shard_password = "shard secret"
    password = "client secret"

    def test_both_ways(self):
        for protocol in (2, 3):
            client = self.connect(protocol)
            keys = self.keys_everywhere("auth")
            self.assertEqual(client.call("MSET", *[item for key in keys for item in (key, key)]), b"OK")
            self.assertEqual(client.call("MGET", *keys), keys)
            client.expect_ok("MULTI")
            client.call("GET", keys[0])
            self.assertEqual(client.call("EXEC"), [keys[0]])
            self.assertEqual(client.call("BLPOP", "none", 0.01), None)
            client.send(command("SUBSCRIBE", "x"))
            self.assertEqual(client.read().value, [b"subscribe", b"x", 1])
        self.assert_error(self.connect(password=None).call("GET", keys[0]), b"NOAUTH")

    def test_the_shard_restarts(self):
        client, key = self.connect(), self.key_on(1)
        client.expect_ok("SET", key, "x")
        self.servers[1].restart()
        wait_for(lambda: client.call("SET", key, "x") == b"OK", "the shard's return", DEADLINE * 3)


class WrongUpstreamAuthTest(RedisTest):
    """The password is wrong: an error for the client, never somebody's reply."""

    shards = 2
    oracle = False
    cluster = {"redis": {"auth": {"password": "wrong"}, "retry_after": "200ms"}}

    @classmethod
    def make_server(cls, number):
        return RedisServer("right").start() if number else RedisServer().start()

    def test_wrong(self):
        client = self.connect()
        for _ in range(10):
            self.assert_error(client.call("GET", self.key_on(1)))
            self.assertEqual(client.call("PING"), b"PONG")
        self.assertEqual(self.servers[1].call("DBSIZE"), 0)


class AddressTest(RedisTest):
    """Errors say which shard failed, so that an operator finds it."""

    shards = 2
    oracle = False

    def test_named(self):
        client, key = self.connect(), self.key_on(1)
        self.servers[1].kill()
        try:
            value = self.assert_error(client.call("GET", key))
            self.assertIn(hostport(self.servers[1].address).encode(), value)
        finally:
            self.servers[1].start()


if __name__ == "__main__":
    harness.main()
