"""Servers that others wrote, behind skein, on connections that they keep: how they read what they
get, how they write what they send, and with what they wait. The bytes are right on every path, also
where the servers' own sockets take part in it."""
import random

import harness
from apps import (MIB, SIZES, AppTest, digest, go_forwarder, go_server, haproxy, need, node_server,
                  python_server, serve)
from harness import Client, unique
from nginx import Nginx
from origin import Origin
from process import free_port, hostport
from redis_harness import RedisTest
from redis_wire import pipeline
from together import together
from wire import make_chunked, make_request, pattern

COOKIE = "c" * 700  # ten of them: more than the first buffer of any server


class ServersTest(AppTest):
    """A server that answers what apps.py says: every test of this class is asked of each."""

    paths = ()
    server = None

    @classmethod
    def setUpClass(cls):
        cls.front = None
        if not cls.skip_reason:
            cls.front = cls.make_server()
            cls.addClassCleanup(cls.front.stop)
        super().setUpClass()

    @classmethod
    def clusters(cls):
        return {"server": [cls.front.address]}

    @classmethod
    def routes(cls):
        return [{"match": {"path_prefix": "/"}, "cluster": "server"}]

    def warm(self, client=None, target="/bytes?size=5"):
        return super().warm(client, target)

    def test_one_after_another(self):
        client = self.connect()
        with self.carried_share():
            self.exchange_all(client, SIZES[:6] * 2)
        self.exchange_all(client, SIZES[6:])

    def test_beside_each_other(self):
        def work(number):
            with Client(self.skein.address) as client:
                for _ in range(15):
                    size = rng.choice(SIZES[:6])
                    rng.choice((self.download, self.upload))(client, size, rng.choice((None, 3000)))
        rng = random.Random(1)
        self.assertEqual(together(work, 6, limit=harness.DEADLINE * 5), [])

    def test_large_heads(self):
        """Longer than what a server reads at once, with and without a body behind them."""
        client = self.warm()
        for count in (1, 2, 4, 8, 10):
            for size in (0, 100, 30000):
                self.upload(client, size, fields=[(f"X-{n}", COOKIE) for n in range(count)])
        # Exactly as long as a first buffer of 1 KiB or 4 KiB, and a byte less and more.
        for length in (1023, 1024, 1025, 4095, 4096, 4097):
            bare = make_request("POST", "/digest", b"body", [("X-Fill", "")])
            field = "f" * (length - len(bare) + len(b"body"))
            client.send(make_request("POST", "/digest", b"body", [("X-Fill", field)]))
            self.assertEqual(client.read_response().body.decode(), digest(b"body"), length)

    def test_cut(self):
        """Heads and bodies that arrive in pieces."""
        client = self.warm()
        body = pattern(900, 1)
        raw = make_request("POST", "/digest", body)
        chunked = (make_request("POST", "/digest", fields=[("Transfer-Encoding", "chunked")])
                   + make_chunked([body[:100], body[100:101], body[101:]]))
        for data in (raw, chunked):
            for step in (1, 7, 50, len(data) - 1):
                client.send_cut(data, step, 0.0001)
                self.assertEqual(client.read_response().body.decode(), digest(body), step)

    def test_pipelined(self):
        client = self.warm()
        bodies = [pattern(size, size) for size in (10, 0, 3000, 1, 20000, 7)]
        client.send(b"".join(make_request("POST", "/digest", body) for body in bodies))
        for body in bodies:
            self.assertEqual(client.read_response().body.decode(), digest(body))

    def test_last_requests(self):
        """The end of the client's side, and Connection: close, behind the last of several."""
        for fields in ((), [("Connection", "close")]):
            for _ in range(5):
                client = self.warm()
                client.send(make_request("GET", "/bytes?size=300000", fields=fields))
                if not fields:
                    client.half_close()
                response = client.read_response()
                self.assertEqual(digest(response.body), response.get("x-digest").decode())
                self.assertEqual((client.read_to_end(), client.ended), (b"", "fin"))


ALL = harness.ProxyTest.paths


class NodeTest(ServersTest):
    paths = ALL
    make_server = staticmethod(node_server)


class PythonTest(ServersTest):
    paths = ALL
    make_server = staticmethod(python_server)


class GoTest(ServersTest):
    paths = ALL
    make_server = staticmethod(go_server)


class BehindTest(ServersTest):
    """Servers that are proxies themselves, with the tests' own origin behind them."""

    @classmethod
    def setUpClass(cls):
        if not cls.skip_reason:
            cls.behind = Origin("behind")
            cls.behind.default = serve
            cls.addClassCleanup(cls.behind.close)
        super().setUpClass()

    def tearDown(self):
        super().tearDown()
        self.assertEqual(self.behind.take_errors(), [])


class NginxProxyTest(BehindTest):
    """Requests go to a file before they go on, responses come through nginx's buffers."""
    paths = ALL

    @classmethod
    def make_server(cls):
        need("nginx")
        proxy = ("127.0.0.1", free_port())
        nginx = Nginx(f"""
            server {{
                listen {hostport(proxy)};
                client_header_buffer_size 1k; large_client_header_buffers 4 8k;
                client_body_buffer_size 8k; client_body_in_file_only clean;
                location / {{
                    proxy_pass http://{hostport(cls.behind.address)};
                    proxy_http_version 1.1; proxy_set_header Connection "";
                }}
            }}""").start()
        nginx.address = proxy
        return nginx


