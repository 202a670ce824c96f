"""What belongs to one client, its greeting first, what skein answers itself or gathers from all
shards, and what it refuses."""
import harness
from redis_harness import RedisTest
from redis_servers import monitor
from redis_wire import Error, Map, command, pipeline


def without_ids(value):
    """A HELLO reply without what differs from connection to connection."""
    pairs = value if isinstance(value, Map) else list(zip(value[::2], value[1::2]))
    return {key: item for key, item in pairs if key not in (b"id", b"version")}


class GreetingTest(RedisTest):
    def test_hello(self):
        for arguments in ((), (2,), (3,), (3, "SETNAME", "somebody"), (2, "SETNAME", "x")):
            skein, alone = self.both()
            got, wanted = skein.call("HELLO", *arguments), alone.call("HELLO", *arguments)
            self.assertEqual(type(got), type(wanted))
            self.assertEqual(list(without_ids(got)), list(without_ids(wanted)))
            for name in (b"server", b"proto", b"role", b"modules"):
                self.assertEqual(without_ids(got)[name], without_ids(wanted)[name], name)
            self.assert_same("CLIENT", "GETNAME", clients=(skein, alone))
            self.assert_same("GET", "none", clients=(skein, alone))

    def test_hello_errors(self):
        pair = self.both()
        for arguments in (("4",), ("1",), ("0",), ("-3",), ("three",), (3, "NONSENSE"),
                          (3, "AUTH", "default"), (3, "SETNAME"), (3, "SETNAME", "a b"), ("",),
                          (3, "AUTH", "nobody", "nothing"), ("3.0",), ("03",)):
            self.assert_same("HELLO", *arguments, clients=pair)
            self.assert_same("GET", "none", clients=pair)  # the version stayed
        self.assert_same("CLIENT", "GETNAME", clients=pair)

    def test_versions_change_back_and_forth(self):
        pair = self.both()
        self.assert_same("HSET", "hello-hash", "f", "v", clients=pair)
        for version in (3, 2, 3, 3, 2):
            for client in pair:
                client.call("HELLO", version)
            self.assert_same("HGETALL", "hello-hash", clients=pair)
            self.assert_same("GET", "hello-none", clients=pair)
            self.assert_same("MGET", "hello-none", "hello-none2", clients=pair)

    def test_version_changes_inside_a_pipeline(self):
        """Each reply has the version that its command had, on whatever shard."""
        client, keys = self.connect(), self.keys_everywhere("none")
        batch = []
        for version in (3, 2, 3):
            batch += [("GET", key) for key in keys] + [("HELLO", version)]
        batch += [("GET", key) for key in keys]
        client.send(pipeline(batch))
        nulls = {2: b"$-1\r\n", 3: b"_\r\n"}
        version = 2
        for args in batch:
            reply = client.read()
            if args[0] == "HELLO":
                version = args[1]
                self.assertEqual(isinstance(reply.value, Map), version == 3)
            else:
                self.assertEqual(reply.raw, nulls[version])

    def test_names_and_ids(self):
        skein, alone = pair = self.both()
        for arguments in (("GETNAME",), ("SETNAME", "me"), ("GETNAME",), ("SETNAME", "a b"),
                          ("SETNAME", "a\nb"), ("GETNAME",), ("SETNAME", ""), ("GETNAME",),
                          ("SETNAME",), ("GETNAME", "x"), ("ID", "x"), ("NONSENSE",), ()):
            self.assert_same("CLIENT", *arguments, clients=pair)
        first, second = skein.call("CLIENT", "ID"), self.connect().call("CLIENT", "ID")
        self.assertIsInstance(first, int)
        self.assertNotEqual(first, second)
        self.assertEqual(skein.call("CLIENT", "ID"), first)
        self.assertEqual(skein.call("CLIENT", "SETINFO", "LIB-NAME", "some-client"), b"OK")
        self.assertEqual(skein.call("CLIENT", "SETINFO", "lib-ver", "1.2"), b"OK")
        self.assert_error(skein.call("CLIENT", "SETINFO", "NONSENSE", "x"), b"ERR")

    def test_names_belong_to_clients(self):
        first, second = self.connect(), self.connect()
        first.expect_ok("CLIENT", "SETNAME", "first")
        self.assertIsNone(second.call("CLIENT", "GETNAME"))
        second.expect_ok("CLIENT", "SETNAME", "second")
        self.assertEqual(first.call("CLIENT", "GETNAME"), b"first")

    def test_reply_off_and_skip(self):
        pair, keys = self.both(), self.keys_everywhere("quiet")
        for client in pair:
            client.send(pipeline([
                ("SET", keys[0], "1"), ("CLIENT", "REPLY", "OFF"), ("INCR", keys[0]),
                ("INCR", keys[1]), ("MSET", keys[2], "x", keys[3], "y"), ("PING",), ("NOSUCH",),
                ("GET",), ("CLIENT", "REPLY", "ON"), ("MGET", *keys), ("CLIENT", "REPLY", "SKIP"),
                ("INCR", keys[0]), ("GET", keys[0]), ("CLIENT", "REPLY", "SKIP"), ("PING",),
                ("PING",), ("CLIENT", "REPLY", "SKIP"), ("MGET", *keys), ("ECHO", "end"),
                ("CLIENT", "REPLY", "NONSENSE"), ("CLIENT", "REPLY"), ("PING",)]))
        for _ in range(9):
            self.assertEqual(*[client.read().raw for client in pair])
        self.assert_same("PING", "in step", clients=pair)

    def test_select(self):
        pair = self.both()
        for database in ("0", "x", "", "-1", "99999999999", "1.0"):
            with self.subTest(database=database):
                skein, alone = pair
                got, wanted = skein.call("SELECT", database), alone.call("SELECT", database)
                self.assertEqual(type(got), type(wanted), f"{got!r} for {wanted!r}")
        self.assert_same("SELECT", 0, clients=pair)
        self.assert_same("SELECT", clients=pair)
        self.assert_error(pair[0].call("SELECT", 1), b"ERR")
        self.assertEqual(pair[0].call("PING"), b"PONG")

    def test_ping_and_echo(self):
        for protocol in (2, 3):
            pair = self.both(protocol)
            for args in (("PING",), ("PING", "text"), ("PING", ""), ("PING", "a", "b"), ("ping",),
                         ("ECHO", "text"), ("ECHO",), ("ECHO", "a", "b"), ("ECHO", b"\r\n\x00"),
                         ("ECHO", "x" * 100000)):
                self.assert_same(*args, clients=pair)

    def test_quit(self):
        """OK after the earlier replies, then the end."""
        keys = self.keys_everywhere("quit")
        for protocol in (2, 3):
            skein, alone = self.both(protocol)
            data = pipeline([("MSET", *[item for key in keys for item in (key, "x" * 500)]),
                             *[("GET", key) for key in keys], ("MGET", *keys), ("QUIT",),
                             ("SET", keys[0], "after")])
            answers = []
            for client in (skein, alone):
                client.send(data)
                answers.append(client.read_to_end())
            self.assertEqual(*answers)
            self.assertEqual(self.connect().call("GET", keys[0]), b"x" * 500)
        client = self.connect()
        client.send(command("QUIT", "now"))  # redis 7.0 takes any number of arguments
        self.assertIn(client.read_to_end()[:1], (b"+", b"-"))

    def test_reset(self):
        for protocol in (2, 3):
            skein, alone = pair = self.both(protocol)
            self.assert_same("CLIENT", "SETNAME", "before", clients=pair)
            self.assert_same("MULTI", clients=pair)
            self.assert_same("SET", "reset", "queued", clients=pair)
            self.assert_same("RESET", clients=pair)
            self.assert_same("CLIENT", "GETNAME", clients=pair)
            self.assert_same("EXEC", clients=pair)
            self.assert_same("GET", "reset", clients=pair)  # not queued, and in RESP2 again
            self.assert_same("RESET", "x", clients=pair)

    def test_auth_without_password(self):
        pair = self.both()
        for args in (("AUTH", "x"), ("AUTH", "default", "x"), ("AUTH", "nobody", "x"), ("AUTH",),
                     ("AUTH", "a", "b", "c")):
            self.assert_same(*args, clients=pair)


