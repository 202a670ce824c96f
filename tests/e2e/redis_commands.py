"""Random Redis commands whose replies do not depend on where their keys are.

Keys come in families, one per type, so that most commands do something; some draw a key of
any family and meet a wrong type. Commands with several keys draw them under one `{tag}`, except
the ones that are split. Each command says how its reply may be compared.
"""

EXACT = "exact"
UNORDERED = "unordered"   # elements in any order
PAIRS = "pairs"           # a flat array of pairs (RESP2) or a map, pairs in any order
NEAR = "near"             # integers that the time between two servers may change
REFUSED = "refused"       # an error in any words: it does not even say which its keys are

AWKWARD = (b"", b" ", b"\r\n", b"\x00", b"a\x00b", b"$5\r\nhello\r\n", b"*1\r\n$4\r\nQUIT\r\n",
           b"+OK\r\n", b"-ERR no\r\n", b"{}", b"{", b"}", b"}{", b"{}{x}", b"{{x}}", b"\xff\xfe",
           b"quote\"'\\", b"\xc3\xa9\xe2\x82\xac", b"foo{}{bar}", b"foo{{bar}}zap", b"foo{bar}{zap}")
FAMILIES = ("string", "number", "list", "hash", "set", "zset", "stream", "hll", "geo", "bits")
TAGS = (b"{a}", b"{b}", b"{\x00\r\n}", b"{tag}", b"{{}")
SCRIPTS = (
    "return redis.call('GET', KEYS[1])",
    "return {KEYS[1], ARGV[1], #KEYS, #ARGV, 3.99, false, {1, {2, {'three'}}}}",
    "redis.call('SET', KEYS[1], ARGV[1]) return redis.status_reply('DONE')",
    "return redis.error_reply('MY own error')",
    "return redis.pcall('LPUSH', KEYS[1], ARGV[1])",
    "return redis.call('INCR', KEYS[1])",
    "return {ok='fine'}",
    "return nil",
    "return redis.call('MGET', KEYS[1], KEYS[2])",
    "return string.rep(ARGV[1], 3)",
)


