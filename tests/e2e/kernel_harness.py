"""What the tests of the kernel path share: which path carried a message."""
import harness
from harness import ProxyTest


class KernelTest(ProxyTest):
    paths = ("on",)

    def kernel_messages(self, send):
        """Messages that the kernel alone carried and userspace carried during send()."""
        def count():
            return (self.carried_by_kernel(), self.skein.messages(path="userspace"))
        before = count()
        send()
        return tuple(int(b - a) for a, b in zip(before, count()))

    def promoted(self):
        """A connection whose last message was carried by the kernel."""
        client = self.warm()
        for _ in range(10):
            if self.kernel_messages(lambda: client.get("/x"))[0] == 2:
                return client
        self.fail("never carried by the kernel")

    def carried(self, raw, method="GET"):
        """A request on a promoted connection, and the next one: both must be right."""
        client = self.promoted()

        def send():
            client.send(raw)
            self.assertLess(client.read_response(method).status, 500)
        counts = self.kernel_messages(send)
        self.assertEqual(client.get("/after").body, b"origin /after")
        return counts

    def fallbacks(self):
        """Why messages left the kernel path, by reason."""
        series = self.skein.metrics().get("skein_fallback_total", {})
        return {dict(key)["reason"]: int(value) for key, value in series.items() if value}


__all__ = ["KernelTest", "harness"]
