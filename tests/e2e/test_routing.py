"""Routes: first match wins, by host and raw path; endpoints by weight; direct answers."""
import collections

import harness
from harness import Client, ProxyTest, unique
from named_origins import NamedOrigins
from origin import Origin
from wire import make_request


class MatchTest(NamedOrigins):
    names = ("api", "exact", "deep", "web", "v6")

    @classmethod
    def routes(cls):
        return [
            {"match": {"host": "api.example.com", "path_prefix": "/v1/"}, "cluster": "api"},
            {"match": {"host": "API.example.com", "path_prefix": "/"},
             "respond": {"status": 403, "body": "not there\n"}},
            {"match": {"path": "/exact"}, "cluster": "exact"},
            {"match": {"path_prefix": "/deep/er/"}, "cluster": "deep"},
            {"match": {"path_prefix": "/deep/"}, "cluster": "web"},
            {"match": {"path_prefix": "/deep/er/never"}, "cluster": "exact"},
            {"match": {"path": "/gone"}, "respond": {"status": 410, "body": "gone\n"}},
            {"match": {"path": "/empty"}, "respond": {"status": 200}},
            {"match": {"path": "/nothing"}, "respond": {"status": 204}},
            {"match": {"path_prefix": "/any"}, "cluster": "v6"},
        ]

    def warm(self, client=None, target="/exact"):
        return super().warm(client, target)

    def ask(self, way, target, host="h", method="GET"):
        client = self.send_by(way, make_request(method, target, host=host))
        response = client.read_response(method)
        client.close()
        return response

    def test_matches(self):
        cases = [
            ("api.example.com", "/v1/x", "api"), ("API.EXAMPLE.COM", "/v1/", "api"),
            ("api.example.com:8080", "/v1/x?y", "api"), ("Api.Example.Com:80", "/v1/a/b", "api"),
            ("api.example.com", "/v1", 403), ("api.example.com", "/exact", 403),
            ("api.example.com", "/V1/x", 403),
            ("xapi.example.com", "/v1/x", 404),
            ("h", "/exact", "exact"), ("h", "/exact?query", "exact"), ("h", "/exact?", "exact"),
            ("h", "/exact/", 404), ("h", "/exactly", 404), ("h", "/Exact", 404),
            ("h", "/%65xact", 404), ("h", "//exact", 404),
            ("h", "/deep/er/x", "deep"), ("h", "/deep/er/never", "deep"), ("h", "/deep/", "web"),
            ("h", "/deep/er", "web"), ("h", "/deep/x?/deep/er/", "web"), ("h", "/deep", 404),
            ("h", "/x/../exact", 404), ("h", "/gone", 410), ("h", "/any", "v6"),
            ("h", "/anything", "v6"), ("h", "/", 404), ("h", "/?/exact", 404),
        ]
        for host, target, expected in cases:
            for way in self.WAYS[:3]:
                with self.subTest(host=host, target=target, way=way):
                    response = self.ask(way, target, host)
                    if isinstance(expected, int):
                        self.assertEqual(response.status, expected, response)
                    else:
                        self.assertEqual((response.status, response.body.decode()),
                                         (200, expected))

    def test_every_request_is_routed_anew(self):
        """On one connection, kept alive, whatever the last one's route was."""
        client = self.warm()
        for _ in range(10):
            for target, host, expected in (("/exact", "h", b"exact"), ("/deep/er/x", "h", b"deep"),
                                           ("/v1/x", "api.example.com", b"api"), ("/any", "h", b"v6"),
                                           ("/deep/x", "h", b"web"), ("/gone", "h", b"gone\n")):
                self.assertEqual(client.get(target, host=host).body, expected)

    def test_direct_answers(self):
        for way in ("first", "later"):
            with self.subTest(way=way):
                client = self.connect() if way == "first" else self.warm()
                response = client.get("/gone")
                self.assertEqual((response.status, response.body), (410, b"gone\n"))
                self.assertEqual(response.get("content-length"), b"5")
                response = client.request("HEAD", "/gone")
                self.assertEqual((response.status, response.body), (410, b""))
                self.assertEqual(client.get("/empty").body, b"")
                self.assertEqual(client.get("/nothing").status, 204)
                self.assertEqual(client.get("/nothing").all("content-length"), [])
                # A body is read and thrown away, or the connection ends and says so.
                for size in (10, 100000):
                    response = client.request("POST", "/gone", b"x" * size)
                    self.assertEqual((response.status, response.body), (410, b"gone\n"))
                    if response.closes():
                        self.assertEqual(client.read_to_end(), b"")
                        client = self.connect()
                    self.assertEqual(client.get("/exact").body, b"exact")

    def test_not_found_keeps_the_connection(self):
        for way in ("first", "later"):
            with self.subTest(way=way):
                client = self.connect() if way == "first" else self.warm()
                for method, body in (("GET", None), ("POST", b"body"), ("HEAD", None)):
                    response = client.request(method, "/nowhere", body)
                    self.assertEqual(response.status, 404)
                    self.assertFalse(response.closes())
                    self.assertEqual(response.all("content-length") != [], True)
                self.assertEqual(client.get("/exact").body, b"exact")


