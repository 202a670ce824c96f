"""A real server and real clients: nginx behind skein, curl and wrk in front."""
import hashlib
import re
import shutil
import subprocess
import threading
import unittest

import harness
from harness import Client, ProxyTest, unique
from nginx import Nginx
from origin import reply
from wire import make_request, pattern

MIB = pattern(1 << 20, 31)
SMALL = b"x" * 64 + b"\n"


class NginxTest(ProxyTest):
    extra = {"workers": 2}

    @classmethod
    def setUpClass(cls):
        if not Nginx.available():
            raise unittest.SkipTest("nginx is not installed")
        if not cls.skip_reason:
            cls.nginx = Nginx()
            cls.nginx.put("small", SMALL)
            cls.nginx.put("mib", MIB)
            cls.nginx.start()
        super().setUpClass()

    @classmethod
    def clusters(cls):
        return {"nginx": [cls.nginx.address], "python": [cls.origin.address]}

    @classmethod
    def routes(cls):
        return [{"match": {"path_prefix": "/python/"}, "cluster": "python"},
                {"match": {"path_prefix": "/"}, "cluster": "nginx"}]

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        if not cls.skip_reason:
            errors = cls.nginx.errors()
            cls.nginx.stop()
            if errors:
                raise AssertionError(f"nginx complained:\n{errors[-2000:]}")

    def setUp(self):
        super().setUp()
        self.url = f"http://{self.skein.address[0]}:{self.skein.address[1]}"

    def warm(self, client=None, target="/hello"):
        return super().warm(client, target)

    def curl(self, *args):
        if not shutil.which("curl"):
            self.skipTest("curl is not installed")
        result = subprocess.run(["curl", "-sS", "--max-time", "20", *args], capture_output=True,
                                timeout=30)
        self.assertEqual(result.returncode, 0, f"{args}: {result.stderr.decode()}")
        return result.stdout

    def counted(self):
        return {path: self.skein.messages(path=path) for path in (self.carrier, "userspace")}

    def assert_kernel_share(self, before, share):
        """On the kernel path most messages were counted there."""
        after = self.counted()
        kernel = after[self.carrier] - before[self.carrier]
        total = kernel + after["userspace"] - before["userspace"]
        self.assertGreater(total, 0)
        if self.kernel == "off":
            self.assertEqual(kernel, 0)
            return
        reasons = {dict(key).get("reason"): value for key, value in
                   self.skein.metrics().get("skein_fallback_total", {}).items() if value}
        self.assertGreaterEqual(kernel / total, share, f"{kernel:.0f} of {total:.0f}; {reasons}")


class CurlTest(NginxTest):
    def test_get(self):
        self.assertEqual(self.curl(f"{self.url}/hello"), b"hello\n")
        self.assertEqual(self.curl(f"{self.url}/mib"), MIB)

    def test_many_on_one_connection(self):
        out = self.curl(*[f"{self.url}/hello"] * 50)
        self.assertEqual(out, b"hello\n" * 50)

    def test_head_range_status(self):
        self.assertIn(b"Content-Length: 1048576", self.curl("-I", f"{self.url}/mib"))
        self.assertEqual(self.curl("-r", "1000-1999", f"{self.url}/mib"), MIB[1000:2000])
        self.assertEqual(self.curl("-o", "/dev/null", "-w", "%{http_code}", f"{self.url}/nothing"),
                         b"204")
        self.assertEqual(self.curl("-o", "/dev/null", "-w", "%{http_code}", f"{self.url}/missing"),
                         b"404")

    def test_http_1_0(self):
        self.assertEqual(self.curl("--http1.0", f"{self.url}/mib"), MIB)

    def test_compressed(self):
        """nginx sends these chunked."""
        self.assertEqual(self.curl("--compressed", f"{self.url}/chunked"), SMALL)

    def test_uploads(self):
        for size in (0, 1, 65536, 1 << 20):
            for how in ((), ("-H", "Transfer-Encoding: chunked")):
                if how and not size:
                    continue  # curl 7.88 never sends the last chunk of an empty file
                with self.subTest(size=size, how=how):
                    name = unique("put")
                    self.nginx.put("upload", pattern(size, 5))
                    self.curl("--fail", *how, "-T", f"{self.nginx.dir}/root/upload",
                              f"{self.url}/dav/{name}")
                    self.assertEqual(self.curl("--fail", f"{self.url}/dav/{name}"), pattern(size, 5))