class AuthTest(RedisTest):
    password = "correct horse"

    def test_errors(self):
        pair = self.both(password=None)
        for args in (("GET", "a"), ("PING",), ("ECHO", "x"), ("MGET", "a", "b"), ("MULTI",),
                     ("SUBSCRIBE", "x"), ("NOSUCH",), ("GET",), ("CLIENT", "SETNAME", "x"),
                     ("AUTH", "wrong"), ("AUTH", "default", "wrong"), ("AUTH", "nobody", "wrong"),
                     ("AUTH",), ("AUTH", "a", "b", "c"), ("HELLO", 3), ("HELLO",), ("COMMAND",),
                     ("HELLO", 3, "AUTH", "default", "wrong"), ("AUTH", ""), ("DBSIZE",),
                     ("HELLO", 4, "AUTH", "default", self.password), ("EVAL", "return 1", 0),
                     ("EXEC",), ("MONITOR",), ("GET", "still not")):
            self.assert_same(*args, clients=pair)

    def test_ways_in(self):
        for args in (("AUTH", self.password), ("AUTH", "default", self.password),
                     ("HELLO", 3, "AUTH", "default", self.password),
                     ("HELLO", 2, "AUTH", "default", self.password, "SETNAME", "me")):
            skein, alone = pair = self.both(password=None)
            self.assertEqual(type(skein.call(*args)), type(alone.call(*args)))
            self.assert_same("SET", "auth", "in", clients=pair)
            self.assert_same("CLIENT", "GETNAME", clients=pair)
            self.assert_same("AUTH", "wrong", clients=pair)
            self.assert_same("GET", "auth", clients=pair)  # a wrong one later changes nothing
            self.assert_same("RESET", clients=pair)
            self.assert_same("GET", "auth", clients=pair)

    def test_inside_a_pipeline(self):
        for client in (pair := self.both(password=None)):
            client.send(pipeline([("SET", "a1", "x"), ("AUTH", "wrong"), ("GET", "a1"),
                                  ("AUTH", self.password), ("SET", "a1", "y"), ("GET", "a1"),
                                  ("MGET", "a1", "a2", "a3")]))
        for _ in range(7):
            self.assertEqual(*[client.read().raw for client in pair])


