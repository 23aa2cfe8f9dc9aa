"""Attacks that hypothesis makes: answers to the upgrade, frames, and messages."""

from __future__ import annotations

import json
import struct
from typing import Any

from attacks import (
    ACK,
    NEWER,
    OLDER,
    USUAL_HEAD,
    Attack,
    Framed,
    Head,
    Pieces,
    Plain,
    Said,
    Squeezed,
    message,
)
from hostile import ENDS
from hypothesis import strategies as st

Texts = st.SearchStrategy[str]


def mostly(usual: st.SearchStrategy[Any] | Any, *others: st.SearchStrategy[Any]) -> Any:
    """The usual thing in about three of four cases."""
    usual = usual if isinstance(usual, st.SearchStrategy) else st.just(usual)
    return st.integers(0, 3).flatmap(lambda draw: st.one_of(*others) if draw == 3 else usual)


# --- The client, and how things are sent -----------------------------------------------------

CUTS = mostly((1 << 20,), st.lists(st.integers(1, 400), min_size=1, max_size=4).map(tuple))
MANNER: dict[str, Any] = {
    "cuts": CUTS,
    "end": st.sampled_from(ENDS),
    "times": st.integers(1, 3),
    "protocol": st.sampled_from([NEWER, OLDER, None]),
    "reconnects": st.booleans(),
    "logs": st.booleans(),
}

# --- The answer to the upgrade ---------------------------------------------------------------

COUNTS = st.integers(0, 99) | st.sampled_from([-1, 2**31, 2**63, 10**19, 10**25, 10**400])
CHARS = st.characters(max_codepoint=255)
LATIN = st.text(CHARS, max_size=30)
MONTHS = st.sampled_from(["Jan", "Feb", "Oct", "Dec", "oct", "Okt", "13", ""])
ZONES = st.sampled_from(["GMT", "+0000", "-9999", "+99999999", "EST", "Z", "", "A", "+00:00"])
DATES = st.builds(
    "{}{} {} {} {}:{}:{} {}".format,
    st.sampled_from(["Wed, ", "Wednesday, ", "", "X, ", ","]),
    *(COUNTS, MONTHS, COUNTS | st.sampled_from([1970, 2026, 9999, "0000"]), COUNTS, COUNTS),
    *(COUNTS, ZONES),
)
USUAL_DATES = st.sampled_from(
    [
        "Wed, 21 Oct 2026 07:28:00 GMT",
        "Wednesday, 21-Oct-26 07:28:00 GMT",
        "Wed Oct 21 07:28:00 2026",
        "2026-10-21T07:28:00Z",
        "Wed, 21 Oct 99999999999999999999 07:28:00 GMT",
        "Fri, 31 Dec 9999 23:59:60 -2359",
        "Mon, 01 Jan 0001 00:00:00 +2359",
    ]
)
DELAYS = st.one_of(
    st.sampled_from(["120", "0", "-1", "1.5", "1e9", "1e999", "nan", "inf", "0x10", "+5", "5 s"]),
    st.sampled_from(["٣", "²", "9" * 400, "9" * 5000, "1_000", " 7 ", "3, 4", ""]),
    COUNTS.map(str),
    USUAL_DATES,
    DATES,
)
PLACES = st.one_of(
    st.sampled_from(["wss://other.example/graphql?token=abcdef", "//x", "/", "", "http://[", "::"]),
    st.sampled_from(["http://user:pass@host/#f", "ws://host:99999", "javascript:x", "\x1b[2J"]),
    LATIN,
)
EXTENSIONS = st.one_of(
    st.sampled_from(
        [
            "permessage-deflate",
            "permessage-deflate; server_no_context_takeover",
            "permessage-deflate; client_max_window_bits=8",
            "permessage-deflate; server_max_window_bits=7",
            'permessage-deflate; server_max_window_bits="9"',
            "permessage-deflate; client_max_window_bits=99999999999999999999",
            "permessage-deflate; server_max_window_bits=²",
            "permessage-deflate; x=1",
            "permessage-deflate, permessage-deflate",
            "x-webkit-deflate-frame",
            ";",
            ",",
            ", ,",
            'a="',
        ]
    ),
    LATIN,
)
NUMBERS = st.sampled_from(["0", "5", "-1", "99999999999999999999", "x", "1, 1"])
NAMES = st.sampled_from(["X-Long", "Set-Cookie", "Server", "x y", "", "X", ":", "Ä", "upgrade"])
ANY_NAME = st.text(CHARS, min_size=1, max_size=12)


def header(name: str, values: Texts) -> Texts:
    return values.map(lambda value: f"{name}: {value}")


