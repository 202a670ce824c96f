"""Loads that measure speed: wrk for long connections, shortconn for short ones."""

import json
import os
import re
import subprocess
import time

from counters import in_use, kernel_share, message_paths
from peers import (BODY_BYTES, CONTROL, DIRECT, HAPROXY, MEDIUM, NGINX, SMALL, BenchError, Skein,
                   own_pids)
from quiet import Watch
from report import Row


CONTROL_TOLERANCE = 0.1


def rounds(servers, count):
    """Contestants take turns, each round begins with another one: drift hits all alike."""
    for index in range(count):
        shift = index % len(servers)
        yield from servers[shift:] + servers[:shift]


def parse_wrk(text):
    """(requests per second, errors of any kind) from wrk's report."""
    rate = re.search(r"^Requests/sec:\s+([\d.]+)", text, re.M)
    if not rate or float(rate[1]) == 0:
        raise BenchError(f"wrk reported no rate: {text.strip() or 'no output'}")
    errors = 0
    sockets = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    if sockets:
        errors += sum(map(int, sockets.groups()))
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    if refused:
        errors += int(refused[1])
    return float(rate[1]), errors


def wrk(server, path, connections, seconds, via=()):
    """(requests per second, errors); `via` comes before the client's command."""
    done = subprocess.run([*via, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s",
                           f"http://{server.address}{path}"],
                          capture_output=True, text=True, check=False, timeout=seconds + 60)
    server.check_alive()
    return parse_wrk(done.stdout + done.stderr)


def _throughput(bench, title, path, unit):
    rate = Row(title, unit, reference=HAPROXY)
    errors = Row(title, "errors", combine=sum)
    share = Row(title, "share of messages on the kernel path", "{:.1%}")
    rows = [rate, errors, share]
    watch = Watch(bench.rounds * len(bench.running()), bench.allow_disturbed)
    for server in rounds(bench.running(), bench.rounds):
        before = message_paths(server.admin("/metrics")) if isinstance(server, Skein) else None
        per_second, failed = watch.sample(own_pids(), lambda: wrk(server, path, 32, bench.seconds))
        rate.add(server.name, per_second)
        errors.add(server.name, failed)
        if before is not None:
            part = kernel_share(before, message_paths(server.admin("/metrics")))
            if part is not None:
                share.add(server.name, part)
    bench.note(watch.note(title))
    return rows


def small(bench):
    return _throughput(bench, "65-byte body, 32 connections", SMALL, "requests/s")


def medium(bench):
    return _throughput(bench, "64 KiB body, 32 connections", MEDIUM, "responses/s")


def control_note(row, load, control=CONTROL, program="HAProxy"):
    """Equal programs should have the ratio 1; what they have instead is the error of all others."""
    ratio = row.ratio(control)
    if ratio is None:
        return f"{load}: {program}'s own value is not above zero, no ratio of this row means anything"
    if abs(ratio - 1) > CONTROL_TOLERANCE:
        return (f"{load}: a second, equal {program} measured {ratio:.2f} of the first, so the ratios of "
                f"this row are NOT reliable")
    return None


def latency(bench):
    """What a proxy adds to the mean time of one request on one connection.

    The difference of two close numbers: many short samples, medians before the difference,
    and a control that shows whether the result can be trusted.
    """
    title = "65-byte body, 1 connection"
    added = Row(title, "added latency, us", "{:.1f}", reference=HAPROXY)
    mean = Row(title, "mean time of a request, us", "{:.1f}")
    errors = Row(title, "errors", combine=sum)
    servers = bench.running() + [bench.fresh(CONTROL)]
    samples = bench.rounds * bench.seconds
    watch = Watch(samples * len(servers), bench.allow_disturbed)
    for server in rounds(servers, samples):
        per_second, failed = watch.sample(own_pids(), lambda: wrk(server, SMALL, 1, 1))
        mean.add(server.name, 1e6 / per_second)
        errors.add(server.name, failed)
    added.add_differences(mean, DIRECT)
    bench.note(watch.note(title))
    bench.note(control_note(added, title))
    return [added, mean, errors]


def build(directory, program):
    """Compiles a load generator of this folder; returns the binary's path."""
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), f"{program}.c")
    binary = os.path.join(directory, program)
    if not os.path.exists(binary):
        subprocess.run(["cc", "-std=c17", "-O2", "-Wall", "-Wextra", "-Werror", "-o", binary, source],
                       check=True)
    return binary


def _usage(server):
    usage = in_use(server.admin("/stats"))
    usage["fds"] = server.fds()
    return usage


def _settled_usage(server, wanted, seconds):
    """Waits until nothing is above what was in use before, at most so long."""
    deadline = time.monotonic() + seconds
    while True:
        usage = _usage(server)
        if time.monotonic() > deadline or all(usage[key] <= wanted.get(key, 0) for key in usage):
            return usage
        time.sleep(0.2)


def short_connections(bench):
    title = f"{bench.short_connections:,} short connections"
    rate = Row(title, "connections/s", reference=NGINX)
    errors = Row(title, "errors", combine=sum)
    fds = Row(title, "fds before, after")
    slots = Row(title, "slots before, after")
    leaks = Row(title, "counts in /stats not returned")
    shortconn = build(bench.directory, "shortconn")

    # Idle upstream connections are no leak, but they would hide one: skein gives them up
    # soon here, and what is in use afterwards has to be exactly what was before.
    servers = [bench.fresh(name, idle="3s") for name in bench.names]
    before = {}
    for server in servers:
        if isinstance(server, Skein):
            time.sleep(4)
            before[server.name] = _usage(server)
    watch = Watch(bench.rounds * len(servers), bench.allow_disturbed)
    for server in rounds(servers, bench.rounds):
        command = [shortconn, str(server.port), str(bench.short_connections), "32", str(BODY_BYTES[SMALL])]
        done = watch.sample(own_pids(), lambda: subprocess.run(command, capture_output=True, text=True,
                                                               check=False))
        server.check_alive()
        if done.returncode != 0:
            raise BenchError(f"shortconn: {done.stderr.strip()}")
        result = json.loads(done.stdout)
        rate.add(server.name, result["answered"] / result["seconds"])
        errors.add(server.name, result["errors"])
    bench.note(watch.note(title))
    for server in servers:
        if server.name not in before:
            continue
        old = before[server.name]
        new = _settled_usage(server, old, 20)
        fds.add(server.name, f"{old['fds']}, {new['fds']}")
        counts = [f"{old.get(key, 0):g}, {new[key]:g}" for key in sorted(new) if "slot" in key.lower()]
        if counts:
            slots.add(server.name, "; ".join(counts))
        held = [key for key in new if new[key] > old.get(key, 0) and key != "fds"]
        leaks.add(server.name, ", ".join(held) or "none")
    for server in servers:
        server.stop()
    return [rate, errors, fds, slots, leaks]
