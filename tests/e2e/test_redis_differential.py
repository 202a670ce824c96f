"""What skein over four shards answers is what one redis-server answers, byte by byte."""
import harness
from redis_commands import AWKWARD, Commands, same
from redis_harness import SEED, RedisTest
from redis_wire import RedisClient, pipeline

COUNT = 2500     # commands of a long run
BATCH = 40       # most commands of one pipeline
MIB = 1 << 20


class Differential(RedisTest):
    """What the classes below share."""

    def setUp(self):
        super().setUp()
        self.flush()

    def play(self, commands, rng, protocol=None, cuts=None):
        """Sends a stream of (arguments, mode) to both in pipelines of random length."""
        skein, alone = self.both(protocol)
        commands, number, history = list(commands), 0, []
        while number < len(commands):
            batch = commands[number:number + rng.randrange(1, BATCH + 1)]
            data = pipeline(args for args, _ in batch)
            if cuts:
                skein.send_random(data, rng, cuts)
            else:
                skein.send(data)
            alone.send(data)
            for args, mode in batch:
                got, wanted = skein.read(), alone.read()
                history = (history + [args])[-6:]
                self.assertTrue(
                    same(mode, got, wanted),
                    f"seed {SEED}, command {number} {args!r:.300}: skein {got}, redis {wanted}; "
                    f"before it {history[:-1]!r:.600}")
                number += 1

    def assert_same_data(self):
        """The shards together hold what the oracle holds, every key where it belongs."""
        found = self.assert_keys_in_place()
        wanted = self.alone.call("DBSIZE")
        self.assertEqual(found, wanted)
        self.assertGreater(found, 20, "the test should have left something")
        with self.alone.connect() as alone:
            clients = [server.connect() for server in self.servers]
            for key in alone.call("KEYS", "*"):
                shard = clients[self.shard_of(key)]
                self.assertEqual(shard.call("TYPE", key), alone.call("TYPE", key), repr(key))
                self.assertEqual(shard.ask("GET", key).raw, alone.ask("GET", key).raw, repr(key))
            for client in clients:
                client.close()

    def run_random(self, salt, protocol=None, cuts=None, count=COUNT):
        rng = self.random(salt)
        self.play(Commands(rng).each(count), rng, protocol, cuts)
        self.assert_same_data()


class RandomTest(Differential):
    def test_resp2(self):
        self.run_random(1)

    def test_resp3(self):
        self.run_random(2, protocol=3)

    def test_resp2_cut_anywhere(self):
        self.run_random(3, cuts=60)

    def test_resp3_cut_anywhere(self):
        self.run_random(4, protocol=3, cuts=60)

    def test_byte_by_byte(self):
        rng = self.random(5)
        skein, alone = self.both()
        for args, mode in Commands(rng, largest=64).each(60):
            data = pipeline([args])
            skein.send_cut(data, 1)
            alone.send(data)
            got, wanted = skein.read(), alone.read()
            self.assertTrue(same(mode, got, wanted), f"{args!r}: skein {got}, redis {wanted}")

    def test_two_clients_of_two_versions(self):
        """The version belongs to the client, not to the connection that is shared upstream."""
        rng = self.random(6)
        pairs = [self.both(None), self.both(3), self.both(2), self.both(3)]
        for args, mode in Commands(rng).each(800):
            skein, alone = pairs[rng.randrange(4)]
            got, wanted = skein.ask(*args), alone.ask(*args)
            self.assertTrue(same(mode, got, wanted), f"{args!r}: skein {got}, redis {wanted}")
        self.assert_same_data()


