"""What routes change in heads, on both paths: one connection uses routes with and without edits."""
import re
import threading

import harness
from harness import Client, ProxyTest, unique
from origin import answer, raw_answer, reply
from wire import make_chunked, make_request

UUID4 = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
LIES = [("X-Forwarded-For", "1.1.1.1"), ("X-Forwarded-Host", "evil"), ("Forwarded", "for=1.1.1.1"),
        ("X-Real-IP", "1.1.1.1"), ("x-forwarded-proto", "https"), ("X-Request-Id", "mine")]
EDITS = {
    "request_headers": {"set": [{"name": "X-Env", "value": "prod"}],
                        "add": [{"name": "X-Tag", "value": "one"}, {"name": "X-Tag", "value": "two"}],
                        "remove": ["X-Debug"]},
    "response_headers": {"set": [{"name": "X-Served-By", "value": "skein"}],
                         "add": [{"name": "X-Extra", "value": "1"}], "remove": ["Server"]},
}


class HeadersTest(ProxyTest):
    """Clients from 127.0.0.2 are trusted, those from 127.0.0.1 are not."""
    trusted = "127.0.0.2"

    @classmethod
    def routes(cls):
        def route(prefix, **keys):
            return {"match": {"path_prefix": prefix}, "cluster": "web", **keys}
        return [route("/edit", **EDITS), route("/xff", forwarded="x_forwarded_for"),
                route("/rfc", forwarded="forwarded"), route("/both", forwarded="both", request_id=True),
                route("/id", request_id=True), route("/response", response_headers=EDITS["response_headers"]),
                route("/")]

    @classmethod
    def start_skein(cls):
        config = harness.make_config(cls.path, cls.clusters(), cls.routes(), cls.extra)
        config["listeners"][0]["trusted_proxies"] = [cls.trusted + "/32"]
        cls.config = config
        cls.skein = harness.Skein(config).start()

    def arrived(self, client, prefix, fields=(), method="GET", body=None):
        """The request as the origin saw it."""
        target = prefix + unique("/")
        response = client.request(method, target, body, fields=fields)
        self.assertEqual(response.status, 200, response)
        return self.origin.wait_request(target)

    def both_ways(self, source=None):
        """A new connection, and one that the kernel path carries where there is one."""
        for way in ("first", "later"):
            client = self.connect(source=source)
            if way == "later":
                self.warm(client)
            yield way, client


