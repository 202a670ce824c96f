"""Redis with `kernel: on`: what is carried, what falls back, and how it comes back."""
import time

import harness
from redis_commands import AWKWARD
from redis_harness import wait_for
from redis_kernel_harness import RedisKernelTest, value_of
from redis_wire import Error, RedisClient, command, pipeline
from together import together
from wire import DEADLINE

MIB = 1 << 20
EACH = 400  # commands of a client where many run beside each other


class WhatIsCarriedTest(RedisKernelTest):
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


class StateTest(RedisKernelTest):
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


if __name__ == "__main__":
    harness.main()
