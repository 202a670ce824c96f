"""Applications whose control group has no more memory for TCP: the kernel then moves a part of what a program
has redirected, or nothing. Whose message that was sees its connection reset, nobody gets wrong bytes, and for a
while TCP, where senders wait for memory, serves all."""
import os
import subprocess
import sys
import unittest

import harness
from harness import Client, Ended, ProxyTest, wait_for
from origin import answer
from process import free_port
from wire import pattern

BODY = pattern(200000, 3)
LIMITS = (16384, 40960, 65536)  # nothing of a large message fits, or a part of it
WARM_UPS = 6

CLIENT = """
import socket, sys
sock = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=float(sys.argv[2]))
def ask(path):
    sock.sendall(b"GET %s HTTP/1.1\\r\\nHost: h\\r\\n\\r\\n" % path)
    got = b""
    while b"\\r\\n\\r\\n" not in got:
        data = sock.recv(65536)
        if not data:
            return got, b"end"
        got += data
    head, body = got.split(b"\\r\\n\\r\\n", 1)
    length = int(head.lower().split(b"content-length:")[1].split(b"\\r\\n")[0])
    while len(body) < length:
        data = sock.recv(65536)
        if not data:
            return body, b"end"
        body += data
    return body, b"whole"
for _ in range(int(sys.argv[3])):
    assert ask(b"/small") == (b"small", b"whole")
try:
    body, how = ask(b"/big")
except ConnectionResetError:
    body, how = b"", b"reset"
sys.stdout.buffer.write(how + b" " + body)
"""

SERVER = """
import socket, sys, threading
def serve(sock):
    sock.settimeout(60)  # By poll(): a blocking recv() may be told to try again.
    buf = b""
    try:
        while True:
            while b"\\r\\n\\r\\n" not in buf:
                data = sock.recv(65536)
                if not data:
                    return
                buf += data
            head, buf = buf.split(b"\\r\\n\\r\\n", 1)
            print(head.split(b"\\r\\n")[0].decode("latin-1"), flush=True)
            lengths = [line for line in head.lower().split(b"\\r\\n") if line.startswith(b"content-length:")]
            length = int(lengths[0].split(b":")[1]) if lengths else 0
            while len(buf) < length:
                data = sock.recv(65536)
                if not data:
                    return
                buf += data
            body, buf = buf[:length], buf[length:]
            text = b"got %d" % len(body)
            sock.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n%s" % (len(text), text))
    except OSError:
        pass
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=64)
print("ready", flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""


def memory_group():
    """This process's group of the memory controller of cgroup v1, which limits TCP alone; or None."""
    with open("/proc/mounts") as file:
        mounts = [line.split() for line in file]
    root = next((where for _, where, kind, options, *_ in mounts
                 if kind == "cgroup" and "memory" in options.split(",")), None)
    if root is None:
        return None
    with open("/proc/self/cgroup") as file:
        own = next(line.strip().split(":", 2)[2] for line in file if "memory" in line.split(":")[1].split(","))
    group = root + own if os.path.isdir(root + own) else root
    return group if os.path.exists(f"{group}/memory.kmem.tcp.limit_in_bytes") else None


class MemoryTest(ProxyTest):
    paths = ("bypass",)

    @classmethod
    def setUpClass(cls):
        cls.group = memory_group()
        if cls.group is None:
            raise unittest.SkipTest("needs the memory controller of cgroup v1, to limit TCP's memory")
        super().setUpClass()

    def limited(self, limit, script, *args):
        """A Python script in a group with so many bytes for TCP."""
        group = f"{self.group}/{harness.unique('skein')}"
        os.mkdir(group)
        self.addCleanup(lambda: wait_for(lambda: self.removed(group), "the group is empty"))
        with open(f"{group}/memory.kmem.tcp.limit_in_bytes", "w") as file:
            file.write(str(limit))

        def enter():
            with open(f"{group}/cgroup.procs", "w") as file:
                file.write("0")
        process = subprocess.Popen([sys.executable, "-c", script, *map(str, args)], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, preexec_fn=enter)
        self.addCleanup(process.wait)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.kill)
        return process

    def start_again(self):
        """What one limit has taught skein is not for the next."""
        self.skein.stop()
        type(self).start_skein()

    @staticmethod
    def removed(group):
        try:
            os.rmdir(group)
        except OSError:
            return False
        return True

    def refused(self):
        """Connections that were not bypassed for want of memory."""
        return self.skein.metric("skein_bypass_connections_total", outcome="no_memory")


class ClientTest(MemoryTest):
    def ask(self, limit):
        client = self.limited(limit, CLIENT, self.skein.address[1], harness.DEADLINE * 2, WARM_UPS)
        how, body = client.communicate(timeout=harness.DEADLINE * 4)[0].split(b" ", 1)
        return how, body

    def test_large_responses(self):
        self.origin.on("/small", answer(b"small"))
        self.origin.on("/big", answer(BODY))
        for limit in LIMITS:
            with self.subTest(limit=limit):
                self.start_again()
                how, body = self.ask(limit)
                self.assertIn(how, (b"reset", b"end"), f"{len(body)} bytes")
                self.assertTrue(BODY.startswith(body))
                self.origin.take_errors()  # it was told that there is no memory, or of the end
                how, body = self.ask(limit)
                self.assertEqual((how, body == BODY), (b"whole", True), f"{len(body)} bytes")
                self.assertGreater(self.refused(), 0)


class ServerTest(MemoryTest):
    @classmethod
    def clusters(cls):
        cls.server = ("127.0.0.1", free_port())
        return {"web": [cls.server]}

    def upload(self):
        with Client(self.skein.address, harness.DEADLINE * 2) as client:
            for _ in range(WARM_UPS):
                self.assertEqual(client.get("/warm").body, b"got 0")
            try:
                response = client.request("POST", "/up", BODY)
            except (Ended, OSError):
                return None  # also ENOMEM: the first one that meets it is told
            self.assertTrue(client.quiet(0.1), "a second response")
            return response

    def test_large_requests(self):
        for limit in LIMITS:
            with self.subTest(limit=limit):
                self.start_again()
                server = self.limited(limit, SERVER, self.server[1])
                self.assertEqual(server.stdout.readline(), b"ready\n")
                broken = self.upload()
                self.assertTrue(broken is None or broken.status == 502, broken)
                whole = self.upload()
                self.assertEqual((whole.status, whole.body), (200, b"got %d" % len(BODY)))
                self.assertGreater(self.refused(), 0)
                server.kill()
                asked = set(server.stdout.read().splitlines())
                self.assertLessEqual(asked, {b"GET /warm HTTP/1.1", b"POST /up HTTP/1.1"})


if __name__ == "__main__":
    harness.main()
