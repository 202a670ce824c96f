"""The table: one row per load and measure, one column per contestant."""

import json
import os
import platform
import re
import statistics
import subprocess
import time

from peers import CONTROL, DIRECT, HAPROXY, NGINX, NUTCRACKER, NUTCRACKER_AGAIN, SKEIN, SKEIN_ALL
from peers import SKEIN_BYPASS, SKEIN_OFF, SKEIN_ON

COLUMNS = {DIRECT: "direct", HAPROXY: "HAProxy", CONTROL: "HAProxy again", NGINX: "nginx",
           SKEIN: "skein", SKEIN_OFF: "skein, `kernel: off`"}
REDIS_COLUMNS = {DIRECT: "direct", NUTCRACKER: "nutcracker", NUTCRACKER_AGAIN: "nutcracker again",
                 SKEIN_OFF: "skein, `kernel: off`", SKEIN: "skein, `kernel: auto`",
                 SKEIN_ON: "skein, `kernel: on`", SKEIN_ALL: "skein, `auto`, a worker per core"}
BYPASS_COLUMNS = {DIRECT: "direct", HAPROXY: "HAProxy", CONTROL: "HAProxy again", NGINX: "nginx",
                  SKEIN: "skein, `bypass: off`", SKEIN_BYPASS: "skein, bypass"}
BYPASS_REDIS_COLUMNS = {DIRECT: "direct", NUTCRACKER: "nutcracker", SKEIN: "skein, `bypass: off`",
                        SKEIN_BYPASS: "skein, bypass"}
HEADINGS = (
    (COLUMNS, "HTTP: medians; in brackets the ratio to HAProxy, for short connections to nginx."),
    (REDIS_COLUMNS, "Redis: medians; in brackets the ratio to nutcracker."),
    (BYPASS_COLUMNS, "HTTP with local peers: medians; in brackets the ratio to HAProxy."),
    (BYPASS_REDIS_COLUMNS, "Redis with local peers: medians; in brackets the ratio to nutcracker."),
)


class Row:
    """Samples of one measure; the cell shows their median and its ratio to the reference's.

    Failures are counted with combine=sum: a median would hide those of a single round.
    """

    def __init__(self, load, measure, fmt="{:,.0f}", reference=None, combine=statistics.median,
                 columns=COLUMNS):
        self.load, self.measure, self.columns = load, measure, columns
        self.samples = {}
        self._fmt, self._reference, self._combine = fmt, reference, combine

    def add(self, contestant, value):
        self.samples.setdefault(contestant, []).append(value)

    def value(self, contestant):
        return self._combine(self.samples[contestant])

    def ratio(self, contestant):
        if self._reference not in self.samples or contestant not in self.samples:
            return None
        reference = self.value(self._reference)
        return self.value(contestant) / reference if reference > 0 else None

    def add_differences(self, row, base):
        """From the base's median in another row to that of all others: what a proxy adds."""
        for name in row.samples:
            if name != base and base in row.samples:
                self.add(name, row.value(name) - row.value(base))

    def add_ratios(self, row, base):
        """The medians of another row in units of the base's."""
        for name in row.samples:
            if name != base and base in row.samples and row.value(base) > 0:
                self.add(name, row.value(name) / row.value(base))

    def cell(self, contestant):
        if contestant not in self.samples:
            return ""
        if isinstance(self.samples[contestant][0], str):
            return self.samples[contestant][-1]
        text = self._fmt.format(self.value(contestant))
        ratio = self.ratio(contestant)
        return text if ratio is None else f"{text} ({ratio:.2f})"

    def as_json(self):
        return {"load": self.load, "measure": self.measure, "reference": self._reference,
                "samples": self.samples,
                "ratios": {name: self.ratio(name) for name in self.samples} if self._reference else None}


def _version(*command):
    """The first version number that a program prints, wherever it prints it."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    except OSError:
        return None
    found = re.search(rb"\d+\.\d+(\.\d+)?", done.stdout)
    return found[0].decode() if found else None


def machine(skein_binary):
    with open("/proc/meminfo", encoding="ascii") as file:
        memory_kib = int(file.readline().split()[1])
    return {
        "date": time.strftime("%Y-%m-%d"),
        "cores": os.cpu_count(),
        "memory_gib": round(memory_kib / (1 << 20)),
        "architecture": platform.machine(),
        "kernel": platform.release(),
        "nginx": _version("nginx", "-v"),
        "haproxy": _version("haproxy", "-v"),
        "wrk": _version("wrk", "-v"),
        "nutcracker": _version("nutcracker", "-V"),
        "redis": _version("redis-server", "--version"),
        "skein": _version(skein_binary, "--version"),
    }


def _table(rows, columns):
    lines = [
        "| load | measure | " + " | ".join(columns.values()) + " |",
        "|---|---|" + "---:|" * len(columns),
    ]
    previous = None
    for row in rows:
        load = row.load if row.load != previous else ""
        lines.append(f"| {load} | {row.measure} | " + " | ".join(map(row.cell, columns)) + " |")
        previous = row.load
    return lines


def markdown(facts, rows, notes):
    names = ("skein", "haproxy", "nginx", "wrk", "nutcracker", "redis")
    versions = ", ".join(f"{name} {facts[name]}" for name in names if facts[name])
    lines = [
        f"{facts['date']}: {facts['cores']} cores, {facts['memory_gib']} GiB, {facts['architecture']}, "
        f"Linux {facts['kernel']}; {versions}. All on loopback (remote peers behind "
        "a veth pair), one worker per proxy.",
    ]
    for columns, heading in HEADINGS:
        measured = [row for row in rows if row.samples and row.columns is columns]
        if measured:
            lines += ["", heading, "", *_table(measured, columns)]
    if notes:
        lines += ["", *(f"- {note}" for note in notes)]
    return "\n".join(lines)


def write_json(path, facts, rows, notes):
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"machine": facts, "rows": [row.as_json() for row in rows], "notes": notes}, file,
                  indent=2)
        file.write("\n")
