"""Where keys lie, asked of those who know: a redis-server in cluster mode, redis-cli, and nutcracker."""
import os
import random
import re
import shutil
import socket
import struct
import subprocess
import sys
import unittest

from process import free_port, temp_dir, wait_for

TOOL = os.environ.get("SKEIN_REDIS_RING_TOOL",
                      os.path.join(os.path.dirname(__file__), "../../build/redis_ring_tool"))
HASHES = ("fnv1a_64", "one_at_a_time", "md5", "crc16", "crc32", "crc32a", "fnv1_64", "fnv1_32", "fnv1a_32",
          "hsieh", "murmur", "jenkins")


def make_keys(n, seed):
    """Binary, many of them with braces; the last ones are what applications use."""
    rng = random.Random(seed)
    keys = {b"{}", b"{", b"}", b"}{", b"foo{}{bar}", b"foo{{bar}}zap", b"foo{bar}{zap}", b"{a}", b"{user1000}.x"}
    while len(keys) < n * 3 // 4:
        alphabet = rng.choice((bytes(range(256)), b"{}ab", b"{}\x80\xff\x00\x7f", bytes(range(128, 256))))
        keys.add(bytes(rng.choice(alphabet) for _ in range(rng.choice((1, 2, 3, 4, 5, 7, 8, 11, 12, 13, 16, 24,
                                                                      25, 31, 63, 64, 200)))))
    keys = sorted(keys)
    keys += [b"user:%d:{%d}" % (i, rng.randrange(1 << 30)) for i in range(n - len(keys))]
    return keys


def ask_tool(distribution, endpoints, keys, hash_name="fnv1a_64", tag=""):
    """[(place, endpoint)] of keys; endpoints: [(name, weight)], a weight "1!" is ejected."""
    result = subprocess.run([TOOL, distribution, hash_name, tag, *(f"{name}={weight}" for name, weight in endpoints)],
                            input=b"".join(struct.pack("<I", len(key)) + key for key in keys),
                            capture_output=True, timeout=30)
    if result.returncode:
        raise AssertionError(result.stderr.decode())
    return [tuple(map(int, line.split())) for line in result.stdout.splitlines()]


class Resp:
    """A client that knows as much RESP as these tests need."""

    def __init__(self, address):
        unix = isinstance(address, str)
        self.sock = socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
        self.sock.settimeout(20)
        try:
            self.sock.connect(address)
        except OSError:
            self.sock.close()
            raise
        self.file = self.sock.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.sock.close()

    def read(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise AssertionError(f"cut reply: {line}")
        kind, rest = line[:1], line[1:-2]
        if kind == b"$":
            return None if int(rest) < 0 else self.file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self.read() for _ in range(int(rest))]
        return int(rest) if kind == b":" else line[:-2]

    def call_all(self, commands):
        """Sends a pipeline in pieces that no buffer is too small for; the replies."""
        replies = []
        for at in range(0, len(commands), 200):
            piece = commands[at:at + 200]
            self.sock.sendall(b"".join(b"*%d\r\n" % len(c) + b"".join(b"$%d\r\n%s\r\n" % (len(a), a) for a in c)
                                       for c in piece))
            replies += [self.read() for _ in piece]
        return replies

    def call(self, *command):
        return self.call_all([command])[0]


class Process:
    """A server of the distribution in a directory of its own; ready when `address` can be connected to."""

    def __init__(self, command, address, directory):
        self.log = open(os.path.join(directory, f"{os.path.basename(command[0])}-{id(self)}.log"), "w+")
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
                                        cwd=directory)
        self.address = address
        try:
            wait_for(self._answers, f"{command[0]} answers")
        except BaseException:
            self.stop()
            raise

    def _answers(self):
        if self.process.poll() is not None:
            self.log.seek(0)
            raise AssertionError(f"exited:\n{self.log.read()[-2000:]}")
        try:
            with Resp(self.address):
                return True
        except OSError:
            return False

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


class Servers(unittest.TestCase):
    """Starts processes for a class and ends them with it."""
    programs = ("redis-server",)

    @classmethod
    def setUpClass(cls):
        for name in cls.programs:
            if not shutil.which(name):
                raise unittest.SkipTest(f"{name} is not installed")
        cls.dir = temp_dir()
        cls.addClassCleanup(shutil.rmtree, cls.dir, ignore_errors=True)

    @classmethod
    def start(cls, command, address):
        process = Process(command, address, cls.dir)
        cls.addClassCleanup(process.stop)
        return process

    @classmethod
    def start_redis(cls, *options, host="127.0.0.1", port=None):
        port = port or free_port()
        return cls.start(["redis-server", "--port", str(port), "--bind", host, "--save", "", "--daemonize", "no",
                          *options], (host, port))


