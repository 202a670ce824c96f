"""Clients that others wrote, on connections that they keep: what they get and what they send is right
on every path, also where their own sockets take part in it."""
import asyncio
import contextlib
import http.client
import os
import random
import re
import subprocess

import apps
import harness
from apps import MIB, SIZES, AppTest, digest, go_app, go_forwarder, need, node_server
from harness import Client
from nginx import Nginx
from redis_harness import RedisTest
from together import together
from wire import pattern


class CurlTest(AppTest):
    def curl(self, *args, stdin=b""):
        return self.run_app("curl", "-sS", "--fail", "--max-time", "20", *args, stdin=stdin)

    def file(self, size, seed=0):
        path = os.path.join(self.skein.dir, f"body{size}")
        with open(path, "wb") as file:
            file.write(pattern(size, seed))
        return f"@{path}"

    def test_many_in_one_invocation(self):
        rng = random.Random(1)
        asked = [(rng.choice(SIZES[:6]), seed) for seed in range(150)]
        with self.carried_share():
            out = self.curl("-w", "%{stderr}%{num_connects}\n",
                            *[f"{self.url}/bytes?size={size}&seed={seed}" for size, seed in asked])
        self.assertEqual(digest(out), digest(b"".join(pattern(*one) for one in asked)))
        self.assertEqual(sum(map(int, self.told.split())), 1, "one connection")

    def test_posts_of_1_mib(self):
        """On a connection that has been used before, with a length and in chunks."""
        body = self.file(MIB, 3)
        for how in ((), ("-H", "Transfer-Encoding: chunked")):
            with self.subTest(how=how):
                out = self.curl(*[f"{self.url}/bytes?size=0"] * 4, "--next", "-sS", "--fail",
                                "-H", "Expect:", *how, "--data-binary", body, *[f"{self.url}/digest"] * 5)
                self.assertEqual(out.decode(), digest(pattern(MIB, 3)) * 5)

    def test_expect_100_continue(self):
        body = self.file(70000, 4)
        out = self.curl("-v", *[f"{self.url}/bytes?size=0"] * 4, "--next", "-sS", "--fail", "-v",
                        "-H", "Expect: 100-continue", "--expect100-timeout", "20",
                        "--data-binary", body, *[f"{self.url}/digest"] * 5)
        self.assertEqual(out.decode(), digest(pattern(70000, 4)) * 5)
        self.assertEqual(self.told.count(b"< HTTP/1.1 100 Continue"), 5)

    def test_up_and_down_at_once(self):
        """What comes back is what has been sent so far."""
        data = pattern(3 * MIB, 5)
        for _ in range(3):
            self.assertEqual(digest(self.curl("-T", "-", f"{self.url}/echo", stdin=data)), digest(data))
        out = self.curl(*[f"{self.url}/bytes?size=0"] * 4, "--next", "-sS", "--fail", "-T", "-",
                        f"{self.url}/echo", stdin=data)
        self.assertEqual(digest(out), digest(data))


class WrkTest(AppTest):
    """GETs from nginx, POSTs to node."""

    @classmethod
    def setUpClass(cls):
        need("wrk", "nginx")
        if not cls.skip_reason:
            cls.nginx = Nginx()
            cls.nginx.put("large", pattern(200000))
            cls.nginx.start()
            cls.addClassCleanup(cls.nginx.stop)
            cls.node = node_server()
            cls.addClassCleanup(cls.node.stop)
        super().setUpClass()

    @classmethod
    def clusters(cls):
        return {"nginx": [cls.nginx.address], "node": [cls.node.address]}

    @classmethod
    def routes(cls):
        return [{"match": {"path": "/digest"}, "cluster": "node"},
                {"match": {"path_prefix": "/"}, "cluster": "nginx"}]

    def wrk(self, *args):
        out = self.run_app("wrk", "-t1", f"-d{harness.SLOW:g}s", *args).decode()
        self.assertNotRegex(out, r"Socket errors|Non-2xx")
        self.assertGreater(int(re.search(r"(\d+) requests in", out)[1]), 100, out)
        return out

    def test_small(self):
        with self.carried_share(0.95):
            self.wrk("-c16", f"{self.url}/hello")

    def test_large(self):
        self.wrk("-c8", f"{self.url}/large")

    def test_posts(self):
        body = b"0123456789abcdef" * 4096
        out = self.wrk("-c8", "-s", os.path.join(apps.HERE, "wrk_post.lua"), f"{self.url}/digest", "--",
                       digest(body))
        self.assertIn("wrong: 0\n", out)


class NodeTest(AppTest):
    def test_agent(self):
        with self.carried_share():
            self.assertEqual(self.run_app("node", os.path.join(apps.HERE, "app_client.js"), self.url),
                             b"done\n")


class GoTest(AppTest):
    excepted = ()  # by its listener, for io.Copy

    def test_net_http(self):
        program = go_app()
        with self.carried_share():
            self.assertEqual(self.run_app(program, "client", self.url), b"done\n")

    def test_io_copy(self):
        """A forwarder in front: it splices what it gets from its client into its connection to
        skein, and back."""
        near = self.app(go_forwarder(self.excepted_address))
        for _ in range(3):
            with Client(near.address) as client:
                self.exchange_all(client)
                client.send(b"GET /bytes?size=200000 HTTP/1.1\r\nHost: h\r\n\r\n")
                client.half_close()
                self.assertEqual(client.read_response().body, pattern(200000))
                self.assertEqual(client.read_to_end(), b"")


