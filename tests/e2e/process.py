"""skein as a process: configuration, start, readiness, metrics, stop.

Nothing here waits by sleeping for a guessed time: every wait polls a condition and has a
deadline.
"""
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from wire import DEADLINE, Client

SKEIN = os.environ.get("SKEIN_BIN", os.path.join(os.path.dirname(__file__), "../../build/skein"))
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
SANITIZER_MARKS = ("AddressSanitizer", "LeakSanitizer", "runtime error:", "UndefinedBehavior")
# The variants that the tests run in, as settings of `datapath`, and which of the paths of
# skein_messages_total a message counts for that skein's own code in userspace did not touch.
PATHS = {
    "off": {"kernel": "off", "bypass": "off"},
    "auto": {"kernel": "auto", "bypass": "off"},
    "on": {"kernel": "on", "bypass": "off"},
    "bypass": {"kernel": "on", "bypass": "on"},
}
CARRIERS = {"off": "kernel", "on": "kernel", "bypass": "bypass"}
_next_port = 20000 + os.getpid() * 7919 % 12000  # far from those of processes started beside it


def free_port():
    """A port nobody listens on, below the ephemeral range so that no client gets it."""
    global _next_port
    while True:
        _next_port = 20000 + (_next_port + 1 - 20000) % 12000
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
            try:
                sock.bind(("127.0.0.1", _next_port))
                return _next_port
            except OSError:
                continue


def hostport(address):
    return f"{address[0]}:{address[1]}"


def wait_for(condition, what, timeout=DEADLINE):
    """Polls until condition() is true; returns its value."""
    end = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout} s: {what}")
        time.sleep(0.005)
    return value


def temp_dir():
    """A directory that a process without privilege can read too."""
    path = tempfile.mkdtemp(prefix="skein-e2e-")
    os.chmod(path, 0o755)
    return path


def merge(base, extra):
    for key, value in extra.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            merge(base[key], value)
        else:
            base[key] = value
    return base


def make_config(path, clusters, routes=None, extra=None):
    """A configuration with one listener, as a dict; written as JSON, which is YAML.

    path: one of PATHS; clusters: name -> list of addresses or (address, weight).
    """
    def endpoint(entry):
        if isinstance(entry[0], tuple):
            return {"address": hostport(entry[0]), "weight": entry[1]}
        return {"address": hostport(entry)}

    if routes is None:
        routes = [{"match": {"path": "/direct"}, "respond": {"status": 200, "body": "direct\n"}},
                  {"match": {"path_prefix": "/"}, "cluster": next(iter(clusters))}]
    conf = {
        "workers": 1,
        "datapath": dict(PATHS[path]),
        "admin": {"address": f"127.0.0.1:{free_port()}"},
        "listeners": [{"name": "web", "address": f"127.0.0.1:{free_port()}",
                       "protocol": "http", "routes": routes}],
        "clusters": [{"name": name, "endpoints": [endpoint(entry) for entry in entries]}
                     for name, entries in clusters.items()],
    }
    return merge(conf, extra or {})


def parse_metrics(text):
    """Prometheus text -> {name: {frozenset of (label, value): number}}."""
    metrics = {}
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        match = re.fullmatch(r'([a-zA-Z_:][\w:]*)(?:\{(.*)\})? ([-+.\deEnaNifI]+)', line)
        if not match:
            raise AssertionError(f"not Prometheus text: {line!r}")
        labels = frozenset(re.findall(r'([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"', match[2] or ""))
        metrics.setdefault(match[1], {})[labels] = float(match[3])
    return metrics


