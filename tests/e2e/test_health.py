"""Endpoints that are out of use: draining, ejected, unhealthy, removed."""
import contextlib
import threading
import time

import harness
from harness import Client, Ended, copy_config, unique, wait_for
from named_origins import OneCluster, named
from origin import Origin, reply
from wire import make_request


class Load:
    """Clients that send one GET after the other, each saying in which phase it was sent."""

    def __init__(self, skein, clients=4):
        self.skein = skein
        self.phase = "0"
        self.stopped = False
        self.lock = threading.Lock()
        self.done = 0
        self.bad = []
        self.phases = [None] * clients  # of the requests under way
        self.threads = [threading.Thread(target=self.run, args=(i,)) for i in range(clients)]

    def run(self, number):
        client = Client(self.skein.address)
        try:
            while not self.stopped:
                # Read before it is sent: whoever sets the phase first knows what comes later.
                with self.lock:
                    phase = self.phases[number] = self.phase
                target = f"/load?{phase}"
                response = client.get(target)
                with self.lock:
                    self.done += 1
                    self.phases[number] = None
                    if response.status != 200:
                        self.bad.append((target, response.status))
        except (Ended, OSError) as error:
            with self.lock:
                self.bad.append((target, repr(error)))
        finally:
            self.phases[number] = None
            client.close()

    def go_on(self, requests=200):
        """Until so many more requests were answered."""
        end = self.done + requests
        wait_for(lambda: self.done >= end or self.bad, "load goes on")

    def enter(self, phase):
        """Requests sent from now on belong to the phase; those of the one before have ended."""
        with self.lock:
            before, self.phase = self.phase, phase
        wait_for(lambda: before not in self.phases, "requests of the phase before end")

    def stop(self):
        self.stopped = True
        for thread in self.threads:
            thread.join()


@contextlib.contextmanager
def load(skein, clients=4):
    it = Load(skein, clients)
    for thread in it.threads:
        thread.start()
    try:
        yield it
    finally:
        it.stop()


class HealthTest(OneCluster):
    names = ("one", "two")

    def seen(self, name, phase):
        """Requests of a phase of the load that an origin has got."""
        return sum(request.target == f"/load?{phase}".encode()
                   for request in list(self.origins[name].requests))

    def restart(self, name):
        port = self.origins[name].address[1]
        self.origins[name] = Origin(name, port=port)
        self.origins[name].default = named(name)

    def wait_state(self, name, reason, value):
        wait_for(lambda: self.state(name, reason) == value,
                 f"{name} to be {'' if value else 'not '}{reason}")

    def reload(self, change):
        config = copy_config(self.config)
        change(config["clusters"][0])
        self.skein.reload(config)


