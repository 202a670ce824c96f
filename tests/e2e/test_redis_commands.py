"""The Redis command table against a real redis-server: keys against COMMAND GETKEYS, and the
description of every command against COMMAND INFO, byte by byte.

Command lines are generated from the grammar that the server itself gives (COMMAND DOCS), so every
command and every option that may move a key occurs.
"""
import os
import random
import subprocess
import unittest

import harness
from redis_server import RedisServer, RespError

TABLE = os.environ.get("SKEIN_REDIS_TABLE",
                       os.path.join(os.path.dirname(__file__), "../../build/redis_table"))
LINES = 40  # generated per command
SEED = 1

# Lines that the grammar does not give, or rarely. Keys may look like options. Where GETKEYS and the
# command itself disagree (a count of "01", an option's name as the key of STORE, a consumer called
# "streams", PFMERGE without a source) the table follows the command: see tests/unit/test_redis_keys.c.
LINES_BY_HAND = """
EVAL s 0|EVAL s 0 a b|EVAL s 1 a|EVAL s 2 a|EVAL s -1 a|EVAL s x a|EVALSHA s 2 a b c
EVAL_RO s 1 a|EVALSHA_RO s 1 a|FCALL f 0|FCALL f 2 a b|FCALL_RO f 1 a
ZUNION 0 a|ZUNION 2 a b|ZUNIONSTORE d 0 a|ZUNIONSTORE d 2 a|ZUNIONSTORE d 2 a b WEIGHTS 1 2
ZINTERSTORE d 1 a|ZDIFFSTORE d 2 a b|ZDIFF 2 a b WITHSCORES|ZINTERCARD 2 a b LIMIT 1
SINTERCARD 2 a b LIMIT 1|LMPOP 2 a b LEFT|LMPOP 3 a LEFT|BLMPOP 0 1 a LEFT|BZMPOP 0 2 a b MIN
SORT k|SORT k STORE d|SORT k BY STORE GET STORE|SORT k LIMIT 1 2 STORE d|SORT k STORE a STORE b
SORT k GET STORE STORE d|SORT k store d ALPHA|SORT STORE STORE STORE|SORT k STORE|SORT_RO k BY x
GEORADIUS k 0 0 1 km|GEORADIUS k 0 0 1 km STORE d|GEORADIUS k 0 0 1 km COUNT 1 STOREDIST d
GEORADIUSBYMEMBER k m 1 km STORE d|GEORADIUSBYMEMBER k STORE 1 km STORE d
GEORADIUS k 0 0 STORE km STORE d|GEORADIUS_RO k 0 0 1 km
XREAD STREAMS a 0|XREAD COUNT 1 BLOCK 1 STREAMS a b 0 0|XREAD STREAMS STREAMS STREAMS
XREAD COUNT 1 a 0|XREADGROUP GROUP g c STREAMS a >|XREADGROUP GROUP streams c STREAMS a b > >
MIGRATE h 1 k 0 5|MIGRATE h 1 '' 0 5 KEYS a b|MIGRATE h 1 '' 0 5 AUTH p KEYS a
MIGRATE h 1 '' 0 5 AUTH2 KEYS KEYS KEYS a b|MIGRATE h 1 k 0 5 KEYS a
MSET a 1 b 2|MSETNX a 1|SET k v GET|BITFIELD k GET u8 0|BITOP AND d a b|PFCOUNT a b|PFMERGE d a
OBJECT ENCODING k|OBJECT HELP|MEMORY USAGE k|MEMORY DOCTOR|XINFO STREAM k|XGROUP DESTROY k g
PING|PUBLISH c m|SPUBLISH c m|SSUBSCRIBE a b|CONFIG GET x|COMMAND COUNT|KEYS a
"""


def hand_lines():
    for line in LINES_BY_HAND.replace("\n", "|").split("|"):
        if line:
            yield [b"" if word == "''" else word.encode() for word in line.split()]


class Grammar:
    """Random valid command lines from the arguments that COMMAND DOCS lists."""

    def __init__(self, rng):
        self.rng = rng

    def line(self, name, docs):
        arguments = docs.get(b"arguments", [])
        self.times = self.rng.randint(1, 3)  # keys and what belongs to each occur equally often
        self.counted = any(a[b"name"] == b"numkeys" for a in arguments)
        self.keys = 0
        out = name.split(b"|")
        for argument in arguments:
            out += self.argument(argument)
        return out

    def argument(self, a):
        flags = a.get(b"flags", [])
        required = self.counted and a[b"type"] == b"key"
        if b"optional" in flags and not required and self.rng.random() < 0.5:
            return []
        out = []
        for i in range(self.times if b"multiple" in flags else 1):
            if b"token" in a and (i == 0 or b"multiple_token" in flags):
                token = b"" if a[b"token"] == b'""' else a[b"token"]
                out.append(self.rng.choice((token, token.lower())))
            out += self.value(a)
        return out

    def value(self, a):
        kind = a[b"type"]
        if kind == b"pure-token":
            return []
        if kind == b"block":
            return [word for part in a[b"arguments"] for word in self.argument(part)]
        if kind == b"oneof":
            return self.argument(self.rng.choice(a[b"arguments"]))
        if kind == b"key":
            self.keys += 1
            return [b"k%d\r\n \0%c" % (self.keys, self.rng.randrange(256))]
        if a[b"name"] == b"numkeys":
            return [b"%d" % self.times]
        return [b"%d" % self.rng.randrange(1000)]


