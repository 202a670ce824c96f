"""A cluster moved from nutcracker finds its keys where they were: keys written through a real
nutcracker are read through skein, and the other way round."""
import os
import shutil
import subprocess
import tempfile
import unittest

import harness
from process import free_port
from redis_harness import RedisTest, wait_for
from redis_wire import RedisClient


class Moved:
    """Subclasses say how the pool was configured, and how that is said to skein."""
    shards = 3
    oracle = False
    pool = ()       # lines of nutcracker's configuration
    names = ()      # of the servers
    weights = (1, 1, 1)

    @classmethod
    def setUpClass(cls):
        if not shutil.which("nutcracker"):
            raise unittest.SkipTest("nutcracker is not installed")
        super().setUpClass()

    @classmethod
    def endpoints(cls):
        found = super().endpoints()
        for number, endpoint in enumerate(found):
            endpoint["weight"] = cls.weights[number]
            if cls.names:
                endpoint["name"] = cls.names[number]
        return found

    def setUp(self):
        super().setUp()
        self.dir = tempfile.mkdtemp(prefix="skein-e2e-")
        self.addCleanup(shutil.rmtree, self.dir)
        self.port = free_port()
        servers = "".join(
            f"   - {endpoint['address']}:{endpoint['weight']} {endpoint.get('name', '')}\n"
            for endpoint in self.endpoints())
        conf = os.path.join(self.dir, "pool.yml")
        with open(conf, "w") as file:
            file.write(f"pool:\n  listen: 127.0.0.1:{self.port}\n  redis: true\n"
                       + "".join(f"  {line}\n" for line in self.pool) + "  servers:\n" + servers)
        self.nutcracker = subprocess.Popen(
            ["nutcracker", "-c", conf, "-a", "127.0.0.1", "-s", str(free_port()), "-v", "3",
             "-p", conf + ".pid"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(self.nutcracker.wait)
        self.addCleanup(self.nutcracker.kill)
        wait_for(self.answers, "nutcracker to answer")

    def answers(self):
        self.assertIsNone(self.nutcracker.poll(), "nutcracker ended")
        try:
            with RedisClient(("127.0.0.1", self.port)) as client:
                return client.call("SET", "ready", "x") == b"OK"
        except OSError:
            return False

    def test_keys_are_where_they_were(self):
        rng = self.random()
        keys = [bytes(rng.randrange(256) for _ in range(rng.randrange(1, 30))) + b"%d" % number
                for number in range(400)]
        keys += [b"{user%d}:x%d" % (number % 20, number) for number in range(200)]
        with RedisClient(("127.0.0.1", self.port)) as old:
            for key in keys:
                self.assertEqual(old.call("SET", key, b"old" + key), b"OK")
        counts = [server.call("DBSIZE") for server in self.servers]
        self.assertGreater(min(counts), 0, "keys on every server")
        new = self.connect()
        for key in keys:
            self.assertEqual(new.call("GET", key), b"old" + key)
        self.assertEqual(new.call("MGET", *keys), [b"old" + key for key in keys])
        for key in keys:
            self.assertEqual(new.call("SET", key, b"new" + key), b"OK")
        self.assertEqual([server.call("DBSIZE") for server in self.servers], counts)
        with RedisClient(("127.0.0.1", self.port)) as old:
            for key in keys:
                self.assertEqual(old.call("GET", key), b"new" + key)


class KetamaTest(Moved, RedisTest):
    lb_policy = "ketama"
    pool = ("hash: fnv1a_64", "distribution: ketama")


class KetamaNamesTest(Moved, RedisTest):
    lb_policy = "ketama"
    pool = ("hash: murmur", "distribution: ketama", 'hash_tag: "{}"')
    cluster = {"hash": "murmur", "hash_tag": "{}"}
    names = ("zeta", "alpha", "the-third")
    weights = (1, 3, 2)


class ModulaTest(Moved, RedisTest):
    lb_policy = "modula"
    pool = ("hash: crc32a", "distribution: modula")
    cluster = {"hash": "crc32a"}
    weights = (2, 1, 1)


if __name__ == "__main__":
    harness.main()
