"""A test class with skein as a splitter over real redis-servers, on each data path."""
import random
import shutil
import threading
import unittest

from harness import ProxyTest, wait_for
from process import PATHS, Skein, free_port, hostport, merge
from redis_servers import RedisServer
from redis_wire import Error, RedisClient, command, key_on, shard_of, tag_on
from wire import DEADLINE

SEED = 20240607
MARKER = b"-end-of-test-"
MARKER_REPLY = b"$%d\r\n%s\r\n" % (len(MARKER), MARKER)


class RedisTest(ProxyTest):
    """`shards` redis-servers behind skein, and with `oracle` one more that stands alone: what a
    single redis-server answers is what skein has to answer."""

    shards = 4
    oracle = True
    lb_policy = "crc16_slots"
    shard_password = None   # of every shard
    password = None         # of skein's listener and of the oracle
    listener = {}           # merged into the listener's `redis:`
    cluster = {}            # merged into the cluster
    server_options = ()
    servers = ()
    alone = None

    @classmethod
    def setUpClass(cls):
        if cls.skip_reason:
            raise unittest.SkipTest(cls.skip_reason)
        if not shutil.which("redis-server"):
            raise unittest.SkipTest("redis-server is not installed")
        try:
            cls.servers = [cls.make_server(number) for number in range(cls.shards)]
            cls.alone = (RedisServer(cls.password, cls.server_options).start()
                         if cls.oracle else None)
            cls.start_skein()
        except BaseException:
            cls.stop_servers()
            raise

    @classmethod
    def make_server(cls, number):
        return RedisServer(cls.shard_password, cls.server_options).start()

    @classmethod
    def endpoints(cls):
        return [{"address": hostport(server.address)} for server in cls.servers]

    @classmethod
    def make_config(cls):
        listener = {"name": "cache", "address": f"127.0.0.1:{free_port()}", "protocol": "redis",
                    "cluster": "shards"}
        redis = dict(cls.listener)
        if cls.password:
            redis["auth"] = {"password": cls.password}
        if redis:
            listener["redis"] = redis
        cluster = {"name": "shards", "lb_policy": cls.lb_policy, "endpoints": cls.endpoints()}
        if cls.shard_password:
            cluster["redis"] = {"auth": {"password": cls.shard_password}}
        return merge({
            "workers": 1,
            "datapath": dict(PATHS[cls.path]),
            "admin": {"address": f"127.0.0.1:{free_port()}"},
            "listeners": [listener],
            "clusters": [merge(cluster, cls.cluster)],
        }, cls.extra)

    @classmethod
    def start_skein(cls):
        cls.config = cls.make_config()
        skein = Skein(cls.config)
        try:
            cls.skein = skein.start()
        except BaseException:
            skein.kill()
            raise

    @classmethod
    def stop_servers(cls):
        for server in [*cls.servers, *([cls.alone] if cls.alone else [])]:
            server.stop()
        cls.servers, cls.alone = (), None

    @classmethod
    def tearDownClass(cls):
        try:
            if cls.skein is not None:
                cls.skein.stop()
        finally:
            cls.stop_servers()

    def setUp(self):
        self.clients = []
        if self.skein.exited():
            self.start_skein()  # an earlier test killed it, and failed for that

    def tearDown(self):
        for client in self.clients:
            client.close()
        if self.skein.exited():
            self.fail(f"skein exited with {self.skein.process.returncode}:\n"
                      f"{self.skein.stderr()[-4000:]}")

    # Clients

    def connect(self, protocol=None, **kwargs):
        kwargs.setdefault("password", self.password)
        return self.keep(RedisClient(self.skein.address, protocol=protocol, **kwargs))

    def connect_alone(self, protocol=None, **kwargs):
        """A client of the oracle."""
        kwargs.setdefault("password", self.password)
        return self.keep(RedisClient(self.alone.address, protocol=protocol, **kwargs))

    def both(self, protocol=None, **kwargs):
        return self.connect(protocol, **kwargs), self.connect_alone(protocol, **kwargs)

    def keep(self, client):
        self.clients.append(client)
        return client

    def flush(self):
        """Empties the shards and the oracle, behind skein's back."""
        for server in [*self.servers, *([self.alone] if self.alone else [])]:
            server.call("FLUSHALL")

    def random(self, salt=0):
        return random.Random(SEED + salt)

    def background(self, function, *args):
        """Runs something beside the test, which then waits for it; its failure is the test's."""
        def run():
            try:
                function(*args)
            except BaseException as problem:  # noqa: reported below
                problems.append(problem)

        def finish():
            thread.join(DEADLINE * 4)
            self.assertFalse(thread.is_alive(), f"{function.__name__} did not end")
            if problems:
                raise problems[0]
        problems = []
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        self.addCleanup(finish)
        return thread

    # Keys

    def shard_of(self, key):
        return shard_of(key, self.shards)

    def key_on(self, shard, prefix="k"):
        return key_on(shard, self.shards, prefix)

    def keys_everywhere(self, prefix="k"):
        """One key for each shard."""
        return [self.key_on(shard, prefix) for shard in range(self.shards)]

    def tag_on(self, shard, prefix="t"):
        return tag_on(shard, self.shards, prefix)

    def assert_keys_in_place(self):
        """Every key is on the shard that its slot says, and there only."""
        found = 0
        for number, server in enumerate(self.servers):
            for key in server.call("KEYS", "*"):
                self.assertEqual(self.shard_of(key), number, f"{key!r} is on shard {number}")
                found += 1
        return found

    # Checks

    def assert_error(self, value, start=b""):
        self.assertIsInstance(value, Error)
        self.assertTrue(value.startswith(start), f"{value!r} does not start with {start!r}")
        return value

    def assert_same(self, *args, clients=None):
        """A command is answered as the oracle answers it, byte by byte."""
        skein, alone = clients or self.both()
        got, wanted = skein.ask(*args), alone.ask(*args)
        self.assertEqual(got.raw, wanted.raw, f"{args[:6]!r}")
        return got.value

    def exchange(self, client, data):
        """Sends raw bytes and a mark; what came back before the mark's echo or the end, and
        whether the connection ended."""
        try:
            client.send(data + command("ECHO", MARKER))
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused before the last byte: the answer is what counts
        got = client.read_until_marker(MARKER_REPLY)
        if got.endswith(MARKER_REPLY):
            return got[:-len(MARKER_REPLY)], False
        return got, True

    def assert_usable(self, client=None):
        """Skein serves a client on every shard, as if nothing had happened."""
        client = client or self.connect()
        for key in self.keys_everywhere("usable"):
            self.assertEqual(client.call("SET", key, b"value of " + key), b"OK")
            self.assertEqual(client.call("GET", key), b"value of " + key)

    def wait_value(self, ask, wanted, what):
        """Polls until a call gives a value."""
        wait_for(lambda: ask() == wanted, f"{what} to be {wanted!r}, it is {ask()!r}", DEADLINE)


__all__ = ["MARKER", "MARKER_REPLY", "RedisTest", "SEED", "wait_for"]
