"""The command line: exit codes, and errors that name file, line and key."""
import os
import re
import shutil
import socket
import unittest

import harness
from harness import Client
from process import Skein, free_port, run_skein, temp_dir, wait_for

# Lines are counted in the cases below, so that each key keeps its place.
GOOD = """\
workers: 2
datapath:
  kernel: off
  bypass: off
admin: { address: "127.0.0.1:%(admin)d" }
limits:
  header_bytes: 32KiB
  header_count: 64
timeouts:
  connect: 250ms
  idle: 1m
listeners:
  - name: web
    address: "127.0.0.1:%(port)d"
    protocol: http
    routes:
      - match: { host: "api.example.com", path_prefix: "/v1/" }
        cluster: api
      - match: { path: "/ping" }
        respond: { status: 200, body: "pong" }
      - match: { path_prefix: "/" }
        cluster: web
clusters:
  - name: web
    lb_policy: round_robin
    endpoints:
      - { address: "127.0.0.1:9001", weight: 3 }
      - address: "127.0.0.1:9002"
  - name: api
    endpoints:
      - { address: "[::1]:9003" }
"""

# (what to replace, by what, line of the error, part of the key path)
BAD = [
    ("workers: 2", "wrokers: 2", 1, "wrokers"),
    ("workers: 2", "workers: many", 1, "workers"),
    ("workers: 2", "workers: -1", 1, "workers"),
    ("workers: 2", "workers: [2]", 1, "workers"),
    ("  kernel: off", "  kernel: maybe", 3, "datapath.kernel"),
    ("  kernel: off", "  kernle: off", 3, "kernle"),
    ("admin: { address", "admin: { adress", 5, "adress"),
    ("127.0.0.1:%(admin)d", "127.0.0.1:99999", 5, "admin.address"),
    ("127.0.0.1:%(admin)d", "127.0.0.1:%(port)d", 14, "listeners[0].address"),
    ("32KiB", "32 apples", 7, "limits.header_bytes"),
    ("32KiB", "-1", 7, "limits.header_bytes"),
    ("header_count: 64", "header_count: 1000", 8, "limits.header_count"),
    ("connect: 250ms", "connect: 250", 10, "timeouts.connect"),
    ("connect: 250ms", "connect: soon", 10, "timeouts.connect"),
    ("connect: 250ms", "conect: 250ms", 10, "conect"),
    ("idle: 1m", "idle: {}", 11, "timeouts.idle"),
    ("127.0.0.1:%(port)d", "127.0.0.1", 14, "listeners[0].address"),
    ("127.0.0.1:%(port)d", "example:80x", 14, "listeners[0].address"),
    ("127.0.0.1:%(port)d", "1.2.3.4.5:80", 14, "listeners[0].address"),
    ("protocol: http", "protocol: gopher", 15, "listeners[0].protocol"),
    ('host: "api.example.com"', 'hots: "api.example.com"', 17, "hots"),
    ("cluster: api", "cluster: nowhere", 18, "listeners[0].routes[0].cluster"),
    ('path: "/ping"', 'path: "ping"', 19, "listeners[0].routes[1].match.path"),
    ('match: { path: "/ping" }', 'match: { path: "/ping", path_prefix: "/" }', 19,
     "listeners[0].routes[1].match"),
    ('match: { path: "/ping" }', "match: {}", 19, "listeners[0].routes[1].match"),
    ("status: 200", "status: 42", 20, "listeners[0].routes[1].respond.status"),
    ("status: 200", "status: fine", 20, "listeners[0].routes[1].respond.status"),
    ('respond: { status: 200, body: "pong" }', "cluster: web\n        respond: { status: 200 }",
     None, "listeners[0].routes[1]"),
    ("lb_policy: round_robin", "lb_policy: first", 25, "clusters[0].lb_policy"),
    ("weight: 3", "weight: 0", 27, "clusters[0].endpoints[0].weight"),
    ("weight: 3", "weight: 1001", 27, "clusters[0].endpoints[0].weight"),
    ("127.0.0.1:9002", "127.0.0.1:0", 28, "clusters[0].endpoints[1].address"),
    ("- name: api", "- name: web", 29, "clusters[1].name"),
    ('      - { address: "[::1]:9003" }', "      []", None, "clusters[1].endpoints"),
]


class CommandTest(unittest.TestCase):
    def test_version(self):
        result = run_skein("--version")
        self.assertEqual(result.returncode, 0)
        self.assertRegex(result.stdout, r"^skein \d+\.\d+\.\d+\n$")

    def test_help(self):
        result = run_skein("--help")
        self.assertEqual(result.returncode, 0)
        for word in ("run", "check", "probe", "-c"):
            self.assertIn(word, result.stdout)

    def test_wrong_usage(self):
        for args in ((), ("frobnicate",), ("run",), ("check",), ("check", "-c"), ("run", "--wrong"),
                     ("check", "--json", "-c", "/dev/null"), ("probe", "-j"),
                     ("check", "-c", "/dev/null", "extra")):
            with self.subTest(args=args):
                result = run_skein(*args)
                self.assertEqual(result.returncode, 2)
                self.assertTrue(result.stderr.strip())
                self.assertEqual(result.stdout, "")

    def test_probe(self):
        result = run_skein("probe")
        self.assertIn(result.returncode, (0, 1))
        self.assertRegex(result.stdout.lower(), "kernel path")


