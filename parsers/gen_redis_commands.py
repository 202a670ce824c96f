#!/usr/bin/env python3
"""The Redis command table: taken from a server, turned into C.

usage: gen_redis_commands.py --dump HOST:PORT OUT.json
       gen_redis_commands.py redis_commands.h IN.json OUT.h

--dump asks a running redis-server for COMMAND and writes what it says, one top-level command a
line. The other form joins that with redis_policy.py; its output depends on nothing else.
"""

import json
import re
import socket
import sys

import redis_policy

HASH_BUCKETS = 128
HASH_SLOTS = 512
FIELDS = ["name", "arity", "flags", "first_key", "last_key", "step", "acl_categories", "tips",
          "key_specs", "subcommands"]
# COMMAND's flags that the C code looks at; the others are only described.
FLAGS = {"pubsub": "REDIS_PUBSUB_FLAG", "blocking": "REDIS_BLOCKING_FLAG"}


class Server:
    """A connection that speaks RESP3."""

    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self.sock = socket.create_connection((host, int(port)), timeout=10)
        self.file = self.sock.makefile("rb")
        self.version = self.call("HELLO", "3")["version"]

    def call(self, *args):
        parts = [b"*%d\r\n" % len(args)]
        parts += [b"$%d\r\n%s\r\n" % (len(a), a) for a in (arg.encode() for arg in args)]
        self.sock.sendall(b"".join(parts))
        return self.read()

    def read(self):
        line = self.file.readline()
        kind, value = line[:1], line[1:-2].decode()
        if kind == b"+":
            return value
        if kind == b":":
            return int(value)
        if kind == b"$":
            return self.file.read(int(value) + 2)[:-2].decode()
        if kind in b"*~" and kind:
            return [self.read() for _ in range(int(value))]
        if kind == b"%":
            return {self.read(): self.read() for _ in range(int(value))}
        raise SystemExit(f"the server says {line!r}")


def entry(reply):
    command = dict(zip(FIELDS, reply, strict=True))
    command["subcommands"] = sorted((entry(sub) for sub in command["subcommands"]), key=lambda c: c["name"])
    return command


def dump(address, target):
    server = Server(address)
    commands = sorted((entry(reply) for reply in server.call("COMMAND")), key=lambda c: c["name"])
    lines = ",\n".join(json.dumps(command) for command in commands)
    with open(target, "w", encoding="ascii") as f:
        f.write(f'{{"version": {json.dumps(server.version)},\n"commands": [\n{lines}\n]}}\n')


def enum_names(path, enum):
    """Members of an enum of the header, in order."""
    with open(path, encoding="ascii") as f:
        body = re.search(rf"enum {enum} \{{(.*?)\}};", f.read(), re.S).group(1)
    body = re.sub(r"/\*.*?\*/", "", body, flags=re.S)
    return [m.split("=")[0].strip() for m in body.split(",") if m.strip()]


def text(value):
    return "NULL" if value is None else json.dumps(value)


class Lists:
    """Lists of words; equal ones are one C array."""

    def __init__(self, out):
        self.out = out
        self.names = {}

    def name(self, words):
        key = tuple(words)
        if key not in self.names:
            self.names[key] = f"_words_{len(self.names)}"
            items = ", ".join([text(w) for w in words] + ["NULL"])
            self.out.append(f"static const char *const {self.names[key]}[] = {{{items}}};")
        return self.names[key]


def spec_row(spec, lists):
    begin, find = spec["begin_search"], spec["find_keys"]
    b, f = begin["spec"], find["spec"]
    values = {
        "begin": f"REDIS_BEGIN_{begin['type'].upper()}",
        "find": f"REDIS_FIND_{find['type'].upper()}",
        "not_key": "true" if "not_key" in spec["flags"] else "false",
        "pos": b.get("index", b.get("startfrom", 0)),
        "keyword": text(b.get("keyword")),
        "last": f.get("lastkey", 0),
        "limit": f.get("limit", 0),
        "keynum": f.get("keynumidx", 0),
        "first": f.get("firstkey", 0),
        "step": f.get("keystep", 0),
        "notes": text(spec.get("notes")),
        "flags": lists.name(spec["flags"]),
    }
    return "    {" + ", ".join(f".{k} = {v}" for k, v in values.items()) + "},"