HEADERS = st.one_of(
    header("Retry-After", DELAYS),
    st.tuples(header("Retry-After", USUAL_DATES | DATES), header("Date", USUAL_DATES | DATES)).map(
        "\r\n".join
    ),
    header("Date", USUAL_DATES | DATES | LATIN),
    header("Location", PLACES),
    header("Sec-WebSocket-Extensions", EXTENSIONS),
    header("Content-Length", NUMBERS),
    header("Transfer-Encoding", st.sampled_from(["chunked", "gzip, chunked", "x", "identity"])),
    header("Content-Encoding", st.sampled_from(["gzip", "br", "x"])),
    st.builds("{}: {}".format, NAMES | ANY_NAME, LATIN),
    st.builds("X-Long: {}".format, st.integers(0, 70_000).map("x".__mul__)),
    st.sampled_from([" folded", "\tfolded", "no colon", "Upgrade : websocket", "X: 1\r\n 2"]),
)
ACCEPTS = st.sampled_from(["<accept>x", "", "AAAA", "<accept>, <accept>", " <accept>", "ä"])
PROTOCOLS = st.one_of(
    st.sampled_from(["graphql-ws", "GraphQL-Transport-WS", "<protocol>, x", "x", "", ",", "mqtt"]),
    st.just("graphql-transport-ws, graphql-ws"),
    LATIN,
)
UPGRADES = st.sampled_from(["WebSocket", "h2c", "websocket, h2c", "", "websocket,websocket"])
CONNECTIONS = st.sampled_from(["keep-alive, Upgrade", "close", "", "upgrade,", "Upgrade\r\n\t, x"])
ESSENTIAL = {
    "Upgrade": ("websocket", UPGRADES),
    "Connection": ("Upgrade", CONNECTIONS),
    "Sec-WebSocket-Accept": ("<accept>", ACCEPTS),
    "Sec-WebSocket-Protocol": ("<protocol>", PROTOCOLS),
}
USUAL = tuple(f"{name}: {usual}" for name, (usual, _) in ESSENTIAL.items())
ESSENTIALS = st.just(USUAL) | st.tuples(
    *(
        mostly(f"{name}: {usual}", header(name, others), st.none())
        for name, (usual, others) in ESSENTIAL.items()
    )
)
VERSIONS = mostly(
    "HTTP/1.1", st.sampled_from(["HTTP/1.0", "http/1.1", "HTTP/2", "ICY", "SSH-2.0-x"])
)
STATUSES = mostly(
    "101",
    st.sampled_from(
        [
            "101",
            "200",
            "204",
            "301",
            "302",
            "307",
            "400",
            "401",
            "403",
            "404",
            "408",
            "425",
            "426",
            "429",
            "500",
            "502",
            "503",
        ]
    ),
    st.integers(0, 1100).map(str),
    st.sampled_from(["099", "000", "1e2", "²²²", "10", "1011", ""]),
)
BODIES = mostly(
    "",
    st.sampled_from(["<html>no</html>", "<request>", "\x1b[2J\x9b", "x" * 9000, "\r\n\r\n"]),
    LATIN,
)
BEGINNINGS = mostly(
    "",
    st.sampled_from(
        [
            "HTTP/1.1 100 Continue\r\n\r\n",
            "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 3,
            "HTTP/1.1 102 Processing\r\n\r\n" * 5000,
            "\x15\x03\x01\x00\x02\x02\x28",
            "\0\0\x06\x04\0\0\0\0\0",
            "SSH-2.0-OpenSSH\r\n",
            "\r\n",
        ]
    ),
)


@st.composite
def heads(draw: st.DrawFn) -> Head:
    newline = draw(mostly("\r\n", st.sampled_from(["\n", "\r"])))
    first = f"{draw(VERSIONS)} {draw(STATUSES)} {draw(mostly('Reason', LATIN))}"
    lines = [line for line in draw(ESSENTIALS) if line is not None]
    lines += draw(st.lists(HEADERS, max_size=4))
    lines = draw(
        st.permutations([*lines, *draw(st.lists(st.sampled_from([*lines, "X: 1"]), max_size=1))])
    )
    data = newline.join([first, *lines, "", ""])
    edit = st.tuples(st.integers(0, 3000), st.integers(0, 255))
    return Head(
        draw(BEGINNINGS) + data + draw(BODIES),
        edits=draw(mostly((), st.lists(edit, max_size=3).map(tuple))),
        keep=draw(mostly(None, st.integers(0, 400))),
    )


# An attack with an answer that is no upgrade has no more to say than that.
BY_HANDSHAKE = st.builds(
    Attack, head=heads(), deflates=st.booleans(), **{**MANNER, "end": st.sampled_from(ENDS)}
)

# --- Messages --------------------------------------------------------------------------------