class EditsTest(HeadersTest):
    def test_request(self):
        fields = [("x-env", "dev"), ("X-ENV", "test"), ("x-debug", "1"), ("X-Tag", "zero"), ("X-Debugger", "a")]
        for way, client in self.both_ways():
            with self.subTest(way=way):
                request = self.arrived(client, "/edit", fields)
                self.assertEqual(request.all("x-env"), [b"prod"])
                self.assertEqual(request.all("x-debug"), [])
                self.assertEqual(request.all("x-tag"), [b"zero", b"one", b"two"])
                self.assertEqual(request.all("x-debugger"), [b"a"])

    def test_request_with_body(self):
        for way, client in self.both_ways():
            with self.subTest(way=way):
                request = self.arrived(client, "/edit", [("X-Debug", "1")], "POST", b"body")
                self.assertEqual((request.body, request.all("x-env")), (b"body", [b"prod"]))
                target = "/edit" + unique("/")
                client.send(make_request("POST", target, fields=[("Transfer-Encoding", "chunked")])
                            + make_chunked([b"abc", b"def"]))
                self.assertEqual(client.read_response().status, 200)
                request = self.origin.wait_request(target)
                self.assertEqual((request.body, request.all("x-env")), (b"abcdef", [b"prod"]))

    def test_connection_does_not_remove_what_is_set(self):
        for way, client in self.both_ways():
            with self.subTest(way=way):
                request = self.arrived(client, "/edit", [("Connection", "X-Env, X-Tag"), ("X-Env", "dev")])
                self.assertEqual(request.all("x-env"), [b"prod"])
                self.assertEqual(request.all("x-tag"), [b"one", b"two"])

    def test_response(self):
        fields = [("Server", "s"), ("server", "t"), ("X-Served-By", "a"), ("X-Extra", "0")]
        for prefix in ("/edit", "/response"):
            path = prefix + unique("/")
            self.origin.on(path, answer(b"ok", fields=fields))
            for way, client in self.both_ways():
                with self.subTest(way=way, prefix=prefix):
                    response = client.get(path)
                    self.assertEqual(response.body, b"ok")
                    self.assertEqual(response.all("server"), [])
                    self.assertEqual(response.all("x-served-by"), [b"skein"])
                    self.assertEqual(response.all("x-extra"), [b"0", b"1"])
                    head = client.request("HEAD", path)
                    self.assertEqual((head.all("server"), head.all("x-extra")), ([], [b"0", b"1"]))

    def test_trailers(self):
        """A field that is removed does not come as a trailer either."""
        path = "/response" + unique("/")
        head = reply(fields=[("Transfer-Encoding", "chunked")], length=False)
        self.origin.on(path, raw_answer(head + make_chunked(
            [b"body"], [(b"Server", b"s"), (b"X-Sum", b"1"), (b"X-Served-By", b"a")])))
        for way, client in self.both_ways():
            with self.subTest(way=way):
                response = client.get(path, fields=[("TE", "trailers"), ("Connection", "TE")])
                self.assertEqual((response.body, response.trailers), (b"body", [(b"X-Sum", b"1")]))

    def test_interim_and_final(self):
        path = "/edit" + unique("/")
        self.origin.on(path, raw_answer(b"HTTP/1.1 103 Early Hints\r\nServer: s\r\n\r\n"
                                        + reply(b"ok", fields=[("Server", "s")])))
        response = self.connect().get(path)
        self.assertEqual(response.interim[0].all("x-extra"), [])
        self.assertEqual((response.all("server"), response.all("x-extra")), ([], [b"1"]))

    def test_upgrade(self):
        path = "/edit" + unique("/")

        def script(conn, request):
            conn.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n"
                      b"Server: s\r\n\r\n")
            conn.send(conn.read_exact(4))
            conn.finish()
        self.origin.on(path, script)
        for way, client in self.both_ways():
            with self.subTest(way=way):
                count = len(self.origin.seen(path))
                client.send(make_request("GET", path, fields=[("Connection", "upgrade"), ("Upgrade", "echo")]))
                response = client.read_response()
                self.assertEqual((response.status, response.all("upgrade")), (101, [b"echo"]))
                self.assertEqual((response.all("server"), response.all("x-extra")), ([], [b"1"]))
                request = self.origin.wait_request(path, count + 1)
                self.assertEqual((request.all("x-env"), request.all("upgrade")), ([b"prod"], [b"echo"]))
                client.send(b"ping")
                self.assertEqual(client.read_exact(4), b"ping")

    def test_own_answers_are_not_edited(self):
        path = "/edit" + unique("/")
        self.origin.on(path, raw_answer(b"not http\r\n\r\n"))
        response = self.connect().get(path)
        self.assertEqual((response.status, response.all("x-extra")), (502, []))


class OneConnectionTest(HeadersTest):
    """The plain route by the kernel path, where there is one, the other edited, in turn."""

    def kernel_messages(self):
        return self.carried_by_kernel()

    def test_in_turn(self):
        client = self.warm()
        for turn in range(50):
            plain = self.arrived(client, "/plain", LIES)
            self.assertEqual(plain.all("x-env"), [])
            self.assertEqual([(name.decode(), value.decode()) for name, value in plain.without("host")], LIES)
            edited = self.arrived(client, "/edit", [("X-Env", "dev")])
            self.assertEqual(edited.all("x-env"), [b"prod"])
            told = self.arrived(client, "/both", LIES)
            self.assertEqual(told.all("x-forwarded-for"), [b"127.0.0.1"])

    def test_paths(self):
        """An edited message is never carried by the kernel, and the connection comes back to it."""
        client = self.warm()
        before = self.kernel_messages()
        for prefix in ("/edit", "/xff", "/rfc", "/both", "/id", "/response"):
            for _ in range(3):
                self.arrived(client, prefix)
        self.assertEqual(self.kernel_messages(), before)
        for _ in range(100):  # after each fallback it waits twice as long
            self.arrived(client, "/plain")
            if self.kernel_messages() - before >= 2:
                break
        self.assertEqual(self.kernel_messages() - before >= 2, self.kernel == "on")

    def test_pipelined(self):
        client = self.warm()
        targets = [prefix + unique("/") for prefix in ("/plain", "/edit", "/plain", "/both", "/edit", "/plain")]
        client.send(b"".join(make_request("GET", target, fields=[("X-Env", "dev")]) for target in targets))
        for target in targets:
            self.assertEqual(client.read_response().body, b"origin " + target.encode())
            env = [b"prod"] if target.startswith("/edit") else [b"dev"]
            self.assertEqual(self.origin.wait_request(target).all("x-env"), env)


