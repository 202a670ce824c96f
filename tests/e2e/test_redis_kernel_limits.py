"""Redis with `kernel: on`: a client's limits are what they are in userspace, and the kernel path adds none."""
import time

import harness
from redis_harness import wait_for
from redis_kernel_harness import RedisKernelTest, value_of
from redis_wire import RedisClient, command
from wire import DEADLINE

MIB = 1 << 20


class SlowTest(RedisKernelTest):
    extra = {"limits": {"buffer": "256KiB"}, "timeouts": {"write": "30s"}}

    def test_slow_reader(self):
        value = self.random(5).randbytes(8 * MIB)
        for server in self.servers:
            server.call("CONFIG", "SET", "proto-max-bulk-len", 64 * MIB)
        self.connect().expect_ok("SET", "big", value)
        slow = self.keep(RedisClient(self.skein.address, deadline=DEADLINE * 2, rcvbuf=65536))
        self.promoted(b"promoted", slow)
        others = [self.promoted(b"other:%d" % number) for number in range(4)]
        before, memory = self.fallbacks("downstream_slow"), self.skein.rss()
        slow.send(command("GET", "big"))
        start = slow.read_exact(1000)

        def go_on():
            for _ in range(50):
                for number, client in enumerate(others):
                    key = b"other:%d" % number
                    self.assertEqual(client.call("GET", key), value_of(key))
        self.assertGreaterEqual(self.carried(go_on)[0], 380)
        self.assertGreater(self.fallbacks("downstream_slow"), before)
        self.assertLess(self.skein.rss() - memory, 4 * MIB)
        rest = slow.read_exact(len(value) + 12 - 1000)
        self.assertTrue(start + rest == b"$8388608\r\n" + value + b"\r\n", "bytes lost or out of order")
        self.assert_comes_back(slow)


class IdleTest(RedisKernelTest):
    """A client's own timeout is what counts, on the kernel path too."""

    listener = {"idle_timeout": "1s"}
    extra = {"timeouts": {"idle": "60s"}}

    def test_closed_when_idle(self):
        client = self.promoted()
        since = time.monotonic()
        self.assertEqual(client.read_to_end(), b"")
        self.assertGreater(time.monotonic() - since, 0.8)
        self.assertLess(time.monotonic() - since, 3)

    def test_kept_while_active(self):
        client = self.promoted()
        end = time.monotonic() + 2.5
        while time.monotonic() < end:
            self.assertEqual(client.call("GET", "promoted"), value_of(b"promoted"))
            time.sleep(0.3)


class NeverIdleTest(RedisKernelTest):
    extra = {"timeouts": {"idle": "500ms"}}

    def test_kept(self):
        """Without idle_timeout a client may wait for ever, however short the one for HTTP is."""
        client = self.promoted()
        self.assertTrue(client.quiet(2.5))
        self.assertEqual(client.call("GET", "promoted"), value_of(b"promoted"))


class WatchTest(RedisKernelTest):
    # A quarter of it passes between two looks at a connection of the kernel path.
    extra = {"timeouts": {"body": "4s"}}

    def test_kept_when_taken_over(self):
        """The kernel path's own looks at a connection end with it, whatever took the client back."""
        client = self.promoted()
        before = self.fallbacks("pipelined")
        for server in self.servers:
            server.pause()
        try:
            client.send(command("GET", "promoted"))
            client.send(command("MULTI"))  # which keeps it in userspace
            wait_for(lambda: self.fallbacks("pipelined") > before, "a command while one is outstanding")
            self.wait_metric("skein_slots_in_use", 0)
        finally:
            for server in self.servers:
                server.resume()
        self.assertEqual(client.read().value, value_of(b"promoted"))
        self.assertEqual(client.read().value, b"OK")
        self.assertTrue(client.quiet(2.5))
        self.assertEqual(client.call("EXEC"), [])
        self.assert_comes_back(client)


if __name__ == "__main__":
    harness.main()