class GatherTest(RedisTest):
    """Answers from all shards, and about all of them."""

    def setUp(self):
        super().setUp()
        self.flush()

    def fill(self, count=1000):
        keys = [b"fill:%d" % number for number in range(count)]
        for client in (pair := self.both()):
            client.pipeline(("SET", key, "x") for key in keys)
        return keys, pair

    def test_dbsize_keys_flush(self):
        keys, pair = self.fill()
        self.assert_same("DBSIZE", clients=pair)
        self.assertEqual(sorted(pair[0].call("KEYS", "*")), sorted(keys))
        self.assertEqual(sorted(pair[0].call("KEYS", "fill:1?")),
                         [b"fill:1%d" % number for number in range(10)])
        self.assertEqual(pair[0].call("KEYS", "none*"), [])
        self.assert_same("KEYS", clients=pair)
        for args in (("FLUSHALL",), ("FLUSHDB",), ("FLUSHALL", "SYNC"), ("FLUSHDB", "ASYNC")):
            self.fill(50)
            self.assert_same(*args, clients=pair)
            self.assert_same("DBSIZE", clients=pair)
            self.assertEqual([server.call("DBSIZE") for server in self.servers], [0] * self.shards)
        self.assert_same("FLUSHALL", "NONSENSE", clients=pair)

    def scan(self, client, *options):
        found, cursor, rounds = [], b"0", 0
        while True:
            cursor, keys = client.call("SCAN", cursor, *options)
            found += keys
            rounds += 1
            self.assertLess(rounds, 20000)
            if cursor == b"0":
                return found, rounds

    def test_scan(self):
        keys, (client, _) = self.fill(3000)
        client.call("LPUSH", "a-list", "x")
        client.call("SADD", "a-set", "x")
        found, rounds = self.scan(client)
        self.assertEqual(sorted(set(found)), sorted(keys + [b"a-list", b"a-set"]))
        self.assertGreater(rounds, 100)
        found, rounds = self.scan(client, "COUNT", 1000)
        self.assertEqual(len(set(found)), len(keys) + 2)
        self.assertLess(rounds, 30)
        found, _ = self.scan(client, "MATCH", "fill:7*", "COUNT", 100)
        self.assertEqual(set(found), {key for key in keys if key.startswith(b"fill:7")})
        found, _ = self.scan(client, "TYPE", "list", "COUNT", 100)
        self.assertEqual(found, [b"a-list"])

    def test_scan_in_resp3_and_beside_others(self):
        keys, _ = self.fill(500)
        clients = [self.connect(3), self.connect(2)]
        cursors, found = [b"0", b"0"], [set(), set()]
        unfinished = {0, 1}
        while unfinished:
            for number in list(unfinished):
                cursors[number], got = clients[number].call("SCAN", cursors[number])
                found[number].update(got)
                if cursors[number] == b"0":
                    unfinished.remove(number)
        self.assertEqual(found, [set(keys), set(keys)])

    def test_scan_errors(self):
        pair = self.both()
        for args in (("SCAN",), ("SCAN", "x"), ("SCAN", 0, "COUNT", 0), ("SCAN", 0, "COUNT", "x"),
                     ("SCAN", 0, "NONSENSE"), ("SCAN", 0, "MATCH")):
            with self.subTest(args=args):
                self.assertEqual(type(pair[0].call(*args)), type(pair[1].call(*args)))
        self.assert_same("PING", clients=pair)

    def test_scripts_on_every_shard(self):
        client = self.connect()
        script = "return {KEYS[1], redis.call('GET', KEYS[1])}"
        sha = client.call("SCRIPT", "LOAD", script)
        self.assertEqual(len(sha), 40)
        for key in self.keys_everywhere("script"):
            client.call("SET", key, b"of " + key)
            self.assertEqual(client.call("EVALSHA", sha, 1, key), [key, b"of " + key])
        self.assertEqual([server.call("SCRIPT", "EXISTS", sha) for server in self.servers],
                         [[1]] * self.shards)
        self.assertEqual(client.call("SCRIPT", "EXISTS", sha, "0" * 40, sha), [1, 0, 1])
        self.servers[2].call("SCRIPT", "FLUSH")
        self.assertEqual(client.call("SCRIPT", "EXISTS", sha), [0], "one shard does not have it")
        client.call("SCRIPT", "LOAD", script)
        self.assertEqual(client.call("SCRIPT", "FLUSH"), b"OK")
        self.assertEqual(client.call("SCRIPT", "EXISTS", sha), [0])
        self.assert_error(client.call("EVALSHA", sha, 1, "x"), b"NOSCRIPT")
        self.assert_same("SCRIPT", "LOAD", "no lua", clients=(client, self.connect_alone()))

    def test_script_keys(self):
        pair, first, second = self.both(), self.key_on(0), self.key_on(1)
        self.assert_error(pair[0].call("EVAL", "return 1", 2, first, second), b"CROSSSLOT")
        for args in (("EVAL", "return 1", "x", first), ("EVAL", "return 1", 2, first),
                     ("EVAL", "return 1", -1, first)):
            self.assert_error(pair[0].call(*args), b"ERR")  # redis has a word for each of them
        for args in (("EVAL", "return 1"), ("EVAL",), ("EVAL", "return #KEYS", 2, first, first)):
            self.assert_same(*args, clients=pair)

    def test_command(self):
        skein, alone = pair = self.both()
        count = skein.call("COMMAND", "COUNT")
        self.assertIsInstance(count, int)
        self.assertGreater(count, 100)
        for protocol in (2, 3):
            client = self.connect(protocol)
            listed = client.call("COMMAND")
            self.assertEqual(len(listed), count)
            self.assertTrue(all(len(entry) == 10 for entry in listed))
            self.assertIn(b"get", [entry[0] for entry in listed])
        for name in ("get", "MSET", "eval", "xreadgroup"):
            got, wanted = (client.call("COMMAND", "INFO", name)[0] for client in pair)
            self.assertEqual(got[:2], wanted[:2])
            self.assertEqual(got[3:6], wanted[3:6])
            self.assertEqual(set(got[2]), set(wanted[2]))
        self.assertEqual(skein.call("COMMAND", "INFO", "nosuch"),
                         alone.call("COMMAND", "INFO", "nosuch"))
        self.assert_same("COMMAND", "NONSENSE", clients=pair)

    def test_info(self):
        for protocol in (2, 3):
            for section in ((), ("server",), ("everything",)):
                text = self.connect(protocol).call("INFO", *section)
                self.assertIsInstance(text, bytes)
                self.assertNotIsInstance(text, Error)
                lines = [line for line in text.decode().split("\r\n") if line]
                self.assertTrue(lines)
                for line in lines:
                    self.assertRegex(line, r"^(#.*|[^:\s]+:.*)$")
                self.assertTrue(any(line.startswith("redis_version:") for line in lines), lines)


