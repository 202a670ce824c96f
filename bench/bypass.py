"""HTTP with local peers, which the bypass is for: both ends on this host, or only one of them."""

import contextlib

from contest import Contest
from cpu import CONNECTIONS, RATE, fixed_rate
from loads import build, control_note, wrk
from netns import NAME, Remote
from peers import CONTROL, DIRECT, HAPROXY, LOCAL, MEDIUM, NGINX, SKEIN, SKEIN_BYPASS, SMALL, Place, can_except
from report import BYPASS_COLUMNS, Row

MANY = 512  # Connections of which each waits for an upstream connection of its own.


def _row(load, measure, *arguments, **options):
    return Row(load, measure, *arguments, columns=BYPASS_COLUMNS, **options)


@contextlib.contextmanager
def _contest(bench, place=LOCAL, control=False):
    names = [DIRECT, HAPROXY, NGINX] + [CONTROL] * control + [SKEIN, SKEIN_BYPASS] * bench.has_skein
    origin = bench.fresh_origin(place)
    try:
        starts = {name: lambda name=name: bench.fresh(name, origin=origin, place=place) for name in names}
        with Contest(bench, starts) as contest:
            yield contest
    finally:
        origin.stop()


def _throughput(bench, contest, title, path, unit, via=(), connections=CONNECTIONS):
    rate = _row(title, unit, reference=HAPROXY)
    to_direct = _row(title, "ratio to direct", "{:.2f}")
    errors = _row(title, "errors", combine=sum)

    def take(name, result):
        rate.add(name, result[0])
        errors.add(name, result[1])

    more = contest.run(title, BYPASS_COLUMNS, bench.rounds,
                       lambda server: wrk(server, path, connections, bench.seconds, via), take)
    to_direct.add_ratios(rate, DIRECT)
    return [rate, to_direct, errors, *more]


def _cpu_per_request(bench, contest, title, via):
    added = _row(title, "added CPU per request, us", "{:.1f}", reference=HAPROXY)
    used = _row(title, "CPU per request, us", "{:.1f}")
    rate = _row(title, "requests/s")
    errors = _row(title, "errors", combine=sum)
    binary = build(bench.directory, "fixedrate")

    def take(name, result):
        for row, value in zip((used, rate, errors), result):
            row.add(name, value)

    more = contest.run(title, BYPASS_COLUMNS, bench.rounds,
                       lambda server: fixed_rate(binary, server, bench.seconds + 1, via), take)
    added.add_differences(used, DIRECT)
    return [added, used, rate, errors, *more]


def local_small(bench):
    with _contest(bench) as contest:
        title = f"local peers: 65-byte body, {CONNECTIONS} connections"
        yield from _throughput(bench, contest, title, SMALL, "requests/s")


def local_many(bench):
    with _contest(bench) as contest:
        title = f"local peers: 65-byte body, {MANY} connections"
        yield from _throughput(bench, contest, title, SMALL, "requests/s", connections=MANY)


def local_medium(bench):
    with _contest(bench) as contest:
        title = f"local peers: 64 KiB body, {CONNECTIONS} connections"
        yield from _throughput(bench, contest, title, MEDIUM, "responses/s")


def local_latency(bench):
    """See loads.latency. Less than nothing is added where the bypass is faster than loopback's TCP."""
    title = "local peers: 65-byte body, 1 connection"
    added = _row(title, "added latency, us", "{:.1f}", reference=HAPROXY)
    mean = _row(title, "mean time of a request, us", "{:.1f}")
    errors = _row(title, "errors", combine=sum)

    def take(name, result):
        mean.add(name, 1e6 / result[0])
        errors.add(name, result[1])

    with _contest(bench, control=True) as contest:
        more = contest.run(title, BYPASS_COLUMNS, bench.rounds * bench.seconds,
                           lambda server: wrk(server, SMALL, 1, 1), take)
    added.add_differences(mean, DIRECT)
    if CONTROL in added.samples:
        bench.note(control_note(added, title))
    yield from (added, mean, errors, *more)


def _remote(bench, title, place):
    with _contest(bench, place) as contest:
        load = f"{title}: 65-byte body, {CONNECTIONS} connections"
        yield from _throughput(bench, contest, load, SMALL, "requests/s", place.client)
        yield from _cpu_per_request(bench, contest, f"{load} at {RATE:,} requests/s", place.client)


def _excepted(bench):
    """The remote peer's cgroup, if skein can be told of it."""
    if not bench.has_skein or can_except(NAME, bench.skein, bench.directory):
        return NAME
    bench.note("skein can not except a cgroup from the bypass: with it, remote peers may count as local")
    return ""


def remote_client(bench):
    with Remote() as remote:
        place = Place(listen=remote.near, serve=remote.near, client=remote.command, excepted=_excepted(bench))
        yield from _remote(bench, "remote client, local origin", place)


def remote_origin(bench):
    with Remote() as remote:
        place = Place(serve=remote.far, origin=remote.command, excepted=_excepted(bench))
        yield from _remote(bench, "local client, remote origin", place)
