"""Processes under measurement: the origin, the proxies in front of it, their configurations.

Every proxy has one worker and the same origin. All of them run in the foreground, as
children that this module ends by pid.
"""

import dataclasses
import http.client
import os
import random
import signal
import socket
import subprocess
import time

HOST = "127.0.0.1"
SMALL, MEDIUM, LARGE, HUGE = "/", "/64k", "/1m", "/1g"
BODY_BYTES = {SMALL: 65, MEDIUM: 64 << 10, LARGE: 1 << 20, HUGE: 1 << 30}

DIRECT, HAPROXY, NGINX, SKEIN, SKEIN_OFF = "direct", "haproxy", "nginx", "skein", "skein-off"
NUTCRACKER, SKEIN_ON, SKEIN_ALL = "nutcracker", "skein-on", "skein-all-cores"
SKEIN_BYPASS = "skein-bypass"
CONTROL = "haproxy-control"  # A second, equal HAProxy: how far apart are equal things here?
NUTCRACKER_AGAIN = "nutcracker-again"  # The same for nutcracker.

# The two switches of `datapath`, kernel and bypass. Here all peers are local: where the bypass is not
# what is measured it would stand in for what is.
SWITCHES = {SKEIN: ("auto", "off"), SKEIN_ALL: ("auto", "off"), SKEIN_OFF: ("off", "off"), SKEIN_ON: ("on", "off"),
            SKEIN_BYPASS: ("auto", "on")}


class BenchError(Exception):
    """A measurement that can not be made; the others go on."""