IDS = st.integers(0, 5).map("<{}>".format)
STRINGS = st.one_of(
    st.text(max_size=12).map(json.dumps),
    st.sampled_from(
        ['"\\ud800"', '"\\udc00\\ud800"', '"\x00"', '"\\u0000"', '"\x1b[2J"', '"\\x"', '"', "''"]
    ),
    st.sampled_from(['"\ud800"', '"\u202e"', '"\\u009b"', '"😀"', '"' + "é" * 3000 + '"']),
    st.sampled_from(['"' + "<0>" * 2000 + '"', '"' + "\\u001b" * 3000 + '"']),
)
SCALARS = st.one_of(
    st.sampled_from(["null", "true", "false", "0", "-0", "1", "1.0", "1e5", "[]", "{}"]),
    st.sampled_from(
        ["1e999", "-1e999", "1" * 400, "1" * 5000, "0." + "1" * 5000, "1e-999", "1E400"]
    ),
    st.sampled_from(["NaN", "Infinity", "-Infinity", "nul", "01", "+1", "0x1", "undefined", ""]),
    STRINGS,
)
DEEP = st.builds(
    lambda depth, pair, inner: pair[0] * depth + inner + pair[1] * depth,
    st.sampled_from([3, 100, 900, 1100, 9000]),
    st.sampled_from([("[", "]"), ('{"a":', "}"), ("[", ""), ('[{"data":', "}]")]),
    st.sampled_from(["1", "", '"x"']),
)
WIDE = st.builds(
    lambda count, each: "[" + ",".join([each] * count) + "]",
    st.sampled_from([100, 7000]),
    st.sampled_from(["1", "[]", "{}", '{"message":"x"}', '""']),
)
KEYS = st.sampled_from(
    [
        "data",
        "errors",
        "extensions",
        "message",
        "path",
        "locations",
        "code",
        "hasNext",
        "incremental",
        "pending",
        "id",
        "label",
        "items",
        "completed",
        "ticks",
        "hello",
        "label",
        "type",
        "payload",
    ]
)


def written(pairs: list[tuple[str, str]]) -> str:
    """An object, in which keys may be there more than once."""
    return "{" + ",".join(f"{json.dumps(key)}:{value}" for key, value in pairs) + "}"


VALUES: Texts = st.recursive(
    SCALARS | SCALARS | DEEP | WIDE,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda parts: "[" + ",".join(parts) + "]"),
        st.lists(st.tuples(KEYS, inner), max_size=4).map(written),
    ),
    max_leaves=6,
)
ERRORS = st.lists(
    st.lists(st.tuples(KEYS, VALUES), max_size=3).map(written) | VALUES, max_size=3
).map(lambda parts: "[" + ",".join(parts) + "]")
RESULTS = st.one_of(
    VALUES,
    VALUES.map('{{"ticks":{}}}'.format).map('{{"data":{}}}'.format),
    VALUES.map('{{"hello":{}}}'.format).map('{{"data":{}}}'.format),
    ERRORS.map('{{"data":null,"errors":{}}}'.format),
    ERRORS.map('{{"errors":{}}}'.format),
    ERRORS,
    st.builds('{{"data":{{"ticks":1}},"errors":{},"extensions":{}}}'.format, ERRORS, VALUES),
    st.builds('{{"{}":{},"hasNext":{}}}'.format, KEYS, VALUES, SCALARS),
)
TYPES = st.sampled_from(
    [
        "connection_ack",
        "connection_error",
        "ping",
        "pong",
        "ka",
        "next",
        "data",
        "error",
        "complete",
        "subscribe",
        "start",
        "connection_init",
        "connection_terminate",
        "<event>",
    ]
)


@st.composite
def objects(draw: st.DrawFn) -> str:
    """A message of a protocol, with anything in it, in any order."""
    type, id = (
        draw(mostly(TYPES.map(json.dumps), VALUES)),
        draw(mostly(IDS.map(json.dumps), VALUES)),
    )
    pairs = [("type", type), ("id", id), ("payload", draw(RESULTS))]
    pairs += draw(mostly([], st.lists(st.tuples(KEYS, VALUES), max_size=2)))
    pairs = draw(mostly(pairs, st.permutations(pairs), st.just(pairs[:1]), st.just(pairs[:2])))
    return written(pairs)


@st.composite
def mutated(draw: st.DrawFn, texts: Texts) -> str:
    text = draw(texts)
    at = draw(st.integers(0, len(text)))
    piece = draw(
        st.sampled_from(["", "\0", "}", '"', ",", "\\", "{", " \n", "\ufeff", "€", "\ud800"])
    )
    return draw(st.sampled_from([text[:at], text[:at] + piece + text[at:], piece + text, text * 2]))


