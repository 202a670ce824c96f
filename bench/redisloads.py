"""Loads for splitters: throughput over shards, clients and pipelines, added latency, large values."""

import contextlib

from counters import kernel_share, message_paths
from loads import control_note, rounds
from peers import DIRECT, NUTCRACKER, NUTCRACKER_AGAIN, SKEIN, SKEIN_ALL, SKEIN_OFF, SKEIN_ON, BenchError, Skein
from peers import own_pids
from quiet import Watch
from report import REDIS_COLUMNS, Row
from rediswork import Work, calibrate, run

SHARDS = (1, 2, 4)
CLIENTS = (1, 8, 50, 500)
PIPELINES = (1, 16)
COMMANDS = ("SET", "GET")
LARGE_VALUE = 16 << 10
LARGE_KEYS = 1000  # 16 MiB per shard.


def _row(load, measure, *arguments, **options):
    return Row(load, measure, *arguments, columns=REDIS_COLUMNS, **options)


@contextlib.contextmanager
def filled_shards(bench, count, keys, value_bytes=3):
    """Shards that hold all keys, and still do at the end: a miss means that work was spared."""
    shards = [bench.fresh_shard(index) for index in range(count)]
    for shard in shards:
        shard.fill(keys, value_bytes)
    before = sum(shard.misses() for shard in shards)
    yield shards
    misses = sum(shard.misses() for shard in shards) - before
    if misses:
        raise BenchError(f"{misses} reads found no value, though all shards have all keys")


@contextlib.contextmanager
def _contestants(bench, shards, direct=False, control=False, all_cores=False):
    """{name: server}, all in front of the same shards; direct is the only shard itself. All but one
    have one worker: with `all_cores` skein's default, one per core, takes part."""
    names = [NUTCRACKER]
    if control or bench.control:
        names.append(NUTCRACKER_AGAIN)
    if bench.has_skein:
        names += [SKEIN_OFF, SKEIN, SKEIN_ON] + ([SKEIN_ALL] if all_cores else [])
    servers = {DIRECT: shards[0]} if direct else {}
    splitters = {name: bench.fresh_splitter(name, shards) for name in names}
    yield servers | splitters
    for server in splitters.values():
        server.stop()


def _sample(bench, title, work, servers, count, seconds, take):
    """Hands every sample to take(name, requests per second, share of the kernel path or None)."""
    watch = Watch(count * len(servers), bench.allow_disturbed)
    requests = {name: calibrate(server, work, seconds) for name, server in servers.items()}
    for name, server in rounds(list(servers.items()), count):
        before = message_paths(server.admin("/metrics")) if isinstance(server, Skein) else None
        rate = watch.sample(own_pids(), lambda: run(server, work, requests[name]))
        after = message_paths(server.admin("/metrics")) if before is not None else None
        take(name, rate, kernel_share(before, after) if after is not None else None)
    bench.note(watch.note(f"{title}, {work.command}"))


def _throughput(bench, title, work, servers):
    """Rows of rates and of the kernel path's shares."""
    rate = _row(title, f"{work.command}, requests/s", reference=NUTCRACKER)
    share = _row(title, f"{work.command}, share of messages on the kernel path", "{:.1%}")

    def take(name, per_second, part):
        rate.add(name, per_second)
        if part is not None:
            share.add(name, part)

    _sample(bench, title, work, servers, bench.rounds, bench.redis_seconds, take)
    if NUTCRACKER_AGAIN in servers:
        bench.note(control_note(rate, f"{title}, {work.command}", NUTCRACKER_AGAIN, "nutcracker"))
    return rate, share


def redis_shards(bench):
    for count in SHARDS:
        with (filled_shards(bench, count, bench.redis_keys) as shards,
              _contestants(bench, shards, direct=count == 1) as servers):
            for pipeline in PIPELINES:
                # Un-pipelined, `on` is measured by redis_paths.
                chosen = {name: server for name, server in servers.items()
                          if name != SKEIN_ON or pipeline > 1}
                for command in COMMANDS:
                    title = f"{count} shard{'s' if count > 1 else ''}, 50 clients, -P {pipeline}"
                    work = Work(command, 50, pipeline, bench.redis_keys)
                    yield from _throughput(bench, title, work, chosen)


def redis_paths(bench):
    """Where each path wins, and whether `auto` knows it."""
    with (filled_shards(bench, 2, bench.redis_keys) as shards,
          _contestants(bench, shards) as servers):
        for pipeline in PIPELINES:
            for clients in CLIENTS:
                for command in COMMANDS:
                    title = f"paths: 2 shards, {clients} client{'s' if clients > 1 else ''}, -P {pipeline}"
                    work = Work(command, clients, pipeline, bench.redis_keys)
                    rate, share = _throughput(bench, title, work, servers)
                    yield from (rate, share)
                    if SKEIN in servers:
                        choice = _row(title, f"{command}, `auto` / the better of `off` and `on`", "{:.2f}")
                        better = max(rate.value(SKEIN_OFF), rate.value(SKEIN_ON))
                        choice.add(SKEIN, rate.value(SKEIN) / better)
                        yield choice


def redis_latency(bench):
    """What a splitter adds to the mean time of one request of one client; see loads.latency."""
    title = "1 shard, 1 client"
    with (filled_shards(bench, 1, bench.redis_keys) as shards,
          _contestants(bench, shards, direct=True, control=True) as servers):
        for command in COMMANDS:
            added = _row(title, f"{command}, added latency, us", "{:.1f}", reference=NUTCRACKER)
            mean = _row(title, f"{command}, mean time of a request, us", "{:.1f}")
            work = Work(command, 1, 1, bench.redis_keys)
            _sample(bench, title, work, servers, bench.rounds * bench.seconds, 1,
                    lambda name, per_second, _, mean=mean: mean.add(name, 1e6 / per_second))
            added.add_differences(mean, DIRECT)
            bench.note(control_note(added, f"{title}, {command}", NUTCRACKER_AGAIN, "nutcracker"))
            yield from (added, mean)


def redis_large(bench):
    with (filled_shards(bench, 2, LARGE_KEYS, LARGE_VALUE) as shards,
          _contestants(bench, shards, all_cores=True) as servers):
        for command in COMMANDS:
            work = Work(command, 50, 16, LARGE_KEYS, LARGE_VALUE)
            yield from _throughput(bench, "16 KiB values, 2 shards, 50 clients, -P 16", work, servers)


def redis_multi(bench):
    with (filled_shards(bench, 2, bench.redis_keys) as shards,
          _contestants(bench, shards) as servers):
        for pipeline in PIPELINES:
            for command in ("MSET", "MGET"):
                work = Work(command, 50, pipeline, bench.redis_keys)
                yield from _throughput(bench, f"10 keys, 2 shards, 50 clients, -P {pipeline}", work, servers)
