"""Real redis-servers on loopback, and servers that only pretend to be one."""
import os
import shutil
import signal
import socket
import subprocess
import threading

from process import free_port, temp_dir, wait_for
from redis_wire import Error, RedisClient
from wire import Wire


class RedisServer:
    """start() returns when it answers. Start it from the main thread: it ends with the thread
    that started it, so that nothing is left behind when a test is killed."""

    def __init__(self, password=None, options=()):
        self.dir = temp_dir()
        self.address = ("127.0.0.1", free_port())
        self.password = password
        self.options = list(options)
        self.process = None

    def start(self):
        arguments = ["redis-server", "--port", str(self.address[1]), "--bind", "127.0.0.1",
                     "--save", "", "--appendonly", "no", "--dir", self.dir,
                     "--logfile", os.path.join(self.dir, "log"), *self.options]
        if self.password:
            arguments += ["--requirepass", self.password]
        self.process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *arguments],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        wait_for(lambda: self.process.poll() is not None or self.answers(), "redis-server answers")
        if self.process.poll() is not None:
            raise AssertionError(f"redis-server exited:\n{self.log()}")
        return self

    def answers(self):
        try:
            with self.connect() as client:
                return client.call("PING") == b"PONG"
        except Exception:  # noqa: not up yet
            return False

    def connect(self, **kwargs):
        return RedisClient(self.address, password=self.password, **kwargs)

    def log(self):
        try:
            with open(os.path.join(self.dir, "log")) as file:
                return file.read()
        except OSError:
            return ""

    def call(self, *args):
        """One command on a connection of its own."""
        with self.connect() as client:
            value = client.call(*args)
        if isinstance(value, Error):
            raise AssertionError(f"{args[:3]!r} on {self.address}: {value!r}")
        return value

    def info(self, section):
        lines = self.call("INFO", section).decode().split("\r\n")
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def calls(self, name):
        """How often a command was called, rejected or failed here."""
        total = 0
        for key, value in self.info("commandstats").items():
            base = key.removeprefix("cmdstat_").split("|")[0]
            if base == name.lower():
                fields = dict(field.split("=") for field in value.split(","))
                total += int(fields["calls"]) + int(fields["rejected_calls"])
        return total

    # Failures

    def pause(self):
        """From now on it accepts (its kernel does) and never answers."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def restart(self):
        """Ends it and starts an empty one on the same port."""
        if self.process.poll() is None:
            self.kill()
        return self.start()

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.kill()  # also a paused one; it has nothing to save
        shutil.rmtree(self.dir, ignore_errors=True)


def monitor(server):
    """A client that sees every command that the server runs from now on."""
    client = server.connect()
    client.expect_ok("MONITOR")
    return client


class FakeServer:
    """A server that misbehaves. script(wire, args) is called for each command that skein sends
    besides its greeting; without a script nothing is ever answered."""

    def __init__(self, script=None, close_at_once=False):
        self.script = script
        self.close_at_once = close_at_once
        self.accepted = 0
        self.connections = []
        self.stopping = False
        self.sock = socket.socket()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.sock.bind(("127.0.0.1", free_port()))
        self.sock.listen(128)
        self.address = self.sock.getsockname()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                sock, _ = self.sock.accept()
            except OSError:
                return
            self.accepted += 1
            if self.close_at_once or self.stopping:
                sock.close()
                continue
            self.connections.append(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        wire = Wire(sock)
        sock.settimeout(None)
        try:
            while True:
                args = self._command(wire)
                if self.script is None:
                    continue
                if not self._greeting(wire, args):
                    self.script(wire, args)
        except Exception:  # noqa: the other side left, or stop() did
            sock.close()

    @staticmethod
    def _command(wire):
        count = int(wire.read_until(b"\r\n")[1:])
        args = []
        for _ in range(count):
            size = int(wire.read_until(b"\r\n")[1:])
            args.append(wire.read_exact(size + 2)[:-2])
        return args

    @staticmethod
    def _greeting(wire, args):
        """Answers what a proxy may say first; true if it was that."""
        name = args[0].upper()
        if name == b"HELLO":
            version = args[1] if len(args) > 1 else b"2"
            start = b"%7" if version == b"3" else b"*14"
            wire.send(start + b"\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n"
                      b"$5\r\nproto\r\n:" + version + b"\r\n$2\r\nid\r\n:1\r\n$4\r\nmode\r\n"
                      b"$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n")
        elif name in (b"AUTH", b"SELECT", b"CLIENT"):
            wire.send(b"+OK\r\n")
        elif name == b"PING":
            wire.send(b"+PONG\r\n")
        else:
            return False
        return True

    def stop(self):
        self.stopping = True
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()
        for sock in self.connections:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
