"""Redis servers that hold the shards, and the splitters in front of them: nutcracker and skein.

Every shard holds every key: whichever shard a splitter's hash picks, a GET finds a value
of the same length there, so that contestants with different hashes do equal work.
"""

import os
import socket
import tempfile

from peers import HOST, NUTCRACKER, NUTCRACKER_AGAIN, SKEIN_ALL, SWITCHES, BenchError, Server, Skein, free_port, write

FILL_KEYS = 50000  # Per script: a server that is busy for long refuses other clients.
FILL = """for i = ARGV[1], ARGV[2] - 1 do
    redis.call('SET', string.format('key:%012d', i), ARGV[3])
end
return ARGV[2]"""


def ask(port, *arguments):
    """One command on a connection of its own; the reply without its type, a bulk's content."""
    request = b"*%d\r\n" % len(arguments)
    for argument in map(str, arguments):
        request += b"$%d\r\n%s\r\n" % (len(argument), argument.encode("ascii"))
    with socket.create_connection((HOST, port), timeout=30) as client, client.makefile("rb") as replies:
        client.sendall(request)
        line = replies.readline().decode().rstrip("\r\n")
        if line.startswith("$") and line != "$-1":
            return replies.read(int(line[1:])).decode()
    if line[:1] not in ("+", ":"):
        raise BenchError(f"{arguments[0]}: {line or 'no reply'}")
    return line[1:]


class Shard(Server):
    """A Redis server that keeps nothing on disk."""

    def __init__(self, name, directory):
        port = free_port()
        home = tempfile.mkdtemp(dir=directory)
        super().__init__(name, directory, [
            "redis-server", "--port", str(port), "--bind", HOST, "--dir", home, "--save", "",
            "--appendonly", "no", "--tcp-backlog", "4096", "--maxclients", "10000"], port)

    def fill(self, keys, value_bytes):
        """Gives every key that redis-benchmark -r can ask for a value of the length of its -d."""
        for first in range(0, keys, FILL_KEYS):
            ask(self.port, "EVAL", FILL, 0, first, min(first + FILL_KEYS, keys), "x" * value_bytes)

    def misses(self):
        """Reads of keys that were not there, since the server's start."""
        lines = ask(self.port, "INFO", "stats").splitlines()
        return next(int(line.partition(":")[2]) for line in lines if line.startswith("keyspace_misses:"))

    def _answers(self):
        try:
            return ask(self.port, "PING") == "PONG"
        except (OSError, BenchError):
            return False


class _Splitting:
    """Ready means: a key that is on all shards is found through it."""

    def _answers(self):
        try:
            return int(ask(self.port, "STRLEN", f"key:{0:012}")) > 0
        except (OSError, BenchError):
            return False


class Nutcracker(_Splitting, Server):
    pass


class SkeinSplitter(_Splitting, Skein):
    pass


def _nutcracker(name, directory, shards):
    port, stats_port = free_port(), free_port()
    servers = "".join(f"    - {HOST}:{shard.port}:1\n" for shard in shards)
    config = write(os.path.join(directory, f"{name}-{port}.yml"), f"""
shards:
  listen: {HOST}:{port}
  backlog: 4096
  redis: true
  hash: fnv1a_64
  distribution: ketama
  preconnect: true
  servers:
{servers}""")
    return Nutcracker(name, directory,
                      ["nutcracker", "-c", config, "-a", HOST, "-s", str(stats_port), "-v", "3"], port)


def _skein(name, directory, shards, binary):
    port, admin_port = free_port(), free_port()
    endpoints = "".join(f"""      - {{ address: "{shard.address}" }}\n""" for shard in shards)
    kernel, bypass = SWITCHES[name]
    config = write(os.path.join(directory, f"{name}-{port}.yaml"), f"""
workers: {0 if name == SKEIN_ALL else 1}
datapath:
  kernel: "{kernel}"
  bypass: "{bypass}"
admin: {{ address: "{HOST}:{admin_port}" }}
listeners:
  - name: cache
    address: "{HOST}:{port}"
    protocol: redis
    cluster: shards
clusters:
  - name: shards
    lb_policy: crc16_slots
    endpoints:
{endpoints}""")
    return SkeinSplitter(name, directory, [binary, "run", "-c", config], port, admin_port)


def splitter(name, directory, shards, skein_binary):
    if name in (NUTCRACKER, NUTCRACKER_AGAIN):
        return _nutcracker(name, directory, shards)
    return _skein(name, directory, shards, skein_binary)