class SlotTest(RedisTest):
    """Commands on several keys: one slot, or a refusal that changes nothing."""

    def setUp(self):
        super().setUp()
        self.flush()

    def commands(self, a, b, c):
        return [("RENAME", a, b), ("RENAMENX", a, b), ("SMOVE", a, b, "m"), ("COPY", a, b),
                ("MSETNX", a, "1", b, "2"), ("BITOP", "AND", a, b, c), ("PFMERGE", a, b),
                ("PFCOUNT", a, b), ("SINTERSTORE", a, b, c), ("SINTER", a, b), ("SUNION", a, b),
                ("SDIFFSTORE", a, b, c), ("ZINTER", 2, a, b), ("ZUNION", 2, a, b),
                ("ZDIFF", 2, a, b), ("ZUNIONSTORE", a, 2, b, c), ("ZINTERCARD", 2, a, b),
                ("SINTERCARD", 2, a, b), ("LMPOP", 2, a, b, "LEFT"), ("ZMPOP", 2, a, b, "MIN"),
                ("RPOPLPUSH", a, b), ("LMOVE", a, b, "LEFT", "LEFT"), ("LCS", a, b),
                ("ZRANGESTORE", a, b, 0, -1), ("GEOSEARCHSTORE", a, b, "FROMLONLAT", 0, 0,
                                               "BYRADIUS", 1, "m"),
                ("SORT", a, "STORE", b), ("GEORADIUS", a, 0, 0, 1, "m", "STORE", b),
                ("XREAD", "STREAMS", a, b, "0", "0"), ("EVAL", "return 1", 2, a, b),
                ("XREADGROUP", "GROUP", "g", "c", "STREAMS", a, b, ">", ">"),
                ("FCALL", "f", 2, a, b), ("EVALSHA", "0" * 40, 2, a, b)]

    def test_across_shards(self):
        client = self.connect()
        a, b, c = (self.key_on(shard, "cross") for shard in (0, 1, 2))
        for args in self.commands(a, b, c):
            with self.subTest(args=args):
                self.assertEqual(client.ask(*args).raw,
                                 b"-CROSSSLOT Keys in request don't hash to the same slot\r\n")
        self.assertEqual([server.call("DBSIZE") for server in self.servers], [0] * self.shards)

    def test_across_slots_of_one_shard(self):
        """The same rule: what works must not depend on the number of shards."""
        client = self.connect()
        keys = [key for number in range(100)
                if self.shard_of(key := b"near:%d" % number) == 0][:3]
        for args in self.commands(*keys)[:8]:
            with self.subTest(args=args):
                self.assert_error(client.call(*args), b"CROSSSLOT")

    def test_one_tag(self):
        for protocol in (2, 3):
            self.flush()
            pair, tag = self.both(protocol), self.tag_on(1, "tag")
            for args in self.commands(tag + b"a", tag + b"b", tag + b"c"):
                self.assert_same(*args, clients=pair)
            self.assert_keys_in_place()