class SplitTest(Differential):
    """The split commands with keys and values that are made to break them."""

    KEYS = [b"split" + key for key in AWKWARD] + [b"%d" % number for number in range(30)] + [b""]

    def test_every_key_by_itself(self):
        pair = self.both()
        for key in self.KEYS:
            self.assert_same("SET", key, b"is " + key, clients=pair)
            self.assert_same("GET", key, clients=pair)
        self.assert_same_data()

    def test_split_commands(self):
        rng = self.random(7)
        for protocol in (2, 3):
            pair = self.both(protocol)
            for _ in range(60):
                keys = [rng.choice(self.KEYS) for _ in range(rng.randrange(1, 60))]
                values = [rng.choice(AWKWARD) + b"%d" % rng.randrange(99) for _ in keys]
                pairs = [item for couple in zip(keys, values) for item in couple]
                self.assert_same("MSET", *pairs, clients=pair)
                self.assert_same("MGET", *keys[::-1], *self.KEYS, b"missing", clients=pair)
                self.assert_same("EXISTS", *keys, *keys, clients=pair)
                self.assert_same("TOUCH", *keys, clients=pair)
                self.assert_same(rng.choice(("DEL", "UNLINK")), *keys[:5], *keys[:2], clients=pair)
                self.assert_same("MGET", *self.KEYS, clients=pair)
        self.assert_same_data()

    def test_wrong_types_inside(self):
        pair = self.both()
        for number in range(12):
            self.assert_same("LPUSH", b"list%d" % number, b"x", clients=pair)
            self.assert_same("SET", b"text%d" % number, b"y", clients=pair)
        mixed = [b"%s%d" % (name, number) for number in range(12)
                 for name in (b"list", b"text", b"none")]
        self.assert_same("MGET", *mixed, clients=pair)
        self.assert_same("EXISTS", *mixed, clients=pair)
        self.assert_same("MSET", *[item for key in mixed for item in (key, b"now text")],
                         clients=pair)
        self.assert_same("MGET", *mixed, clients=pair)

    def test_thousands_of_keys_in_one_command(self):
        keys = [b"key:%d" % number for number in range(5000)]
        pair = self.both()
        self.assert_same("MSET", *[item for key in keys for item in (key, b"=" + key)],
                         clients=pair)
        self.assert_same("MGET", *keys, clients=pair)
        self.assert_same("EXISTS", *keys, clients=pair)
        self.assertEqual(self.assert_keys_in_place(), 5000)
        self.assert_same("DEL", *keys, clients=pair)
        self.assertEqual(self.assert_keys_in_place(), 0)

    def test_sizes(self):
        """Around every power of two up to 1 MiB, alone and in split commands, pipelined."""
        rng = self.random(8)
        sizes = [size + delta for size in (0, 16, 128, 512, 1024, 4096, 16384, 65536, 262144, MIB)
                 for delta in (-1, 0, 1) if 0 <= size + delta <= MIB]
        block = rng.randbytes(MIB)
        keys = [b"size:%d" % size for size in sizes]
        pair = self.both()
        commands = [("SET", key, block[:size]) for key, size in zip(keys, sizes)]
        commands += [("GET", key) for key in keys] + [("STRLEN", key) for key in keys]
        for client in pair:
            self.send_beside(client, pipeline(commands))
        for args in commands:
            got, wanted = (client.read() for client in pair)
            self.assertEqual(got.raw == wanted.raw, True, f"{args[:2]!r}: {got} for {wanted}")
        flat = [item for key, size in zip(keys, sizes) for item in (key + b"x", block[:size])]
        self.assert_same("MSET", *flat, clients=pair)
        got, wanted = (client.ask("MGET", *[key + b"x" for key in keys]) for client in pair)
        self.assertTrue(got.raw == wanted.raw, f"{got} for {wanted}")
        self.assert_keys_in_place()

    def send_beside(self, client, data):
        """Sends in a thread: both directions are too big for one to wait for the other."""
        self.background(client.send, data)

    def test_large_and_cut(self):
        rng = self.random(9)
        block = rng.randbytes(MIB)
        pair = self.both()
        commands = [("SET", "large", block), ("GET", "large"), ("APPEND", "large", b"!"),
                    ("MSET", "large2", block, "large3", block[::-1], "small", b""),
                    ("MGET", "large3", "small", "large2", "none"), ("STRLEN", "large"),
                    ("EVAL", "return KEYS[1]..ARGV[1]", 1, "large", block)]
        data = pipeline(commands)
        self.background(pair[0].send_random, data, rng, 300)
        self.background(pair[1].send, data)
        for args in commands:
            got, wanted = (client.read() for client in pair)
            self.assertTrue(got.raw == wanted.raw, f"{args[:2]!r}: {got} for {wanted}")


class ShardsTest(RedisTest):
    """The keys' places do not depend on who writes, and follow the number of shards."""

    shards = 3
    oracle = False

    def test_slots_over_three_shards(self):
        client = self.connect()
        keys = [b"place:%d" % number for number in range(3000)]
        replies = client.pipeline([("SET", key, key) for key in keys])
        self.assertEqual(set(replies), {b"OK"})
        self.assertEqual(self.assert_keys_in_place(), 3000)
        for server in self.servers:
            self.assertGreater(server.call("DBSIZE"), 800)
        self.assertEqual(client.call("MGET", *keys), keys)

    def test_what_others_wrote_is_found(self):
        keys = [b"{other:%d}" % number for number in range(200)]
        for key in keys:
            with RedisClient(self.servers[self.shard_of(key)].address) as direct:
                direct.expect_ok("SET", key, b"by " + key)
        self.assertEqual(self.connect().call("MGET", *keys), [b"by " + key for key in keys])


class OneShardTest(Differential):
    """With one shard nothing is split, and nothing may differ."""

    shards = 1

    def test_everything(self):
        self.run_random(10)


if __name__ == "__main__":
    harness.main()
