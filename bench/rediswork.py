"""One measurement with redis-benchmark: what it sends, how much of it, what came out."""

import csv
import dataclasses
import math
import subprocess

from peers import HOST, BenchError

_FIRST_COUNT = 4000  # Requests of the first trial, about a millisecond at the very least.
_MULTI_KEYS = 10     # As many as redis-benchmark's own MSET test has.
_COMMANDS = {
    "SET": ["-t", "set"],
    "GET": ["-t", "get"],
    "MSET": ["-t", "mset"],
    "MGET": ["MGET", *["key:__rand_int__"] * _MULTI_KEYS],
}
# Asked at the start, only to be printed; not every splitter has an answer to CONFIG GET.
_TOLERATED = {"WARNING: Could not fetch server CONFIG"}


@dataclasses.dataclass(frozen=True)
class Work:
    """`keys` is how many different keys there are, `value_bytes` the length of each value."""

    command: str
    clients: int
    pipeline: int
    keys: int
    value_bytes: int = 3

    def arguments(self, count):
        return ["-c", str(self.clients), "-P", str(self.pipeline), "-n", str(count), "-r", str(self.keys),
                "-d", str(self.value_bytes), "--csv", *_COMMANDS[self.command]]


def parse(stdout, stderr, status):
    """Requests per second; any complaint that redis-benchmark makes is an error."""
    complaints = [line for line in stderr.splitlines() if line.strip() and line not in _TOLERATED]
    if status != 0 or complaints or "Error" in stdout:
        reason = complaints[0] if complaints else stdout.strip().split("\n")[-1]
        raise BenchError(f"redis-benchmark ended with status {status}: {reason or 'no message'}")
    results = list(csv.DictReader(stdout.splitlines()))
    if len(results) != 1 or not results[0].get("rps"):
        raise BenchError(f"redis-benchmark reported no rate: {stdout.strip() or 'no output'}")
    return float(results[0]["rps"])


def run(server, work, count):
    """Requests per second of `count` requests, all of them answered without an error."""
    command = ["redis-benchmark", "-h", HOST, "-p", str(server.port), *work.arguments(count)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=90)
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"{server.name}: {work}: not all of {count} requests were answered") from error
    server.check_alive()
    try:
        return parse(done.stdout, done.stderr, done.returncode)
    except BenchError as error:
        raise BenchError(f"{server.name}: {work}: {error}") from error


def calibrate(server, work, seconds):
    """How many requests take about so many seconds; also warms the contestant up."""
    batch = work.clients * work.pipeline
    count = _FIRST_COUNT
    while True:
        count = math.ceil(count / batch) * batch
        rate = run(server, work, count)
        if count >= rate * seconds / 5:
            return math.ceil(rate * seconds / batch) * batch
        count = min(math.ceil(rate * seconds / 3), count * 50)
