"""Redis requests at the edges of the protocol, as raw bytes; see test_redis_protocol.py."""
from redis_wire import command

GET = command("GET", "protocol")

# What redis refuses with an error and a close, and skein with the same bytes.
REFUSED = {
    "bulk length with a leading zero": b"*2\r\n$3\r\nGET\r\n$04\r\nabcd\r\n",
    "bulk length of two zeros": b"*2\r\n$3\r\nGET\r\n$00\r\n\r\n",
    "name length with a leading zero": b"*2\r\n$03\r\nGET\r\n$1\r\na\r\n",
    "multibulk length with a leading zero": b"*02\r\n$3\r\nGET\r\n$1\r\na\r\n",
    "multibulk length of two zeros": b"*00\r\n",
    "bulk length with a plus": b"*2\r\n$3\r\nGET\r\n$+1\r\na\r\n",
    "multibulk length with a plus": b"*+2\r\n$3\r\nGET\r\n$1\r\na\r\n",
    "bulk length with a space before": b"*2\r\n$3\r\nGET\r\n$ 1\r\na\r\n",
    "bulk length with a space behind": b"*2\r\n$3\r\nGET\r\n$1 \r\na\r\n",
    "multibulk length with a space": b"* 2\r\n$3\r\nGET\r\n$1\r\na\r\n",
    "multibulk length with a tab": b"*2\t\r\n$3\r\nGET\r\n$1\r\na\r\n",
    "bulk length above 32 bits": b"*2\r\n$3\r\nGET\r\n$4294967300\r\nabcd\r\n",
    "bulk length above 64 bits": b"*2\r\n$3\r\nGET\r\n$18446744073709551620\r\nabcd\r\n",
    "multibulk length above 32 bits": b"*4294967298\r\n$3\r\nGET\r\n$1\r\na\r\n",
    "multibulk length above 31 bits": b"*2147483648\r\n$3\r\nGET\r\n$1\r\na\r\n",
    "multibulk length above 64 bits": b"*18446744073709551618\r\n$3\r\nGET\r\n",
    "bulk length above the limit": b"*2\r\n$3\r\nGET\r\n$536870913\r\n",
    "negative bulk length": b"*2\r\n$3\r\nGET\r\n$-1\r\n",
    "minus zero": b"*2\r\n$3\r\nGET\r\n$-0\r\n\r\n",
    "minus zero multibulk": b"*-0\r\n",
    "empty bulk length": b"*2\r\n$3\r\nGET\r\n$\r\n\r\n",
    "empty multibulk length": b"*\r\n",
    "bulk length of letters": b"*2\r\n$3\r\nGET\r\n$one\r\n",
    "hexadecimal": b"*2\r\n$3\r\nGET\r\n$0x1\r\na\r\n",
    "fraction": b"*2\r\n$3\r\nGET\r\n$1.0\r\na\r\n",
    "multibulk length of letters": b"*two\r\n",
    "another type for an argument": b"*2\r\n$3\r\nGET\r\n:1\r\n",
    "an array for an argument": b"*2\r\n$3\r\nGET\r\n*1\r\n$1\r\na\r\n",
    "a simple string for an argument": b"*1\r\n+PING\r\n",
    "text for an argument": b"*2\r\nGET a\r\n",
    "nothing for an argument": b"*1\r\n\r\n",
    "unbalanced double quote": b'GET "abc\r\n',
    "unbalanced single quote": b"GET 'abc\r\n",
    "text behind a quote": b'GET "abc"def\r\n',
    "text behind a single quote": b"GET 'abc'def\r\n",
    "escape at the end": b'GET "abc\\\r\n',
    "endless name of a type": b"*2\r\n$3\r\nGET\r\n" + b"x" * 50 + b"\r\n",
}

# What redis refuses for its length: nothing may come behind it.
ENDLESS = {
    "inline command": b"GET " + b"a" * 65600,
    "multibulk length": b"*" + b"1" * 65600,
    "bulk length": b"*1\r\n$" + b"1" * 65600,
}