class ForwardedTest(HeadersTest):
    def told(self, request):
        names = ("x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarded", "x-real-ip")
        return {name: request.all(name) for name in names if request.all(name)}

    def test_untrusted(self):
        xff = {"x-forwarded-for": [b"127.0.0.1"], "x-forwarded-proto": [b"http"]}
        rfc = {"forwarded": [b"for=127.0.0.1;proto=http"]}
        for way, client in self.both_ways():
            for prefix, expected in (("/xff", xff), ("/rfc", rfc), ("/both", xff | rfc)):
                for fields in ([], LIES, LIES + LIES):
                    with self.subTest(way=way, prefix=prefix, fields=len(fields)):
                        self.assertEqual(self.told(self.arrived(client, prefix, fields)), expected)

    def test_trusted(self):
        fields = [("X-Forwarded-For", "1.1.1.1"), ("X-Forwarded-Proto", "https"), ("A", "b"),
                  ("x-forwarded-for", "2.2.2.2, 3.3.3.3"), ("X-Real-IP", "1.1.1.1")]
        for way, client in self.both_ways(self.trusted):
            with self.subTest(way=way):
                self.assertEqual(self.told(self.arrived(client, "/both")), {
                    "x-forwarded-for": [b"127.0.0.2"], "x-forwarded-proto": [b"http"],
                    "forwarded": [b"for=127.0.0.2;proto=http"]})
                self.assertEqual(self.told(self.arrived(client, "/xff", fields)), {
                    "x-forwarded-for": [b"1.1.1.1, 2.2.2.2, 3.3.3.3, 127.0.0.2"],
                    "x-forwarded-proto": [b"https"], "x-real-ip": [b"1.1.1.1"]})
                told = self.told(self.arrived(client, "/rfc", [("Forwarded", "for=\"[::1]\";by=_a")]))
                self.assertEqual(told, {"forwarded": [b"for=\"[::1]\";by=_a, for=127.0.0.2;proto=http"]})

    def test_disguised(self):
        """Servers that read _ as - would take it for the real one."""
        for way in self.WAYS:
            with self.subTest(way=way):
                needle = unique("disguise")
                raw = make_request("GET", "/xff/" + needle, fields=[("X_Forwarded_For", "1.1.1.1")])
                self.assert_refused(self.send_by(way, raw), (400,))
                self.assert_never_upstream(needle)


class RequestIdTest(HeadersTest):
    def test_made(self):
        seen = set()
        for way, client in self.both_ways():
            for prefix in ("/id", "/both"):
                for fields in ([], [("X-Request-Id", "mine")], [("x-request-id", "a"), ("X-Request-Id", "b")]):
                    with self.subTest(way=way, prefix=prefix, fields=fields):
                        made = self.arrived(client, prefix, fields).get("x-request-id")
                        self.assertRegex(made, UUID4)
                        self.assertNotIn(made, seen)
                        seen.add(made)

    def test_unique_over_many_clients(self):
        def ask():
            with Client(self.skein.address) as client:
                for _ in range(50):
                    client.get("/id/many")
        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(harness.DEADLINE * 5)
        ids = [request.get("x-request-id") for request in self.origin.seen("/id/many")]
        self.assertEqual(len(ids), 400)
        self.assertEqual(len(set(ids)), 400)

    def test_kept(self):
        for way, client in self.both_ways(self.trusted):
            for given, kept in ((b"From-LB_1.~", True), (b"x" * 128, True), (b"x" * 129, False), (b"a b", False),
                                (b"a,b", False), (b"\"q\"", False), (b"", False)):
                with self.subTest(way=way, given=given):
                    request = self.arrived(client, "/id", [("X-Request-Id", given.decode())])
                    if kept:
                        self.assertEqual(request.get("x-request-id"), given)
                    else:
                        self.assertRegex(request.get("x-request-id"), UUID4)
            twice = [("X-Request-Id", "a"), ("X-Request-Id", "a")]
            self.assertRegex(self.arrived(client, "/id", twice).get("x-request-id"), UUID4)

    def test_the_same_over_a_retry(self):
        """The first try meets a connection that the server closes: the second has the same name."""
        for way, client in self.both_ways():
            with self.subTest(way=way):
                path = "/both" + unique("/")

                def script(conn, request):
                    if len(self.origin.seen(path)) == 1:
                        conn.finish()
                    else:
                        conn.send(reply(b"retried"))
                self.origin.on(path, script)
                self.arrived(client, "/both")  # an upstream connection that has been used
                self.assertEqual(client.get(path, fields=LIES).body, b"retried")
                first, second = self.origin.seen(path)
                self.assertEqual(first.fields, second.fields)
                self.assertRegex(first.get("x-request-id"), UUID4)
                self.assertEqual(second.get("x-forwarded-for"), b"127.0.0.1")


