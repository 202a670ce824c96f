"""What skein reports about itself: paths from /metrics, things in use from /stats."""

import json
import re

# Gauges that have to come back to where they were once the load is gone.
_IN_USE = re.compile(r"slot|lease|in_use|active|idle|open|connections|entries")
_NOT_A_GAUGE = re.compile(r"total|max|limit|capacity|accepted|opened")


def message_paths(metrics):
    """{path: messages} over all listeners and both directions, from Prometheus text."""
    paths = {}
    for line in metrics.splitlines():
        sample = re.match(r"skein_messages_total\{(.*)\}\s+(\S+)", line)
        if sample:
            path = dict(re.findall(r'(\w+)="([^"]*)"', sample[1])).get("path", "")
            paths[path] = paths.get(path, 0) + float(sample[2])
    return paths


def share(path, before, after):
    """Share of the messages between two message_paths() that took a path; None without any."""
    moved = {path: after[path] - before.get(path, 0) for path in after}
    total = sum(moved.values())
    return moved.get(path, 0) / total if total else None


def kernel_share(before, after):
    return share("kernel", before, after)


def in_use(stats):
    """{dotted path: number} of the gauges in /stats."""
    found = {}

    def walk(node, path):
        if isinstance(node, dict):
            for key, value in node.items():
                walk(value, f"{path}.{key}" if path else key)
        elif isinstance(node, list):
            for index, value in enumerate(node):
                walk(value, f"{path}.{index}")
        elif isinstance(node, (int, float)) and not isinstance(node, bool):
            key = path.lower()
            if _IN_USE.search(key) and not _NOT_A_GAUGE.search(key):
                found[path] = node

    walk(json.loads(stats), "")
    return found