# What redis does not look at but a splitter must: framing that others could read differently.
STRICTER = {
    "NUL in a length": b"*2\r\n$3\r\nGET\r\n$1\x00\r\na\r\n",
    "no CRLF behind an argument": b"*2\r\n$3\r\nGET\r\n$1\r\naXY",
    "argument longer than its length": b"*2\r\n$3\r\nGET\r\n$1\r\nabc\r\n$1\r\n",
    "no CRLF behind the name": b"*2\r\n$3\r\nGETxx$1\r\na\r\n",
    "no CRLF behind a large argument": b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$300000\r\n" + b"v" * 300000
    + b"XY",
    "no CRLF behind a large argument in the middle": b"*5\r\n$4\r\nMSET\r\n$1\r\na\r\n$300000\r\n"
    + b"v" * 300000 + b"XY$1\r\nb\r\n$1\r\nc\r\n",
    "bad length behind a large argument": b"*5\r\n$4\r\nMSET\r\n$1\r\na\r\n$300000\r\n"
    + b"v" * 300000 + b"\r\n$01\r\nb\r\n$1\r\nc\r\n",
    "CR CR behind an argument": b"*2\r\n$3\r\nGET\r\n$1\r\na\r\r",
    "LF LF behind an argument": b"*2\r\n$3\r\nGET\r\n$1\r\na\n\n",
    "CR and no LF behind a bulk length": b"*2\r\n$3\r\nGET\r\n$1\rXa\r\n",
    "CR and no LF behind a multibulk length": b"*2\rX$3\r\nGET\r\n$1\r\na\r\n",
}

# What redis takes.
TAKEN = {
    "nothing": b"",
    "empty multibulk": b"*0\r\n",
    "null multibulk": b"*-1\r\n",
    "negative multibulk": b"*-10\r\n",
    "several empty ones": b"*0\r\n*-1\r\n\r\n\r\n*0\r\n" + GET + b"*0\r\n",
    "empty line": b"\r\n",
    "bare line feed": b"\n",
    "line of blanks": b"   \r\n",
    "inline": b"SET protocol inline\r\nGET protocol\r\n",
    "inline with a bare line feed": b"SET protocol lf\nGET protocol\n",
    "inline among multibulk": GET + b"PING\r\n" + GET + b"PING again\r\n",
    "inline with blanks": b"   SET   protocol \t blanks  \r\nGET protocol\r\n",
    "inline with quotes": b'SET protocol "a b\\r\\n\\t\\x00\\xff\\"\\\\c"\r\nGET protocol\r\n',
    "inline with single quotes": b"SET protocol 'it\\'s \\n'\r\nGET protocol\r\n",
    "inline with an empty argument": b'SET protocol ""\r\nGET protocol\r\nSTRLEN protocol\r\n',
    "inline with bad hexadecimal": b'SET protocol "\\xg1\\x4"\r\nGET protocol\r\n',
    "inline split command": b"MSET p1 a p2 b p3 c\r\nMGET p1 p2 p3 p4\r\nDEL p1 p2 p3\r\n",
    "inline unknown": b"NOSUCH 'a b' c\r\n",
    "long inline": b"SET protocol " + b"v" * 60000 + b"\r\nSTRLEN protocol\r\n",
    "empty argument": b"*3\r\n$3\r\nSET\r\n$8\r\nprotocol\r\n$0\r\n\r\n" + GET,
    "empty key": command("SET", "", "empty") + command("GET", ""),
    "empty name": b"*1\r\n$0\r\n\r\n",
    "name in mixed case": command("gEt", "protocol") + command("mgeT", "protocol", "p"),
    "arguments that look like commands": command("SET", "protocol", GET) + GET,
    "wrong arity in the middle": GET + command("GET") + GET + command("MGET") + GET,
    "unknown in the middle": GET + command("NOSUCH", "x") + GET,
    "wrong type in the middle": command("DEL", "protocol") + command("LPUSH", "protocol", "x")
    + GET + command("LRANGE", "protocol", 0, -1) + command("DEL", "protocol"),
    "many commands": (command("SET", "protocol", "x") + GET) * 300,
    "unknown with a long argument": command("NOSUCH", "x" * 300, b"\r\n", "y"),
    "unknown with many arguments": command("NOSUCH", *["argument"] * 100),
    "unknown with CRLF in its name": command("NO\r\nSUCH"),
}
