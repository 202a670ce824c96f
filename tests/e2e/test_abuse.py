"""Peers that misbehave on purpose: nobody else notices, and nothing grows."""
import socket
import threading
import time

import harness
from harness import Ended, ProxyTest
from origin import answer, raw_answer, reply
from wire import make_request, pattern


class UrgentDataTest(ProxyTest):
    def test_urgent_byte(self):
        """TCP's urgent data is unknown to HTTP: that connection may end, the others go on."""
        for warm in (False, True):
            with self.subTest(warm=warm):
                client = self.connect()
                if warm:
                    self.warm(client)
                client.sock.send(make_request("GET", "/urgent"), socket.MSG_OOB)
                try:
                    client.half_close()
                    client.read_to_end()
                except (Ended, OSError):
                    pass  # a reset is an answer too
                for _ in range(4):
                    self.assertEqual(self.warm().get("/x").body, b"origin /x")


class PoisonTest(ProxyTest):
    def test_bytes_behind_a_response(self):
        """What a server sends after a complete response reaches nobody."""
        poison = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
        self.origin.on("/bad", raw_answer(reply(b"good") + poison))
        stop = threading.Event()
        wrong = []

        def victim():
            client = self.warm()
            while not stop.is_set():
                body = client.get("/x").body
                if body != b"origin /x":
                    wrong.append(body)
                    return

        victims = [threading.Thread(target=victim) for _ in range(4)]
        for thread in victims:
            thread.start()
        try:
            attacker = self.warm()
            for _ in range(200):
                self.assertEqual(attacker.get("/bad").body, b"good")
        finally:
            stop.set()
            for thread in victims:
                thread.join(harness.DEADLINE * 2)
        self.assertEqual(wrong, [])


class GreedyClientTest(ProxyTest):
    extra = {"limits": {"buffer": "256KiB"}}

    def test_pipeline_of_a_client_that_does_not_read(self):
        """Answers are not made for a client that takes none; all come when it reads."""
        body, count = pattern(3000, 5), 20000
        self.origin.on("/page", answer(body))
        client = self.warm(self.connect(rcvbuf=1 << 14, deadline=harness.DEADLINE * 4))
        before = self.skein.rss()
        raw = make_request("GET", "/page")
        sender = threading.Thread(target=lambda: client.send(raw * count))
        sender.start()
        end, last, since = time.monotonic() + harness.DEADLINE * 2, -1, time.monotonic()
        while time.monotonic() - since < 0.5:  # until skein takes no more
            self.assertLess(time.monotonic(), end, "skein never stops answering")
            time.sleep(0.05)
            seen = len(self.origin.seen("/page"))
            if seen != last:
                last, since = seen, time.monotonic()
        self.assertLess(last, count, "all were answered")
        if not harness.SANITIZED:
            self.assertLess(self.skein.rss() - before, 8 << 20, "memory grew")
        self.assertEqual(self.connect().get("/other").status, 200)
        for number in range(count):
            self.assertEqual(client.read_response().body, body, f"response {number}")
        sender.join(harness.DEADLINE)


class PausingClientTest(ProxyTest):
    extra = {"timeouts": {"response": "500ms", "write": "30s"}}

    def test_response_timeout_is_the_servers(self):
        """A client that pauses longer than the server may still gets everything."""
        body = pattern(20 << 20, 9)
        self.origin.on("/large", answer(body))
        for warm in (False, True):
            with self.subTest(warm=warm):
                client = self.connect(rcvbuf=1 << 16, deadline=harness.DEADLINE * 2)
                if warm:
                    self.warm(client)
                client.send(make_request("GET", "/large"))
                head = client.read_until(b"\r\n\r\n")
                # Longer than the timeout: that it does not fire has no event to wait for.
                time.sleep(1.2)
                self.assertEqual(client.read_exact(len(body)), body, head)


if __name__ == "__main__":
    harness.main()
