"""Tells whether something else used the machine during a measurement.

On few cores that changes more than speed: a core that another program keeps awake
answers a wake-up several times faster than one that has halted, so one connection's
latency jumps between two levels. Whether a sample counts is decided by the CPU time of
others alone, never by its value.
"""

import os
import time

from peers import BenchError

LIMIT = 0.05  # Of one core.
_TICK = os.sysconf("SC_CLK_TCK")


def _others_seconds(own):
    """CPU seconds of processes outside `own` and its children; kernel threads work for us too."""
    total = 0
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) in own:
            continue
        try:
            with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as file:
                fields = file.read().rsplit(")", 1)[1].split()
        except OSError:
            continue
        parent = int(fields[1])
        if parent in own or parent == 2 or entry == "2":
            continue
        # With the children it has reaped: compilers come and go between two looks.
        total += sum(map(int, fields[11:15]))
    return total / _TICK


class Watch:
    """Repeats samples that others disturbed; gives up when the machine does not become quiet.

    Counting such samples is no fallback: with them equal programs have been seen to differ
    by a factor of two while a control beside them agreed. `allow` does it all the same.
    """

    def __init__(self, retries, allow):
        self._retries, self._allow = retries, allow
        self._repeated, self._kept = 0, 0

    def sample(self, own, measure):
        while True:
            before, start = _others_seconds(own), time.monotonic()
            result = measure()
            used = (_others_seconds(own) - before) / (time.monotonic() - start)
            if used <= LIMIT:
                return result
            if self._allow:
                self._kept += 1
                return result
            if self._repeated == self._retries:
                raise BenchError(f"other programs use the machine: {self._repeated} samples were repeated")
            self._repeated += 1
            time.sleep(1)

    def note(self, load):
        if self._kept:
            return (f"{load}: other programs used more than {LIMIT:.0%} of a core in {self._kept} samples, "
                    "which count: these numbers are NOT reliable")
        return f"{load}: {self._repeated} disturbed samples were repeated" if self._repeated else None
