"""On Windows, `gqlwire subscribe … | x` raised NotImplementedError, as no event loop there watches
pipes, and `FileCheckpoint(fsync=True)` opened a directory, which Windows refuses.

Both work. There was no Windows to try it on: these tests take away what it has not.
"""

from __future__ import annotations

import ast
import asyncio
import errno
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.commands import ended, first_line, interrupt, running
from conftest import NEWER, OLDER
from gqlwire import FileCheckpoint
from gqlwire._operations import checkpoint as checkpoint_module
from gqlwire._operations.checkpoint import syncing
from gqlwire.cli import _stdout
from gqlwire.cli._console import Console
from gqlwire.cli._output import Output
from gqlwire.cli._stdout import PosixStdout, WindowsStdout, open_stdout
from servers.launch import Server
from support import BOUND

SOURCE = Path(__file__).parents[2] / "src" / "gqlwire"

# Takes away from a process what Windows has not: loops that watch pipes and handle signals, and
# EPIPE. (aiofastnet watches sockets by the same methods of the loop.)
WITHOUT = """
import asyncio, errno, os, stat
from functools import partial
from gqlwire.cli import _output, _stdout

def refuse(*_):
    raise NotImplementedError

def for_sockets(really):
    def method(loop, fd, *arguments):
        number = fd if isinstance(fd, int) else fd.fileno()
        return (really if stat.S_ISSOCK(os.fstat(number).st_mode) else refuse)(loop, fd, *arguments)
    return method

loop = asyncio.SelectorEventLoop
loop.add_signal_handler = loop.remove_signal_handler = refuse
for name in ("add_reader", "remove_reader", "add_writer", "remove_writer"):
    setattr(loop, name, for_sockets(getattr(loop, name)))

def write(fd, data, *, really=os.write):
    try:
        return really(fd, data)
    except BrokenPipeError:
        raise OSError(errno.EINVAL, "Invalid argument") from None

os.write = write
_output.open_stdout = partial(_stdout.open_stdout, "win32")
"""
TICKS = "subscription { ticks(count: -1, intervalMs: 1) { seq } }"
FLOOD = "subscription { ticks(count: -1, size: 1000) { seq pad } }"


@pytest.fixture(name="pipe")
def piped(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, int]]:
    """A pipe, whose writing end stands for stdout."""
    reading, writing = os.pipe()
    monkeypatch.setattr(_stdout, "_descriptor", lambda: writing)
    yield reading, writing
    for end in (reading, writing):
        if stat.S_ISFIFO(os.fstat(end).st_mode):
            os.close(end)


def output_on(system: str) -> Output:
    output = Output(Console(), pretty=False, color="never")
    output.stdout = open_stdout(system)
    return output


# --- The row's own -------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [NEWER, OLDER])
def test_k9_a_subscription_into_a_pipe(strawberry: Server, protocol: str) -> None:
    """It prints, and ends once an event finds that the reader has gone."""
    arguments = ["subscribe", strawberry.url, TICKS, "--protocol", protocol]
    with running(*arguments, before=WITHOUT) as process:
        assert b'{"ticks":{"seq":0}}\n' == first_line(process)
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None

        assert (0, "") == ended(process)


