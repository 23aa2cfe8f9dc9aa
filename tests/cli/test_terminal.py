"""What a person sees: the command on a terminal."""

import asyncio
import io
import re
import sys
import time
from itertools import pairwise

import pytest
from commands import Terminal

from gqlwire.cli import _progress
from gqlwire.cli._console import Console, harmless, is_terminal, may_color
from gqlwire.cli._progress import Tally, duration, per_second
from servers.launch import Server

TICKS = "subscription { ticks(count: -1, intervalMs: 30) { seq } }"
SILENT = "subscription { ticks(count: -1, intervalMs: 600000) { seq } }"


def test_results_are_indented_and_coloured(strawberry: Server) -> None:
    """On a terminal, a result is indented and coloured."""
    with Terminal("query", strawberry.url, "{ hello }") as terminal:
        assert 0 == terminal.end()

    expected = '{\n  \x1b[34;1m"hello"\x1b[0m: \x1b[32m"Hello, world!"\x1b[0m\n}\n'
    assert expected == terminal.shown


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_color(strawberry: Server, environment: dict[str, str]) -> None:
    """NO_COLOR and a dumb terminal do without colours, --compact without indentation."""
    with Terminal("query", strawberry.url, "{ hello }", **environment) as terminal:
        assert 0 == terminal.end()
    assert '{\n  "hello": "Hello, world!"\n}\n' == terminal.shown

    with Terminal("query", strawberry.url, "{ hello }", "--compact", **environment) as terminal:
        assert 0 == terminal.end()
    assert '{"hello":"Hello, world!"}\n' == terminal.shown


def test_progress_and_ctrl_c(strawberry: Server) -> None:
    """A long subscription shows how far it is, in place; Ctrl-C ends it with a summary."""
    with Terminal("subscribe", strawberry.url, TICKS, "--compact") as terminal:
        terminal.until(" events · ")
        terminal.type("\x03")
        assert 130 == terminal.end()

    before, _, after = terminal.shown.partition("\r")
    # Not before it has run for a second.
    told = re.match(r"(\d+) events · \d+\.\d/s · [1-9]\d*\.\d s\x1b\[K", after)
    assert told
    assert before.count('"seq"') == int(told[1])
    last = terminal.shown.rstrip("\n").rpartition("\n")[2]
    assert re.search(r"gqlwire: \d+ events in \d+\.\d s, \d+\.\d/s$", last)
    assert terminal.shown.count("\r\x1b[K") >= 1
    assert re.search(r"\r\x1b\[K[^\r]*gqlwire: ", terminal.shown)


def test_progress_of_a_silent_subscription(strawberry: Server) -> None:
    """The progress is written over and over while nothing comes, and cleared at the end."""
    with Terminal("subscribe", strawberry.url, SILENT) as terminal:
        terminal.until("1 event · ", times=3)
        terminal.type("\x03")
        assert 130 == terminal.end()

    told = re.findall(r"\r1 event · \d\.\d/s · (\d+\.\d) s\x1b\[K", terminal.shown)
    seconds = [float(each) for each in told]
    assert 1 <= seconds[0]
    # Five times a second at most: rounded, 0.2 may be 0.1.
    assert all(0.09 < later - earlier for earlier, later in pairwise(seconds))
    assert re.search(r"\r\x1b\[Kgqlwire: 1 event in \d+\.\d s, 0\.\d/s\n$", terminal.shown)


def test_quiet(strawberry: Server) -> None:
    """--quiet shows the events alone, however long it takes."""
    two = "subscription { ticks(count: 2, intervalMs: 1300) { seq } }"
    with Terminal(
        "subscribe", strawberry.url, two, "--quiet", "--compact", TERM="dumb"
    ) as terminal:
        assert 0 == terminal.end()

    assert '{"ticks":{"seq":0}}\n{"ticks":{"seq":1}}\n' == terminal.shown


def test_log_lines_do_not_mix_with_the_progress(strawberry: Server) -> None:
    """What is said while the progress is shown begins on a clean line."""
    with Terminal("subscribe", strawberry.url, SILENT, "-v") as terminal:
        terminal.until("1 event · ")
        terminal.type("\x03")
        assert 130 == terminal.end()

    last = r"\r\x1b\[Kgqlwire: 1 event in [^\n]*\ngqlwire: [^\n]* disconnected from [^\n]*\n$"
    assert re.search(last, terminal.shown)


