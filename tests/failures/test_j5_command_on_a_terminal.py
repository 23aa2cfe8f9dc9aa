"""On a terminal, each event of `gqlwire subscribe` took five lines; U+202E was printed raw; a
timeout named `execute_timeout`, which is no flag; "1 seconds".
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from cli.commands import Terminal
from gqlwire.cli import main
from gqlwire.cli._console import with_flags
from gqlwire.errors import Phase, reasons
from gqlwire.errors.text import counted
from gqlwire.errors.text import seconds as shown_seconds
from servers.fake import Peer, fake
from servers.launch import Server

NASTY = "a\u202eb\u2066c\x9b31m\x7f\x1b[2J\u2028d\n"
ESCAPED = r"a\u202eb\u2066c\u009b31m\u007f\u001b[2J\u2028d\n"
TICKS = "subscription { ticks(count: 3) { seq } }"


async def nasty(peer: Peer) -> None:
    await peer.ack()
    id = (await peer.expect("subscribe"))["id"]
    for number in range(2):
        payload = {"data": {"text": NASTY, "n": number}, "errors": [{"message": NASTY}]}
        await peer.send({"type": "next", "id": id, "payload": payload})
    await peer.send({"type": "complete", "id": id})


async def shown_on_a_terminal(*arguments: str, **environment: str) -> str:
    """What `gqlwire` shows of a server that sends two nasty events with an error each."""
    async with fake(nasty) as server:
        command, *options = arguments
        with Terminal(command, server.url, "subscription { a }", *options, **environment) as it:
            await asyncio.to_thread(it.end)
            return it.shown


def without_colors(text: str) -> str:
    return re.sub(r"\x1b\[(34;1|32|36|33|0)m|\r\x1b\[K", "", text)


# --- The row's own -------------------------------------------------------------------------------


def test_j5_one_coloured_line_for_an_event(strawberry: Server) -> None:
    """On a terminal."""
    with Terminal("subscribe", strawberry.url, TICKS) as terminal:
        assert 0 == terminal.end()

    events = [line for line in terminal.shown.splitlines() if "seq" in line]
    plain = [without_colors(line) for line in events]
    assert [f'{{"ticks":{{"seq":{number}}}}}' for number in (1, 2, 3)] == plain or [
        f'{{"ticks":{{"seq":{number}}}}}' for number in (0, 1, 2)
    ] == plain
    assert all('\x1b[34;1m"seq"\x1b[0m' in line for line in events)


def test_j5_pretty_still_indents(strawberry: Server) -> None:
    """If asked for; and a query on a terminal is indented without being asked."""
    with Terminal("subscribe", strawberry.url, TICKS, "--pretty") as terminal:
        assert 0 == terminal.end()
    assert "{\n  " in terminal.shown

    with Terminal("query", strawberry.url, "{ hello }") as terminal:
        assert 0 == terminal.end()
    assert "{\n  " in terminal.shown


@pytest.mark.sampled(3)
@pytest.mark.parametrize("options", [[], ["--compact"], ["--pretty"], ["--color", "always"]])
@pytest.mark.parametrize("term", ["xterm", "dumb"])
async def test_j5_what_is_not_printable_is_escaped(options: list[str], term: str) -> None:
    """Whatever the shape, with and without colours, in events and in errors."""
    shown = without_colors(await shown_on_a_terminal("subscribe", *options, TERM=term))

    assert 2 <= shown.count(ESCAPED)
    assert all(line.isprintable() for line in shown.splitlines())


# --- Its kind ------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [["--compact"], []])
async def test_j5_kind_a_pipe_gets_what_the_server_sent(
    capfd: pytest.CaptureFixture[str], options: list[str]
) -> None:
    """Programs read it."""
    async with fake(nasty) as server:
        arguments = ["subscribe", server.url, "subscription { a }", *options]
        await asyncio.to_thread(main, arguments)

    assert "\u202e" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{ slow(ms: 60000) }", "--timeout", "0.2"], "within 0.2 seconds (--timeout)"),
        (["{ slow(ms: 60000) }", "--timeout", "1"], "within 1 second (--timeout)"),
    ],
)
def test_j5_kind_a_timeout_names_its_flag(
    strawberry: Server, capfd: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    """Of a real query."""
    assert 4 == main(["query", strawberry.url, *arguments])

    assert words in capfd.readouterr().err


HOST = "server.example:80"
TEXTS: list[tuple[Any, str]] = [
    (reasons.late(HOST, "query", 1), "within 1 second (--timeout)"),
    (
        reasons.unsent(
            HOST, "query", 2, "execute_timeout", is_connected=False, was_sent=False, last=None
        ),
        "2 seconds (--timeout)",
    ),
    (reasons.not_acknowledged(HOST, 1), "within 1 second (--connect-timeout)"),
    (reasons.silent(HOST, Phase.OPEN, 1, "after a ping (pong_timeout)"), "(--ping-interval)"),
    (reasons.not_answered(HOST, 1), "within 1 second; the socket was dropped"),
]


@pytest.mark.parametrize(("failure", "words"), TEXTS)
def test_j5_kind_every_limit_names_a_flag(failure: Exception, words: str) -> None:
    """Or none, where there is no flag."""
    text = with_flags(str(failure))

    assert words in text
    assert "_timeout" not in text


@pytest.mark.parametrize(
    ("number", "text"),
    [(1, "1 second"), (1.0, "1 second"), (0, "0 seconds"), (0.5, "0.5 seconds"), (2, "2 seconds")],
)
def test_j5_kind_one_second(number: float, text: str) -> None:
    """Numbers and nouns agree, in the library as well."""
    assert text == shown_seconds(number)
    assert "1 hook" == counted(1, "hook")
    assert f"within {text} (ack_timeout)" in str(reasons.not_acknowledged(HOST, number))