class DefaultsTest(ProxyTest):
    """Options of the listener hold for its routes, unless they say otherwise."""

    @classmethod
    def routes(cls):
        return [{"match": {"path_prefix": "/off"}, "cluster": "web", "forwarded": "off", "request_id": False},
                {"match": {"path": "/direct"}, "respond": {"status": 200, "body": "direct\n"}},
                {"match": {"path_prefix": "/"}, "cluster": "web"}]

    @classmethod
    def start_skein(cls):
        config = harness.make_config(cls.path, cls.clusters(), cls.routes(), cls.extra)
        config["listeners"][0].update(forwarded="both", request_id=True)
        cls.config = config
        cls.skein = harness.Skein(config).start()

    def test_defaults(self):
        client = self.warm()
        for _ in range(5):
            client.get("/x", fields=LIES)
            client.get("/off", fields=LIES)
            self.assertEqual(client.get("/direct").body, b"direct\n")
        for request in self.origin.seen("/x"):
            self.assertEqual(request.get("x-forwarded-for"), b"127.0.0.1")
            self.assertEqual(request.get("forwarded"), b"for=127.0.0.1;proto=http")
            self.assertRegex(request.get("x-request-id"), UUID4)
        for request in self.origin.seen("/off"):
            self.assertEqual([(name.decode(), value.decode()) for name, value in request.without("host")], LIES)

    def test_reload(self):
        """Connections that the kernel carries are edited as soon as the configuration says so."""
        client = self.connect()
        for _ in range(5):
            client.get("/off")
        config = harness.copy_config(self.config)
        del config["listeners"][0]["routes"][0]
        self.skein.reload(config)

        def edited():
            target = "/off" + unique("/")
            with Client(self.skein.address) as fresh:
                fresh.get(target)
            return self.origin.wait_request(target).all("x-request-id")
        harness.wait_for(edited, "the new configuration")
        target = "/off" + unique("/")
        try:
            client.get(target, fields=LIES)
        except (harness.Ended, OSError):
            return  # closed between messages
        self.assertEqual(self.origin.wait_request(target).get("x-forwarded-for"), b"127.0.0.1")


class NothingForTheKernelTest(HeadersTest):
    """A listener whose routes all edit promotes nobody."""
    paths = ("on",)

    @classmethod
    def routes(cls):
        return [{"match": {"path_prefix": "/"}, "cluster": "web", "request_id": True},
                {"match": {"path": "/direct"}, "respond": {"status": 200}}]

    def test_not_promoted(self):
        client = self.warm()
        self.arrived(client, "/x")
        self.assertEqual(self.skein.metric("skein_slots_in_use"), 0)
        self.assertEqual(self.skein.messages(path="kernel"), 0)


class IPv6Test(HeadersTest):
    """A listener for both families; ::1 is trusted, 127.0.0.1 inside of it is not."""

    @classmethod
    def start_skein(cls):
        config = harness.make_config(cls.path, cls.clusters(), cls.routes(), cls.extra)
        port = config["listeners"][0]["address"].rsplit(":", 1)[1]
        config["listeners"][0].update(address=f"[::]:{port}", trusted_proxies=["::1"])
        cls.config = config
        cls.skein = harness.Skein(config)
        cls.skein.address = ("127.0.0.1", int(port))
        cls.skein.start()

    def test_families(self):
        for way, client in self.both_ways():
            with self.subTest(way=way):
                told = self.arrived(client, "/both", LIES)
                self.assertEqual(told.all("x-forwarded-for"), [b"127.0.0.1"])
                self.assertEqual(told.all("forwarded"), [b"for=127.0.0.1;proto=http"])
        client = Client(("::1", self.skein.address[1]))
        self.addCleanup(client.close)
        for _ in range(harness.WARM_UPS):
            told = self.arrived(client, "/both", [("X-Request-Id", "kept"), ("Forwarded", "for=_a")])
            self.assertEqual(told.all("x-forwarded-for"), [b"::1"])
            self.assertEqual(told.all("forwarded"), [b"for=_a, for=\"[::1]\";proto=http"])
            self.assertEqual(told.all("x-request-id"), [b"kept"])


if __name__ == "__main__":
    harness.main()