class UnsupportedTest(RedisTest):
    oracle = False
    COMMANDS = [
        ("SYNC",), ("PSYNC", "?", "-1"), ("REPLCONF", "listening-port", "1"), ("SHUTDOWN", "NOSAVE"),
        ("REPLICAOF", "127.0.0.1", "1"), ("SLAVEOF", "127.0.0.1", "1"), ("BGSAVE",), ("SAVE",),
        ("BGREWRITEAOF",), ("CONFIG", "SET", "maxmemory", "1"), ("DEBUG", "SLEEP", "5"),
        ("MIGRATE", "127.0.0.1", "1", "k", "0", "1000"), ("FAILOVER",), ("SWAPDB", "0", "1"),
        ("MOVE", "k", "1"), ("CLIENT", "KILL", "TYPE", "normal"), ("CLIENT", "PAUSE", "100000"),
        ("CLIENT", "TRACKING", "ON"), ("CLIENT", "NO-EVICT", "ON"), ("CLIENT", "UNPAUSE"),
        ("CLUSTER", "RESET"), ("ACL", "SETUSER", "x", "on"), ("MODULE", "LOAD", "/x"), ("ASKING",),
        ("READONLY",), ("RESTORE-ASKING", "k", "0", "x"), ("PFSELFTEST",), ("SLOWLOG", "RESET"),
        ("LATENCY", "RESET"), ("MEMORY", "PURGE"),
    ]

    def test_refused_by_name(self):
        watching = [self.keep(monitor(server)) for server in self.servers]
        for protocol in (2, 3):
            client = self.connect(protocol)
            for args in self.COMMANDS:
                with self.subTest(args=args):
                    value = self.assert_error(client.call(*args), b"ERR")
                    self.assertIn(args[0].lower(), value.decode().lower())
            self.assertEqual(client.call("PING"), b"PONG")
        self.assert_usable()
        for client, key in zip(watching, self.keys_everywhere("usable")):
            seen = b""
            while key not in seen or b'"GET"' not in seen.upper():
                self.assertTrue(client.fill())
                seen += client.take(len(client.buf))
            for args in self.COMMANDS:
                self.assertNotIn(b'"%s"' % args[0].encode(), seen.upper(), args)

    def test_inside_a_transaction(self):
        client = self.connect()
        for args in (("SHUTDOWN",), ("CLIENT", "PAUSE", "1000"), ("SYNC",), ("DEBUG", "SLEEP", "9")):
            client.expect_ok("MULTI")
            self.assertEqual(client.call("SET", "x", "1"), b"QUEUED")
            self.assert_error(client.call(*args), b"ERR")
            self.assert_error(client.call("EXEC"), b"EXECABORT")
        self.assertIsNone(client.call("GET", "x"))


if __name__ == "__main__":
    harness.main()
