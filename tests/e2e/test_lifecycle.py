"""SIGTERM drains, SIGHUP reloads; neither costs a client its response."""
import signal
import threading
import time

import harness
from harness import Client, ProxyTest, unique, wait_for
from origin import Origin, reply
from process import Skein, hostport, make_config
from wire import Ended, make_request, pattern


class OwnSkeinTest(ProxyTest):
    """A fresh skein for every test, since most of them end it."""

    @classmethod
    def start_skein(cls):
        pass

    def setUp(self):
        type(self).config = make_config(self.path, self.clusters(), self.routes(), self.extra)
        type(self).skein = Skein(self.config).start()
        super().setUp()

    def tearDown(self):
        for client in self.clients:
            client.close()
        self.clients = []
        if not self.skein.exited():
            self.skein.stop()
        self.skein.cleanup()
        self.origin.drop_connections()
        self.assertEqual(self.origin.take_errors(), [])

    @classmethod
    def tearDownClass(cls):
        if cls.origin:
            cls.origin.close()

    def refused(self):
        """True once new connections are turned away."""
        try:
            with Client(self.skein.address) as client:
                client.get("/x")
            return False
        except (OSError, Ended):
            return True


class DrainTest(OwnSkeinTest):
    extra = {"timeouts": {"drain": "3s"}}

    def slow(self, body):
        """A path whose response starts at once and ends on command."""
        go, path = threading.Event(), "/" + unique("slow")

        def script(conn, request):
            data = reply(body)
            conn.send(data[:len(data) // 2])
            go.wait(harness.DEADLINE)
            conn.send(data[len(data) // 2:])
        self.origin.on(path, script)
        return path, go

    def test_idle_clients_do_not_hold_it(self):
        for _ in range(3):
            self.warm()
        self.connect()
        since = time.monotonic()
        self.skein.signal(signal.SIGTERM)
        for client in self.clients:
            self.assertEqual(client.read_to_end(), b"")
            client.close()
        self.skein.wait_exit()
        self.skein.assert_clean()
        self.assertLess(time.monotonic() - since, 2, "idle connections were waited for")

    def test_a_response_in_flight_completes(self):
        body = pattern(300000)
        path, go = self.slow(body)
        clients = [self.connect(), self.warm(), self.warm()]
        for client in clients:
            client.send(make_request("GET", path))
        self.origin.wait_request(path, len(clients))
        self.skein.signal(signal.SIGTERM)
        wait_for(self.refused, "new connections are refused")
        self.assertFalse(self.skein.exited(), "it left before the response was complete")
        go.set()
        for client in clients:
            self.assertEqual(client.read_response().body, body)
            self.assertEqual(client.read_to_end(), b"")
            client.close()
        self.skein.wait_exit()
        self.skein.assert_clean()

    def test_an_upload_in_flight_completes(self):
        path = "/" + unique("upload")
        clients = [self.connect(), self.warm()]
        for client in clients:
            client.send(make_request("POST", path, b"x" * 100000)[:50000])
        self.origin.wait_request(path, 2)
        self.skein.signal(signal.SIGTERM)
        wait_for(self.refused, "new connections are refused")
        rest = make_request("POST", path, b"x" * 100000)[50000:]
        for client in clients:
            client.send(rest)
            self.assertEqual(client.read_response().status, 200)
            client.close()
        self.skein.wait_exit()
        self.skein.assert_clean()

    def test_the_drain_ends(self):
        """What never completes is cut off after timeouts.drain, and the exit is clean."""
        path, go = self.slow(b"x" * 1000)
        client = self.warm()
        client.send(make_request("GET", path))
        self.origin.wait_request(path)
        since = time.monotonic()
        self.skein.signal(signal.SIGTERM)
        self.skein.wait_exit()
        self.skein.assert_clean()
        self.assertGreater(time.monotonic() - since, 2, "it did not wait")
        self.assert_aborted(client)
        go.set()

    def test_sigint(self):
        self.skein.signal(signal.SIGINT)
        self.skein.wait_exit()
        self.skein.assert_clean()

    def test_under_load(self):
        """Every response that a client gets is whole; it ends between messages."""
        wrong = []

        def work():
            try:
                with Client(self.skein.address) as client:
                    while True:
                        response = client.get("/x")
                        if response.body != b"origin /x":
                            wrong.append(response)
            except Ended as end:
                if end.got:
                    wrong.append(end)
            except OSError:
                pass
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        self.origin.wait(lambda: len(self.origin.requests) > 200, "load")
        self.skein.signal(signal.SIGTERM)
        for thread in threads:
            thread.join(harness.DEADLINE)
        self.skein.wait_exit()
        self.skein.assert_clean()
        self.assertEqual(wrong, [])


class ReloadTest(OwnSkeinTest):
    def with_answer(self, body):
        """The configuration with one more route in front."""
        config = harness.copy_config(self.config)
        config["listeners"][0]["routes"].insert(
            0, {"match": {"path": "/version"}, "respond": {"status": 200, "body": body}})
        return config

    def asks(self, target, body):
        with Client(self.skein.address) as client:
            return client.get(target).body == body

    def test_routes(self):
        self.assertEqual(self.connect().get("/version").body, b"origin /version")
        self.skein.reload(self.with_answer("two"))
        wait_for(lambda: self.asks("/version", b"two"), "the new route")
        self.skein.reload(self.with_answer("three"))
        wait_for(lambda: self.asks("/version", b"three"), "the next one")

    def test_clusters(self):
        other = Origin("other")
        other.default = lambda conn, request: conn.send(reply(b"other"))
        try:
            config = harness.copy_config(self.config)
            config["clusters"][0]["endpoints"] = [{"address": hostport(other.address)}]
            self.warm()
            self.skein.reload(config)
            wait_for(lambda: self.asks("/x", b"other"), "the new endpoint")
            seen = len(self.origin.requests)
            for _ in range(5):
                self.assertEqual(self.warm().get("/x").body, b"other")
            self.assertEqual(len(self.origin.requests), seen)
        finally:
            other.close()

    def test_a_bad_file_changes_nothing(self):
        self.skein.reload("listeners: [\n")
        wait_for(lambda: f"{self.skein.file}:" in self.skein.stderr(), "the error is logged")
        self.assertEqual(self.warm().get("/x").status, 200)
        config = harness.copy_config(self.config)
        config["listeners"][0]["routes"][1]["cluster"] = "nowhere"
        self.skein.reload(config)
        wait_for(lambda: "nowhere" in self.skein.stderr(), "the error is logged")
        self.assertEqual(self.warm().get("/x").status, 200)
        self.skein.reload(self.with_answer("good again"))
        wait_for(lambda: self.asks("/version", b"good again"), "the good file")

    def test_responses_in_flight_survive(self):
        go, path = threading.Event(), "/" + unique("slow")

        def script(conn, request):
            data = reply(b"0123456789")
            conn.send(data[:-5])
            go.wait(harness.DEADLINE)
            conn.send(data[-5:])
        self.origin.on(path, script)
        clients = [self.connect(), self.warm()]
        for client in clients:
            client.send(make_request("GET", path))
        self.origin.wait_request(path, 2)
        self.skein.reload(self.with_answer("new"))
        wait_for(lambda: self.asks("/version", b"new"), "the new route")
        go.set()
        for client in clients:
            self.assertEqual(client.read_response().body, b"0123456789")

    def test_sent_again_after_its_endpoint_was_removed(self):
        """A server that closes an idle connection costs no GET, whatever is reloaded meanwhile."""
        go, path, other = threading.Event(), "/" + unique("removed"), Origin("other")

        def script(conn, request):
            if request.seq > 1 and not go.is_set():
                go.wait(harness.DEADLINE)
                conn.finish()  # as if it had closed before the request came
            else:
                conn.send(reply(b"again"))
        self.origin.on(path, script)
        other.on(path, script)
        try:
            config = self.with_answer("new")
            config["clusters"][0]["endpoints"] = [{"address": hostport(other.address)}]
            client = self.warm()
            client.send(make_request("GET", path))
            self.origin.wait_request(path)
            self.skein.reload(config)
            wait_for(lambda: self.asks("/version", b"new"), "the new configuration")
            go.set()
            self.assertEqual(client.read_response().body, b"again")
        finally:
            other.close()

    def test_under_load(self):
        """Reloads cost no request; clients may be asked to reconnect, between messages."""
        stop, wrong, done = threading.Event(), [], [0]

        def work():
            client = Client(self.skein.address)
            fresh = True
            while not stop.is_set():
                try:
                    response = client.get("/x")
                    if response.status != 200 or response.body != b"origin /x":
                        wrong.append(response)
                    done[0] += 1
                    fresh = False
                    closes = response.closes()
                except (Ended, OSError) as end:
                    # Losing the race against a graceful close is fine on an idle
                    # connection, never on a new one or inside a response.
                    if fresh or getattr(end, "got", b""):
                        wrong.append(repr(end))
                    closes = True
                if closes:
                    client.close()
                    client, fresh = Client(self.skein.address), True
            client.close()
        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        try:
            for number in range(5):
                at = done[0]
                wait_for(lambda: done[0] > at + 50, "load between reloads")
                self.skein.reload(self.with_answer(f"v{number}"))
                wait_for(lambda: self.asks("/version", f"v{number}".encode()), "the new route")
        finally:
            stop.set()
            for thread in threads:
                thread.join(harness.DEADLINE)
        self.assertEqual(wrong[:5], [])


if __name__ == "__main__":
    harness.main()
