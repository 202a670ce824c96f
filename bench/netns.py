"""A remote peer on one machine: a network namespace behind a veth pair, and a cgroup beside all others.

The cgroup is what makes it remote: a process in another namespace is local to skein as long as skein
sees the sockets of its cgroup, so its configuration excepts this one by name.
"""

import atexit
import contextlib
import os
import re
import subprocess
import time

from peers import BenchError

NAME = f"skein-bench-{os.getpid()}"
_LINK = f"skein{os.getpid()}"  # At most 15 characters are allowed.
_SUBNETS = 1 << 14             # Of 4 addresses each, in 10.203.0.0/16.
_ENTER = 'echo $$ >"$0" && exec "$@"'


def _ip(*arguments):
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BenchError(f"ip {' '.join(arguments)}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def _cgroup_root():
    """Where cgroup v2 is mounted; beside v1 hierarchies it is not /sys/fs/cgroup."""
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        for line in file:
            mount, _, kind = line.partition(" - ")
            if kind.split()[0] == "cgroup2":
                return re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), mount.split()[4])
    raise BenchError("no remote peers: cgroup v2 is not mounted")


def _addresses():
    """(this host's, the remote peer's) from a subnet that this host has no route into."""
    for index in range(os.getpid(), os.getpid() + _SUBNETS):
        base = index % _SUBNETS * 4
        subnet = f"10.203.{base >> 8}.{base & 255}"
        if not _ip("-4", "route", "show", "root", f"{subnet}/30", "table", "all").strip():
            return f"10.203.{base >> 8}.{(base & 255) + 1}", f"10.203.{base >> 8}.{(base & 255) + 2}"
    raise BenchError("no remote peers: 10.203.0.0/16 is in use")


class Remote:
    """`near` and `far` are the two addresses; `command` comes before what the remote peer runs."""

    def __init__(self):
        self.near, self.far = _addresses()
        self._cgroup = os.path.join(_cgroup_root(), NAME)
        self.command = ("sh", "-c", _ENTER, os.path.join(self._cgroup, "cgroup.procs"),
                        "ip", "netns", "exec", NAME)
        self._undo = contextlib.ExitStack()

    def __enter__(self):
        atexit.register(self.remove)  # The last resort: a signal may end the run anywhere.
        try:
            os.mkdir(self._cgroup)
            self._undo.callback(self._remove_cgroup)
            _ip("netns", "add", NAME)
            self._undo.callback(_ip, "netns", "delete", NAME)
            _ip("link", "add", _LINK, "type", "veth", "peer", "name", "eth0", "netns", NAME)
            self._undo.callback(_ip, "link", "delete", _LINK)
            _ip("address", "add", f"{self.near}/30", "dev", _LINK)
            _ip("link", "set", _LINK, "up")
            for setting in (("address", "add", f"{self.far}/30", "dev", "eth0"), ("link", "set", "eth0", "up"),
                            ("link", "set", "lo", "up")):
                _ip("-n", NAME, *setting)
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *_):
        self.remove()

    def remove(self):
        """Every part of it, even if one can not be removed; then it says so."""
        atexit.unregister(self.remove)
        self._undo.close()

    def _remove_cgroup(self):
        for _ in range(50):
            try:
                os.rmdir(self._cgroup)
                return
            except OSError:
                time.sleep(0.1)  # Its last process is still about to end.
        raise BenchError(f"{self._cgroup} can not be removed: a process is left in it")
