"""Which responses reach the client, and as what (rules 15, 16, 47 to 57).

The tables are in response_cases.py. Every case comes on a new upstream connection, on an idle one that
the kernel path may own, and in two pieces, once for each place where it can be cut.
"""
import harness
from harness import Ended
from process import wait_for
from response_cases import BAD_BODIES, BAD_HEADS, EXTRA, GET, GOOD, LENGTH, POISON
from ways import WaysTest, cuts_of


class ResponsesTest(WaysTest):
    """Each case in each way; subclasses say what a case is."""

    ways = ("first", "promoted", "cut")

    def check_end(self, conn):
        self.origin.wait(lambda: conn.done, "skein ends the upstream connection")


class RefusedTest(ResponsesTest):
    def test_heads(self):
        for name, data in BAD_HEADS:
            for way in self.ways:
                for played, client, conns in self.play_response(way, GET, data):
                    with self.subTest(case=name, played=played):
                        self.assertEqual(client.read_response().status, 502)
                        self.assertEqual(len(conns), 1, "a bad response is not asked for again")
                        self.check_end(conns[0])
                        # The client's own connection is not to blame.
                        self.assertEqual(client.get("/direct").body, b"direct\n")

    def test_bodies(self):
        for name, data, end in BAD_BODIES:
            for way in self.ways:
                for played, client, conns in self.play_response(way, GET, data, end):
                    with self.subTest(case=name, played=played):
                        try:
                            response = client.read_response()
                        except Ended:
                            pass
                        else:
                            self.assertEqual(response.status, 502, f"passed off as {response!r}")
                        self.check_end(conns[0])


class ForwardedTest(ResponsesTest):
    def check(self, request, client, expected):
        method = request.split()[0].decode()
        response = client.read_response(method)
        self.assertEqual((response.status, response.body), (expected["status"], expected["body"]))
        self.assertEqual([r.status for r in response.interim], expected.get("interim", []))
        kept = [field for field in response.fields if field in expected.get("fields", [])]
        self.assertEqual(kept, expected.get("fields", []))
        for absent in expected.get("absent", []):
            self.assertEqual(response.all(absent), [])
        self.assertEqual(response.trailers + response.chunk_extensions, [])
        if expected.get("closes") or response.framing == "close":
            self.assertEqual(client.read_to_end(), b"")
            self.assertEqual(client.ended, "fin")
        else:
            self.assertFalse(response.closes())
            self.assertEqual(client.get("/direct").body, b"direct\n")
        return response

    def test_as_they_are(self):
        for name, request, data, end, expected in GOOD:
            for way in self.ways:
                for played, client, _ in self.play_response(way, request, data, end):
                    with self.subTest(case=name, played=played):
                        self.check(request, client, expected)

    def test_date(self):
        """Added where it is missing, by the userspace path (rule 57)."""
        for way in self.ways:
            for played, client, _ in self.play_response(way, GET, LENGTH + b"\r\nbody"):
                with self.subTest(played=played):
                    dates = client.read_response().all("date")
                    if self.kernel == "off" or way == "first":
                        self.assertEqual(len(dates), 1)
                        self.assertRegex(dates[0], rb"^[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} "
                                                   rb"\d\d:\d\d:\d\d GMT$")
                    else:
                        self.assertLessEqual(len(dates), 1)
        self.assertEqual(len(self.connect().get("/direct").all("date")), 1)

    def play_extra(self, way, request, data, body, cuts=None):
        conns = []
        for played, client, used in self.play_response(way, request, data + POISON, cuts=cuts):
            with self.subTest(played=played):
                response = client.read_response(request.split()[0].decode())
                self.assertEqual((response.body, response.all("x-poison")), (body, []))
                self.assertEqual(client.get("/clean").body, b"origin /clean")
                conns += used
        self.origin.wait(lambda: all(conn.done for conn in conns),
                         "skein ends the poisoned connections")

    def test_extra_bytes(self):
        """What follows a complete response reaches nobody, and ends its connection."""
        for name, request, data, body in EXTRA:
            cuts = [at for at in cuts_of(data + POISON) if at != len(data)]
            for way, cuts in (("first", None), ("promoted", None), ("cut", cuts),
                              ("cut", [len(data)])):
                with self.subTest(case=name, way=way):
                    self.play_extra(way, request, data, body, cuts)

    def test_they_take_the_kernel_path(self):
        """What this file calls promoted is: the plain case travels in the kernel, both ways."""
        if self.kernel == "off":
            return
        def carried():
            return self.carried_by_kernel(direction="request")
        for way in ("promoted", "cut"):
            with self.subTest(way=way):
                before, count = carried(), 0
                for _, client, _ in self.play_response(way, GET, LENGTH + b"\r\nbody"):
                    self.assertEqual(client.read_response().body, b"body")
                    count += 1
                wait_for(lambda: carried() >= before + count, f"{count} requests more")


if __name__ == "__main__":
    harness.main()
