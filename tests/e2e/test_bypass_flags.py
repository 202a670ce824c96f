"""Flags of an application's send(), with which the kernel sends on what is redirected out of skein's own sockets."""
import socket

import harness
from harness import ProxyTest
from origin import answer, reply
from wire import make_request, pattern

BODY = pattern(5000, 4)


class UrgentTest(ProxyTest):
    """An urgent byte is in no stream, neither TCP's nor HTTP's: whoever sends one may harm itself, and nobody else."""
    paths = ("bypass",)

    @classmethod
    def finish_config(cls):
        cls.config["bypass"] = {"except": {"clusters": ["web"]}}

    def setUp(self):
        super().setUp()
        self.origin.on("/up", self.answer_early)
        self.origin.on("/x", answer(b"x"))

    @staticmethod
    def answer_early(conn, request):
        """Before the body is there: a connection whose request lacks a byte must not serve the next one."""
        conn.send(reply(b"early"))
        conn.read_body(request)

    def to_remote(self):
        return self.skein.metric("skein_bypass_messages_total", direction="request", quadrant="local_remote")

    def test_request(self):
        attacker, victim = self.warm(), self.warm()
        for client in (attacker, victim):
            self.assertEqual(client.get("/x").body, b"x")
        self.assertGreater(self.to_remote(), 0)
        before = self.to_remote()
        attacker.sock.send(make_request("POST", "/up", b"hello"), socket.MSG_OOB)
        self.assertEqual(self.to_remote(), before, "redirected")
        for _ in range(5):
            self.assertEqual(victim.get("/x").body, b"x")
        attacker.close()
        self.assertFalse([error for error in self.origin.take_errors() if "malformed" in error.lower()])

    def test_body(self):
        """A byte at a time, in the middle of a body."""
        attacker, victim = self.warm(), self.warm()
        raw = make_request("POST", "/up", BODY)
        head = len(raw) - len(BODY)
        attacker.sock.sendall(raw[:head + 100])
        for at in range(head + 100, head + 110):
            attacker.sock.send(raw[at:at + 1], socket.MSG_OOB)
        attacker.sock.sendall(raw[head + 110:])
        for _ in range(5):
            self.assertEqual(victim.get("/x").body, b"x")
        attacker.close()
        self.origin.take_errors()  # the attacker's own request is not complete

    def test_other_calls(self):
        """What sends without flags is redirected as before."""
        client = self.warm()
        raw = make_request("GET", "/x")
        ways = {"send": lambda: client.sock.send(raw), "sendmsg": lambda: client.sock.sendmsg([raw[:9], raw[9:]]),
                "more": lambda: client.sock.send(raw, socket.MSG_NOSIGNAL)}
        for name, send in ways.items():
            with self.subTest(way=name):
                self.assertEqual(client.get("/x").body, b"x")
                before = self.to_remote()
                send()
                self.assertEqual(client.read_response().body, b"x")
                self.assertEqual(self.to_remote(), before + 1)


if __name__ == "__main__":
    harness.main()
