"""How a command is stopped: by a signal, or by whoever reads its output. The server is told."""

import asyncio
import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
from commands import BOUND, ended, first_line, interrupt, running, until, waiting_bytes

from conftest import NEWER, OLDER
from gqlwire.cli import _signals, _stdout, main
from gqlwire.cli._console import Console
from gqlwire.cli._exit import Exit
from gqlwire.cli._output import Output
from servers.fake import Peer, RawPeer, fake, raw_fake
from servers.launch import Server

TICKS = "subscription { ticks(count: -1, intervalMs: 20) { seq } }"
SILENT = "subscription { ticks(count: -1, intervalMs: 600000) { seq } }"
FLOOD = "subscription { ticks(count: -1, size: 1000) { seq pad } }"
WORDS = {NEWER: ("subscribe", "next", "complete"), OLDER: ("start", "data", "stop")}

Ask = Callable[[str], int]


@pytest.fixture
def ask(strawberry: Server, capfd: pytest.CaptureFixture[str]) -> Ask:
    """Ask the server for a number."""

    def number(field: str) -> int:
        assert 0 == main(["query", strawberry.url, f"{{ {field} }}"])
        return int(capfd.readouterr().out.rpartition(":")[2].strip("}\n"))

    return number


# Signals.


@pytest.mark.parametrize("protocol", [NEWER, OLDER])
@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, Exit.INTERRUPTED), (signal.SIGTERM, Exit.TERMINATED)],
)
async def test_signals_stop_a_subscription(protocol: str, number: int, status: Exit) -> None:
    """The server gets one complete (stop) and a close with 1000; the status tells the signal."""
    start, event, stop = WORDS[protocol]

    async def script(peer: Peer) -> None:
        await peer.ack()
        id = (await peer.expect(start))["id"]
        await peer.send({"type": event, "id": id, "payload": {"data": {"a": 1}}})
        assert id == (await peer.expect(stop))["id"]

    async with fake(script, subprotocols=[protocol]) as server:
        with running("subscribe", server.url, "subscription { a }") as process:
            assert b'{"a":1}\n' == await asyncio.to_thread(first_line, process)
            assert (status, "") == await asyncio.to_thread(interrupt, process, number)
        peer = await server.peer()
        assert (1000, "") == await asyncio.wait_for(peer.closed(), BOUND)
        types = [message["type"] for message in peer.received]
        assert 1 == types.count(stop)


async def test_signals_stop_a_query() -> None:
    """A query that is not answered yet is stopped on the server, too."""

    async def script(peer: Peer) -> None:
        await peer.ack()
        await peer.expect("subscribe")
        asked.set()
        await peer.expect("complete")

    asked = asyncio.Event()
    async with fake(script) as server:
        with running("query", server.url, "{ a }") as process:
            await asked.wait()
            assert (130, "") == await asyncio.to_thread(interrupt, process)
        assert (1000, "") == await asyncio.wait_for((await server.peer()).closed(), BOUND)


async def test_signal_while_connecting() -> None:
    """Ctrl-C is heeded before there is a connection."""

    async def script(peer: Peer) -> None:
        await peer.expect("connection_init")
        begun.set()

    begun = asyncio.Event()
    async with fake(script) as server:
        with running("query", server.url, "{ a }", "--connect-timeout", "0") as process:
            await begun.wait()
            assert (130, "") == await asyncio.to_thread(interrupt, process)


async def test_signal_while_the_server_is_away() -> None:
    """A subscription that waits for its connection ends at once."""

    async def script(peer: Peer) -> None:
        await peer.ack()
        await peer.expect("subscribe")
        await peer.close(1013)

    async with fake(script) as server:
        with running("subscribe", server.url, "subscription { a }") as process:
            assert process.stderr is not None
            said = await asyncio.to_thread(process.stderr.readline)
            assert said.endswith(b"; connecting again\n")
            assert (Exit.INTERRUPTED, "") == await asyncio.to_thread(interrupt, process)
        assert 1 == server.connections


async def test_second_signal_is_the_last() -> None:
    """A second Ctrl-C does not wait for a server that never answers the close frame."""

    async def script(peer: RawPeer) -> None:
        await peer.ack()
        await peer.expect("subscribe")
        asked.set()
        await peer.expect("complete")
        stopped.set()
        # Nothing is read, or answered, any more.
        await asyncio.Event().wait()

    # Without the second one it would be these seconds.
    patient = "from gqlwire.cli import _run; assert _run.CLOSE_SECONDS; _run.CLOSE_SECONDS = 1_000"
    asked, stopped = asyncio.Event(), asyncio.Event()
    async with raw_fake(script) as server:
        with running("subscribe", server.url, "subscription { a }", before=patient) as process:
            await asked.wait()
            process.send_signal(signal.SIGINT)
            await stopped.wait()
            status, _ = await asyncio.to_thread(interrupt, process)
    assert 130 == status


