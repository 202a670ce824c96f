"""Loads that measure what clients cost and get: stalled ones, idle ones, closing ones."""

import socket
import threading
import time

from counters import kernel_share, message_paths
from peers import BODY_BYTES, DIRECT, HAPROXY, HOST, HUGE, LARGE, SKEIN_BYPASS, SMALL, BenchError, Skein
from report import BYPASS_COLUMNS, COLUMNS, Row

MIB = 1 << 20
STALLED_CLIENTS = 20
CLOSING_CLIENTS = 8
PER_SOURCE = 1000  # Connections from one source address: far below its ephemeral ports.
IP_BIND_ADDRESS_NO_PORT = 24


def mem_available():
    with open("/proc/meminfo", encoding="ascii") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("MemAvailable"))


def steady_memory():
    """MemAvailable once it stands still: what just ended is still being freed for a while."""
    last = mem_available()
    for _ in range(20):
        time.sleep(0.5)
        current = mem_available()
        if abs(current - last) < MIB:
            return current
        last = current
    return last


def connect(server, source=None):
    client = socket.socket()
    client.settimeout(10)
    if source:
        client.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        client.bind((source, 0))
    client.connect((HOST, server.port))
    return client


def send_get(client, path, close=False):
    field = "Connection: close\r\n" if close else ""
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: bench\r\n{field}\r\n".encode())


def read_response(client):
    """Status and body bytes of one response; the body may be cut short by the end of the stream."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = client.recv(65536)
        if not more:
            return 0, 0
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:])
    length, got = int(fields[b"content-length"]), len(body)
    while got < length:
        more = client.recv(262144)
        if not more:
            break
        got += len(more)
    return int(head.split(b" ", 2)[1]), got


class _OtherClient:
    """Asks for the small response again and again on one connection, while others stall."""

    def __init__(self, server):
        self.answered, self.failed, self.slowest = 0, 0, 0.0
        self._server, self._ended = server, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._thread.join()

    def _run(self):
        client = None
        while not self._ended.wait(0.02):
            start = time.monotonic()
            try:
                client = client or connect(self._server)
                send_get(client, SMALL)
                good = read_response(client) == (200, BODY_BYTES[SMALL])
            except OSError:
                good = False
            self.answered += good
            self.failed += not good
            self.slowest = max(self.slowest, time.monotonic() - start)
            if not good and client:
                client.close()
                client = None
        if client:
            client.close()


def stalled_readers(bench):
    title = f"{STALLED_CLIENTS} clients ask for 1 GiB and read nothing"
    return _stalled_readers(bench, title, bench.names, COLUMNS, 0)


def local_stalled_readers(bench):
    """After a few exchanges: a connection's first request takes no path but the daemon's."""
    title = f"local peers: {STALLED_CLIENTS} clients ask for 1 GiB and read nothing"
    names = bench.names + [SKEIN_BYPASS] * bench.has_skein
    return _stalled_readers(bench, title, [name for name in names if name in BYPASS_COLUMNS], BYPASS_COLUMNS, 3)


def _stalled_readers(bench, title, names, columns, warm_ups):
    memory = Row(title, "MemAvailable drop, MiB", "{:.1f}", reference=HAPROXY, columns=columns)
    failed = Row(title, "another client's requests that failed", combine=sum, columns=columns)
    slowest = Row(title, "its slowest answer, ms", "{:.1f}", combine=max, columns=columns)
    for _ in range(min(bench.rounds, 3)):
        for name in names:
            # A fresh process each time: allocators keep what an earlier run made them take.
            server = bench.fresh(name)
            start = steady_memory()
            clients = []
            try:
                for _ in range(STALLED_CLIENTS):
                    clients.append(connect(server))
                    for _ in range(warm_ups):
                        send_get(clients[-1], SMALL)
                        read_response(clients[-1])
                    send_get(clients[-1], HUGE)
                with _OtherClient(server) as other:
                    time.sleep(bench.stall_seconds)
                    memory.add(name, (start - mem_available()) / MIB)
                if not other.answered:
                    raise BenchError(f"{name}: another client got no answer beside stalled ones")
                failed.add(name, other.failed)
                slowest.add(name, other.slowest * 1e3)
                server.check_alive()
            finally:
                for client in clients:
                    client.close()
                server.stop()
    return [memory, failed, slowest]


def idle_clients(bench):
    count = bench.idle_clients
    title = f"{count:,} idle keep-alive clients"
    available = Row(title, "KiB per client, MemAvailable (both ends)", "{:.2f}", reference=HAPROXY)
    resident = Row(title, "KiB per client, resident", "{:.2f}", reference=HAPROXY)
    fixed = Row(title, "MiB before the first client, MemAvailable", "{:.1f}")
    failed = Row(title, "requests that failed", combine=sum)
    for name in bench.names:
        empty = steady_memory()
        server = bench.fresh(name) if name != DIRECT else bench.fresh_origin()
        start, resident_start = steady_memory(), server.rss()
        clients, errors = [], 0
        try:
            for index in range(count):
                clients.append(connect(server, f"127.0.2.{index // PER_SOURCE + 1}"))
                send_get(clients[-1], SMALL)
                errors += read_response(clients[-1]) != (200, BODY_BYTES[SMALL])
            server.check_alive()
            fixed.add(name, (empty - start) / MIB)
            available.add(name, (start - steady_memory()) / 1024 / count)
            resident.add(name, (server.rss() - resident_start) / 1024 / count)
            failed.add(name, errors)
        except OSError as error:
            raise BenchError(f"{name}: idle client {len(clients)}: {error!r}") from error
        finally:
            for client in clients:
                client.close()
            server.stop()
    return [available, resident, fixed, failed]


def _closing_client(server, numbers, bad):
    """One keep-alive request first, so that the connection may change path before it ends."""
    for number in numbers:
        got = (0, 0)
        try:
            with connect(server) as client:
                send_get(client, SMALL)
                first = read_response(client)
                send_get(client, LARGE, close=True)
                if number % 3 == 0:
                    time.sleep(0.02)  # A reader that is late: the queues before it fill.
                got = read_response(client)
                if first != (200, BODY_BYTES[SMALL]) or client.recv(1):
                    got = (0, 0)
        except OSError:
            pass
        if got != (200, BODY_BYTES[LARGE]):
            bad.append(number)


def closing_responses(bench):
    count = bench.closing_responses
    title = f"{count} responses of 1 MiB with `Connection: close`"
    truncated = Row(title, "truncated", combine=sum)
    share = Row(title, "share of messages on the kernel path", "{:.1%}")
    for server in bench.running():
        before = message_paths(server.admin("/metrics")) if isinstance(server, Skein) else None
        bad = []
        threads = [threading.Thread(target=_closing_client,
                                    args=(server, range(index, count, CLOSING_CLIENTS), bad))
                   for index in range(CLOSING_CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        server.check_alive()
        truncated.add(server.name, len(bad))
        if before is not None:
            part = kernel_share(before, message_paths(server.admin("/metrics")))
            if part is not None:
                share.add(server.name, part)
    return [truncated, share]