class BodyTest(NginxTest):
    def test_posts_of_64_kib(self):
        def script(conn, request):
            conn.send(reply(hashlib.sha256(conn.read_body(request)).hexdigest().encode()))
        self.origin.on("/python/post", script)
        client = self.warm()
        before = self.counted()
        for number in range(100):
            body = pattern(65536, number)
            response = client.request("POST", "/python/post", body)
            self.assertEqual(response.body.decode(), hashlib.sha256(body).hexdigest())
        self.assert_kernel_share(before, 0.95)

    def test_closing_downloads_are_whole(self):
        """300 responses of 1 MiB, each on a connection that ends with it."""
        wrong = []

        def work():
            for _ in range(75):
                try:
                    with Client(self.skein.address) as client:
                        client.send(make_request("GET", "/mib", fields=[("Connection", "close")]))
                        response = client.read_response()
                        if response.body != MIB or client.read_to_end():
                            wrong.append(repr(response))
                except Exception as error:  # noqa: report any
                    wrong.append(repr(error))
        self.together(work, 4)
        self.assertEqual(wrong[:5], [], f"{len(wrong)} of 300")

    def test_closing_downloads_on_promoted_connections(self):
        """The same for the last of several requests: the kernel path's drain before close."""
        wrong = []

        def work():
            for _ in range(25):
                try:
                    with Client(self.skein.address) as client:
                        self.warm(client)
                        for fields in ((), [("Connection", "close")]):
                            client.send(make_request("GET", "/mib", fields=fields))
                            response = client.read_response()
                            if response.body != MIB:
                                wrong.append(repr(response))
                        if client.read_to_end():
                            wrong.append("bytes behind the last response")
                except Exception as error:  # noqa: report any
                    wrong.append(repr(error))
        self.together(work, 4)
        self.assertEqual(wrong[:5], [], f"{len(wrong)} of 200")

    def test_half_closing_downloads(self):
        for _ in range(20):
            client = self.warm()
            client.send(make_request("GET", "/mib"))
            client.half_close()
            self.assertTrue(client.read_response().body == MIB)
            self.assertEqual(client.read_to_end(), b"")

    @staticmethod
    def together(work, count):
        threads = [threading.Thread(target=work) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(harness.DEADLINE * 10)


class WrkTest(NginxTest):
    def wrk(self, *args):
        if not shutil.which("wrk"):
            self.skipTest("wrk is not installed")
        before = self.counted()
        result = subprocess.run(["wrk", "-t1", f"-d{2 * harness.SLOW:g}s", *args], capture_output=True,
                                text=True, timeout=60 * harness.SLOW)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertNotRegex(result.stdout, r"Socket errors|Non-2xx", result.stdout)
        done = int(re.search(r"(\d+) requests in", result.stdout)[1])
        self.assertGreater(done, 100, result.stdout)
        return before, done

    def test_small(self):
        before, done = self.wrk("-c32", f"{self.url}/small")
        self.assert_kernel_share(before, 0.95)
        requests = self.skein.messages(direction="request")
        self.assertGreaterEqual(requests, done)

    def test_one_connection(self):
        before, _ = self.wrk("-c1", f"{self.url}/small")
        self.assert_kernel_share(before, 0.95)

    def test_large(self):
        """Bodies that fill socket buffers: spills are allowed, errors are not."""
        self.wrk("-c8", f"{self.url}/mib")

    def test_connection_close(self):
        self.wrk("-c16", "-H", "Connection: close", f"{self.url}/small")

    def test_nothing_is_left(self):
        self.wrk("-c64", f"{self.url}/small")
        self.wait_metric("skein_downstream_connections", 0, listener="web")


if __name__ == "__main__":
    harness.main()
