"""Clients that others wrote: redis-cli, redis-benchmark, hiredis, ioredis."""
import os
import re
import shutil
import subprocess
import unittest

import harness
from redis_harness import RedisTest
from redis_wire import pipeline

BUILD = os.path.dirname(os.path.abspath(
    os.environ.get("SKEIN_BIN", os.path.join(os.path.dirname(__file__), "../../build/skein"))))
HIREDIS = os.environ.get("SKEIN_REDIS_HIREDIS", os.path.join(BUILD, "redis_hiredis"))
OFFLINE = os.environ.get("SKEIN_OFFLINE") == "1"


class ClientTest(RedisTest):
    oracle = False
    extra = {"workers": 2}

    def run_client(self, *args, stdin=b"", timeout=60):
        result = subprocess.run(args, input=stdin, capture_output=True, timeout=timeout)
        self.assertEqual(result.returncode, 0,
                         f"{args}: {result.stdout[-800:]!r} {result.stderr[-800:]!r}")
        self.assertNotRegex(result.stderr.decode(), r"(?i)err(or)?[ :]")
        return result.stdout

    def cli(self, *args, stdin=b""):
        return self.run_client("redis-cli", "-p", str(self.skein.address[1]), *args, stdin=stdin)


class CliTest(ClientTest):
    def test_commands(self):
        self.assertEqual(self.cli("SET", "cli", "some text"), b"OK\n")
        self.assertEqual(self.cli("GET", "cli"), b"some text\n")
        self.assertEqual(self.cli("-3", "GET", "cli"), b"some text\n")
        self.assertEqual(self.cli("MSET", "c1", "1", "c2", "2", "c3", "3"), b"OK\n")
        self.assertEqual(self.cli("MGET", "c1", "c2", "c3", "c4"), b"1\n2\n3\n\n")
        self.assertEqual(self.cli("-x", "SET", "cli", stdin=b"from\x00stdin"), b"OK\n")
        self.assertEqual(self.cli("STRLEN", "cli"), b"10\n")
        self.assertEqual(self.cli("-r", "5", "INCR", "cli-count"), b"1\n2\n3\n4\n5\n")
        self.assertIn(b"redis_version:", self.cli("INFO"))

    def test_eval(self):
        self.assertEqual(self.cli("EVAL", "return {KEYS[1], ARGV[1]}", "1", "k", "a"), b"k\na\n")
        script = os.path.join(self.skein.dir, "script.lua")
        with open(script, "w") as file:
            file.write("return redis.call('SET', KEYS[1], ARGV[1])")
        self.assertEqual(self.cli("--eval", script, "cli-eval", ",", "value"), b"OK\n")
        self.assertEqual(self.cli("GET", "cli-eval"), b"value\n")

    def test_many_from_stdin(self):
        lines = b"".join(b"SET line:%d value:%d\n" % (number, number) for number in range(500))
        self.assertEqual(self.cli(stdin=lines), b"OK\n" * 500)
        lines = b"".join(b"GET line:%d\n" % number for number in range(500))
        self.assertEqual(self.cli(stdin=lines),
                         b"".join(b"value:%d\n" % number for number in range(500)))

    def test_mass_insertion(self):
        data = pipeline(("SET", b"mass:%d" % number, b"v" * (number % 300))
                        for number in range(20000))
        out = self.cli("--pipe", stdin=data)
        self.assertIn(b"errors: 0, replies: 20000", out)
        self.assertGreaterEqual(self.assert_keys_in_place(), 20000)

    def test_scan(self):
        self.cli("--pipe", stdin=pipeline(("SET", b"scan:%d" % number, "x")
                                          for number in range(2000)))
        found = self.cli("--scan", "--pattern", "scan:*").split()
        self.assertEqual(sorted(set(found)), sorted(b"scan:%d" % number for number in range(2000)))
        self.assertIn(b"Biggest string found", self.cli("--bigkeys"))

    def test_transaction_and_subscription(self):
        out = self.cli(stdin=b"MULTI\nSET {cli}a 1\nINCR {cli}a\nEXEC\nGET {cli}a\n")
        self.assertEqual(out, b"OK\nQUEUED\nQUEUED\nOK\n2\n2\n")


class BenchmarkTest(ClientTest):
    def benchmark(self, *options):
        """Runs it, returns the tests that it ran."""
        out = self.run_client("redis-benchmark", "-p", str(self.skein.address[1]), "-q",
                              "-n", "20000", "-c", "50", "-r", "100000", *options, timeout=120)
        text = out.decode().replace("\r", "\n")
        self.assertNotRegex(text, r"(?i)err(or)?[ :]")
        return re.findall(r"^(.+?): [\d.]+ requests per second", text, re.M)

    def check_all(self, *options):
        """Every test of redis-benchmark; MSET's ten keys go to several shards."""
        ran = self.benchmark(*options)
        self.assertGreaterEqual(len(ran), 20, ran)
        for name in ("PING_INLINE", "SET", "GET", "INCR", "LPUSH", "RPOP", "SADD", "HSET", "SPOP",
                     "ZADD", "ZPOPMIN", "LRANGE_600 (first 600 elements)", "MSET (10 keys)"):
            self.assertIn(name, ran)
        self.assertGreater(self.assert_keys_in_place(), 15000)

    def test_all(self):
        self.check_all("-P", "1")

    def test_all_pipelined(self):
        self.check_all("-P", "16")

    def test_resp3(self):
        self.assertEqual(self.benchmark("-3", "-P", "4", "-t", "set,get,mset"),
                         ["SET", "GET", "MSET (10 keys)"])

    def test_large_values(self):
        self.assertEqual(self.benchmark("-d", "16384", "-P", "16", "-t", "set,get"), ["SET", "GET"])


class HiredisTest(ClientTest):
    def test_sync(self):
        self.run_client(HIREDIS, str(self.skein.address[1]), "sync")
        self.assert_keys_in_place()

    def test_async(self):
        self.run_client(HIREDIS, str(self.skein.address[1]), "async")
        self.assert_keys_in_place()


class IoredisTest(ClientTest):
    """Installed by name into the build tree, once."""

    modules = os.path.join(BUILD, "node", "node_modules")

    @classmethod
    def setUpClass(cls):
        if not cls.skip_reason and not os.path.isdir(os.path.join(cls.modules, "ioredis")):
            cls.install()
        super().setUpClass()

    @classmethod
    def install(cls):
        if OFFLINE:
            raise unittest.SkipTest("SKEIN_OFFLINE=1 and ioredis is not installed")
        if not shutil.which("npm"):
            raise AssertionError("npm is not installed; scripts/setup installs it")
        result = subprocess.run(
            ["npm", "install", "--prefix", os.path.dirname(cls.modules), "--no-audit", "--no-fund",
             "--no-package-lock", "ioredis@5"], capture_output=True, text=True, timeout=120)
        if result.returncode:
            raise AssertionError("npm could not install ioredis (SKEIN_OFFLINE=1 skips this): "
                                 + result.stderr[-1000:])

    def test_ioredis(self):
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "redis_ioredis.js")
        out = self.run_client("node", script, self.modules, str(self.skein.address[1]))
        self.assertEqual(out, b"done\n")
        self.assert_keys_in_place()


if __name__ == "__main__":
    harness.main()