class Commands:
    """A stream of commands from one random generator; see each()."""

    def __init__(self, rng, largest=4096):
        self.rng = rng
        self.largest = largest
        self.makers = [getattr(self, name) for name in sorted(dir(self)) if name.startswith("make_")]

    def each(self, count):
        """Yields (arguments, how to compare)."""
        for _ in range(count):
            yield self.rng.choice(self.makers)()

    # Draws

    def key(self, family=None, tag=None):
        """A key of a family; sometimes of another one."""
        rng = self.rng
        if family is None or rng.random() < 0.04:
            family = rng.choice(FAMILIES)
        number = rng.randrange(6)
        if tag is not None:
            return tag + family.encode() + b"%d" % number
        if number < 2:
            return family.encode() + AWKWARD[rng.randrange(len(AWKWARD))]
        return family.encode() + b":%d" % number

    def keys(self, family, count):
        """Keys that share a slot."""
        tag = self.rng.choice(TAGS)
        return [self.key(family, tag) for _ in range(count)]

    def many(self, family=None):
        """Keys anywhere, with duplicates."""
        keys = [self.key(family if self.rng.random() < 0.7 else None)
                for _ in range(self.rng.randrange(1, 12))]
        if self.rng.random() < 0.4:
            keys.append(self.rng.choice(keys))
        return keys

    def value(self):
        rng = self.rng
        kind = rng.random()
        if kind < 0.25:
            return rng.choice(AWKWARD)
        if kind < 0.85:
            return b"v%d" % rng.randrange(1000)
        if kind < 0.97:
            return rng.randbytes(rng.randrange(200))
        return rng.randbytes(64) * rng.randrange(1, 1 + self.largest // 64)

    def field(self):
        return b"f%d" % self.rng.randrange(12)

    def number(self):
        return self.rng.choice((0, 1, -1, 7, 100, -100, 2**31, self.rng.randrange(-1000, 1000)))

    def index(self):
        return self.rng.randrange(-8, 9)

    def score(self):
        return self.rng.choice((0, 1, 1.5, -2.25, 3, 10, 1e20, "inf", "-inf", 17))

    def pick(self, family, *choices):
        """One of several (name, arguments..., mode) on a key of a family, comparing exactly
        unless the last element is a mode."""
        choice = self.rng.choice(choices)
        mode = EXACT
        if choice[-1] in (UNORDERED, PAIRS, NEAR):
            mode, choice = choice[-1], choice[:-1]
        return (choice[0], self.key(family), *choice[1:]), mode

    # One method per topic

    def make_string(self):
        return self.pick(
            "string", ("SET", self.value()), ("GET",), ("GETSET", self.value()), ("STRLEN",),
            ("APPEND", b"x" * self.rng.randrange(4)), ("SETNX", self.value()), ("GETDEL",),
            ("SET", self.value(), "XX", "GET"), ("SET", self.value(), "NX"), ("GETEX", "PERSIST"),
            ("GETRANGE", self.index(), self.index()), ("SETRANGE", self.rng.randrange(20), b"mid"),
            ("SET", self.value(), "EX", 1000), ("SUBSTR", 0, 3), ("PSETEX", 10**7, self.value()))

    def make_plain(self):
        """The commonest ones, more often."""
        key = self.key("string")
        return self.rng.choice(((("GET", key), EXACT), (("SET", key, self.value()), EXACT)))

    def make_number(self):
        return self.pick(
            "number", ("INCR",), ("DECR",), ("INCRBY", self.number()), ("DECRBY", self.number()),
            ("INCRBYFLOAT", "0.25"), ("SET", self.number()), ("GET",), ("INCRBY", "nonsense"))

    def make_bits(self):
        return self.pick(
            "bits", ("SETBIT", self.rng.randrange(200), 1), ("GETBIT", self.rng.randrange(200)),
            ("BITCOUNT",), ("BITPOS", 1), ("BITFIELD", "INCRBY", "u5", 10, 1, "GET", "i4", 0),
            ("BITFIELD_RO", "GET", "u8", 0), ("SETBIT", 5, 2))

    def make_list(self):
        return self.pick(
            "list", ("LPUSH", self.value(), self.value()), ("RPUSH", self.value()), ("LLEN",),
            ("LRANGE", self.index(), self.index()), ("LRANGE", 0, -1), ("LPOP",), ("RPOP", 2),
            ("LINDEX", self.index()), ("LSET", self.index(), self.value()), ("LPUSHX", b"only"),
            ("LREM", self.index(), self.value()), ("LTRIM", 0, 20), ("LPOS", self.value()),
            ("LINSERT", "BEFORE", self.value(), b"new"), ("SORT", "ALPHA", "LIMIT", 0, 5),
            ("SORT_RO", "ALPHA"))

    def make_hash(self):
        return self.pick(
            "hash", ("HSET", self.field(), self.value()), ("HGET", self.field()), ("HLEN",),
            ("HMSET", self.field(), self.value(), self.field(), self.value()), ("HGETALL", PAIRS),
            ("HMGET", self.field(), self.field(), b"none"), ("HDEL", self.field()),
            ("HKEYS", UNORDERED), ("HVALS", UNORDERED), ("HEXISTS", self.field()),
            ("HINCRBY", b"number", self.number()), ("HSTRLEN", self.field()),
            ("HSETNX", self.field(), self.value()), ("HINCRBYFLOAT", b"float", "1.5"),
            ("HSET", self.field()))

    def make_set(self):
        return self.pick(
            "set", ("SADD", self.value(), self.value()), ("SREM", self.value()), ("SCARD",),
            ("SADD", self.number()), ("SMEMBERS", UNORDERED), ("SISMEMBER", self.value()),
            ("SMISMEMBER", self.value(), self.number()))

    def make_zset(self):
        return self.pick(
            "zset", ("ZADD", self.score(), self.field()), ("ZSCORE", self.field()), ("ZCARD",),
            ("ZADD", self.score(), self.field(), self.score(), self.field()),
            ("ZADD", "INCR", 1.25, self.field()), ("ZINCRBY", 2, self.field()),
            ("ZRANGE", 0, -1, "WITHSCORES"), ("ZRANGE", self.index(), self.index(), "REV"),
            ("ZRANGEBYSCORE", "-inf", "(10", "LIMIT", 0, 3), ("ZRANK", self.field()),
            ("ZREVRANK", self.field()), ("ZREM", self.field()), ("ZCOUNT", 0, 10),
            ("ZPOPMIN",), ("ZPOPMAX", 2), ("ZMSCORE", self.field(), b"none"), ("ZADD", "x", b"m"),
            ("ZREMRANGEBYRANK", 5, -1), ("ZREVRANGE", 0, 2, "WITHSCORES"))

    def make_stream(self):
        rng = self.rng
        return self.pick(
            "stream", ("XADD", f"{rng.randrange(1, 50)}-{rng.randrange(9)}", b"f", self.value()),
            ("XLEN",), ("XRANGE", "-", "+", "COUNT", 3), ("XREVRANGE", "+", "-"),
            ("XTRIM", "MAXLEN", 6), ("XDEL", f"{rng.randrange(1, 50)}-1"))

    def make_stream_keys(self):
        """Keys behind STREAMS, and behind a subcommand's name."""
        first, second = self.keys("stream", 2)
        return self.rng.choice((
            (("XREAD", "COUNT", 2, "STREAMS", first, second, "0", "5-1"), EXACT),
            (("XREAD", "STREAMS", first, "0"), EXACT),
            (("XINFO", "STREAM", first), EXACT),
            (("XGROUP", "CREATE", first, "group", "0", "MKSTREAM"), EXACT),
            (("XREADGROUP", "GROUP", "group", "me", "COUNT", 1, "STREAMS", first, ">"), EXACT),
            (("XACK", first, "group", "1-1"), EXACT),
            (("XREAD", "STREAMS", first, second, "0"), REFUSED)))

    def make_hll(self):
        one, two = self.keys("hll", 2)
        return self.rng.choice((
            (("PFADD", one, self.value()), EXACT), (("PFCOUNT", one), EXACT),
            (("PFCOUNT", one, two), EXACT), (("PFMERGE", one, two), EXACT)))

    def make_geo(self):
        lon, lat = self.rng.randrange(-90, 90), self.rng.randrange(-60, 60)
        return self.pick(
            "geo", ("GEOADD", lon, lat, self.field()), ("GEOPOS", self.field(), b"none"),
            ("GEODIST", b"f1", b"f2", "km"), ("GEOHASH", self.field()),
            ("GEOSEARCH", "FROMLONLAT", lon, lat, "BYRADIUS", 3000, "km", "ASC", "WITHDIST"))

    def make_generic(self):
        return self.pick(
            None, ("TYPE",), ("EXISTS",), ("DEL",), ("EXPIRE", 10000), ("PERSIST",), ("TTL", NEAR),
            ("PTTL", NEAR), ("EXPIRE", "soon"), ("EXPIREAT", 99999999999), ("EXPIRETIME", NEAR),
            ("SET", self.value()))

    def make_object(self):
        key = self.key()
        return self.rng.choice(((("OBJECT", "ENCODING", key), EXACT),
                                (("OBJECT", "REFCOUNT", b"no-such-key"), EXACT),
                                (("OBJECT", "NONSENSE", key), EXACT), (("OBJECT",), EXACT)))

    def make_split(self):
        """What goes to several shards at once."""
        rng = self.rng
        name = rng.choice(("MGET", "MGET", "MSET", "MSET", "DEL", "UNLINK", "EXISTS", "TOUCH"))
        if name == "MSET":
            flat = []
            for key in self.many("string"):
                flat += [key, self.value()]
            if rng.random() < 0.05:
                flat.pop()
            return (name, *flat), EXACT
        keys = self.many("string" if name == "MGET" else None)
        if name in ("DEL", "UNLINK"):
            keys = keys[:3]
        return (name, *keys), EXACT

    def make_one_slot(self):
        """Several keys that have to share a slot, and do."""
        rng = self.rng
        first, second, third = self.keys(rng.choice(("set", "zset", "list", "string")), 3)
        a, b, c = self.keys("set", 3)
        x, y, z = self.keys("zset", 3)
        p, q, _ = self.keys("list", 3)
        s, t, u = self.keys("string", 3)
        return rng.choice((
            (("RENAME", first, second), EXACT), (("RENAMENX", first, third), EXACT),
            (("COPY", first, second, "REPLACE"), EXACT), (("MSETNX", s, b"1", t, b"2"), EXACT),
            (("SUNION", a, b), UNORDERED), (("SINTER", a, b), UNORDERED),
            (("SDIFF", a, b), UNORDERED), (("SUNIONSTORE", c, a, b), EXACT),
            (("SINTERCARD", 2, a, b), EXACT), (("SMOVE", a, b, self.value()), EXACT),
            (("ZUNION", 2, x, y, "WITHSCORES"), EXACT), (("ZINTER", 2, x, y), EXACT),
            (("ZDIFFSTORE", z, 2, x, y), EXACT), (("ZUNIONSTORE", z, 2, x, y), EXACT),
            (("ZRANGESTORE", z, x, 0, 3), EXACT), (("ZMPOP", 2, x, y, "MIN"), EXACT),
            (("LMPOP", 2, p, q, "LEFT", "COUNT", 2), EXACT), (("RPOPLPUSH", p, q), EXACT),
            (("LMOVE", p, q, "LEFT", "RIGHT"), EXACT), (("BITOP", "XOR", u, s, t), EXACT),
            (("LCS", s, t), EXACT), (("SORT", p, "ALPHA", "STORE", q), EXACT),
            (("ZUNION", 3, x, y), EXACT), (("ZINTER", "two", x, y), REFUSED)))

    def make_script(self):
        rng = self.rng
        keys = self.keys(rng.choice(("string", "number")), 2)
        script = rng.choice(SCRIPTS)
        return rng.choice((
            (("EVAL", script, 2, *keys, self.value()), EXACT),
            (("EVAL", script, 2, *keys, b"plain", b"more"), EXACT),
            (("EVAL_RO", "return redis.call('GET', KEYS[1])", 1, keys[0]), EXACT),
            (("EVALSHA", b"f" * 40, 1, keys[0]), EXACT),
            (("EVAL", "this is no lua", 1, keys[0]), EXACT)))

    def make_wrong(self):
        """Errors: arity, names, syntax."""
        key = self.key("string")
        return self.rng.choice((
            (("GET",), EXACT), (("SET", key), EXACT), (("GET", key, key), EXACT),
            (("NOSUCHCOMMAND", key, b"arg", b"\r\n\x00"), EXACT), (("",), EXACT),
            (("nosuch\r\ncommand",), EXACT), (("MGET",), EXACT), (("DEL",), EXACT),
            (("SET", key, b"v", "NONSENSE"), EXACT), (("SETEX", key, 0, b"v"), EXACT),
            (("LRANGE", key, "a", "b"), EXACT), (("MSET", key), EXACT), (("EXISTS",), EXACT),
            (("x" * 200, b"y" * 200, b"z" * 200), EXACT), (("HSET", key, b"f"), EXACT)))

    def make_local(self):
        return self.rng.choice((
            (("PING",), EXACT), (("PING", self.value()), EXACT), (("ECHO", self.value()), EXACT),
            (("ECHO",), EXACT), (("PING", b"1", b"2"), EXACT), (("SELECT", 0), EXACT)))


def comparable(value, mode):
    """A reply's value in a form in which equal means the same, whatever the order."""
    if isinstance(value, list):
        if mode == PAIRS:
            flat = value if value and isinstance(value[0], tuple) else \
                list(zip(value[::2], value[1::2]))
            return sorted(flat)
        if mode == UNORDERED:
            return sorted(value, key=repr)
    return value


def same(mode, got, wanted):
    """Whether two replies (redis_wire.Reply) are the same in a mode."""
    if mode == REFUSED:
        return got.raw[:1] == wanted.raw[:1] == b"-"
    if mode == EXACT or got.raw[:1] != wanted.raw[:1]:
        return got.raw == wanted.raw
    if mode == NEAR and isinstance(got.value, int):
        return got.value == wanted.value or (min(got.value, wanted.value) > 0 and
                                             abs(got.value - wanted.value) <= 5000)
    return comparable(got.value, mode) == comparable(wanted.value, mode)
