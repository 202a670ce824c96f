"""One message, played in three ways: as the first on its connection, on a connection that the kernel
path carries, and in two writes, once for each place where it can be cut.

Each cut has a connection of its own, and all of a message's cuts go on together: the first pieces are
sent, then a request on another connection is answered, and then the second pieces follow. skein's one
worker takes events in the order in which they come, so by then it has seen every first piece.
"""
import threading

from harness import ProxyTest, unique
from process import wait_for
from wire import DEADLINE, make_request

CUT_EVERY = 220  # bytes up to which every cut is tried
CUT_STRIDE = 60  # otherwise: so many more, spread evenly
CUT_EDGE = 30    # and these, at both ends and around the end of the head


def cuts_of(raw):
    """The places where a message is cut."""
    if len(raw) <= CUT_EVERY:
        return list(range(1, len(raw)))
    head = raw.find(b"\r\n\r\n") + 4
    places = set(range(1, len(raw), max(1, len(raw) // CUT_STRIDE)))
    for middle in (0, head, len(raw)):
        places |= set(range(middle - CUT_EDGE, middle + CUT_EDGE))
    return sorted(place for place in places if 0 < place < len(raw))


def try_send(wire, data):
    """Sends what may be refused before it has all been sent: the answer is what counts."""
    try:
        wire.send(data)
    except (BrokenPipeError, ConnectionResetError):
        pass


class WaysTest(ProxyTest):
    """Adds promoted() and the three ways to ProxyTest."""

    WAYS = ("first", "promoted", "cut")
    extra = {"workers": 1, "limits": {"idle_upstreams": 512}}

    def promoted(self, count):
        """New clients, after one plain request each: on the kernel path, where there is one."""
        before = self.promotions()
        clients = [self.connect() for _ in range(count)]
        for client in clients:
            client.send(make_request("GET", "/warm"))
        for client in clients:
            self.assertEqual(client.read_response().status, 200)
        if self.kernel == "on":
            wait_for(lambda: self.promotions() >= before + count, f"{count} promotions")
        return clients

    def promotions(self):
        return self.skein.metric("skein_promoted_total", listener="web")

    def all_read(self):
        """Returns when skein has seen everything that was sent so far."""
        with self.connect() as client:
            self.assertEqual(client.get("/direct").status, 200)

    def play(self, way, raw):
        """Sends a request in one of the ways; yields (description, client) per connection."""
        if way == "first":
            clients, cuts = [self.connect()], [0]
        elif way == "promoted":
            clients, cuts = self.promoted(1), [0]
        else:
            cuts = cuts_of(raw)
            clients = (self.promoted(len(cuts)) if self.kernel == "on"
                       else [self.connect() for _ in cuts])
        for client, at in zip(clients, cuts):
            try_send(client, raw[:at] or raw)
        if way == "cut":
            self.all_read()
            for client, at in zip(clients, cuts):
                try_send(client, raw[at:])
        for client, at in zip(clients, cuts):
            yield f"{way} {at}" if at else way, client
            client.close()

    # Responses

    def pooled(self, count):
        """Promoted clients, and at least as many idle connections to the origin, which the kernel
        path owns where there is one."""
        clients = self.promoted(count)
        gate = threading.Barrier(count)

        def together(conn, request):
            gate.wait(DEADLINE)
            conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        path = "/" + unique("together")
        self.origin.on(path, together)
        for client in clients:
            client.send(make_request("GET", path))
        for client in clients:
            self.assertEqual(client.read_response().status, 200)
        self.origin.scripts.pop(path)
        return clients

    def play_response(self, way, request, data, end=None, cuts=None):
        """Has the origin answer a request, whose target is "/@", with bytes; yields
        (description, client, the origin's connections that the request came on) per connection.

        end: "fin" or "reset", what follows the bytes when skein has seen them; None: nothing.
        cuts: the places to try; all by default. Before the second piece no piece may be a whole
        response: its connection would serve another request, before the origin goes on.
        """
        if way != "cut":
            cuts = [0]
        elif cuts is None:
            cuts = cuts_of(data)
        path, arrived, go = "/" + unique("response"), threading.Semaphore(0), threading.Event()
        conns = {}

        def script(conn, received):
            at = int(received.target.split(b"?")[1])
            conns.setdefault(at, []).append(conn)
            conn.read_body(received)
            if at:
                try_send(conn, data[:at])
                arrived.release()
                go.wait(DEADLINE)
            try_send(conn, data[at:])
            sent.release()
            if end:
                leave.wait(DEADLINE)
                (conn.finish if end == "fin" else conn.reset)()
        sent, leave = threading.Semaphore(0), threading.Event()
        self.origin.on(path, script)
        if way == "first":
            self.origin.drop_connections()
            clients = [self.connect()]
        else:
            clients = self.pooled(len(cuts))
        for client, at in zip(clients, cuts):
            client.send(request.replace(b"/@", f"{path}?{at}".encode()))
        if way == "cut":
            self.await_all(arrived, len(cuts), "first pieces")
            self.all_read()
            go.set()
        self.await_all(sent, len(cuts), "second pieces")
        self.all_read()
        leave.set()
        for client, at in zip(clients, cuts):
            yield f"{way} {at}" if at else way, client, conns.setdefault(at, [])
            client.close()
        self.origin.scripts.pop(path)

    def await_all(self, semaphore, count, what):
        for number in range(count):
            self.assertTrue(semaphore.acquire(timeout=DEADLINE), f"{what}: {number} of {count}")