def test_real_server_sees_the_stop(strawberry: Server, ask: Ask) -> None:
    """A real server counts a subscription less after Ctrl-C, also in the middle of a flood."""
    for document in (TICKS, SILENT, FLOOD):
        stopped, active = ask("stopped"), ask("active")
        with running("subscribe", strawberry.url, document) as process:
            assert b'"seq":0' in first_line(process)
            assert (130, "") == interrupt(process)
        until(lambda stopped=stopped: stopped + 1 == ask("stopped"))
        assert active == ask("active")


# Pipes.


@pytest.mark.parametrize("document", [TICKS, SILENT, FLOOD])
def test_reader_goes_away(strawberry: Server, ask: Ask, document: str) -> None:
    """`| head -1` ends the command at once and quietly, with status 0, even between events."""
    stopped = ask("stopped")

    with running("subscribe", strawberry.url, document) as process:
        assert b'"seq":0' in first_line(process)
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None
        assert (0, "") == ended(process)

    until(lambda: stopped + 1 == ask("stopped"))


def test_reader_of_a_query_goes_away(strawberry: Server) -> None:
    """A query whose answer nobody reads ends quietly, too."""
    with running("query", strawberry.url, "{ large(bytes: 3000000) }") as process:
        until(lambda: waiting_bytes(process.stdout) > 0)
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None
        assert (0, "") == ended(process)


def test_reader_that_does_not_read(strawberry: Server, ask: Ask) -> None:
    """While the pipe is full the command can be stopped, and the server is told."""
    stopped = ask("stopped")

    with running("subscribe", strawberry.url, FLOOD) as process:
        # Nobody reads: what is left of the pipe's 64 KiB is full in no time.
        until(lambda: waiting_bytes(process.stdout) > 40_000)
        process.send_signal(signal.SIGINT)
        assert 130 == process.wait(BOUND)

    until(lambda: stopped + 1 == ask("stopped"))


async def test_pings_are_answered_while_nobody_reads() -> None:
    """A pager that waits for its user does not cost the connection, and no event is lost."""

    async def script(peer: Peer) -> None:
        await peer.ack()
        id = (await peer.expect("subscribe"))["id"]
        for number in range(count):
            payload = {"data": {"n": number, "pad": "x" * 1000}}
            await peer.send({"type": "next", "id": id, "payload": payload})
        await peer.send({"type": "ping", "payload": {"are": "you there"}})
        assert {"are": "you there"} == (await peer.expect("pong"))["payload"]
        answered.set()
        await peer.send({"type": "complete", "id": id})

    count, answered = 300, asyncio.Event()
    async with fake(script) as server:
        with running("subscribe", server.url, "subscription { n pad }") as process:
            await answered.wait()
            out, err = await asyncio.to_thread(process.communicate, timeout=BOUND)

    assert (0, b"") == (process.returncode, err)
    assert [f'{{"n":{n},'.encode() for n in range(count)] == [
        line.partition(b'"pad"')[0] for line in out.splitlines()
    ]


def test_pipe_that_does_not_block(strawberry: Server) -> None:
    """A pipe that somebody made non-blocking is waited for as any other."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with running("query", strawberry.url, "{ large(bytes: 300000) }", stdout=writing) as process:
        os.close(writing)
        with open(reading, "rb") as pipe:
            assert 300_000 + len('{"large":""}\n') == len(pipe.read())
        assert (0, "") == ended(process)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
@pytest.mark.parametrize("command", ["query", "subscribe"])
def test_full_disk(strawberry: Server, command: str) -> None:
    """A result that cannot be written is an error with a status of its own."""
    with (
        open("/dev/full", "wb") as full,
        running(command, strawberry.url, "{ hello }", stdout=full) as process,
    ):
        status, err = ended(process)

    why = os.strerror(errno.ENOSPC)
    assert (Exit.OUTPUT, f"gqlwire: the output cannot be written: {why}\n") == (status, err)


def test_no_stdout_at_all(strawberry: Server) -> None:
    """A process without stdout and stderr does its work in silence."""
    closing = 'exec "$0" -m gqlwire query "$1" "$2" >&- 2>&-'
    for document, status in (("mutation { increment }", 0), ("{ nope }", 1)):
        run = subprocess.run(
            ["sh", "-c", closing, sys.executable, strawberry.url, document], check=False
        )
        assert status == run.returncode


# The parts, in this process.


class Pipe:
    """A pipe whose writing end stands for stdout."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reading, self.writing = os.pipe()
        os.set_blocking(self.reading, False)
        monkeypatch.setattr(_stdout, "_descriptor", lambda: self.writing)

    def read(self) -> bytes:
        """What is there now."""
        try:
            return os.read(self.reading, 1 << 20)
        except BlockingIOError:
            return b""

    def close(self) -> None:
        os.close(self.reading)
        os.close(self.writing)


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipe]:
    pipe = Pipe(monkeypatch)
    yield pipe
    pipe.close()


