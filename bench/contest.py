"""Contestants that take turns in a load, some of which may fail: that is reported, the others go on."""

import subprocess

from counters import message_paths, share
from loads import rounds
from peers import SKEIN_BYPASS, BenchError, Skein, own_pids
from quiet import Watch
from report import Row

PATHS = ("kernel", "bypass")
FAILURES_MAX = 3  # Then a contestant is left out.
# The bypass sees all connections of the machine: it runs during its own turns only.
ALONE = (SKEIN_BYPASS,)


class Contest:
    """`starts` has a function for each contestant that starts it; `running` are others, of someone else."""

    def __init__(self, bench, starts, running=None):
        self._bench, self._starts = bench, starts
        self._others = running or {}
        self._servers = dict(self._others)
        self._failures = {}
        self.names = [*self._others, *starts]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for name in list(self._servers):
            self._stop(name)

    def run(self, title, columns, count, measure, take, kind=""):
        """Hands `count` results of measure(server) for each contestant to take(name, result).

        Returns rows: the turns that failed, and the shares of the paths that messages took. `kind` is
        for a load that does several things in turn, and comes before what these rows measure."""
        kind = f"{kind}, " if kind else ""
        failed = Row(title, f"{kind}failed turns", combine=sum, columns=columns)
        shares = {path: Row(title, f"{kind}share of messages on the {path} path", "{:.1%}", columns=columns)
                  for path in PATHS}
        watch = Watch(count * len(self.names), self._bench.allow_disturbed)
        for name in rounds(self.names, count):
            if self._failures.get(name, 0) == FAILURES_MAX:
                continue
            try:
                result, moved = self._turn(name, watch, measure)
            except _Failure as error:
                self._failed(f"{title}: {kind}{name}", name, error)
                failed.add(name, 1)
                continue
            failed.add(name, 0)
            take(name, result)
            for path, row in shares.items():
                part = share(path, *moved) if moved else None
                if part is not None:
                    row.add(name, part)
        self._bench.note(watch.note(f"{title}, {kind}".rstrip(", ")))
        return [failed, *shares.values()]

    def _turn(self, name, watch, measure):
        """(result, messages on each path before and after, or None)"""
        server = _attempt(lambda: self._server(name))
        try:
            before = _attempt(lambda: _paths(server))
            result = watch.sample(own_pids(), lambda: _attempt(lambda: measure(server)))
            after = _attempt(lambda: _paths(server))
        finally:
            if name in ALONE:
                self._stop(name)
        return result, (before, after) if before is not None else None

    def _server(self, name):
        if name not in self._servers:
            self._servers[name] = self._starts[name]()
        return self._servers[name]

    def _stop(self, name):
        server = self._servers.get(name)
        if server and name not in self._others:
            del self._servers[name]
            server.stop()

    def _failed(self, what, name, error):
        """The next turn has a fresh process."""
        self._stop(name)
        self._failures[name] = self._failures.get(name, 0) + 1
        left_out = "; it is left out from here on" if self._failures[name] == FAILURES_MAX else ""
        self._bench.failure(f"{what} failed: {error}{left_out}")


class _Failure(Exception):
    """Of a contestant; whatever else goes wrong ends the load."""


def _attempt(action):
    try:
        return action()
    except (BenchError, OSError, subprocess.SubprocessError) as error:
        raise _Failure(error) from error


def _paths(server):
    return message_paths(server.admin("/metrics")) if isinstance(server, Skein) else None