@unittest.skipUnless(RedisServer.available(), "no redis-server")
class TableTest(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        cls.server = RedisServer()
        cls.addClassCleanup(cls.server.stop)
        cls.server.start()
        cls.redis = cls.server.connect()
        cls.addClassCleanup(cls.redis.close)
        version = cls.redis.call("HELLO", 3)[b"version"].decode()
        known = cls.ask(["version"])[0]
        if version != known:
            raise unittest.SkipTest(f"the table is that of redis {known}, the server is {version}")
        cls.names = cls.ask(["names"])[0].split()

    @staticmethod
    def ask(lines):
        """Answers of the table, one line for each."""
        run = subprocess.run([TABLE], input="\n".join(lines) + "\n", capture_output=True, text=True,
                             timeout=harness.DEADLINE * 6)
        if run.returncode != 0:
            raise AssertionError(f"{TABLE}: exit {run.returncode}: {run.stderr}")
        return run.stdout.split("\n")[:len(lines)]

    def server_keys(self, lines):
        """What COMMAND GETKEYS says; None for an error."""
        for start in range(0, len(lines), 500):
            part = lines[start:start + 500]
            for line in part:
                self.redis.send("COMMAND", "GETKEYS", *line)
            for _ in part:
                reply = self.redis.read()
                yield None if isinstance(reply, RespError) else reply

    def compare_keys(self, lines):
        """@return The names of the commands for which keys were found."""
        found, wrong = set(), []
        answers = self.ask(["keys " + " ".join(word.hex() or "-" for word in line) for line in lines])
        for line, answer, expected in zip(lines, answers, self.server_keys(lines), strict=True):
            keys = [] if answer == "?" else [line[int(i)] for i in answer.split()]
            if keys != (expected or []):
                wrong.append(f"{line}: {answer!r}, the server says {expected}")
            elif keys:
                found.add(line[0].decode().lower())
        self.assertFalse(wrong, "\n".join(wrong[:20]))
        return found

    def test_names(self):
        names = []
        for command in self.redis.call("COMMAND"):
            names += [command[0].decode()] + [sub[0].decode() for sub in command[9]]
        self.assertEqual(sorted(names), sorted(self.names))

    def test_keys_of_generated_lines(self):
        grammar = Grammar(random.Random(SEED))
        docs = {}
        for name, doc in self.redis.call("COMMAND", "DOCS").items():
            docs.update(doc.get(b"subcommands") or {name: doc})
        lines = [grammar.line(name, doc) for name, doc in sorted(docs.items()) for _ in range(LINES)]
        self.compare_keys(lines)

        keyed = set()
        for command in self.redis.call("COMMAND"):
            for one in [command, *command[9]]:
                if any(b"not_key" not in spec[b"flags"] for spec in one[8]):
                    keyed.add(one[0])
        self.assertGreater(len(keyed), 170)
        with_keys = {b"|".join(line[:2]) if b"|".join(line[:2]) in keyed else line[0]
                     for line, keys in zip(lines, self.server_keys(lines), strict=True) if keys}
        self.assertEqual(set(), keyed - {name.lower() for name in with_keys})

    def test_keys_of_lines_by_hand(self):
        found = self.compare_keys(list(hand_lines()))
        self.assertLessEqual({"eval", "sort", "georadius", "xread", "xreadgroup", "migrate", "object"}, found)

    def test_describe(self):
        for protocol in (2, 3):
            connection = self.server.connect()
            self.addCleanup(connection.close)
            connection.call("HELLO", protocol)
            answers = self.ask([f"describe {protocol} {name}" for name in self.names])
            for name, answer in zip(self.names, answers, strict=True):
                with self.subTest(name=name, protocol=protocol):
                    connection.send("COMMAND", "INFO", name)
                    self.assertEqual(b"*1\r\n", connection.file.readline())
                    self.assertEqual(self.sorted_entry(connection), bytes.fromhex(answer))

    def sorted_entry(self, connection):
        """One entry as it is on the wire, its subcommands sorted: redis' order is random."""
        header = connection.file.readline()
        self.assertEqual(b"*10\r\n", header)
        first = [connection.raw() for _ in range(9)]
        count = connection.file.readline()
        subs = sorted((connection.raw() for _ in range(int(count[1:]))), key=lambda raw: raw.split(b"\r\n")[2])
        return header + b"".join(first) + count + b"".join(subs)


if __name__ == "__main__":
    harness.main()