class SlotsTest(Servers):
    programs = ("redis-server", "redis-cli")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.nodes = [cls.start_redis("--cluster-enabled", "yes", "--cluster-port", str(free_port()),
                                     "--cluster-config-file", f"nodes-{i}.conf") for i in range(7)]

    def test_slots_are_those_of_redis(self):
        keys = make_keys(6000, 1) + [b""]
        with Resp(self.nodes[0].address) as client:
            expected = client.call_all([(b"CLUSTER", b"KEYSLOT", key) for key in keys])
        places = [place for place, _ in ask_tool("crc16_slots", [("a", 1), ("b", 1)], keys)]
        wrong = [(key, e, p) for key, e, p in zip(keys, expected, places) if e != p]
        self.assertEqual(wrong, [])

    def test_ranges_are_those_of_redis_cli(self):
        """redis-cli prints its plan and is then told not to carry it out."""
        keys = make_keys(4000, 2)
        for n in (3, 4, 5, 6, 7):
            addresses = [f"{host}:{port}" for host, port in (node.address for node in self.nodes[:n])]
            plan = subprocess.run(["redis-cli", "--cluster", "create", *addresses], input=b"no\n", timeout=20,
                                  capture_output=True).stdout.decode()
            ranges = [tuple(map(int, found)) for found in re.findall(r"Master\[\d+\] -> Slots (\d+) - (\d+)", plan)]
            self.assertEqual(len(ranges), n, plan)
            for weight in (1, 7):
                for slot, endpoint in ask_tool("crc16_slots", [(a, weight) for a in addresses], keys):
                    self.assertTrue(ranges[endpoint][0] <= slot <= ranges[endpoint][1], (n, weight, slot, endpoint))


class Pool:
    """One of nutcracker's pools: its section of the configuration, and what we say about it."""

    def __init__(self, index, directory, addresses, **keys):
        self.name = f"p{index}"
        self.path = f"{directory}/{self.name}"
        self.hash = keys.get("hash", "fnv1a_64")
        self.distribution = keys.get("distribution", "ketama")
        self.tag = keys.get("tag", "")
        self.names = keys.get("names")
        self.weights = keys.get("weights", [1] * len(addresses))
        self.eject = keys.get("eject", False)
        self.addresses = addresses

    def endpoints(self):
        """Those that we are given: twemproxy's rule of names is the configuration's business."""
        names = self.names or [host if port == 11211 else f"{host}:{port}" for host, port in self.addresses]
        return list(zip(names, self.weights))

    def section(self):
        names = [f" {name}" for name in self.names] if self.names else [""] * len(self.addresses)
        lines = [f"{self.name}:", f"  listen: {self.path} 0666", "  redis: true", "  timeout: 5000",
                 f"  hash: {self.hash}", f"  distribution: {self.distribution}"]
        lines += [f'  hash_tag: "{self.tag}"'] if self.tag else []
        if self.eject:
            lines += ["  auto_eject_hosts: true", "  server_failure_limit: 1", "  server_retry_timeout: 3600000"]
        lines += ["  servers:"] + [f"   - {host}:{port}:{weight}{name}" for (host, port), weight, name
                                   in zip(self.addresses, self.weights, names)]
        return "\n".join(lines) + "\n"

    def is_spread(self):
        """Whether every server gets keys: with crc32's 15 bits ketama sees its first point only."""
        return max(self.weights) < 100 and not (self.distribution == "ketama" and self.hash == "crc32")

    def __str__(self):
        return f"{self.distribution} {self.hash} tag {self.tag!r} {self.endpoints()}"