class HaproxyTest(BehindTest):
    paths = ALL
    options = {}

    @classmethod
    def make_server(cls):
        return haproxy(cls.behind.address, **cls.options)

    def test_as_client(self):
        """haproxy in front of skein, too."""
        front = self.app(haproxy(self.excepted_address if self.excepted else self.skein.address,
                                 **self.options))
        with Client(front.address) as client, self.carried_share(0.3):
            self.exchange_all(client)
            self.exchange_all(client)


class HaproxySpliceTest(HaproxyTest):
    paths = ALL
    excepted = ("server",)
    options = {"options": "option splice-auto"}


class HaproxyTcpTest(HaproxyTest):
    paths = ALL
    excepted = ("server",)
    options = {"mode": "tcp", "options": "option splice-auto"}


class GoForwarderTest(BehindTest):
    paths = ALL
    excepted = ("server",)

    @classmethod
    def make_server(cls):
        return go_forwarder(cls.behind.address)


class NginxFilesTest(AppTest):
    """Static files by sendfile(), uploads that nginx stores."""

    files = {"empty": 0, "small": 100, "page": 4096, "large": MIB, "larger": 3 * MIB + 1}

    @classmethod
    def setUpClass(cls):
        need("nginx")
        if not cls.skip_reason:
            cls.nginx = Nginx()
            for name, size in cls.files.items():
                cls.nginx.put(name, pattern(size, size))
            cls.nginx.start()
            cls.addClassCleanup(cls.nginx.stop)
        super().setUpClass()

    @classmethod
    def clusters(cls):
        return {"nginx": [cls.nginx.address]}

    def warm(self, client=None, target="/hello"):
        return super().warm(client, target)

    def tearDown(self):
        super().tearDown()
        self.assertEqual(self.nginx.errors(), "")

    def test_files(self):
        client = self.connect()
        with self.carried_share():
            for name, size in list(self.files.items()) * 4:
                self.assertEqual(digest(client.get(f"/{name}").body), digest(pattern(size, size)), name)

    def test_ranges_and_heads(self):
        client = self.warm()
        for first, last in ((0, 0), (1000, 1999), (100000, 900000), (MIB - 1, MIB - 1)):
            response = client.get("/large", fields=[("Range", f"bytes={first}-{last}")])
            self.assertEqual((response.status, response.body), (206, pattern(MIB, MIB)[first:last + 1]))
            response = client.request("HEAD", "/large")
            self.assertEqual((response.status, response.get("content-length")), (200, b"%d" % MIB))
        self.assertEqual(client.get("/nothing").status, 204)
        self.assertEqual(client.get("/hello").body, b"hello\n")

    def test_slow_reader(self):
        """The file waits in the server, then comes whole."""
        for _ in range(2):
            client = self.connect(rcvbuf=1 << 14)
            self.warm(client)
            client.send(make_request("GET", "/larger"))
            got = bytearray(client.read_until(b"\r\n\r\n"))
            self.fence_with("/hello")
            response = bytes(got) + client.read_exact(self.files["larger"])
            self.assertTrue(response.endswith(pattern(3 * MIB + 1, 3 * MIB + 1)))
            self.assertEqual(client.get("/hello").body, b"hello\n")

    def fence_with(self, target):
        with Client(self.skein.address) as other:
            self.assertEqual(other.get(target).status, 200)

    def test_stored_uploads(self):
        client = self.warm()
        for size in (0, 1, 8191, 16384, 70000, MIB, 3 * MIB):
            for chunked in (False, True):
                name, body = f"/dav/{unique('put')}", pattern(size, 7)
                if chunked:
                    client.send(make_request("PUT", name, fields=[("Transfer-Encoding", "chunked")]))
                    client.send(make_chunked(body[at:at + 9000] for at in range(0, size, 9000)))
                    self.assertEqual(client.read_response().status, 201)
                else:
                    self.assertEqual(client.request("PUT", name, body).status, 201)
                self.assertEqual(digest(client.get(name).body), digest(body), (size, chunked))


class RedisServerTest(RedisTest):
    """redis-server's own reads and writes: small, large, and many in one."""

    oracle = False
    shards = 2

    def test_values(self):
        client = self.connect()
        for size in (*SIZES, 5, 16384, 16 * 1024 + 1, 2 * MIB):
            for key in self.keys_everywhere(f"value{size}"):
                client.expect_ok("SET", key, pattern(size, size))
                self.assertEqual(digest(client.call("GET", key)), digest(pattern(size, size)))

    def test_pipelines(self):
        client = self.connect()
        keys = self.keys_everywhere("pipe")
        for count in (2, 20, 500):
            for turn in range(10):
                client.send(pipeline([("SET", keys[number % 2], b"%d %d" % (turn, number))
                                      if number % 4 < 2 else ("GET", keys[number % 2])
                                      for number in range(count)]))
                for number in range(count):
                    value = client.read().value
                    self.assertEqual(value, b"OK" if number % 4 < 2 else b"%d %d" % (turn, number - 2))

    def test_blocked_reader(self):
        """A reply that the server sends when another client makes it."""
        waiting, other = self.connect(), self.connect()
        for key in self.keys_everywhere("list") * 5:
            other.call("DEL", key)
            waiting.send(pipeline([("BLPOP", key, "0")]))
            harness.wait_for(lambda: any(server.info("clients")["blocked_clients"] == "1"
                                         for server in self.servers), "a blocked client")
            self.assertEqual(other.call("RPUSH", key, b"pushed"), 1)
            self.assertEqual(waiting.read().value, [key, b"pushed"])


if __name__ == "__main__":
    harness.main()