class ConfigFileTest(unittest.TestCase):
    def setUp(self):
        self.dir = temp_dir()
        self.addCleanup(shutil.rmtree, self.dir)
        self.ports = {"port": free_port(), "admin": free_port()}

    def write(self, text, name="skein.yaml"):
        path = os.path.join(self.dir, name)
        with open(path, "w") as file:
            file.write(text)
        return path

    def assert_located(self, result, path, line, key):
        """At least one line FILE:LINE: key: text, naming this key."""
        self.assertEqual(result.returncode, 2, result.stderr)
        located = re.findall(rf"^{re.escape(path)}:(\d+): ([^ ]+): (.+)$", result.stderr, re.M)
        self.assertTrue(located, f"no FILE:LINE: key: in {result.stderr!r}")
        for at, name, text in located:
            if key in name and (line is None or int(at) == line):
                return
        self.fail(f"expected line {line}, key {key}: {result.stderr}")

    def test_good_file(self):
        result = run_skein("check", "-c", self.write(GOOD % self.ports))
        self.assertEqual((result.returncode, result.stderr), (0, ""))

    def test_good_file_serves(self):
        skein = Skein(GOOD % self.ports, workdir=self.dir)
        skein.admin = ("127.0.0.1", self.ports["admin"])
        skein.start()
        try:
            with Client(("127.0.0.1", self.ports["port"])) as client:
                self.assertEqual(client.get("/ping").body, b"pong")
        finally:
            skein.stop()

    def test_bad_files(self):
        for old, new, line, key in BAD:
            with self.subTest(new=new):
                self.assertIn(old, GOOD)
                path = self.write(GOOD.replace(old, new, 1) % self.ports)
                self.assert_located(run_skein("check", "-c", path), path, line, key)

    def test_run_says_the_same_and_starts_nothing(self):
        path = self.write(GOOD.replace("cluster: api", "cluster: nowhere") % self.ports)
        checked, ran = run_skein("check", "-c", path), run_skein("run", "-c", path)
        self.assertEqual(ran.returncode, 2)
        self.assertEqual(ran.stderr, checked.stderr)

    def test_several_errors_in_one_go(self):
        path = self.write(GOOD.replace("workers: 2", "workers: x").replace("cluster: api", "cluster: no")
                          .replace("weight: 3", "weight: x") % self.ports)
        result = run_skein("check", "-c", path)
        self.assertEqual(result.returncode, 2)
        self.assertRegex(result.stderr, rf"(?m)^{re.escape(path)}:1: workers: ")

    def test_not_yaml(self):
        for text in ("", "listeners: [", "\t- x", "a: b: c", "just text", "- a\n- b\n",
                     "listeners: &a []\nclusters: *a\n", "workers: 1\nworkers: 2\n", "\x01", "[" * 10000):
            with self.subTest(text=text[:30]):
                path = self.write(text)
                result = run_skein("check", "-c", path)
                self.assertEqual(result.returncode, 2)
                self.assertRegex(result.stderr, rf"(?m)^{re.escape(path)}:\d+: ")

    def test_no_such_file(self):
        for args in (os.path.join(self.dir, "missing.yaml"), self.dir):
            with self.subTest(args=args):
                result = run_skein("check", "-c", args)
                self.assertEqual(result.returncode, 2)
                self.assertIn(args, result.stderr)

    def test_two_listeners_on_one_address(self):
        second = ('  - name: other\n    address: "127.0.0.1:%(port)d"\n    routes:\n'
                  '      - { match: { path_prefix: "/" }, cluster: web }\nclusters:\n')
        path = self.write(GOOD.replace("clusters:\n", second) % self.ports)
        self.assert_located(run_skein("check", "-c", path), path, 24, "listeners[1].address")

    def test_port_in_use(self):
        for name, line, key in (("port", 14, "listeners[0].address"), ("admin", 5, "admin.address")):
            with self.subTest(name=name), socket.socket() as sock:
                sock.bind(("127.0.0.1", self.ports[name]))
                sock.listen()
                path = self.write(GOOD % self.ports)
                self.assert_located(run_skein("run", "-c", path), path, line, key)

    def test_port_in_use_by_another_skein(self):
        """SO_REUSEPORT between workers must not let two daemons share a port."""
        first = Skein(GOOD % self.ports, workdir=self.dir)
        first.admin = ("127.0.0.1", self.ports["admin"])
        first.start()
        try:
            ports = dict(self.ports, admin=free_port())
            path = self.write(GOOD % ports, "second.yaml")
            self.assert_located(run_skein("run", "-c", path), path, 14, "listeners[0].address")
        finally:
            first.stop()

    def test_second_listener_in_use_starts_nothing(self):
        busy = free_port()
        second = (f'  - name: other\n    address: "127.0.0.1:{busy}"\n    routes:\n'
                  '      - { match: { path_prefix: "/" }, cluster: web }\nclusters:\n')
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", busy))
            sock.listen()
            path = self.write(GOOD.replace("clusters:\n", second) % self.ports)
            self.assert_located(run_skein("run", "-c", path), path, 24, "listeners[1].address")
        wait_for(lambda: self.can_bind(self.ports["port"]), "the first listener's port is free")

    @staticmethod
    def can_bind(port):
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
                return True
            except OSError:
                return False

    def test_ipv6_listener(self):
        try:
            with socket.socket(socket.AF_INET6) as sock:
                sock.bind(("::1", 0))
        except OSError as error:
            self.skipTest(f"no IPv6 loopback: {error}")
        skein = Skein(GOOD.replace("127.0.0.1:%(port)d", "[::1]:%(port)d") % self.ports,
                      workdir=self.dir)
        skein.admin = ("127.0.0.1", self.ports["admin"])
        skein.start()
        try:
            with socket.create_connection(("::1", self.ports["port"]), harness.DEADLINE) as sock:
                sock.sendall(b"GET /ping HTTP/1.1\r\nHost: h\r\n\r\n")
                self.assertTrue(sock.recv(1000).startswith(b"HTTP/1.1 200 "))
        finally:
            skein.stop()


if __name__ == "__main__":
    harness.main()
