"""CPU time of one request at a fixed rate: all processes and the kernel, from /proc/stat."""

import json
import os
import subprocess
import time

from counters import kernel_share, message_paths
from loads import build, rounds
from peers import DIRECT, HAPROXY, BenchError, Skein, own_pids
from quiet import Watch
from report import Row

RATE = 20000
CONNECTIONS = 32
_TICK = os.sysconf("SC_CLK_TCK")


def _busy_seconds():
    """CPU seconds that were not idle, over all cores, since some time.

    Only the idle time is measured by a clock. Most kernels count the others by who runs at a tick of some ms, which a
    load with a rhythm of its own meets at the same place each time: it would look idle, or busy, all the time."""
    with open("/proc/stat", encoding="ascii") as file:
        fields = list(map(int, file.readline().split()[1:]))
    idle, iowait, steal = fields[3], fields[4], fields[7]
    return time.monotonic() * os.cpu_count() - (idle + iowait + steal) / _TICK


def fixed_rate(binary, server, seconds, via=()):
    """(CPU us of a request, requests/s, errors); `via` comes before the client's command."""
    command = [*via, binary, server.host, str(server.port), str(CONNECTIONS), str(RATE), str(seconds)]
    before = _busy_seconds()
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + 60)
    used = _busy_seconds() - before
    server.check_alive()
    if done.returncode != 0:
        raise BenchError(f"fixedrate: {done.stderr.strip()}")
    result = json.loads(done.stdout)
    if not result["answered"]:
        raise BenchError(f"fixedrate: none of {result['errors']} requests was answered")
    return used * 1e6 / result["answered"], result["answered"] / result["seconds"], result["errors"]


def cpu_per_request(bench):
    """What a proxy adds to the CPU time of a request: the difference to no proxy at all."""
    title = f"65-byte body, {CONNECTIONS} connections at {RATE:,} requests/s"
    added = Row(title, "added CPU per request, us", "{:.1f}", reference=HAPROXY)
    used = Row(title, "CPU per request, us", "{:.1f}")
    rate = Row(title, "requests/s")
    errors = Row(title, "errors", combine=sum)
    share = Row(title, "share of messages on the kernel path", "{:.1%}")
    binary = build(bench.directory, "fixedrate")
    watch = Watch(bench.rounds * len(bench.running()), bench.allow_disturbed)
    for server in rounds(bench.running(), bench.rounds):
        before = message_paths(server.admin("/metrics")) if isinstance(server, Skein) else None
        micros, per_second, failed = watch.sample(own_pids(), lambda: fixed_rate(binary, server, bench.seconds + 1))
        used.add(server.name, micros)
        rate.add(server.name, per_second)
        errors.add(server.name, failed)
        if before is not None:
            part = kernel_share(before, message_paths(server.admin("/metrics")))
            if part is not None:
                share.add(server.name, part)
    added.add_differences(used, DIRECT)
    bench.note(watch.note(title))
    return [added, used, rate, errors, share]
