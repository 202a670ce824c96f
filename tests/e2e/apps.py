"""Applications that others wrote, as servers and clients of skein, and what all of them are asked.

A server answers
    GET /bytes?size=N              N bytes with a Content-Length
    GET /chunked?size=N&step=T     the same in writes of T bytes: chunked
    anything else                  the SHA-256 of the request's body
with the SHA-256 of the response's body in X-Digest.
"""
import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import unittest
from urllib.parse import parse_qs, urlsplit

from harness import DEADLINE, Client, ProxyTest, wait_for
from origin import reply
from process import free_port, hostport, temp_dir
from wire import make_chunked, make_request, pattern

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.dirname(os.path.abspath(
    os.environ.get("SKEIN_BIN", os.path.join(HERE, "../../build/skein"))))
MIB = 1 << 20
SIZES = (0, 1, 100, 3000, 20000, 70000, MIB)


def digest(data):
    return hashlib.sha256(data).hexdigest()


def need(*programs):
    for program in programs:
        if not shutil.which(program):
            raise unittest.SkipTest(f"{program} is not installed")


def go_app():
    """app.go as a program, built once and without a network."""
    need("go")
    source, program = os.path.join(HERE, "app.go"), os.path.join(BUILD, "e2e_app_go")
    if not os.path.exists(program) or os.path.getmtime(program) < os.path.getmtime(source):
        cache = os.path.join(BUILD, "go-cache")
        environment = {**os.environ, "GOCACHE": cache, "GOPATH": cache, "GOPROXY": "off",
                       "GOFLAGS": "-mod=mod", "CGO_ENABLED": "0", "GO111MODULE": "off"}
        result = subprocess.run(["go", "build", "-o", program, source], env=environment,
                                capture_output=True, text=True, timeout=300)
        if result.returncode:
            raise AssertionError(f"go build: {result.stderr}")
    return program


class App:
    """A process with a port of its own. It dies with this process; start it from the main thread."""

    def __init__(self):
        self.dir = temp_dir()
        self.address = ("127.0.0.1", free_port())
        self.process = None

    def start(self, *command):
        self.log = os.path.join(self.dir, "log")
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *command],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for(lambda: self.process.poll() is not None or self.listens(), f"{command[0]} listens",
                 DEADLINE * 2)
        if self.process.poll() is not None:
            with open(self.log) as log:
                raise AssertionError(f"{command} exited:\n{log.read()}")
        return self

    def listens(self):
        try:
            Client(self.address).close()
            return True
        except OSError:
            return False

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


def node_server():
    need("node")
    app = App()
    return app.start("node", os.path.join(HERE, "mix_server.js"), str(app.address[1]))


def python_server():
    app = App()
    return app.start(sys.executable, "-B", os.path.join(HERE, "app_server.py"), str(app.address[1]))


def go_server():
    app, program = App(), go_app()
    return app.start(program, "server", str(app.address[1]))


def go_forwarder(target):
    """Go's io.Copy from TCP to TCP, which is splice()."""
    app, program = App(), go_app()
    return app.start(program, "forward", str(app.address[1]), hostport(target))


HAPROXY = """
global
    maxconn 1000
    nbthread 1
defaults
    mode {mode}
    {options}
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend in
    bind {address}
    default_backend out
backend out
    server only {target}
"""


def haproxy(target, mode="http", options=""):
    """haproxy in front of an address."""
    need("haproxy")
    app = App()
    conf = os.path.join(app.dir, "haproxy.cfg")
    with open(conf, "w") as file:
        file.write(HAPROXY.format(mode=mode, options=options, address=hostport(app.address),
                                  target=hostport(target)))
    return app.start("haproxy", "-db", "-f", conf)


def serve(conn, request):
    """The same as a script of the tests' own origin, whose bytes are pattern(size, seed)."""
    url = urlsplit(request.target.decode())
    number = {name: int(values[0]) for name, values in parse_qs(url.query).items()}
    if request.get("expect"):
        conn.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    hash_ = hashlib.sha256()
    conn.read_body(request, hash_.update)
    if url.path not in ("/bytes", "/chunked"):
        body = hash_.hexdigest().encode()
        conn.send(reply(body, fields=[("X-Digest", digest(body))]))
        return
    body = pattern(number["size"], number.get("seed", 0))
    fields = [("X-Digest", digest(body))]
    if url.path == "/bytes":
        conn.send(reply(body, fields=fields))
        return
    conn.send(reply(fields=fields + [("Transfer-Encoding", "chunked")], length=False))
    step = number["step"]
    conn.send(make_chunked(body[at:at + step] for at in range(0, len(body), step)))