@pytest.mark.parametrize("blocking", [True, False])
async def test_writing_waits_without_blocking(
    pipe: Pipe, blocking: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a full pipe does not take is written once somebody reads; the loop runs meanwhile."""
    os.set_blocking(pipe.writing, blocking)
    output = Output(Console(), pretty=False, color="never")
    if not blocking:
        monkeypatch.setattr(output.stdout, "_poll", SimpleNamespace(poll=lambda _: True))
    text = "x" * 300_000
    writing = asyncio.create_task(output.write(text))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not writing.done()

    read = b""
    while not writing.done():
        read += pipe.read()
        await asyncio.sleep(0)

    await writing
    assert f'"{text}"\n'.encode() == read + pipe.read()


async def test_cancelled_writing(pipe: Pipe) -> None:
    """Who waits for a full pipe can be cancelled, and the pipe is not watched any more."""
    output = Output(Console(), pretty=False, color="never")
    writing = asyncio.create_task(output.write("x" * 300_000))
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    writing.cancel()
    await asyncio.wait([writing])

    assert writing.cancelled()
    assert not asyncio.get_running_loop().remove_writer(pipe.writing)


async def test_reader_is_watched(pipe: Pipe) -> None:
    """The end of whoever reads a pipe is noticed without writing; files have no such end."""
    gone = asyncio.Event()
    output = Output(Console(), pretty=False, color="never")

    with output.stdout.watched(gone.set):
        os.close(pipe.reading)
        await asyncio.wait_for(gone.wait(), BOUND)
        with pytest.raises(BrokenPipeError):
            await output.write(1)

    pipe.reading = os.open(os.devnull, os.O_RDONLY)
    assert not asyncio.get_running_loop().remove_reader(pipe.writing)


async def test_reset_is_a_broken_pipe(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where stdout is a socket, a reset counts as gone, as the end of a pipe does."""

    def reset(*_: object) -> int:
        raise ConnectionResetError

    output = Output(Console(), pretty=False, color="never")
    monkeypatch.setattr(os, "write", reset)

    with pytest.raises(BrokenPipeError):
        await output.write(1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_of_this_process(number: int) -> None:
    """A signal cancels what runs, which may clean up; the handlers from before come back."""
    steps = []

    async def work() -> int:
        signal.raise_signal(number)
        try:
            await asyncio.Event().wait()
        finally:
            steps.append("clean")
        return 0

    before = [signal.getsignal(each) for each in _signals.ENDING]

    assert 128 + number == _signals.run(work())

    assert ["clean"] == steps
    assert before == [signal.getsignal(each) for each in _signals.ENDING]


def test_ignored_signals_stay_ignored() -> None:
    """What was started with SIGINT ignored goes on ignoring it."""

    async def work() -> int:
        signal.raise_signal(signal.SIGINT)
        await asyncio.sleep(0)
        return 7

    former = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert 7 == _signals.run(work())
        assert signal.SIG_IGN == signal.getsignal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, former)


def test_a_cancellation_from_within_is_not_reported_as_a_signal() -> None:
    """The CancelledError is raised."""

    async def work() -> int:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        _signals.run(work())


def test_signals_without_support_of_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a loop has no signal handlers (Windows), Python's own do it."""

    def unsupported(*_: object) -> None:
        raise NotImplementedError

    async def work() -> int:
        signal.raise_signal(signal.SIGTERM)
        await asyncio.Event().wait()
        return 0

    for name in ("add_signal_handler", "remove_signal_handler"):
        monkeypatch.setattr(asyncio.SelectorEventLoop, name, unsupported)

    assert Exit.TERMINATED == _signals.run(work())