class NutcrackerTest(Servers):
    """Keys are set through nutcracker; then every server is asked which ones it has."""
    programs = ("redis-server", "nutcracker")
    # Longer names sort behind shorter ones; a long one is cut where its points are made.
    NAMES = ("zeta", "alpha", "a-much-longer-name", "beta:1")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.redises = [cls.start_redis() for _ in range(4)]
        cls.addresses = [redis.address for redis in cls.redises]
        cls.clients = [Resp(address) for address in cls.addresses]
        for client in cls.clients:
            cls.addClassCleanup(client.__exit__)
        cls.keys = make_keys(500, 3)

    def run_pools(self, pools):
        conf = os.path.join(self.dir, f"{self._testMethodName}.yml")
        with open(conf, "w") as file:
            file.write("".join(pool.section() for pool in pools))
        nutcracker = Process(["nutcracker", "-c", conf, "-a", "127.0.0.1", "-s", str(free_port()), "-i", "60000",
                              "-v", "3", "-p", conf + ".pid"], pools[-1].path, self.dir)
        try:
            for pool in pools:
                with self.subTest(str(pool)):
                    self.check(pool)
        finally:
            nutcracker.stop()

    def check(self, pool):
        endpoints = pool.endpoints()
        for client in self.clients:
            client.call(b"FLUSHALL")
        with Resp(pool.path) as client:
            if pool.eject:
                self.let_eject(client)
                endpoints = [(name, f"{weight}!" if address not in self.addresses else weight)
                             for (name, weight), address in zip(endpoints, pool.addresses)]
            replies = client.call_all([(b"SET", key, b"") for key in self.keys])
        self.assertEqual([reply for reply in replies if reply != b"+OK"], [])

        held = {}
        for address, client in zip(self.addresses, self.clients):
            for key in client.call(b"KEYS", b"*"):
                self.assertNotIn(key, held)
                held[key] = pool.addresses.index(address)
        self.assertEqual(set(held), set(self.keys))
        if pool.is_spread():
            self.assertEqual(len(set(held.values())), len(self.addresses), "a server without keys shows nothing")
        ours = ask_tool(pool.distribution, endpoints, self.keys, pool.hash, pool.tag)
        wrong = [(key, held[key], endpoint) for key, (_, endpoint) in zip(self.keys, ours) if held[key] != endpoint]
        self.assertEqual(wrong, [], f"{len(wrong)} of {len(self.keys)}; key, nutcracker's server, ours")

    def let_eject(self, client):
        """The first key that goes to the dead server gets an error, and after it that server gets none."""
        self.assertTrue(any(client.call(b"SET", key, b"") != b"+OK" for key in self.keys),
                        "no key went to the dead server")
        for redis in self.clients:
            redis.call(b"FLUSHALL")

    def pools_of_all_hashes(self, distribution):
        pools = []
        for hash_name in HASHES:
            for tag in ("", "{}"):
                for names in (None, self.NAMES):
                    for weights in ([1, 1, 1, 1], [1, 5, 2, 3]):
                        pools.append(Pool(len(pools), self.dir, self.addresses, distribution=distribution,
                                          hash=hash_name, tag=tag, names=names, weights=weights))
        return pools

    def test_ketama(self):
        self.run_pools(self.pools_of_all_hashes("ketama"))

    def test_modula(self):
        self.run_pools(self.pools_of_all_hashes("modula"))

    def test_weights_names_and_tags_at_the_edges(self):
        cases = [{"weights": w} for w in ([1, 1, 1, 1000], [3, 3, 3, 1], [7, 7, 7, 7], [1000, 999, 998, 1])]
        cases += [{"tag": tag} for tag in ("[]", "}{", "aa", "a{", "::")]
        cases += [{"names": [str(i) * length for i in range(4)]} for length in (1, 269, 270, 271, 272, 300)]
        cases += [{"names": ("s1:11211", "s2:11211", "x", "S1")}]
        self.run_pools([Pool(i * 2 + (d == "modula"), self.dir, self.addresses, distribution=d, **case)
                        for i, case in enumerate(cases) for d in ("ketama", "modula")])

    def test_few_servers(self):
        """Three and two of the four: the float arithmetic of ketama's shares differs."""
        saved = self.addresses, self.clients
        for n in (3, 2, 1):
            self.addresses, self.clients = saved[0][:n], saved[1][:n]
            self.run_pools([Pool(f"few{n}-{d}-{i}", self.dir, self.addresses, distribution=d, weights=weights)
                            for d in ("ketama", "modula") for i, weights in enumerate(([1] * n, [2, 1, 5][:n]))])

    def test_the_port_of_memcached_is_not_part_of_the_name(self):
        hosts = [f"127.0.{os.getpid() % 200 + 10}.{i}" for i in (1, 2, 3)]
        redises = [self.start_redis(host=host, port=11211) for host in hosts]
        saved = self.addresses, self.clients
        self.addresses = [redis.address for redis in redises] + [saved[0][0]]
        self.clients = [Resp(address) for address in self.addresses]
        try:
            self.run_pools([Pool(f"port-{d}", self.dir, self.addresses, distribution=d)
                            for d in ("ketama", "modula")])
        finally:
            for client in self.clients:
                client.__exit__()
            self.addresses, self.clients = saved

    def test_ejected(self):
        """ketama's unequal weights are left out: nutcracker then moves keys between live servers too."""
        with socket.socket() as dead:
            dead.bind(("127.0.0.1", 0))
            addresses = [self.addresses[0], dead.getsockname(), *self.addresses[1:]]
            pools = [Pool(f"eject{i}", self.dir, addresses, distribution=d, names=names, weights=w, eject=True)
                     for i, (d, names, w) in enumerate((
                         ("modula", None, [1] * 5), ("modula", self.NAMES + ("dead",), [2, 3, 1, 1, 4]),
                         ("ketama", None, [1] * 5), ("ketama", self.NAMES + ("dead",), [3] * 5)))]
            self.run_pools(pools)


def main():
    program = unittest.main(exit=False)
    if not program.result.wasSuccessful():
        sys.exit(1)
    sys.exit(77 if len(program.result.skipped) >= max(program.result.testsRun, 1) else 0)


if __name__ == "__main__":
    main()
