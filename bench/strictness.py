#!/usr/bin/env python3
"""What nginx, HAProxy and skein do with the message cases of the end-to-end tests.

usage: strictness.py [--skein build/skein] [--all]

Sends each case of tests/e2e/request_cases.py and response_cases.py through each proxy, as the first
message on a new connection, to an origin that takes anything, and prints on which of them they differ from what
the tests ask of skein. A malformed message counts as accepted if its client gets a 2xx status (heads and
chunked bodies of requests) or another status than 5xx (heads of responses); a well-formed one as refused
if its client gets something else than the origin's answer. Configurations are the shortest that work,
with keep-alive to the origin; limits are the proxies' own.
"""
import argparse
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
sys.path.insert(0, os.path.join(ROOT, "tests", "e2e"))

import request_cases as requests  # noqa: E402
import response_cases as responses  # noqa: E402
from process import free_port  # noqa: E402

HOST = "127.0.0.1"
WAIT = 3.0
CHUNKED = b"POST /@ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"


class Origin:
    """Answers every complete request with the same bytes, on a connection each."""

    def __init__(self):
        self.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
        self.listener = socket.create_server((HOST, 0), backlog=256)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            sock, _ = self.listener.accept()
            threading.Thread(target=self._serve, args=(sock, self.answer), daemon=True).start()

    @staticmethod
    def _complete(data):
        head, found, body = data.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        if re.search(rb"(?i)\r\ntransfer-encoding:[^\r]*chunked", head):
            return bool(re.search(rb"(^|\n)0+(;[^\r\n]*)?\r?\n([^\r\n]+\r?\n)*\r?\n$", body))
        return bool(found) and (not length or len(body) >= int(length[1][:18]))

    def _serve(self, sock, answer):
        data = b""
        sock.settimeout(WAIT)
        with sock:
            try:
                while not self._complete(data):
                    more = sock.recv(1 << 16)
                    if not more:
                        return
                    data += more
                sock.sendall(answer)
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(1 << 16):
                    pass
            except OSError:
                pass  # the proxy gave up; what its client was told is what counts


class Proxy:
    def __init__(self, name, command, port):
        self.name, self.port = name, port
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        end = time.monotonic() + 15
        while self.ask(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n") != 200:
            if time.monotonic() > end or self.process.poll() is not None:
                raise SystemExit(f"{name} does not answer")
            time.sleep(0.05)

    def ask(self, raw):
        """The status of the final response; None if there is none."""
        data = b""
        try:
            with socket.create_connection((HOST, self.port), timeout=WAIT) as sock:
                try:
                    sock.sendall(raw)
                except OSError:
                    pass  # refused before the last byte
                while True:
                    match = re.match(rb"(?s)(?:HTTP/1\.1 1\d\d .*?\r\n\r\n)*HTTP/1\.[01] ([2-9]\d\d)", data)
                    if match:
                        return int(match[1])
                    more = sock.recv(1 << 16)
                    if not more:
                        return None
                    data += more
        except OSError:
            return None

    def stop(self):
        self.process.terminate()
        self.process.wait()


def write(path, text):
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
    return path


def nginx(directory, origin):
    port = free_port()
    user = "user root;" if os.geteuid() == 0 else ""
    config = write(f"{directory}/nginx.conf", f"""
daemon off; {user} worker_processes 1; pid {directory}/nginx.pid; error_log /dev/null;
events {{}}
http {{ access_log off; client_body_temp_path {directory}/a; proxy_temp_path {directory}/b;
  fastcgi_temp_path {directory}/c; uwsgi_temp_path {directory}/d; scgi_temp_path {directory}/e;
  upstream origin {{ server {HOST}:{origin}; keepalive 8; }}
  server {{ listen {HOST}:{port};
    location / {{ proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection "";
                 proxy_set_header Host $http_host; proxy_next_upstream off; }} }} }}""")
    return Proxy("nginx", ["nginx", "-p", directory, "-e", "/dev/null", "-c", config], port)


def haproxy(directory, origin):
    port = free_port()
    config = write(f"{directory}/haproxy.cfg", f"""
defaults
    mode http
    timeout connect 5s
    timeout client 5s
    timeout server 5s
frontend front
    bind {HOST}:{port}
    default_backend origin
backend origin
    server origin {HOST}:{origin}
""")
    return Proxy("haproxy", ["haproxy", "-db", "-f", config], port)


def skein(directory, origin, binary):
    port = free_port()
    config = write(f"{directory}/skein.yaml", f"""
workers: 1
listeners:
  - {{ name: web, address: "{HOST}:{port}", protocol: http,
       routes: [{{ match: {{ path_prefix: "/" }}, cluster: web }}] }}
clusters:
  - {{ name: web, endpoints: [{{ address: "{HOST}:{origin}" }}] }}
""")
    return Proxy("skein", [binary, "run", "-c", config], port)


def cases():
    """(table, case, request, the origin's answer or None, whether a status is as the tests ask)."""
    def refused(status):
        return status is None or status >= 400
    for name, raw, _ in requests.REFUSED_HEADS:
        yield "malformed request heads", name, raw, None, refused
    for name, body in requests.REFUSED_CHUNKS:
        yield "malformed request bodies", name, CHUNKED + body, None, refused
    for name, data in responses.BAD_HEADS:
        yield ("malformed response heads", name, responses.GET, data,
               lambda status: status is None or status >= 500)
    for name, raw, _ in requests.ACCEPTED_HEADS:
        yield "well-formed request heads", name, raw, None, lambda status: status == 200
    for name, raw, _ in requests.BODIES:
        yield "well-formed request bodies", name, raw, None, lambda status: status == 200
    for name, body in requests.ACCEPTED_CHUNKS:
        yield "well-formed request bodies", name, CHUNKED + body, None, lambda status: status == 200
    for name, request, data, _, expected in responses.GOOD:
        yield ("well-formed responses", name, request, data,
               lambda status, wanted=expected["status"]: status == wanted)


def version(name, *command):
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return f"{name}: {(result.stdout or result.stderr).splitlines()[0]}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--skein", default=os.path.join(ROOT, "build", "skein"))
    parser.add_argument("--all", action="store_true", help="every case with its statuses")
    options = parser.parse_args()
    print(version("nginx", "nginx", "-v"), version("haproxy", "haproxy", "-v"), sep="\n")
    directory = tempfile.mkdtemp(prefix="skein-strictness-")
    origin = Origin()
    plain = origin.answer
    proxies = [nginx(directory, origin.port), haproxy(directory, origin.port),
               skein(directory, origin.port, options.skein)]
    counts = {}
    try:
        for table, name, request, data, right in cases():
            request = request.replace(b"@", b"x", 1)
            origin.answer = data or plain
            statuses = [proxy.ask(request) for proxy in proxies]
            wrong = [proxy.name for proxy, status in zip(proxies, statuses) if not right(status)]
            row = counts.setdefault(table, {"cases": 0})
            row["cases"] += 1
            for proxy in wrong:
                row[proxy] = row.get(proxy, 0) + 1
            if wrong or options.all:
                print(f"{table}: {name}: " + ", ".join(f"{proxy.name} {status or 'closed'}"
                                                       for proxy, status in zip(proxies, statuses)))
    finally:
        for proxy in proxies:
            proxy.stop()
        shutil.rmtree(directory)
    print("\ndiffering from the tests, of so many cases")
    for table, row in counts.items():
        print(f"{table:26} {row['cases']:4}", *(f"{proxy.name} {row.get(proxy.name, 0)}" for proxy in proxies))


if __name__ == "__main__":
    main()
