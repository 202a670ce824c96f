"""Pipelined requests: responses in order, whatever happens between two of them."""
import threading

import harness
from harness import Ended, ProxyTest, unique
from origin import reply
from wire import make_request, pattern


class PipelineTest(ProxyTest):
    def pipeline(self, client, requests):
        """Sends them in one piece; returns (status, body) of each response, until the connection ends."""
        client.send(b"".join(make_request(method, path, body) for method, path, body in requests))
        got = []
        for method, _, _ in requests:
            try:
                response = client.read_response(method)
            except Ended:
                break
            got.append((response.status, response.body))
        return got

    def targets(self, count):
        base = "/" + unique("run")
        return [f"{base}/{number}" for number in range(count)]

    def gets(self, targets):
        return [("GET", target, None) for target in targets]

    def answers(self, targets):
        return [(200, b"origin " + target.encode()) for target in targets]

    def test_in_order(self):
        client = self.warm()
        before = self.carried_by_kernel()
        for _ in range(10):
            targets = self.targets(20)
            self.assertEqual(self.pipeline(client, self.gets(targets)), self.answers(targets))
            for target in targets:
                self.assertEqual(len(self.origin.seen(target)), 1)
        if self.kernel == "on":
            self.assertEqual(self.carried_by_kernel() - before, 400)

    def test_head_has_no_body(self):
        client = self.warm()
        targets = self.targets(5)
        self.origin.on(targets[1], lambda conn, request: conn.send(reply(b"x" * 100)[:-100]))
        requests = [("HEAD" if number == 1 else "GET", target, None) for number, target in enumerate(targets)]
        expected = self.answers(targets)
        expected[1] = (200, b"")
        self.assertEqual(self.pipeline(client, requests), expected)

    def test_posts_between(self):
        """Each exactly once, and everything in order."""
        client = self.warm()
        for _ in range(5):
            targets = self.targets(6)
            requests = [("POST" if number % 3 == 2 else "GET", target, b"body" if number % 3 == 2 else None)
                        for number, target in enumerate(targets)]
            self.assertEqual(self.pipeline(client, requests), self.answers(targets))
            for number, target in enumerate(targets):
                if number % 3 == 2:
                    self.assertEqual([request.body for request in self.origin.seen(target)], [b"body"])

    def test_upstream_dies_in_the_middle(self):
        """What it has not answered is safe to ask again."""
        for end in ("finish", "reset"):
            for answered in range(4):
                with self.subTest(end=end, answered=answered):
                    client = self.warm()
                    targets = self.targets(5)
                    died = threading.Event()

                    def script(conn, request):
                        if died.is_set():
                            conn.send(reply(b"origin " + request.target))
                        else:
                            died.set()
                            getattr(conn, end)()
                    self.origin.on(targets[answered], script)
                    got = self.pipeline(client, self.gets(targets))
                    self.assertEqual(got, self.answers(targets))

    def test_connection_close_in_the_middle(self):
        client = self.warm()
        targets = self.targets(5)

        def script(conn, request):
            conn.send(reply(b"origin " + request.target, fields=[("Connection", "close")]))
            conn.finish()
        self.origin.on(targets[2], script)
        self.assertEqual(self.pipeline(client, self.gets(targets)), self.answers(targets))

    def test_body_until_close_in_the_middle(self):
        """The client's connection may end with it; what it gets is right until there."""
        client = self.warm()
        targets = self.targets(4)

        def script(conn, request):
            conn.send(reply(b"origin " + request.target, length=False))
            conn.finish()
        self.origin.on(targets[1], script)
        got = self.pipeline(client, self.gets(targets))
        self.assertIn(len(got), (2, 4))
        self.assertEqual(got, self.answers(targets)[:len(got)])

    def test_malformed_response_in_the_middle(self):
        client = self.warm()
        targets = self.targets(4)
        self.origin.on(targets[1], lambda conn, request: conn.send(b"HTTP/1.1 999 no\r\n\r\n"))
        got = self.pipeline(client, self.gets(targets))
        self.assertEqual(got[0], self.answers(targets)[0])
        self.assertEqual(got[1][0], 502)
        self.assertEqual(got[2:], self.answers(targets)[2:len(got)])

    def test_more_responses_than_requests(self):
        """The one too many goes to nobody."""
        targets = self.targets(3)
        self.origin.on(targets[2], lambda conn, request: conn.send(reply(b"right") + reply(b"wrong")))
        for _ in range(10):
            client = self.warm()
            self.assertEqual(self.pipeline(client, self.gets(targets))[2], (200, b"right"))
            self.assertEqual(self.pipeline(client, self.gets(targets[:2])), self.answers(targets[:2]))

    def test_a_client_that_reads_late(self):
        """Large responses do not fit anywhere: the run goes on in userspace."""
        client = self.connect(rcvbuf=4096)
        self.warm(client)
        targets = self.targets(6)
        bodies = [pattern(400000, seed) for seed in range(6)]
        for target, body in zip(targets, bodies):
            self.origin.on(target, lambda conn, request, body=body: conn.send(reply(body)))
        client.send(b"".join(make_request("GET", target) for target in targets))
        self.origin.wait_request(targets[0])
        for body in bodies:
            response = client.read_response()
            self.assertEqual((response.status, response.body == body), (200, True))
        self.assertEqual(client.get("/after").body, b"origin /after")

    def test_cut_anywhere(self):
        targets = self.targets(3)
        raw = b"".join(make_request("GET", target) for target in targets)
        for cut in range(1, len(raw)):
            client = self.warm() if cut % 16 == 1 else client
            client.send_cut(raw, cut)
            got = [client.read_response() for _ in targets]
            self.assertEqual([(r.status, r.body) for r in got], self.answers(targets))


if __name__ == "__main__":
    harness.main()