def echo(conn, request):
    """Sends each piece of the request's body back as it comes."""
    if request.get("expect"):
        conn.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    conn.send(reply(fields=[("Transfer-Encoding", "chunked")], length=False))
    conn.read_body(request, lambda piece: conn.send(b"%x\r\n%s\r\n" % (len(piece), piece)))
    conn.send(b"0\r\n\r\n")


class AppTest(ProxyTest):
    # Room for a whole body on its way to a reader that is slower than its server.
    extra = {"workers": 2, "limits": {"buffer": "16MiB"}}
    # Clusters that are excepted from the bypass; if it is not None there is a second listener, which is
    # excepted too. For readers that the kernel does not serve on a bypassed socket: splice() never finds
    # the bytes, and MSG_WAITALL returns before it has all of them.
    excepted = None

    @classmethod
    def finish_config(cls):
        if cls.excepted is None:
            return
        cls.excepted_address = ("127.0.0.1", free_port())
        cls.config["listeners"].append({**cls.config["listeners"][0], "name": "excepted",
                                        "address": hostport(cls.excepted_address)})
        exceptions = {"listeners": ["excepted"]}
        if cls.excepted:
            exceptions["clusters"] = list(cls.excepted)
        cls.config["bypass"] = {"except": exceptions}

    def setUp(self):
        super().setUp()
        self.origin.default = serve
        self.origin.on("/echo", echo)
        self.url = f"http://{hostport(self.skein.address)}"

    def app(self, app):
        self.addCleanup(app.stop)
        return app

    def run_app(self, *command, stdin=b""):
        """Runs a client to its end; what it printed."""
        need(command[0])
        result = subprocess.run(command, input=stdin, capture_output=True, timeout=DEADLINE * 5)
        self.assertEqual(result.returncode, 0,
                         f"{command[:6]}: {result.stdout[-800:]!r} {result.stderr[-800:]!r}")
        self.told = result.stderr
        return result.stdout

    @contextlib.contextmanager
    def carried_share(self, share=0.5):
        """Of the messages inside, at least this share is carried by the kernel; none with "off"."""
        def count():
            if self.excepted is None:
                return self.carried_by_kernel(), self.skein.messages()
            return (self.skein.messages(path="kernel") + self.skein.messages(path="bypass"),
                    self.skein.messages())
        before = count()
        yield
        carried, messages = (after - old for after, old in zip(count(), before))
        self.assertGreater(messages, 0)
        if self.kernel == "off":
            self.assertEqual(carried, 0)
            return
        reasons = {dict(key).get("reason"): value for key, value in
                   self.skein.metrics().get("skein_fallback_total", {}).items() if value}
        self.assertGreaterEqual(carried / messages, share,
                                f"{carried:.0f} of {messages:.0f} by {self.carrier}; {reasons}")

    # Exchanges whose bytes are checked

    def download(self, client, size, step=None):
        target = f"/chunked?size={size}&step={step}" if step else f"/bytes?size={size}"
        response = client.get(target)
        self.assertEqual((response.status, len(response.body)), (200, size), response)
        self.assertEqual(digest(response.body), response.get("x-digest").decode())

    def upload(self, client, size, step=None, fields=()):
        body = pattern(size, size)
        head = make_request("POST", "/digest", fields=[*fields, (
            ("Transfer-Encoding", "chunked") if step else ("Content-Length", str(size)))])
        client.send(head)
        client.send(make_chunked(body[at:at + step] for at in range(0, size, step)) if step else body)
        response = client.read_response()
        self.assertEqual((response.status, response.body.decode()), (200, digest(body)), response)

    def exchange_all(self, client, sizes=SIZES):
        for size in sizes:
            self.download(client, size)
            self.upload(client, size)
            self.download(client, size, 16384)
            self.upload(client, size, 5000)