class WeightsTest(NamedOrigins):
    names = ("one", "two", "five")

    @classmethod
    def clusters(cls):
        single = super().clusters()
        weights = {"one": 1, "two": 2, "five": 5}
        return {"all": [(single[name][0], weights[name]) for name in cls.names]}

    def shares(self, gets):
        return collections.Counter(gets)

    def check(self, shares, tolerance):
        total = sum(shares.values())
        for name, weight in (("one", 1), ("two", 2), ("five", 5)):
            self.assertLessEqual(abs(shares[name.encode()] - total * weight / 8), tolerance,
                                 f"{dict(shares)}")

    def test_new_clients(self):
        """In userspace the rotation is exact over a multiple of the total weight."""
        def one():
            with Client(self.skein.address) as client:
                return client.get("/x").body
        self.check(self.shares(one() for _ in range(80)), 0)

    def test_one_client(self):
        """The kernel may keep its own rotation: exact to within a round of each."""
        client = self.connect()
        self.check(self.shares(client.get("/x").body for _ in range(160)), 8)

    def test_clients_at_once(self):
        clients = [self.connect() for _ in range(16)]
        bodies = []
        for _ in range(10):
            for client in clients:
                client.send(make_request("GET", "/x"))
            bodies += [client.read_response().body for client in clients]
        self.check(self.shares(bodies), 16)


class EndpointFailureTest(ProxyTest):
    """Endpoints that refuse are passed over; only if all do the client hears of it."""

    @classmethod
    def clusters(cls):
        gone = []
        for _ in range(3):
            origin = Origin()
            gone.append(origin.address)
            origin.close()
        return {"half": [gone[0], cls.origin.address], "none": [gone[1], gone[2]]}

    @classmethod
    def routes(cls):
        return [{"match": {"path_prefix": "/none"}, "cluster": "none"},
                {"match": {"path_prefix": "/"}, "cluster": "half"}]

    def test_one_refuses(self):
        for _ in range(10):
            with Client(self.skein.address) as client:
                for _ in range(3):
                    self.assertEqual(client.get("/x").status, 200)

    def test_all_refuse(self):
        for way in ("first", "later"):
            with self.subTest(way=way):
                client = self.send_by(way, make_request("GET", "/none/" + unique()))
                self.assertEqual(client.read_response().status, 503)

    def test_refused_uploads(self):
        client = self.send_by("later", make_request("POST", "/none/x", b"x" * 100000))
        self.assertEqual(client.read_response().status, 503)
        for _ in range(6):
            with Client(self.skein.address) as client:
                response = client.request("POST", "/x", b"abc")
                self.assertEqual(response.status, 200, "nothing was sent yet: safe to try another")


if __name__ == "__main__":
    harness.main()
