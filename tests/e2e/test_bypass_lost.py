"""skein is killed while applications are connected: each of them sees an end at once, nothing stays in
the kernel, and the next start serves."""
import json
import os
import re
import signal
import subprocess
import time

import harness
from apps import AppTest, need
from harness import Client, wait_for
from origin import reply
from wire import make_request, pattern

AT_ONCE = 1.0 * harness.SLOW
BODY = pattern(200000, 9)


def bpftool(*args):
    result = subprocess.run(["bpftool", "-j", *args], capture_output=True, text=True,
                            timeout=harness.DEADLINE)
    if result.returncode:
        raise AssertionError(f"bpftool {args}: {result.stdout} {result.stderr}")
    return json.loads(result.stdout or "[]")


def cgroup_root():
    """Where cgroup v2 is mounted, or None."""
    with open("/proc/mounts") as file:
        return next((line.split()[1] for line in file if line.split()[2] == "cgroup2"), None)


class Held:
    """What a process holds in the kernel, and which of it is attached to a cgroup."""

    def __init__(self, pid):
        text = ""
        for fd in os.listdir(f"/proc/{pid}/fdinfo"):
            with open(f"/proc/{pid}/fdinfo/{fd}") as file:
                text += file.read()
        self.programs = {int(number) for number in re.findall(r"(?m)^prog_id:\s*(\d+)", text)}
        self.maps = {int(number) for number in re.findall(r"(?m)^map_id:\s*(\d+)", text)}
        self.attached = {number: kind for number, kind in self.all_attached().items()
                         if number in self.programs}

    @staticmethod
    def all_attached():
        root = cgroup_root()
        if root is None:
            return {}
        return {program["id"]: program["attach_type"] for cgroup in bpftool("cgroup", "tree", root)
                for program in cgroup["programs"]}

    def left(self):
        """What of it is still there."""
        return (self.programs & {entry["id"] for entry in bpftool("prog")}
                | self.maps & {entry["id"] for entry in bpftool("map")}
                | set(self.attached) & set(self.all_attached()))


