"""Redis with local peers: client and server on this host, on which the bypass connects them."""

from contest import Contest
from peers import DIRECT, NUTCRACKER, SKEIN, SKEIN_BYPASS
from redisloads import COMMANDS, PIPELINES, filled_shards
from report import BYPASS_REDIS_COLUMNS, Row
from rediswork import Work, calibrate, run

CLIENTS = 50


def _throughput(bench, contest, title, work):
    rate = Row(title, f"{work.command}, requests/s", reference=NUTCRACKER, columns=BYPASS_REDIS_COLUMNS)
    to_direct = Row(title, f"{work.command}, ratio to direct", "{:.2f}", columns=BYPASS_REDIS_COLUMNS)
    requests = {}

    def measure(server):
        """All turns of a contestant have equally many requests; to count them warms up its first."""
        if server.name not in requests:
            requests[server.name] = calibrate(server, work, bench.redis_seconds)
        return run(server, work, requests[server.name])

    more = contest.run(title, BYPASS_REDIS_COLUMNS, bench.rounds, measure, rate.add, work.command)
    to_direct.add_ratios(rate, DIRECT)
    return [rate, to_direct, *more]


def local_redis(bench):
    names = [NUTCRACKER] + [SKEIN, SKEIN_BYPASS] * bench.has_skein
    with filled_shards(bench, 1, bench.redis_keys) as shards:
        starts = {name: lambda name=name: bench.fresh_splitter(name, shards) for name in names}
        with Contest(bench, starts, {DIRECT: shards[0]}) as contest:
            for pipeline in PIPELINES:
                title = f"local peers: 1 shard, {CLIENTS} clients, -P {pipeline}"
                for command in COMMANDS:
                    work = Work(command, CLIENTS, pipeline, bench.redis_keys)
                    yield from _throughput(bench, contest, title, work)