class DrainTest(HealthTest):
    settings = {"ejection": {"max_failures": 0}}

    def drain(self, name, verb="drain"):
        response = self.skein.admin_post(f"/{verb}?endpoint={self.address(name)}")
        self.assertEqual((response.status, response.body), (200, b"ok\n"))

    def check_phases(self, begin, end):
        """While begin() has happened nothing goes to `one`; after end() something does."""
        phases = unique("a"), unique("b")
        with load(self.skein) as it:
            for phase in phases:
                it.enter(f"{phase}-before")
                it.go_on()
                begin()
                it.enter(f"{phase}-out")
                it.go_on(400)
                it.enter(f"{phase}-still")
                end()
                it.enter(f"{phase}-back")
                it.go_on()
        self.assertEqual(it.bad, [])
        for phase in phases:
            self.assertGreater(self.seen("one", f"{phase}-before"), 20)
            self.assertEqual(self.seen("one", f"{phase}-out"), 0)
            self.assertGreater(self.seen("two", f"{phase}-out"), 100)
            self.assertGreater(self.seen("one", f"{phase}-back"), 20)

    def test_by_admin_under_load(self):
        self.check_phases(lambda: self.drain("one"), lambda: self.drain("one", "undrain"))

    def test_by_configuration_under_load(self):
        def set_drain(value):
            def change(cluster):
                cluster["endpoints"][0]["drain"] = value
            self.reload(change)
            self.wait_state("one", "draining", value == "true")
        self.check_phases(lambda: set_drain("true"), lambda: set_drain("false"))

    def test_removed_under_load(self):
        def remove():
            self.reload(lambda cluster: cluster["endpoints"].pop(0))
            self.wait_state("one", "removed", 1)

        def restore():
            self.reload(lambda cluster: None)
            self.wait_state("one", "removed", 0)
        self.check_phases(remove, restore)

    def test_all_endpoints_replaced_under_load(self):
        """No request fails while workers still go by the configuration before."""
        other = self.origin.address
        with load(self.skein) as it:
            for _ in range(3):
                self.reload(lambda cluster: cluster.update(
                    endpoints=[{"address": f"{other[0]}:{other[1]}"}]))
                it.go_on()
                self.reload(lambda cluster: None)
                it.go_on()
        self.wait_state("one", "removed", 0)
        self.assertEqual(it.bad, [])

    def test_outstanding_requests_finish(self):
        release = threading.Event()

        def hold(conn, request):
            conn.read_body(request)
            release.wait(harness.DEADLINE)
            conn.send(reply(b"held"))
        for origin in self.origins.values():
            origin.on("/hold", hold)
        client = self.warm()
        client.send(make_request("GET", "/hold"))
        name = wait_for(lambda: next((name for name in self.names
                                      if self.origins[name].seen("/hold")), None), "it is held")
        self.drain(name)
        self.wait_metric("skein_endpoint_outstanding", 1, endpoint=self.address(name))
        release.set()
        self.assertEqual(client.read_response().body, b"held")
        self.wait_metric("skein_endpoint_outstanding", 0, endpoint=self.address(name))
        for _ in range(5):
            self.assertNotEqual(client.get("/x").body, name.encode())
        self.drain(name, "undrain")

    def test_nobody_left(self):
        client = self.warm()
        for name in self.names:
            self.drain(name)
        for _ in range(2):
            self.assertEqual(client.get("/x").status, 503)
        self.drain("two", "undrain")
        self.assertEqual(client.get("/x").body, b"two")
        self.drain("one", "undrain")

    def test_admin(self):
        address = self.address("one")
        for verb in ("drain", "undrain"):
            response = self.skein.admin_get(f"/{verb}?endpoint={address}")
            self.assertEqual((response.status, response.get("allow")), (405, b"POST"))
            for query in ("", "?", "?endpoint", "?endpoint=", "?endpoint=127.0.0.1", "?address=" + address,
                          "?endpoint=127.0.0.1:1"):
                self.assertEqual(self.skein.admin_post(f"/{verb}{query}").status, 404, query)
        self.assertEqual(self.state("one", "draining"), 0)
        for page in ("/healthz", "/stats", "/metrics"):
            self.assertEqual(self.skein.admin_post(page).status, 405)
        self.drain("one")
        self.drain("one")
        self.assertEqual(self.state("one", "draining"), 1)
        self.assertIn(b'"out_of_use":["draining"]', self.skein.admin_get("/stats").body)
        self.drain("one", "undrain")
        self.assertEqual(self.state("one", "draining"), 0)
        self.assertNotIn(b'"draining"', self.skein.admin_get("/stats").body)


class EjectionBase(HealthTest):
    settings = {"ejection": {"max_failures": 2, "retry_after": "1s"}}
    def tearDown(self):
        for name in self.names:
            self.wait_state(name, "ejected", 0)
        super().tearDown()

    def ejections(self, name):
        return self.skein.metric("skein_upstream_ejections_total", endpoint=self.address(name))


class EjectionTest(EjectionBase):
    def failures(self, name):
        return self.skein.metric("skein_upstream_connect_failures_total", endpoint=self.address(name))

    def test_killed_under_load(self):
        """No GET fails; the endpoint is ejected, and tried again when its time is over; then it
        takes its share."""
        before = self.ejections("one")
        with load(self.skein) as it:
            it.go_on()
            self.origins["one"].close()
            self.wait_state("one", "ejected", 1)
            failures = self.failures("one")
            it.go_on(100)
            self.assertLessEqual(self.failures("one") - failures, 20, "it is left alone, but for tries")
            wait_for(lambda: self.ejections("one") >= before + 2, "it is tried, and ejected again")
            self.restart("one")
            self.wait_state("one", "ejected", 0)
            it.enter("back")
            wait_for(lambda: self.seen("one", "back") > 50 or it.bad, "it takes part again")
        self.assertEqual(it.bad, [])

    def test_all_ejected(self):
        """With every endpoint ejected all are tried."""
        client = self.warm()
        for name in self.names:
            self.origins[name].close()
        for _ in range(4):
            self.assertEqual(client.get("/x").status, 503)
        for name in self.names:
            self.assertEqual(self.state(name, "ejected"), 1)
        self.restart("one")
        since = time.monotonic()
        response = client.get("/x")
        if time.monotonic() - since < 0.5:  # Long before its time.
            self.assertEqual(response.body, b"one")
        self.restart("two")
        for _ in range(4):
            self.assertEqual(client.get("/x").status, 200)

    def test_errors_are_answers(self):
        """A status of 500 is no failure of the endpoint."""
        def error(conn, request):
            conn.read_body(request)
            conn.send(reply(b"broken", status="500 Internal Server Error"))
        for origin in self.origins.values():
            origin.on("/error", error)
        client = self.warm()
        before = [self.ejections(name) for name in self.names]
        for _ in range(20):
            self.assertEqual(client.get("/error").status, 500)
        self.assertEqual([self.ejections(name) for name in self.names], before)