class PythonTest(AppTest):
    def test_http_client(self):
        """Blocking sockets, a connection per thread."""
        def work(number):
            connection = http.client.HTTPConnection(*self.skein.address, timeout=harness.DEADLINE)

            def post(body):
                connection.request("POST", "/digest", body)
                return connection.getresponse().read().decode()
            with contextlib.closing(connection):
                for size in SIZES * 3:
                    body = pattern(size, number)
                    connection.request("GET", f"/bytes?size={size}&seed={number}")
                    self.assertTrue(connection.getresponse().read() == body, f"GET {size}")
                    self.assertEqual(post(body), digest(body), f"POST {size}")
                    pieces = (piece for piece in (body[:100], body[100:]) if piece)
                    self.assertEqual(post(pieces), digest(body), f"chunked POST {size}")
        with self.carried_share():
            wrong = together(work, 4, limit=harness.DEADLINE * 5)
        self.assertEqual(wrong, [])

    async def ask(self, number):
        """One connection: requests in two writes, bodies in pieces with a drain between them."""
        reader, writer = await asyncio.open_connection(*self.skein.address)
        for size in SIZES[:6] * 3 + SIZES[6:]:
            body = pattern(size, number)
            writer.write(b"POST /digest HTTP/1.1\r\nHost: h\r\n")
            await writer.drain()
            writer.write(b"Content-Length: %d\r\n\r\n" % size)
            for at in range(0, size, 20000):
                writer.write(body[at:at + 20000])
                await writer.drain()
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(re.search(rb"(?i)content-length: (\d+)", head)[1])
            self.assertEqual((await reader.readexactly(length)).decode(), digest(body))
            writer.write(b"GET /bytes?size=%d&seed=%d HTTP/1.1\r\nHost: h\r\n\r\n" % (size, number))
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(re.search(rb"(?i)content-length: (\d+)", head)[1])
            self.assertEqual(digest(await reader.readexactly(length)), digest(body))
        writer.close()
        await writer.wait_closed()

    def test_asyncio(self):
        async def all_of_them():
            await asyncio.wait_for(asyncio.gather(*[self.ask(number) for number in range(6)]),
                                   harness.DEADLINE * 5)
        # Half of the heads come in two writes: those go by TCP, and whoever does so again and again stays there.
        with self.carried_share(0 if self.path == "bypass" else 0.5):
            asyncio.run(all_of_them())


class RedisToolsTest(RedisTest):
    """redis-cli and redis-benchmark on connections that live long."""

    oracle = False
    shards = 2
    extra = {"workers": 2}

    def run_tool(self, *command, stdin=b""):
        need(command[0])
        result = subprocess.run([command[0], "-p", str(self.skein.address[1]), *command[1:]], input=stdin,
                                capture_output=True, timeout=harness.DEADLINE * 10)
        out = result.stdout.decode(errors="replace").replace("\r", "\n")
        self.assertEqual(result.returncode, 0, f"{command}: {out[-800:]} {result.stderr[-800:]!r}")
        self.assertNotRegex(out + result.stderr.decode(), r"(?i)err(or)?[ :]")
        return out

    def test_cli(self):
        values = {number: "v" * random.Random(number).choice((1, 100, 3000, 50000)) for number in range(300)}
        lines = "".join(f"SET key:{number} {number}{value}\nGET key:{number}\n"
                        for number, value in values.items())
        self.flush()
        before = self.carried_by_kernel(), self.skein.messages(path="userspace")
        out = self.run_tool("redis-cli", stdin=lines.encode())
        self.assertEqual(out, "".join(f"OK\n{number}{value}\n" for number, value in values.items()))
        self.assert_carried(before)
        self.assertEqual(self.assert_keys_in_place(), len(values))

    def assert_carried(self, before):
        carried = self.carried_by_kernel() - before[0]
        if self.kernel == "off":
            self.assertEqual(carried, 0)
        else:
            self.assertGreater(carried, self.skein.messages(path="userspace") - before[1])

    def test_cli_large_value(self):
        value = pattern(MIB).hex().encode()
        self.run_tool("redis-cli", "-x", "SET", "large", stdin=value)
        self.assertEqual(self.run_tool("redis-cli", "GET", "large"), value.decode() + "\n")

    def benchmark(self, *options):
        before = self.carried_by_kernel(), self.skein.messages(path="userspace")
        out = self.run_tool("redis-benchmark", "-q", "-r", "10000", "-n", "10000", *options)
        self.assertEqual(re.findall(r"^(\w+): [\d.]+ requests per second", out, re.M), ["SET", "GET"])
        return before

    def test_benchmark(self):
        self.assert_carried(self.benchmark("-c", "20", "-t", "set,get"))
        self.assertGreater(self.assert_keys_in_place(), 3000)

    def test_benchmark_pipelined(self):
        self.benchmark("-c", "20", "-P", "16", "-t", "set,get")

    def test_benchmark_large(self):
        self.benchmark("-c", "5", "-d", "20000", "-t", "set,get")


if __name__ == "__main__":
    harness.main()
