"""The admin listener: health, counters that count, formats that parse."""
import json

import harness
from harness import Client, ProxyTest
from process import parse_metrics
from wire import make_chunked, make_request


class AdminTest(ProxyTest):
    def test_healthz(self):
        response = self.skein.admin_get("/healthz")
        self.assertEqual((response.status, response.body), (200, b"ok\n"))

    def test_stats_is_json(self):
        response = self.skein.admin_get("/stats")
        self.assertEqual(response.status, 200)
        self.assertTrue(response.get("content-type").startswith(b"application/json"))
        self.assertIsInstance(json.loads(response.body), dict)

    def test_metrics_is_prometheus_text(self):
        response = self.skein.admin_get("/metrics")
        self.assertEqual(response.status, 200)
        self.assertTrue(response.get("content-type").startswith(b"text/plain"))
        text = response.body.decode()
        metrics = parse_metrics(text)
        for name in metrics:
            self.assertIn(f"# TYPE {name} ", text)
            self.assertIn(f"# HELP {name} ", text)
        for path in ("kernel", "bypass", "userspace"):
            for direction in ("request", "response"):
                labels = frozenset({("listener", "web"), ("direction", direction), ("path", path)})
                self.assertIn(labels, metrics["skein_messages_total"])

    def test_other_targets(self):
        self.assertEqual(self.skein.admin_get("/nothing").status, 404)
        with Client(self.skein.admin) as client:
            self.assertIn(client.request("POST", "/healthz", b"").status, (405, 501))
        with Client(self.skein.admin) as client:
            client.send(b"nonsense\r\n\r\n")
            self.assertNotIn(b" 200 ", client.read_to_end())
        self.assertEqual(self.skein.admin_get("/healthz").status, 200)

    def test_messages_are_counted_once(self):
        """On whichever path: requests and responses add up to what was sent."""
        before = {d: self.skein.messages(direction=d) for d in ("request", "response")}
        count = 0
        for _ in range(3):
            client = self.warm()
            count += harness.WARM_UPS
            for method, body in (("GET", None), ("POST", b"x" * 1000), ("HEAD", None)):
                self.assertEqual(client.request(method, "/x", body).status, 200)
                count += 1
            client.send(make_request("POST", "/x", fields=[("Transfer-Encoding", "chunked")])
                        + make_chunked([b"chunk"]))
            self.assertEqual(client.read_response().status, 200)
            count += 1
        harness.wait_for(lambda: self.skein.messages(direction="response") - before["response"]
                         >= count, f"{count} responses are counted")
        for direction, value in before.items():
            self.assertEqual(self.skein.messages(direction=direction) - value, count, direction)

    def test_paths(self):
        """Off: nothing is counted as kernel. On: a connection's later messages are."""
        client = self.warm()
        before = self.carried_by_kernel()
        for _ in range(10):
            client.get("/x")
        carried = self.carried_by_kernel() - before
        if self.kernel == "on":
            self.assertGreaterEqual(carried, 16)
        else:
            self.assertEqual(carried, 0)

    def test_fallbacks_have_reasons(self):
        if self.kernel == "off":
            self.assertEqual(self.skein.metric("skein_fallback_total"), 0)
            return
        client = self.warm()
        before = self.skein.metric("skein_fallback_total", listener="web")
        client.send(make_request("GET", "/x", fields=[("Connection", "X-Foo")]))
        self.assertEqual(client.read_response().status, 200)
        self.assertGreater(self.skein.metric("skein_fallback_total", listener="web"), before)

    def test_downstream_connections(self):
        self.wait_metric("skein_downstream_connections", 0, listener="web")
        clients = [self.warm() for _ in range(5)]
        self.wait_metric("skein_downstream_connections", 5, listener="web")
        for client in clients[:3]:
            client.close()
        self.wait_metric("skein_downstream_connections", 2, listener="web")

    def test_slots(self):
        self.assertIn("skein_slots_in_use", self.skein.metrics())
        if self.kernel == "off":
            self.assertEqual(self.skein.metric("skein_slots_in_use"), 0)
            return
        self.warm()
        self.assertGreaterEqual(self.skein.metric("skein_slots_in_use"), 1)

    def test_many_scrapes_at_once(self):
        clients = [Client(self.skein.admin) for _ in range(20)]
        self.clients += clients
        for client in clients:
            client.send(make_request("GET", "/metrics"))
        for client in clients:
            self.assertEqual(client.read_response().status, 200)


if __name__ == "__main__":
    harness.main()