class LostTest(AppTest):
    @classmethod
    def setUpClass(cls):
        need("bpftool")
        super().setUpClass()

    def setUp(self):
        super().setUp()
        self.servers_saw = []
        self.origin.on("/halves", self.serve_half)
        self.origin.on("/swallow", self.swallow)

    @classmethod
    def serve_half(cls, conn, request):
        """Half of a response, then nothing."""
        data = reply(BODY)
        conn.send(data[:len(data) - len(BODY) // 2])
        conn.wait_end()

    def swallow(self, conn, request):
        """Reads a body, and says how much of it there was."""
        pieces = []
        try:
            conn.read_body(request, pieces.append)
        finally:
            self.servers_saw.append(b"".join(pieces))

    def passed_messages(self, count):
        """Clients whose connections have passed messages, by the kernel where there is one."""
        clients = [self.connect() for _ in range(count)]
        with self.carried_share(0.4):
            for _ in range(8):
                for client in clients:
                    self.download(client, 300)
                    self.upload(client, 300)
        return clients

    def kill(self):
        """Kills skein and takes the time."""
        os.kill(self.skein.process.pid, signal.SIGKILL)
        self.skein.process.wait(harness.DEADLINE)
        self.killed = time.monotonic()

    def assert_ended(self, client):
        """Within the time, by FIN or RST; what came before it."""
        client.sock.settimeout(max(0.01, self.killed + AT_ONCE - time.monotonic()))
        got = client.read_to_end()  # a TimeoutError of its own where nothing comes
        self.assertIn(client.ended, ("fin", "reset"))
        self.assertLess(time.monotonic() - self.killed, AT_ONCE)
        return got

    def assert_servers_ended(self):
        left = max(0.01, self.killed + AT_ONCE - time.monotonic())
        self.origin.wait(lambda: not self.origin.open_connections(), "every server sees the end", left)

    def start_again(self):
        """The same configuration on the same ports."""
        self.skein.cleanup()
        begun = time.monotonic()
        type(self).skein = harness.Skein(self.config).start()
        with Client(self.skein.address) as client:
            self.download(client, 3000)
        self.assertLess(time.monotonic() - begun, harness.DEADLINE)
        for client in self.passed_messages(3):
            client.close()

    def test_idle(self):
        for _ in range(2):
            clients = self.passed_messages(10)
            self.assertGreater(len(self.origin.open_connections()), 0)
            self.kill()
            for client in clients:
                self.assertEqual(self.assert_ended(client), b"")
            self.assert_servers_ended()
            self.start_again()

    def test_in_a_response(self):
        clients = self.passed_messages(5)
        for client in clients:
            client.send(make_request("GET", "/halves"))
        for client in clients:
            response = client.read_head()
            self.assertEqual(response.get("content-length"), b"%d" % len(BODY))
            self.assertEqual(client.read_exact(len(BODY) // 2), BODY[:len(BODY) // 2])
        self.kill()
        for client in clients:
            self.assertEqual(self.assert_ended(client), b"")
        self.assert_servers_ended()
        self.start_again()

    def test_in_a_request(self):
        clients = self.passed_messages(5)
        for client in clients:
            client.send(make_request("POST", "/swallow", BODY)[:-len(BODY) // 2])
        self.origin.wait_request("/swallow", len(clients))
        self.kill()
        for client in clients:
            self.assertEqual(self.assert_ended(client), b"")
        self.assert_servers_ended()
        for got in self.servers_saw:
            self.assertTrue(len(got) <= len(BODY) // 2 and BODY.startswith(got), len(got))
        self.assertEqual(len(self.servers_saw), len(clients))
        self.start_again()

    def test_under_load(self):
        """Blocked in send() and in recv(): whoever waits is woken."""
        writers, readers = self.passed_messages(3), self.passed_messages(3)
        stalled = self.connect()  # its server reads nothing, so it can not send all
        self.origin.on("/stall", lambda conn, request: self.origin.wait(
            lambda: self.skein.exited(), "the kill", harness.DEADLINE))
        self.download(stalled, 10)
        stalled.send(make_request("POST", "/stall", fields=[("Content-Length", str(1 << 30))]))
        self.origin.wait_request("/stall")
        stalled.sock.settimeout(0.05)
        with self.assertRaises(TimeoutError, msg="64 MiB were taken for a server that does not read"):
            for _ in range(1024):
                stalled.sock.send(bytes(1 << 16))
        for client in writers:
            client.send(make_request("POST", "/swallow", BODY)[:-1])
        for client in readers:
            client.send(make_request("GET", "/halves"))
            client.read_head()
        self.kill()
        self.origin.notify()
        for client in (*writers, *readers, stalled):
            got = self.assert_ended(client)
            self.assertTrue(BODY.startswith(got) and len(got) <= len(BODY) // 2)
        self.assert_servers_ended()
        self.start_again()

    def test_nothing_stays_in_the_kernel(self):
        for end in ("kill", "stop"):
            with self.subTest(end=end):
                self.passed_messages(3)
                held = Held(self.skein.process.pid)
                self.assertEqual(bool(held.programs and held.maps), self.kernel == "on")
                self.assertEqual(any("sock_ops" in kind for kind in held.attached.values()),
                                 self.path == "bypass", held.attached)
                if end == "kill":
                    self.kill()
                    for client in self.clients:
                        self.assert_ended(client)
                        client.close()  # until then a bypassed application's own socket keeps the programs
                else:
                    for client in self.clients:
                        client.close()
                    self.skein.stop()
                wait_for(lambda: not held.left(), f"{held.left()} to be gone")
                self.origin.wait(lambda: not self.origin.open_connections(), "every server sees the end")
                self.start_again()


if __name__ == "__main__":
    harness.main()