def test_document_is_typed(strawberry: Server) -> None:
    """Without a document, a person is told that one is waited for, and how to end it."""
    with Terminal("query", strawberry.url, "--compact", "--color", "never") as terminal:
        terminal.until("Ctrl-D ends it\n")
        terminal.type("{ hello }\n\x04")
        assert 0 == terminal.end()

    assert terminal.shown.endswith('{"hello":"Hello, world!"}\n')


def test_ctrl_c_while_typing(strawberry: Server) -> None:
    """Ctrl-C ends the wait for a document, quietly."""
    with Terminal("query", strawberry.url) as terminal:
        terminal.until("Ctrl-D ends it\n")
        terminal.type("\x03")
        assert 130 == terminal.end()

    assert terminal.shown.endswith("Ctrl-D ends it\n^C")


# The words.


def test_tally() -> None:
    """The progress tells the rate of the last seconds, the summary that of all the time."""
    tally = Tally(100.0)
    assert "0 events · 0.0/s · 0.0 s" == tally.progress(100.0, 80)
    for number in range(1200):
        tally.count(faulty=number < 2)

    assert "1,200 events (2 with errors) · 600/s · 2.0 s" == tally.progress(102.0, 80)
    for _ in range(30):
        tally.progress(110.0, 80)
    assert "1,200 events (2 with errors) · 0.0/s · 11.0 s" == tally.progress(111.0, 80)
    assert "1,200 even" == tally.progress(111.0, 11)
    assert "1,200 events (2 with errors) in 20.0 s, 60.0/s" == tally.summary(120.0)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.04, "0.0 s"),
        (59.94, "59.9 s"),
        (61.5, "1:01 min"),
        (3661, "1:01:01"),
        (90000, "25:00:00"),
    ],
)
def test_durations(seconds: float, words: str) -> None:
    """A time is told in the unit that fits it."""
    assert words == duration(seconds)


async def test_progress_is_shown_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """The progress is drawn again and again, any other line clears it, the end sums it up."""
    written = io.StringIO()
    drawn = asyncio.Event()
    console = Console()

    def write(text: str) -> int:
        if "events · " in text:
            drawn.set()
        return io.StringIO.write(written, text)

    monkeypatch.setattr(written, "isatty", lambda: True)
    monkeypatch.setattr(written, "write", write)
    monkeypatch.setattr(sys, "stderr", written)
    monkeypatch.setattr(_progress, "FIRST_AFTER", 0.0)

    async with _progress.shown(Tally(time.monotonic()), console):
        await drawn.wait()
        console.note("by the way")

    assert re.fullmatch(
        r"(\r0 events · 0\.0/s · 0\.0 s\x1b\[K)+\r\x1b\[Kgqlwire: by the way\n"
        r"gqlwire: 0 events in 0\.0 s, 0\.0/s\n",
        written.getvalue(),
    )


def test_rates() -> None:
    """A rate is told in digits that mean something; in no time there is none."""
    assert ["0.0/s", "1.5/s", "12,346/s"] == [
        per_second(1, 0.0),
        per_second(3, 2.0),
        per_second(123_456, 10.0),
    ]


def test_a_missing_or_closed_stream_is_not_a_terminal() -> None:
    """It gets no colours."""
    with open("/dev/null") as closed:
        pass

    assert [False, False] == [is_terminal(None), is_terminal(closed)]
    assert [False, True] == [may_color("auto", None), may_color("always", None)]


def test_words_stay_on_their_line() -> None:
    """What comes from a server is one line, and no command for the terminal."""
    assert "a b c\\x1b[2J é \\u202e\\ud800" == harmless("a\r\nb\t c\x1b[2J é \u202e\ud800")


def test_console_without_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no stderr, nothing is said."""
    monkeypatch.setattr("sys.stderr", None)
    console = Console()

    console.complain("lost")
    console.note("lost")

    assert not console.is_live
