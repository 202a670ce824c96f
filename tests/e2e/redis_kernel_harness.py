"""What the tests of Redis on the kernel path share: which path carried a message, and clients that the
kernel path carries."""
from redis_harness import RedisTest, wait_for


def value_of(key, size=0):
    """A value that shows whose it is."""
    return (b"<" + key + b">") * (1 + size // (len(key) + 2))


class RedisKernelTest(RedisTest):
    paths = ("on",)
    shards = 2
    oracle = False

    def counts(self):
        return self.carried_by_kernel(), self.skein.messages(path="userspace")

    def carried(self, send):
        """Messages by the kernel path and by userspace during send()."""
        before = self.counts()
        send()
        return tuple(int(b - a) for a, b in zip(before, self.counts()))

    def fallbacks(self, reason):
        return int(self.skein.metric("skein_fallback_total", listener="cache", reason=reason))

    def promoted(self, key=b"promoted", client=None):
        """A client whose commands on the key are carried by the kernel."""
        client = client or self.connect()
        client.expect_ok("SET", key, value_of(key))

        def get():
            self.assertEqual(client.call("GET", key), value_of(key))
        wait_for(lambda: self.carried(get) == (2, 0), "a client on the kernel path")
        return client

    def assert_comes_back(self, client, key=b"promoted"):
        self.promoted(key, client)
