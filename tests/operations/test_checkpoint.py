"""The file that outlives the process: whatever kills it, at any point."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gqlwire import FileCheckpoint
from gqlwire.errors import InvalidCheckpoint

KILLS = 100
FORK_AND_KILL = """
import asyncio, json, os, random, signal, sys, time
from pathlib import Path
from gqlwire import FileCheckpoint

def load():
    text = asyncio.run(checkpoint.load())
    return None if text is None else json.loads(text)

path, fsync, kills = Path(sys.argv[1]), sys.argv[2] == "fsync", int(sys.argv[3])
checkpoint, chance = FileCheckpoint(path, fsync=fsync), random.Random(7)

async def save_for_ever():
    last = await checkpoint.load()
    number = 0 if last is None else json.loads(last)["n"]
    while True:
        number += 1
        # Of very different sizes: a file that was written over would show a rest of the last one.
        event = {"n": number, "text": "x" * (number * 7919 % 5000)}
        await checkpoint.save(json.dumps(event).encode())

def saved():
    return path.stat().st_mtime_ns if path.exists() else None

before = None
for _ in range(kills):
    process = os.fork()
    if not process:
        asyncio.run(save_for_ever())
    while saved() == before:  # so that each has come to something, however slow the disk is
        time.sleep(0.0002)
    time.sleep(chance.uniform(0, 0.005))
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    before, event = saved(), load()
    is_whole = event is None or len(event["text"]) == event["n"] * 7919 % 5000
    print(0 if event is None else event["n"], is_whole, len(os.listdir(path.parent)))
"""
DIE_AT_A_LINE = """
import asyncio, os, signal, sys, threading
from gqlwire._operations import checkpoint
from gqlwire import FileCheckpoint

file, last = FileCheckpoint(sys.argv[1], fsync=True), int(sys.argv[2])
lines = 0

def trace(frame, event, arg):
    global lines
    if frame.f_code.co_filename != checkpoint.__file__:
        return None
    if event == "line":
        lines += 1
        if lines == last:
            os.kill(os.getpid(), signal.SIGKILL)
    return trace

sys.settrace(trace)
threading.settrace(trace)
asyncio.run(file.save(b'{"n":%d}' % last))
"""


def leftovers(path: Path) -> list[Path]:
    """What is there besides the file."""
    return [found for found in path.parent.iterdir() if found != path]


# --- Saving and loading --------------------------------------------------------------------------


async def test_the_last_saved_event_is_loaded(tmp_path: Path) -> None:
    """Also by another object; no other file is left."""
    path = tmp_path / "feed.json"
    checkpoint = FileCheckpoint(path)
    assert await checkpoint.load() is None
    for number in range(3):
        await checkpoint.save(b'{"n":%d}' % number)

    assert b'{"n":2}' == await checkpoint.load() == await FileCheckpoint(str(path)).load()
    assert [] == leftovers(path)


async def test_the_file_holds_the_event_and_a_version(tmp_path: Path) -> None:
    """So that a later gqlwire knows what it reads."""
    path = tmp_path / "feed.json"
    await FileCheckpoint(path).save(b'{"data": {"n": 1}}')

    assert b'{"gqlwire":1,"event":{"data": {"n": 1}}}\n' == path.read_bytes()


@pytest.mark.parametrize("fsync", [False, True])
async def test_fsync_writes_the_file_and_then_the_directory(
    tmp_path: Path, fsync: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file before it replaces the old one, then the directory."""
    synced: list[str] = []
    real_sync, real_replace = os.fsync, os.replace

    def sync(handle: int) -> None:
        synced.append("directory" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        real_sync(handle)

    def replace(source: Any, target: Any) -> None:
        synced.append("replace")
        real_replace(source, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", replace)
    checkpoint = FileCheckpoint(tmp_path / "feed.json", fsync=fsync)
    await checkpoint.save(b"1")

    assert (["file", "replace", "directory"] if fsync else ["replace"]) == synced
    assert b"1" == await checkpoint.load()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b'{"id":1',
        b"\xff",
        b"[" * 100_000,
        b'{"gqlwire":2,"event":{}}',
        b'{"gqlwire":1,"event":{"data":1}',
        b'{"gqlwire":',
    ],
)
async def test_a_file_without_a_valid_event_raises(tmp_path: Path, text: bytes) -> None:
    """It is not taken for a missing file: a feed that starts again would be a surprise."""
    path = tmp_path / "feed.json"
    path.write_bytes(text)

    with pytest.raises(InvalidCheckpoint, match=r"feed\.json .*the file to start without it$"):
        await FileCheckpoint(path).load()
    assert text == path.read_bytes()