EVENTS = st.builds(
    '{{"type":"<event>","id":"{}","payload":{}}}'.format,
    IDS,
    RESULTS,
)
PLAUSIBLE = st.one_of(
    EVENTS,
    EVENTS,
    st.builds(message, st.sampled_from(["complete", "error", "stop"]), IDS),
    st.builds('{{"type":"error","id":"{}","payload":{}}}'.format, IDS, ERRORS),
    st.builds('{{"type":"{}","payload":{}}}'.format, TYPES, RESULTS),
    st.sampled_from(['{"type":"<event>","id":"<2>","payload":{"data":{"ticks":1}}}', ACK.text]),
)
MESSAGES = st.one_of(PLAUSIBLE, PLAUSIBLE, objects(), mutated(PLAUSIBLE), VALUES).map(Said)
# Many of one kind: what is counted or kept for each of them must not grow for ever.
STORMS = st.builds(
    lambda text, count: [Said(text.replace("<n>", str(n))) for n in range(count)],
    st.sampled_from(
        [
            '{"type":"made up <n>"}',
            '{"type":"ping","payload":{"n":<n>}}',
            '{"type":"connection_ack","payload":"<n>"}',
            '{"type":"<event>","id":"nobody <n>","payload":{}}',
            '{"type":"<event>","id":"<2>","payload":{"data":{"ticks":<n>}}}',
            '{"type":"complete","id":"<n>"}',
            '{"type":"connection_error","payload":{"message":"<n>"}}',
            '{"type":"error","id":"<3>","payload":[{"message":"<n>"}]}',
        ]
    ),
    st.sampled_from([2, 50, 400]),
)
TALKS = mostly(st.lists(MESSAGES, max_size=6), STORMS).map(tuple)
BY_MESSAGES = st.builds(
    Attack,
    before=mostly((), TALKS),
    acks=mostly(True, st.just(False)),
    after=TALKS,
    **MANNER,
)

# --- Frames ----------------------------------------------------------------------------------

PAYLOADS = st.binary(max_size=130) | MESSAGES | st.integers(0, 70_000).map(bytes)
ANY_FRAME = st.builds(
    Framed,
    first=st.integers(0, 255),
    payload=PAYLOADS,
    is_masked=st.booleans(),
    form=st.sampled_from([0, 0, 0, 7, 16, 64]),
    lie=mostly(0, st.sampled_from([-1, 1, 100, 70_000, 1 << 40, (1 << 63) - 200, 1 << 63])),
)
CONTROLS = st.builds(
    Framed,
    first=st.sampled_from([0x88, 0x89, 0x8A, 0x08, 0x09, 0x0A, 0xC9, 0xA8]),
    payload=st.binary(max_size=126) | st.sampled_from([b"", b"\x03", bytes(125), bytes(126)]),
)
REASONS = st.one_of(
    st.binary(max_size=123),
    st.text(max_size=30).map(str.encode),
    st.sampled_from([b"\xff", b"\xc3", b"\xed\xa0\x80", b"\x1b[2J", b"\xe2\x80\xae", b"\n"]),
)
CODES = st.integers(0, 65535) | st.sampled_from(
    [
        999,
        *range(1000, 1017),
        2999,
        3000,
        4000,
        4400,
        4401,
        4403,
        4406,
        4408,
        4409,
        4429,
        4500,
        5000,
    ]
)
CLOSES = st.builds(
    lambda code, reason: Framed(0x88, struct.pack("!H", code) + reason), CODES, REASONS
)
SQUEEZED = st.builds(
    Squeezed,
    st.sampled_from(['{"type":"<event>","id":"<2>","payload":{"data":{"ticks":1}}}', " ", "é"])
    | PLAUSIBLE,
    times=mostly(1, st.sampled_from([0, 2, 70_000, 3_000_000])),
    cut=mostly(0, st.integers(1, 20)),
    tail=mostly(b"", st.binary(max_size=20)),
    is_final=st.booleans(),
)
SQUEEZED_FRAMES = st.builds(Framed, st.sampled_from([0xC1, 0xC1, 0xC1, 0x41, 0xC2]), SQUEEZED)
SPLIT = st.lists(st.integers(0, 5000), max_size=5).map(tuple)
BETWEEN = st.lists(CONTROLS | ANY_FRAME, max_size=2).map(tuple)
FRAGMENTED = st.builds(Pieces, MESSAGES, SPLIT, mostly((), BETWEEN)) | st.builds(
    Pieces, SQUEEZED, SPLIT, mostly((), BETWEEN), st.just(True)
)
BYTES = st.binary(min_size=1, max_size=200).map(Plain)
FRAMES = st.one_of(
    MESSAGES, FRAGMENTED, FRAGMENTED, SQUEEZED_FRAMES, CONTROLS, ANY_FRAME, CLOSES, BYTES
)
SALVOS = st.lists(FRAMES, max_size=6).map(tuple)
BY_FRAMES = st.builds(
    Attack,
    head=st.just(USUAL_HEAD),
    before=mostly((), SALVOS),
    acks=mostly(True, st.just(False)),
    after=SALVOS,
    deflates=st.booleans(),
    **MANNER,
)
