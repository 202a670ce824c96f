"""What of a bypassed exchange is on the wire: handshakes, first requests, closes, and nothing of thousands
of messages. The packets on the loopback device are counted by a packet socket."""
import ctypes
import socket
import struct
import threading

import harness
from apps import AppTest, digest
from redis_harness import RedisTest
from wire import DEADLINE, pattern

MESSAGES = 5000
PAYLOADS_MAX = 20  # of the first exchanges, on the client's connection and on the server's
ETH_P_ALL = 3
SOL_PACKET, PACKET_STATISTICS, SO_RCVBUFFORCE, SO_ATTACH_FILTER = 263, 6, 33, 26
SNAPLEN = 128
OUTGOING = 4       # each packet passes the loopback device twice, and is counted when it leaves


def port_filter(ports):
    """A classic BPF program that takes what is TCP over IPv4 and has one of these ports."""
    def jump_if(value, then, otherwise=0):
        return 0x15, then, otherwise, value  # jeq
    steps = [(0x30, 0, 0, 9), jump_if(socket.IPPROTO_TCP, 0, 3 + 2 * len(ports)),  # ldb [9]
             (0xb1, 0, 0, 0)]                                                      # ldxb 4*([0]&0xf)
    for side in (0, 2):
        steps.append((0x48, 0, 0, side))                                           # ldh [x + side]
        for number, port in enumerate(ports):
            left = len(ports) - number - 1 + (1 + len(ports) if side == 0 else 0)
            steps.append(jump_if(port, left + 1))
    steps += [(0x06, 0, 0, 0), (0x06, 0, 0, SNAPLEN)]                              # ret
    return b"".join(struct.pack("HBBI", *step) for step in steps), len(steps)


class Capture:
    """Counts TCP packets on lo that carry payload, by their ports, until stop()."""

    def __init__(self, ports):
        self.payloads = {}
        self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
        code, length = port_filter(ports)
        steps = ctypes.create_string_buffer(code)
        self.sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER,
                             struct.pack("HP", length, ctypes.addressof(steps)))
        self.sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 32 << 20)
        self.sock.bind(("lo", ETH_P_ALL))
        self.sock.settimeout(0.05)
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        """Until it has been told to stop and everything that was queued has been counted."""
        while True:
            try:
                data, (_, _, kind, *_) = self.sock.recvfrom(SNAPLEN)
            except TimeoutError:
                if self.stopping.is_set():
                    return
                continue
            if kind == OUTGOING:
                self.count(data)

    def count(self, data):
        header = (data[0] & 15) * 4
        length = struct.unpack("!H", data[2:4])[0]
        source, target = struct.unpack("!HH", data[header:header + 4])
        key = frozenset((source, target))
        if length > header + (data[header + 12] >> 4) * 4:
            self.payloads[key] = self.payloads.get(key, 0) + 1

    def stop(self):
        self.stopping.set()
        self.thread.join(DEADLINE * 5)
        self.dropped = struct.unpack("II", self.sock.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1]
        self.sock.close()


class Counting:
    """Adds a count of what is on the wire while a connection passes its messages."""

    def counts(self):
        """Messages past userspace, those in their quadrant, and the requests of endpoints and clusters."""
        metric = self.skein.metric
        return (self.carried_by_kernel(), metric("skein_bypass_messages_total", quadrant="local_local"),
                metric("skein_endpoint_requests_total", path="bypass"),
                metric("skein_cluster_requests_total", path="bypass"),
                metric("skein_endpoint_requests_total", path="kernel"))

    def count_payloads(self, client, count, first, send):
        """Runs `first` and then `send`, which exchanges `count` requests and responses, while packets
        are counted; checks the paths and what was on the wire."""
        port = client.sock.getsockname()[1]
        capture = Capture([self.skein.address[1], *self.server_ports()])
        try:
            first()
            before = self.counts()
            send()
            carried, quadrant, *upstream = (now - then for now, then in zip(self.counts(), before))
        finally:
            capture.stop()
        payloads = capture.payloads
        self.assertGreaterEqual(carried, 2 * count - PAYLOADS_MAX, payloads)
        self.assertGreaterEqual(quadrant, 2 * count - PAYLOADS_MAX, payloads)
        self.assertEqual(upstream, [quadrant / 2, quadrant / 2, 0], "requests by endpoint and by cluster")
        near = frozenset((port, self.skein.address[1]))
        self.assertGreaterEqual(payloads.get(near, 0), 2, f"the first request is on the wire: {payloads}")
        self.assertGreater(len(payloads), 1, f"and so it is behind skein: {payloads}")
        self.assertLessEqual(sum(payloads.values()), PAYLOADS_MAX, payloads)
        self.assertEqual(capture.dropped, 0, "the capture has seen everything")


class HttpWireTest(Counting, AppTest):
    paths = ("bypass",)

    def server_ports(self):
        return [self.origin.address[1]]

    def test_gets(self):
        client = self.connect()

        def first():
            for _ in range(harness.WARM_UPS):
                self.download(client, 300)

        def send():
            for _ in range(MESSAGES):
                self.assertEqual(client.get("/bytes?size=300").body, pattern(300))
        self.count_payloads(client, MESSAGES, first, send)

    def test_bodies(self):
        client = self.connect()
        body = pattern(20000, 3)

        def first():
            for _ in range(harness.WARM_UPS):
                self.assertEqual(client.request("POST", "/digest", b"1").body.decode(), digest(b"1"))

        def send():
            for _ in range(MESSAGES // 5):
                self.assertEqual(client.request("POST", "/digest", body).body.decode(), digest(body))
        self.count_payloads(client, MESSAGES // 5, first, send)


class RedisWireTest(Counting, RedisTest):
    paths = ("bypass",)
    oracle = False
    shards = 1

    def server_ports(self):
        return [server.address[1] for server in self.servers]

    def test_commands(self):
        client = self.connect()

        def first():
            for number in range(harness.WARM_UPS):
                client.expect_ok("SET", "key", b"%d" % number)

        def send():
            for number in range(MESSAGES // 2):
                client.expect_ok("SET", "key", b"%d" % number)
                self.assertEqual(client.call("GET", "key"), b"%d" % number)
        self.count_payloads(client, MESSAGES, first, send)


class ControlTest(AppTest):
    """The capture sees every message where the stack carries them."""

    paths = ("off",)

    def test_capture(self):
        client = self.connect()
        port = client.sock.getsockname()[1]
        capture = Capture([self.skein.address[1], self.origin.address[1]])
        try:
            for _ in range(200):
                self.download(client, 300)
        finally:
            capture.stop()
        self.assertEqual(capture.dropped, 0)
        near = capture.payloads[frozenset((port, self.skein.address[1]))]
        self.assertGreaterEqual(near, 400)
        behind = [count for key, count in capture.payloads.items() if self.origin.address[1] in key]
        self.assertGreaterEqual(sum(behind), 400)


if __name__ == "__main__":
    harness.main()