async def test_k9_a_checkpoint_with_fsync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows refuses to open a directory. Elsewhere the name of the file is waited for."""
    opened: list[Path] = []

    def refusing(path: Any, *arguments: Any, **options: Any) -> int:
        if isinstance(path, str | Path) and Path(path).is_dir():
            opened.append(Path(path))
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return really(path, *arguments, **options)

    really = os.open
    monkeypatch.setattr(os, "open", refusing)
    monkeypatch.setattr(checkpoint_module, "syncing", lambda _: syncing("nt"))
    checkpoint = FileCheckpoint(tmp_path / "position", fsync=True)
    await checkpoint.save(b'{"data":1}')
    assert b'{"data":1}' == await checkpoint.load()
    assert [] == opened

    monkeypatch.setattr(checkpoint_module, "syncing", lambda _: syncing("posix"))
    with pytest.raises(PermissionError):
        await FileCheckpoint(tmp_path / "position", fsync=True).save(b"2")


# --- Its kind ------------------------------------------------------------------------------------


def test_k9_kind_a_query_into_a_pipe(strawberry: Server) -> None:
    """It prints its one line."""
    with running("query", strawberry.url, "{ hello }", before=WITHOUT) as process:
        assert b'{"hello":"Hello, world!"}\n' == first_line(process)
        assert (0, "") == ended(process)


def test_k9_kind_ctrl_c(strawberry: Server) -> None:
    """The loop does not handle it there; Python does."""
    with running("subscribe", strawberry.url, TICKS, before=WITHOUT) as process:
        first_line(process)

        assert (130, "") == interrupt(process)


def test_k9_kind_a_reader_that_is_slow(strawberry: Server) -> None:
    """While the pipe is full, a thread waits, and the command ends in time all the same."""
    arguments = ["subscribe", strawberry.url, FLOOD, "--timeout", "1", "--quiet"]
    with running(*arguments, before=WITHOUT) as process:
        assert 0 == process.wait(timeout=BOUND)


@pytest.mark.parametrize("size", [1, 300_000])
async def test_k9_kind_writing_does_not_block(pipe: tuple[int, int], size: int) -> None:
    """The loop runs while nobody reads; then all of it comes, in order."""
    reading, _ = pipe
    output = output_on("win32")
    texts = ["a" * size, "b" * size]

    async def write() -> None:
        for text in texts:
            await output.write(text)

    writing = asyncio.create_task(write())
    await asyncio.sleep(0)
    read = b""
    expected = "".join(f'"{text}"\n' for text in texts).encode()
    while len(read) < len(expected):
        read += await asyncio.to_thread(os.read, reading, 65_536)
    await asyncio.wait_for(writing, BOUND)

    assert expected == read


async def test_k9_kind_writing_is_cancelled(pipe: tuple[int, int]) -> None:
    """What waits for room in the pipe does not keep the command."""
    reading, _ = pipe
    output = output_on("win32")
    task = asyncio.create_task(output.write("x" * 300_000))
    while not any(thread.name == "gqlwire-stdout" for thread in threading.enumerate()):
        await asyncio.sleep(0)

    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    left = [thread for thread in threading.enumerate() if thread.name == "gqlwire-stdout"]
    assert all(thread.daemon for thread in left)
    while any(thread.is_alive() for thread in left):  # so that nothing of it is left for others
        await asyncio.to_thread(os.read, reading, 1 << 20)


@pytest.mark.parametrize(
    ("code", "is_gone"), [(errno.EPIPE, True), (errno.EINVAL, True), (errno.ENOSPC, False)]
)
async def test_k9_kind_how_the_end_of_a_reader_looks(
    pipe: tuple[int, int], code: int, is_gone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An invalid argument on Windows, if it is a pipe. Other errors are told."""
    output = output_on("win32")

    def fail(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "write", fail)
    with pytest.raises(BrokenPipeError if is_gone else Exception) as told:
        await output.write(1)
    assert is_gone or os.strerror(code) in str(told.value)


@pytest.mark.parametrize(
    ("system", "kind"),
    [("win32", WindowsStdout), ("linux", PosixStdout), ("darwin", PosixStdout)],
)
def test_k9_kind_which_way_is_taken(pipe: tuple[int, int], system: str, kind: type) -> None:
    """By the system; the default is that of the machine."""
    assert kind is type(open_stdout(system))
    assert PosixStdout is type(open_stdout())


# What asyncio or the standard library lacks on Windows, and who may use it all the same.
ABSENT = {
    "add_reader": {"cli/_stdout.py"},
    "add_writer": {"cli/_stdout.py"},
    "poll": {"cli/_stdout.py"},
    "add_signal_handler": {"cli/_signals.py"},
    "fork": set(),
    "getuid": set(),
    "set_blocking": set(),
    "sendmsg": set(),
    "fdatasync": set(),
    "fchmod": set(),
    "SIGKILL": set(),
    "SIGHUP": set(),
    "SO_REUSEPORT": set(),
}
MODULES = {"fcntl", "grp", "pty", "pwd", "resource", "syslog", "termios", "tty"}


def test_k9_kind_what_windows_lacks_has_its_place() -> None:
    """Where it is used, there is another way."""
    found: dict[str, set[str]] = {name: set() for name in ABSENT}
    for path in SOURCE.rglob("*.py"):
        place = path.relative_to(SOURCE).as_posix()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr in ABSENT:
                found[node.attr].add(place)
            names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            assert MODULES.isdisjoint(names), place

    assert ABSENT == found
