"""How skein treats Redis commands: the part that does not follow from the server's own table.

policy_of() derives the rest: a command with keys goes to the shard of its keys, a blocking one on
a connection of its own, anything else is unsupported.
"""

# Policy -> commands; "container|subcommand". The names are those of enum redis_policy.
EXPLICIT = {
    "SPLIT_MGET": "mget",
    "SPLIT_MSET": "mset",
    "SPLIT_SUM": "del unlink exists touch",
    "ALL_SUM": "dbsize",
    "ALL_OK": "flushall flushdb script|load script|flush function|load function|delete function|flush"
              " function|restore",
    "ALL_CONCAT": "keys",
    "ALL_AND": "script|exists",
    "SCAN": "scan",
    "LOCAL": "ping echo quit hello auth select reset time info command command|count command|docs"
             " command|getkeys command|getkeysandflags command|help command|info command|list"
             " client|setname client|getname client|id client|reply client|info",
    "TRANSACTION": "multi exec discard watch unwatch",
    "PUBSUB": "subscribe psubscribe unsubscribe punsubscribe publish pubsub|channels pubsub|numsub"
              " pubsub|numpat",
    "SHARD_PUBSUB": "ssubscribe sunsubscribe spublish",
    "MONITOR": "monitor",
    # They block only with BLOCK: whoever forwards them looks at the arguments.
    "FORWARD": "xread xreadgroup",
    # They have keys, but talk to another server, or are for one.
    "UNSUPPORTED": "migrate restore-asking move",
}

# Commands whose key specs are incomplete or miss cases; the names are those of enum redis_key_finder.
FINDERS = {
    "SORT": "sort",
    "SORT_RO": "sort_ro",
    "GEORADIUS": "georadius georadiusbymember",
    "STREAMS": "xread xreadgroup",
    "MIGRATE": "migrate",
}


def _by_name(table):
    out = {}
    for value, names in table.items():
        for name in names.split():
            if name in out:
                raise SystemExit(f"redis_policy.py names {name} twice")
            out[name] = value
    return out


POLICY = _by_name(EXPLICIT)
FINDER = _by_name(FINDERS)


def real_specs(command):
    """Key specs but for those of channels."""
    return [spec for spec in command["key_specs"] if "not_key" not in spec["flags"]]


def _is_range(spec):
    return (spec["begin_search"]["type"] == "index" and spec["find_keys"]["type"] == "range"
            and "incomplete" not in spec["flags"])


def policy_of(command):
    if command["name"] in POLICY:
        return POLICY[command["name"]]
    if not real_specs(command) or "admin" in command["flags"]:
        return "UNSUPPORTED"
    return "BLOCKING" if "blocking" in command["flags"] else "FORWARD"


def finder_of(command):
    """How its keys are found. A spec that nothing here can read fails the build."""
    specs = real_specs(command)
    if command["name"] in FINDER:
        return FINDER[command["name"]]
    if not specs:
        return "NONE"
    for spec in specs:
        keynum = spec["begin_search"]["type"] == "index" and spec["find_keys"]["type"] == "keynum"
        if not keynum and not _is_range(spec):
            raise SystemExit(f"{command['name']}: its key spec needs a function of its own: {spec}")
        if _is_range(spec) and spec["find_keys"]["spec"]["limit"] != 0:
            raise SystemExit(f"{command['name']}: a range with a limit needs a function of its own")
    if len(specs) > 1 or not _is_range(specs[0]) or specs[0]["find_keys"]["spec"]["lastkey"] != 0:
        return "SPECS"
    if specs[0]["begin_search"]["spec"]["index"] != command["first_key"]:
        raise SystemExit(f"{command['name']}: its key spec and its first key differ")
    return "ONE"


def check_names(names):
    """Every command that is named here must be one that the server has."""
    unknown = sorted((POLICY.keys() | FINDER.keys()) - set(names))
    if unknown:
        raise SystemExit(f"redis_policy.py names what the server does not have: {' '.join(unknown)}")
