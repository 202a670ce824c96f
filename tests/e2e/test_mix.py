"""Real servers, nginx and node, behind skein, and a mix of messages as applications send them.

Seven of ten are GET, two POST with bodies up to 1 MiB, one chunked, up or down. Every body is compared by its
checksum. With `kernel: on` fewer than one in a hundred messages that the kernel path carries may fall back.
"""
import hashlib
import os
import random
import shutil
import subprocess
import threading
import unittest

import harness
from harness import Client, ProxyTest, wait_for
from nginx import Nginx
from process import free_port
from together import together
from wire import make_chunked, make_request, pattern

CLIENTS = 6
REQUESTS = 150
WARM_UP = 40  # of each client: until connections are promoted and the pools are as full as they have to be
MIB = 1 << 20
FILES = {f"file{size}": pattern(size, size) for size in (0, 100, 3000, 20000, 200000, MIB)}


def digest(data):
    return hashlib.sha256(data).hexdigest().encode()


class Node:
    """node's http server."""

    def __init__(self):
        self.address = ("127.0.0.1", free_port())
        script = os.path.join(os.path.dirname(__file__), "mix_server.js")
        self.process = subprocess.Popen(["node", script, str(self.address[1])], stdin=subprocess.DEVNULL)
        wait_for(lambda: self.process.poll() is not None or self.answers(), "node answers", harness.DEADLINE * 2)
        if self.process.poll() is not None:
            raise AssertionError(f"node exited with {self.process.returncode}")

    def answers(self):
        try:
            with Client(self.address) as client:
                return client.get("/").status == 200
        except OSError:
            return False

    def stop(self):
        self.process.terminate()
        self.process.wait()


class MixTest(ProxyTest):
    # Room for a whole body on its way to a reader that is slower than its server.
    extra = {"workers": 2, "limits": {"buffer": "16MiB"}}
    expected = ()  # reasons that this configuration makes frequent

    @classmethod
    def setUpClass(cls):
        if not Nginx.available() or not shutil.which("node"):
            raise unittest.SkipTest("nginx and node are needed")
        if not cls.skip_reason:
            cls.nginx = Nginx()
            for name, data in FILES.items():
                cls.nginx.put(name, data)
            cls.nginx.start()
            cls.addClassCleanup(cls.nginx.stop)
            cls.node = Node()
            cls.addClassCleanup(cls.node.stop)
        super().setUpClass()

    @classmethod
    def clusters(cls):
        return {"nginx": [cls.nginx.address], "node": [cls.node.address]}

    @classmethod
    def routes(cls):
        return [{"match": {"path_prefix": "/file"}, "cluster": "nginx"},
                {"match": {"path_prefix": "/"}, "cluster": "node"}]

    @staticmethod
    def size(rng):
        """Small ones are frequent, and 1 MiB occurs."""
        return min(MIB, int(2 ** rng.uniform(0, 20.2)))

    @staticmethod
    def download(client, path, size, step=0):
        response = client.get(f"{path}?size={size}&step={step}")
        return len(response.body) == size and response.get("x-digest") == digest(response.body)

    def get(self, rng, client):
        if rng.random() < 0.5:
            name = rng.choice(list(FILES))
            return client.get("/" + name).body == FILES[name]
        return self.download(client, "/bytes", min(self.size(rng), 65536))

    def post(self, rng, client):
        body = pattern(self.size(rng), rng.randrange(100))
        return client.request(rng.choice(("POST", "PUT")), "/digest", body).body == digest(body)

    def chunked(self, rng, client):
        size = self.size(rng)
        step = max(rng.choice((100, 1000, 16384, 65536)), size // 500)
        if rng.random() < 0.5:
            return self.download(client, "/chunked", size, step)
        body = pattern(size, rng.randrange(100))
        raw = make_chunked([body[at:at + step] for at in range(0, size, step)])
        client.send(make_request("POST", "/digest", fields=[("Transfer-Encoding", "chunked")]))
        client.send(raw)
        return client.read_response().body == digest(body)

    def work(self, number, warm):
        rng = random.Random(number)
        with Client(self.skein.address, deadline=harness.DEADLINE * 3) as client:
            for turn in range(WARM_UP + REQUESTS):
                if turn == WARM_UP:
                    warm.wait(harness.DEADLINE * 5)
                send = rng.choices((self.get, self.post, self.chunked), (70, 20, 10))[0]
                self.assertTrue(send(rng, client), f"request {turn}: wrong bytes ({send.__name__})")

    def counts(self):
        series = self.skein.metrics().get("skein_fallback_total", {})
        reasons = {dict(key)["reason"]: int(value) for key, value in series.items()}
        return reasons, {path: self.skein.messages(path=path) for path in (self.carrier, "userspace")}

    def test_mix(self):
        before = []
        warm = threading.Barrier(CLIENTS, lambda: before.append(self.counts()))
        self.assertEqual(together(self.work, CLIENTS, warm, limit=harness.DEADLINE * 20), [])
        (reasons_before, paths_before), (reasons, paths) = before[0], self.counts()
        carried = paths[self.carrier] - paths_before[self.carrier]
        if self.kernel == "off":
            self.assertEqual(carried, 0)
            return
        left = {reason: count - reasons_before.get(reason, 0) for reason, count in reasons.items()}
        left = {reason: count for reason, count in left.items() if count}
        print(f"{carried:.0f} messages by the kernel path, {paths['userspace'] - paths_before['userspace']:.0f}"
              f" by userspace; fell back: {left}")
        self.assertGreater(carried, CLIENTS * REQUESTS, "more than half of all messages")
        # Past TCP nothing can hold the beginning of a chunk line whose end comes with the next send(), and what a
        # slow reader's queue takes is bounded by its receive buffer too.
        expected = (*self.expected, "chunk", "upstream_slow", "downstream_slow") if self.path == "bypass" \
            else self.expected
        other = sum(count for reason, count in left.items() if reason not in expected)
        self.assertLess(other / carried, 0.01, left)


class NarrowMixTest(MixTest):
    """The default buffer: whoever reads more slowly than the other side sends is userspace's after some
    200 KiB, and with such bodies on one machine that is often the case. Nothing else is frequent."""

    extra = {"workers": 2}
    expected = ("upstream_slow", "downstream_slow")


if __name__ == "__main__":
    harness.main()