class TimeoutTest(EjectionBase):
    settings = {"ejection": {"max_failures": 2, "retry_after": "3s"}}
    extra = {"timeouts": {"response": "600ms"}}

    def test_timeouts(self):
        def hang(conn, request):
            conn.read_body(request)
            conn.wait_end()
            conn.finish()
        for origin in self.origins.values():
            origin.on("/hang", hang)
        client = self.warm()
        before = {name: self.ejections(name) for name in self.names}
        for _ in range(4):
            self.assertEqual(client.get("/hang").status, 504)
        for name in self.names:
            self.assertEqual(self.ejections(name), before[name] + 1)


class ActiveTest(HealthTest):
    settings = {"health_check": {"path": "/healthz?x", "interval": "1s", "timeout": "1s",
                                 "unhealthy_threshold": 2, "healthy_threshold": 2},
                "ejection": {"max_failures": 0}}

    def setUp(self):
        super().setUp()
        for name in self.names:
            self.origins[name].on("/healthz", self.answer("200 OK"))
            self.wait_state(name, "unhealthy", 0)

    @staticmethod
    def answer(status):
        def script(conn, request):
            conn.read_body(request)
            conn.send(reply(b"state", status=status))
        return script

    def checks(self, name):
        return [request for request in list(self.origins[name].requests)
                if request.target == b"/healthz?x"]

    def check_out_and_back(self, fail, mend):
        out, back = unique("out"), unique("back")
        with load(self.skein, clients=2) as it:
            it.go_on()
            fail()
            self.wait_state("one", "unhealthy", 1)
            it.enter(out)
            it.go_on(300)
            it.enter("still")
            mend()
            self.wait_state("one", "unhealthy", 0)
            it.enter(back)
            it.go_on()
        self.assertGreater(self.seen("two", out), 100)
        self.assertEqual(self.seen("one", out), 0)
        self.assertGreater(self.seen("one", back), 20)
        return it.bad

    def test_status(self):
        origin = self.origins["one"]
        for status in ("503 Service Unavailable", "302 Found"):
            with self.subTest(status=status):
                bad = self.check_out_and_back(lambda: origin.on("/healthz", self.answer(status)),
                                              lambda: origin.on("/healthz", self.answer("204 No Content")))
                self.assertEqual(bad, [])

    def test_no_answer(self):
        origin = self.origins["one"]

        def hang(conn, request):
            conn.wait_end()
            conn.finish()
        self.assertEqual(self.check_out_and_back(
            lambda: origin.on("/healthz", hang),
            lambda: origin.on("/healthz", self.answer("200 OK"))), [])

    def test_refused(self):
        def mend():
            self.restart("one")
            self.origins["one"].on("/healthz", self.answer("200 OK"))
        self.assertEqual(self.check_out_and_back(lambda: self.origins["one"].close(), mend), [])

    def test_thresholds(self):
        """One bad answer of three is not enough."""
        count = iter(range(10 ** 6))

        def sometimes(conn, request):
            conn.read_body(request)
            conn.send(reply(status="500 Sometimes" if next(count) % 3 == 0 else "200 OK"))
        self.origins["one"].on("/healthz", sometimes)
        before = len(self.checks("one"))
        while len(self.checks("one")) < before + 6:
            self.assertEqual(self.state("one", "unhealthy"), 0)
            time.sleep(0.01)

    def test_request(self):
        wait_for(lambda: self.checks("one"), "a check")
        request = self.checks("one")[-1]
        self.assertEqual(request.method, b"GET")
        self.assertEqual(request.get("host"), self.address("one").encode())

    def test_all_unhealthy(self):
        """Then all are used."""
        for origin in self.origins.values():
            origin.on("/healthz", self.answer("500 No"))
        for name in self.names:
            self.wait_state(name, "unhealthy", 1)
        client = self.warm()
        bodies = {client.get("/x").body for _ in range(6)}
        self.assertEqual(bodies, {b"one", b"two"})

    def test_reload(self):
        """What is known outlasts a reload; without checks there is nothing to know."""
        self.origins["one"].on("/healthz", self.answer("500 No"))
        self.wait_state("one", "unhealthy", 1)
        self.reload(lambda cluster: cluster["health_check"].update(interval="1100ms"))
        before = len(self.checks("one"))
        while len(self.checks("one")) < before + 3:
            self.assertEqual(self.state("one", "unhealthy"), 1)
            time.sleep(0.01)
        self.reload(lambda cluster: cluster.pop("health_check"))
        self.wait_state("one", "unhealthy", 0)
        self.reload(lambda cluster: None)
        self.wait_state("one", "unhealthy", 1)


if __name__ == "__main__":
    harness.main()