class Fault(BaseException):
    """As of an interrupt: no Exception."""


@pytest.mark.parametrize("fault", [OSError("no space"), Fault()])
@pytest.mark.parametrize("step", ["fsync", "replace"])
async def test_a_write_that_fails_keeps_the_old_event(
    tmp_path: Path, step: str, fault: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever step fails, and no other file is left."""
    path = tmp_path / "feed.json"
    checkpoint = FileCheckpoint(path, fsync=True)
    await checkpoint.save(b"1")

    def fail(*args: Any) -> None:
        raise fault

    with monkeypatch.context() as patch:
        patch.setattr(os, step, fail)
        with pytest.raises(type(fault)):
            await checkpoint.save(b"2")

    assert (b"1", []) == (await checkpoint.load(), leftovers(path))


async def test_a_missing_temporary_file_does_not_hide_the_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error of the failed step is raised."""
    checkpoint = FileCheckpoint(tmp_path / "feed.json")

    def fail(source: str, target: Any) -> None:
        os.unlink(source)
        raise OSError("no space")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no space"):
        await checkpoint.save(b"2")


async def test_save_raises_if_the_directory_is_missing(tmp_path: Path) -> None:
    """For load() there is no file, as at a first start."""
    checkpoint = FileCheckpoint(tmp_path / "nowhere" / "feed.json")

    assert await checkpoint.load() is None
    with pytest.raises(FileNotFoundError):
        await checkpoint.save(b"1")
    with pytest.raises(IsADirectoryError):
        await FileCheckpoint(tmp_path).load()


# --- Killed --------------------------------------------------------------------------------------


@pytest.mark.parametrize("fsync", ["fsync", "no fsync"])
def test_a_process_that_is_killed_leaves_an_event(tmp_path: Path, fsync: str) -> None:
    """At any point: the file is whole, and never goes back.

    The temporary file of a save that was killed may be left: one of all.
    """
    command = [sys.executable, "-c", FORK_AND_KILL, tmp_path / "feed.json", fsync, str(KILLS)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = [line.split() for line in run.stdout.splitlines()]
    numbers = [int(number) for number, _, _ in lines]
    assert KILLS == len(lines)
    assert {"True"} == {is_whole for _, is_whole, _ in lines}
    assert sorted(numbers) == numbers
    assert len({*numbers}) > KILLS // 2
    found = [int(files) for _, _, files in lines]
    assert {1, 2} >= {*found}


async def test_a_process_that_is_killed_at_each_line_leaves_an_event(tmp_path: Path) -> None:
    """The old one, and from the line on that replaces it, the new one."""
    path = tmp_path / "feed.json"
    checkpoint = FileCheckpoint(path)
    await checkpoint.save(b'{"n":0}')
    outcomes: list[str] = []
    for line in range(1, 100):
        before = await checkpoint.load()
        command = [sys.executable, "-c", DIE_AT_A_LINE, str(path), str(line)]
        run = await asyncio.create_subprocess_exec(*command)
        await run.wait()
        if run.returncode == 0:
            break
        assert -signal.SIGKILL == run.returncode
        event = await checkpoint.load()
        assert event in (before, b'{"n":%d}' % line)
        outcomes.append("old" if event == before else "new")
        assert [path.with_name(".feed.json.tmp")] >= leftovers(path)

    assert b'{"n":%d}' % line == await checkpoint.load()
    assert sorted(outcomes, reverse=True) == outcomes
    assert 10 < len(outcomes)
    assert 2 < outcomes.count("new") < outcomes.count("old")
    assert [] == leftovers(path)