class Skein:
    """One daemon. Use start(), then stop(), which asserts a clean end."""

    def __init__(self, config, prefix=(), workdir=None):
        self.own_dir = workdir is None
        self.dir = workdir or temp_dir()
        self.config = config
        self.prefix = list(prefix)
        self.file = os.path.join(self.dir, "skein.yaml")
        self.stderr_file = os.path.join(self.dir, "stderr")
        self.process = None
        if isinstance(config, dict):
            self.address = self._address(config["listeners"][0]["address"])
            self.admin = self._address(config["admin"]["address"])
        self.write_config(config)

    @staticmethod
    def _address(text):
        host, port = text.rsplit(":", 1)
        return host, int(port)

    def write_config(self, config):
        with open(self.file, "w") as out:
            out.write(config if isinstance(config, str) else json.dumps(config, indent=2) + "\n")

    def spawn(self):
        with open(self.stderr_file, "ab") as err:
            self.process = subprocess.Popen(
                self.prefix + [SKEIN, "run", "-c", self.file], stdin=subprocess.DEVNULL,
                stdout=err, stderr=err, start_new_session=True, cwd=self.dir)
        return self

    def start(self):
        self.spawn()
        wait_for(lambda: self.exited() or self.healthy(), "ready", DEADLINE * 3)
        if self.exited():
            raise AssertionError(f"skein exited with {self.process.returncode}:\n{self.stderr()}")
        return self

    def exited(self):
        return self.process is None or self.process.poll() is not None

    def healthy(self):
        try:
            with Client(self.admin) as client:
                return client.get("/healthz").status == 200
        except Exception:  # noqa: not up yet, whatever the reason
            return False

    def stderr(self):
        with open(self.stderr_file, errors="replace") as file:
            return file.read()

    # What it says about itself

    def admin_get(self, target):
        with Client(self.admin) as client:
            return client.get(target)

    def admin_post(self, target):
        with Client(self.admin) as client:
            return client.request("POST", target, b"")

    def metrics(self):
        response = self.admin_get("/metrics")
        assert response.status == 200, response
        return parse_metrics(response.body.decode())

    def metric(self, name, **labels):
        """Sum over all series of a metric that carry these labels."""
        wanted = set(labels.items())
        series = self.metrics().get(name, {})
        return sum(value for key, value in series.items() if wanted <= key)

    def messages(self, **labels):
        return self.metric("skein_messages_total", **labels)

    def fds(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def rss(self):
        with open(f"/proc/{self.process.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")

    # Signals and the end

    def signal(self, number):
        self.process.send_signal(number)

    def reload(self, config):
        self.write_config(config)
        self.signal(signal.SIGHUP)

    def wait_exit(self, timeout=DEADLINE * 2):
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            raise AssertionError(f"skein did not exit within {timeout} s:\n{self.stderr()}") \
                from None

    def assert_clean(self):
        """Exit status 0, no sanitizer report, no process left behind."""
        code = self.process.returncode
        text = self.stderr()
        assert not any(mark in text for mark in SANITIZER_MARKS), text
        assert code == 0, f"exit status {code}:\n{text[-4000:]}"
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return
        os.killpg(self.process.pid, signal.SIGKILL)
        raise AssertionError("skein left a child process behind")

    def stop(self):
        try:
            if not self.exited():
                self.signal(signal.SIGTERM)
            self.wait_exit()
            self.assert_clean()
        finally:
            self.cleanup()

    def kill(self):
        """Ends it whatever its state; for tests that already failed."""
        if not self.exited():
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.cleanup()

    def cleanup(self):
        if self.own_dir:
            shutil.rmtree(self.dir, ignore_errors=True)


def run_skein(*args, prefix=(), timeout=DEADLINE * 2):
    """Runs a command that ends by itself."""
    return subprocess.run([*prefix, SKEIN, *args], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=timeout, errors="replace")


def refusal(path):
    """Why a variant is impossible here, or None if it works."""
    what = "bypass" if PATHS[path]["bypass"] == "on" else "kernel"
    for _ in range(5):
        reason = _refusal(path, what)
        if not reason or "Address already in use" not in reason:
            return reason
    raise AssertionError(f"no free ports: {reason}")


def _refusal(path, what):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        skein = Skein(make_config(path, {"none": [sock.getsockname()]})).spawn()
        try:
            wait_for(lambda: skein.exited() or skein.healthy(), f"{what} path", DEADLINE * 3)
            if skein.exited():
                lines = skein.stderr().strip().splitlines() or ["no message"]
                return f"{what}: on is refused (exit {skein.process.returncode}): {lines[-1]}"
            return None
        finally:
            skein.kill()


def kernel_refusal():
    """Why `kernel: on` is impossible here, or None if it works."""
    return refusal("on")
