"""A real redis-server, from the distribution's package."""
import shutil
import socket
import subprocess

from process import free_port, temp_dir, wait_for
from wire import DEADLINE


class RespError(Exception):
    """An error reply; as an element of a reply it is returned, not raised."""


class RedisConnection:
    """Sends multibulk commands; raw() gives replies as they came over the wire."""

    def __init__(self, address):
        self.sock = socket.create_connection(address, timeout=DEADLINE)
        self.file = self.sock.makefile("rb")

    def send(self, *args):
        parts = [arg if isinstance(arg, bytes) else str(arg).encode() for arg in args]
        self.sock.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts))

    def read(self):
        """One reply: bytes, int, list, dict, None or RespError."""
        line = self.file.readline()
        kind, value = line[:1], line[1:-2]
        if kind == b"+":
            return value
        if kind == b"-":
            return RespError(value.decode())
        if kind == b":":
            return int(value)
        if kind == b"_" or value == b"-1":
            return None
        if kind == b"$":
            return self.file.read(int(value) + 2)[:-2]
        if kind and kind in b"*~":
            return [self.read() for _ in range(int(value))]
        if kind == b"%":
            return {self.read(): self.read() for _ in range(int(value))}
        raise AssertionError(f"not a reply: {line!r}")

    def call(self, *args):
        self.send(*args)
        reply = self.read()
        if isinstance(reply, RespError):
            raise reply
        return reply

    def raw(self):
        """The bytes of one reply, or of one element."""
        line = self.file.readline()
        kind, value = line[:1], line[1:-2]
        if kind == b"$" and value != b"-1":
            return line + self.file.read(int(value) + 2)
        if kind and kind in b"*~%":
            count = int(value) * (2 if kind == b"%" else 1)
            return line + b"".join(self.raw() for _ in range(count))
        return line

    def close(self):
        self.file.close()
        self.sock.close()


class RedisServer:
    """On loopback, in a directory of its own, without persistence. It dies with this process."""

    def __init__(self, *options):
        self.dir = temp_dir()
        self.address = ("127.0.0.1", free_port())
        self.options = options
        self.process = None

    @staticmethod
    def available():
        return shutil.which("redis-server") is not None

    def start(self):
        """Call stop() also if this fails."""
        host, port = self.address
        with open(f"{self.dir}/log", "wb") as log:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "redis-server", "--bind", host, "--port", str(port),
                 "--dir", self.dir, "--save", "", "--appendonly", "no", "--daemonize", "no",
                 *self.options], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for(lambda: self.process.poll() is not None or self.answers(), "redis-server answers")
        if self.process.poll() is not None:
            with open(f"{self.dir}/log") as log:
                raise AssertionError(f"redis-server exited:\n{log.read()}")
        return self

    def connect(self):
        return RedisConnection(self.address)

    def answers(self):
        try:
            connection = self.connect()
        except OSError:
            return False
        try:
            return connection.call("PING") == b"PONG"
        finally:
            connection.close()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)