def free_port():
    """A port below the ephemeral range, so that no outgoing connection takes it meanwhile."""
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
        low = int(file.read().split()[0])
    for _ in range(1000):
        port = random.randrange(max(10240, low // 2), low)
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
                return port
            except OSError:
                continue
    raise BenchError("no free port")


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a client, a proxy and an origin are: on this host, and speaking over loopback."""

    listen: str = HOST    # The proxy's address,
    serve: str = HOST     # and the origin's.
    client: tuple = ()    # Comes before the command of a client that is elsewhere,
    origin: tuple = ()    # or of an origin,
    excepted: str = ""    # and the cgroup of such a peer.


LOCAL = Place()


class Server:
    """One server process and the address where it answers; `via` comes before its command."""

    started = []

    def __init__(self, name, directory, command, port, host=HOST, via=()):
        self.name = name
        self.host, self.port = host, port
        self.log_path = os.path.join(directory, f"{name}-{port}.log")
        # pdeathsig: the server ends with this process even if that is killed outright.
        self._command = ["setpriv", "--pdeathsig", "TERM", *via, *command]
        self._process = None

    @property
    def pid(self):
        return self._process.pid

    @property
    def address(self):
        return f"{self.host}:{self.port}"

    def start(self):
        with open(self.log_path, "ab") as log:
            self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=log,
                                             stderr=log, start_new_session=True)
        Server.started.append(self)
        try:
            self._wait_ready()
        except BenchError:
            self.stop()
            raise
        return self

    def _wait_ready(self):
        deadline = time.monotonic() + 20
        while not self._answers():
            self.check_alive()
            if time.monotonic() > deadline:
                raise BenchError(f"{self.name} does not answer: {self._last_log_line()}")
            time.sleep(0.05)

    def stop(self):
        if self in Server.started:
            Server.started.remove(self)
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            # Its own session, made in start(): no other process is in that group.
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def check_alive(self):
        if self._process.poll() is not None:
            raise BenchError(f"{self.name} ended with status {self._process.returncode}: "
                             f"{self._last_log_line()}")

    def pids(self):
        """The process and its workers; none of one that has ended."""
        try:
            with open(f"/proc/{self.pid}/task/{self.pid}/children", encoding="ascii") as file:
                return [self.pid, *map(int, file.read().split())]
        except FileNotFoundError:
            return []

    def rss(self):
        """Resident bytes of all its processes."""
        total = 0
        for pid in self.pids():
            with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
                total += sum(int(line.split()[1]) << 10 for line in file if line.startswith("VmRSS"))
        return total

    def fds(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def _answers(self):
        connection = http.client.HTTPConnection(self.host, self.port, timeout=2)
        try:
            connection.request("GET", SMALL, headers={"Connection": "close"})
            response = connection.getresponse()
            return response.status == 200 and len(response.read()) == BODY_BYTES[SMALL]
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _last_log_line(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            lines = file.read().split("\n")
        return next((line for line in reversed(lines) if line.strip()), "no message")


def own_pids():
    """This process and all servers with their workers."""
    return {os.getpid()}.union(*(server.pids() for server in Server.started))


def stop_all():
    for server in list(reversed(Server.started)):
        server.stop()


def write(path, text):
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
    return path


def _nginx(name, directory, address, http_block, via=()):
    """nginx with one worker; its own directory keeps it away from the packaged instance."""
    host, port = address
    home = os.path.join(directory, f"{name}-{port}")
    os.mkdir(home)
    temp_paths = "\n".join(f"    {kind}_temp_path {home}/{kind};"
                           for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    config = write(os.path.join(home, "nginx.conf"), f"""
daemon off;
user root;
worker_processes 1;
pid {home}/pid;
error_log stderr error;
events {{ worker_connections 16384; }}
http {{
{temp_paths}
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 120s;
    tcp_nodelay on;
{http_block}
}}
""")
    return Server(name, directory, ["nginx", "-p", home, "-e", "stderr", "-c", config], port, host, via)


def origin(directory, place=LOCAL):
    files = os.path.join(directory, "www")
    os.mkdir(files)
    for path in (MEDIUM, LARGE, HUGE):
        with open(files + path, "wb") as file:
            file.truncate(BODY_BYTES[path])  # Sparse: no disk is read, none is filled.
    port = free_port()
    small = "x" * (BODY_BYTES[SMALL] - 1)
    return _nginx("origin", directory, (place.serve, port), f"""
    sendfile on;
    open_file_cache max=16;
    open_file_cache_valid 1h;
    server {{
        listen {place.serve}:{port} backlog=4096;
        root {files};
        location = / {{ return 200 "{small}\\n"; }}
    }}""", place.origin)


def nginx_proxy(directory, origin_server, place=LOCAL):
    port = free_port()
    # Without temp files: a slow reader must not turn this into a measurement of the disk.
    return _nginx(NGINX, directory, (place.listen, port), f"""
    upstream origin {{
        server {origin_server.address};
        keepalive 1024;
        keepalive_requests 1000000000;
        keepalive_timeout 120s;
    }}
    server {{
        listen {place.listen}:{port} backlog=4096;
        location / {{
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_max_temp_file_size 0;
        }}
    }}""")


def haproxy(directory, origin_server, place=LOCAL):
    port = free_port()
    # It wants two fds per connection, for an upstream each, and refuses to start without:
    # connections that are idle need one.
    config = write(os.path.join(directory, f"haproxy-{port}.cfg"), f"""
global
    nbthread 1
    maxconn 20000
    no strict-limits
defaults
    mode http
    option http-keep-alive
    http-reuse always
    timeout connect 5s
    timeout client 120s
    timeout server 120s
    timeout http-keep-alive 120s
frontend front
    bind {place.listen}:{port} backlog 4096
    default_backend origin
backend origin
    server origin {origin_server.address}
""")
    return Server(HAPROXY, directory, ["haproxy", "-db", "-f", config], port, place.listen)


class Skein(Server):
    """skein, and what it says about itself on its admin address."""

    def __init__(self, name, directory, command, port, admin_port, host=HOST):
        super().__init__(name, directory, command, port, host)
        self.admin_port = admin_port

    def admin(self, path):
        connection = http.client.HTTPConnection(HOST, self.admin_port, timeout=10)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            text = response.read().decode()
        except (OSError, http.client.HTTPException) as error:
            raise BenchError(f"{self.name}: GET {path} on the admin address: {error!r}") from error
        finally:
            connection.close()
        if response.status != 200:
            raise BenchError(f"{self.name}: GET {path} on the admin address: {response.status}")
        return text


def _excepting(cgroup):
    """The section that keeps the processes of a cgroup off the bypass."""
    return f"""bypass: {{ except: {{ cgroups: ["{cgroup}"] }} }}""" if cgroup else ""


def skein(name, directory, origin_server, binary, idle="120s", place=LOCAL):
    port, admin_port = free_port(), free_port()
    kernel, bypass = SWITCHES[name]
    config = write(os.path.join(directory, f"{name}-{port}.yaml"), f"""
workers: 1
datapath:
  kernel: "{kernel}"
  bypass: "{bypass}"
{_excepting(place.excepted) if bypass != "off" else ""}
timeouts:
  idle: {idle}
admin: {{ address: "{HOST}:{admin_port}" }}
listeners:
  - name: bench
    address: "{place.listen}:{port}"
    protocol: http
    routes:
      - match: {{ path_prefix: "/" }}
        cluster: origin
clusters:
  - name: origin
    endpoints:
      - {{ address: "{origin_server.address}" }}
""")
    return Skein(name, directory, [binary, "run", "-c", config], port, admin_port, place.listen)


def can_except(cgroup, binary, directory):
    """Whether this skein knows the section that excepts cgroups."""
    config = write(os.path.join(directory, "except.yaml"), f"""
{_excepting(cgroup)}
listeners:
  - name: bench
    address: "{HOST}:1"
    routes: [ {{ match: {{ path_prefix: "/" }}, respond: {{ status: 200 }} }} ]
""")
    return subprocess.run([binary, "check", "-c", config], capture_output=True, check=False).returncode == 0