def command_row(command, number, flag_names, ids):
    finder = redis_policy.finder_of(command)
    flags = [FLAGS.get(flag, "REDIS_" + flag.upper()) for flag in command["flags"]]
    flags = [flag for flag in flags if flag in flag_names]
    if finder == "ONE":
        flags.append("REDIS_ONE_KEY")
    subs = command["subcommands"]
    specs = command["key_specs"]
    values = {
        "name": text(command["name"]),
        "arity": command["arity"],
        "first_key": command["first_key"],
        "last_key": command["last_key"],
        "key_step": command["step"],
        "flags": " | ".join(flags) or "0",
        "policy": "REDIS_" + redis_policy.policy_of(command),
        "n_specs": len(specs),
        "n_subs": len(subs),
        "id": number,
        "name_len": len(command["name"]),
        "key_finder": "REDIS_KEYS_" + finder,
        "specs": f"_specs_{number}" if specs else "NULL",
        "subs": f"_table + {ids[subs[0]['name']]}" if subs else "NULL",
    }
    return "    {" + ", ".join(f".{k} = {v}" for k, v in values.items()) + "},"


def name_hash(name, seed):
    """As _hash() in redis_commands.c."""
    h = seed
    for c in name.encode():
        h = (h ^ c) * 0x01000193 & 0xFFFFFFFF
    return h ^ h >> 15


def place(names, seed):
    """Offsets per bucket so that no two names share a slot (hash and displace), or None."""
    buckets = [[] for _ in range(HASH_BUCKETS)]
    for i, name in enumerate(names):
        h = name_hash(name, seed)
        buckets[h % HASH_BUCKETS].append((h // HASH_BUCKETS, i))
    slots, offsets = [-1] * HASH_SLOTS, [0] * HASH_BUCKETS
    for number in sorted(range(HASH_BUCKETS), key=lambda b: -len(buckets[b])):
        bucket = buckets[number]
        for offset in range(HASH_SLOTS):
            at = {(h + offset) % HASH_SLOTS for h, _ in bucket}
            if len(at) == len(bucket) and all(slots[slot] < 0 for slot in at):
                break
        else:
            return None
        offsets[number] = offset
        for h, i in bucket:
            slots[(h + offset) % HASH_SLOTS] = i
    return slots, offsets


def hash_tables(names, out):
    for seed in range(1, 1000):
        if placed := place(names, seed):
            break
    else:
        raise SystemExit("no perfect hash: HASH_SLOTS is too small")
    slots, offsets = placed
    out += [f"#define REDIS_HASH_SEED {seed}u", f"#define REDIS_HASH_BUCKETS {HASH_BUCKETS}u",
            f"#define REDIS_HASH_SLOTS {HASH_SLOTS}u",
            f"static const uint16_t _offsets[REDIS_HASH_BUCKETS] = {{{', '.join(map(str, offsets))}}};",
            f"static const int16_t _slots[REDIS_HASH_SLOTS] = {{{', '.join(map(str, slots))}}};"]


def generate(header, source, target):
    with open(source, encoding="ascii") as f:
        data = json.load(f)
    top = data["commands"]
    commands = top + [sub for command in top for sub in command["subcommands"]]
    ids = {command["name"]: i for i, command in enumerate(commands)}
    redis_policy.check_names(ids)
    longest = max(len(command["name"]) for command in top)

    out = ["/* Generated by gen_redis_commands.py. */", "#pragma once", '#include "parsers/redis_table.h"',
           f"#define REDIS_TABLE_VERSION {text(data['version'])}",
           f"#define REDIS_TOP_COMMANDS {len(top)}", f"#define REDIS_NAME_MAX {longest}"]
    lists = Lists(out)
    described = [", ".join(lists.name(c[k]) for k in ("flags", "acl_categories", "tips")) for c in commands]
    for i, command in enumerate(commands):
        if command["key_specs"]:
            rows = [spec_row(spec, lists) for spec in command["key_specs"]]
            out += [f"static const struct redis_key_spec _specs_{i}[] = {{", *rows, "};"]
    flag_names = set(enum_names(header, "redis_flag"))
    out.append(f"static const struct redis_command _table[{len(commands)}] = {{")
    out += [command_row(command, i, flag_names, ids) for i, command in enumerate(commands)]
    out += ["};", f"static const struct redis_description _descriptions[{len(commands)}] = {{"]
    out += [f"    {{{row}}}," for row in described]
    out.append("};")
    hash_tables([command["name"] for command in top], out)
    with open(target, "w", encoding="ascii") as f:
        f.write("\n".join(out) + "\n")


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    if sys.argv[1] == "--dump":
        dump(*sys.argv[2:])
    else:
        generate(*sys.argv[1:])


if __name__ == "__main__":
    main()
