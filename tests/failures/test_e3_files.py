"""Saving to a file replaced a symlink, changed the mode, and left files behind when it was killed.

Right: the file that a symlink leads to is replaced, its mode is kept, and there is one temporary
name. Files are written in a thread, in order, and on Windows no directory is opened.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gqlwire import FileCheckpoint
from gqlwire._operations.checkpoint import Syncing, WindowsSyncing, packed, syncing, unpacked

SAVE_UNTIL_KILLED = """
import asyncio, itertools, os, signal, sys, threading
from gqlwire import FileCheckpoint

async def main():
    checkpoint = FileCheckpoint(sys.argv[1], fsync=True)
    for number in itertools.count():
        await checkpoint.save(b"%d" % number * 1000)
        if number == int(sys.argv[2]):
            # Amid the saves that follow.
            threading.Timer(number / 1e4, os.kill, (os.getpid(), signal.SIGKILL)).start()

asyncio.run(main())
"""
OPENED = """
import sys
from pathlib import Path
from gqlwire._operations.checkpoint import replace_file, syncing

opened = []
sys.addaudithook(lambda name, args: name == "open" and opened.append(str(args[0])))
path = Path(sys.argv[1])
replace_file(path, b"1", sync=syncing(sys.argv[2]))
print(str(path.parent) in opened, len(opened))
"""


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def files_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# --- The row -------------------------------------------------------------------------------------


@pytest.mark.parametrize("fsync", [False, True])
async def test_e3_a_symlink_is_resolved(tmp_path: Path, fsync: bool) -> None:
    """It stays a symlink; what it leads to is replaced, with its temporary file beside it."""
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    here.mkdir()
    target, link = there / "feed.json", here / "link.json"
    link.symlink_to(target)
    checkpoint = FileCheckpoint(link, fsync=fsync)
    for number in range(3):  # at first it leads to nothing
        await checkpoint.save(b"%d" % number)

    assert link.is_symlink()
    assert b"2" == await checkpoint.load() == await FileCheckpoint(target).load()
    assert ({"feed.json"}, {"link.json"}) == (files_in(there), files_in(here))


async def test_e3_the_mode_is_kept(tmp_path: Path) -> None:
    """Of a file that is there; a new one is for its owner only."""
    path = tmp_path / "feed.json"
    checkpoint = FileCheckpoint(path)
    await checkpoint.save(b"1")
    assert 0o600 == mode_of(path)
    path.chmod(0o644)
    await checkpoint.save(b"2")

    assert 0o644 == mode_of(path)


@pytest.mark.parametrize("last", [3, 10, 20])
def test_e3_a_process_that_is_killed_leaves_one_temporary_file(tmp_path: Path, last: int) -> None:
    """Over many lives; the file holds a whole event each time, and is never older than the last."""
    path = tmp_path / "feed.json"
    for _ in range(3):
        command = [sys.executable, "-c", SAVE_UNTIL_KILLED, str(path), str(last)]
        run = subprocess.run(command, capture_output=True, timeout=60, check=False)
        assert -signal.SIGKILL == run.returncode
        event = unpacked(path.read_bytes(), "feed.json")
        number = event[: len(event) // 1000]
        assert event == number * 1000
        assert last <= int(number)
        assert {"feed.json"} <= files_in(tmp_path) <= {"feed.json", ".feed.json.tmp"}


# --- Its kind ------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o640, 0o644, 0o660, 0o664, 0o777])
async def test_e3_kind_any_mode_is_kept(tmp_path: Path, mode: int) -> None:
    """Through a symlink as well, whatever the umask is."""
    path = tmp_path / "feed.json"
    path.write_bytes(b"{}")
    path.chmod(mode)
    link = tmp_path / "link.json"
    link.symlink_to(path)
    before = os.umask(0o077)
    try:
        for file in (path, link):
            await FileCheckpoint(file).save(b"1")
            assert mode == mode_of(path)
    finally:
        os.umask(before)


async def test_e3_kind_links_to_links_and_folders_are_resolved(tmp_path: Path) -> None:
    """Relative ones too."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "folder").symlink_to("a/b")
    (tmp_path / "a" / "one.json").symlink_to("../two.json")
    (tmp_path / "two.json").symlink_to("folder/real.json")
    for place in ("a/one.json", "two.json", "folder/real.json", "folder/../one.json"):
        await FileCheckpoint(tmp_path / place).save(place.encode())
        assert place.encode() == await FileCheckpoint(tmp_path / "a/b/real.json").load()

    assert {"real.json"} == files_in(tmp_path / "a" / "b")
    assert (tmp_path / "two.json").is_symlink()
    assert (tmp_path / "a" / "one.json").is_symlink()


@pytest.mark.parametrize("kind", ["file", "link", "dangling"])
async def test_e3_kind_what_has_the_temporary_name_is_replaced(tmp_path: Path, kind: str) -> None:
    """A file that a killed process left; a symlink that leads elsewhere is not written through."""
    other = tmp_path / "other"
    temporary = tmp_path / ".feed.json.tmp"
    if kind == "file":
        temporary.write_bytes(b"x" * 10_000)
    else:
        temporary.symlink_to(other)
    if kind == "link":
        other.write_bytes(b"precious")
    await FileCheckpoint(tmp_path / "feed.json").save(b"1")

    assert b"1" == await FileCheckpoint(tmp_path / "feed.json").load()
    assert not temporary.exists()
    assert (kind == "link") == other.exists()
    if kind == "link":
        assert b"precious" == other.read_bytes()


class SlowDisk(Syncing):
    """Holds each save until the test lets it go on."""

    def __init__(self) -> None:
        self.begun = 0
        self.gate = threading.Event()

    def file(self, descriptor: int) -> None:
        self.begun += 1
        assert self.gate.wait(60)


def on(disk: SlowDisk, path: Path) -> FileCheckpoint:
    checkpoint = FileCheckpoint(path, fsync=True)
    checkpoint._sync = disk
    return checkpoint


async def test_e3_kind_the_loop_does_not_wait_for_the_disk(tmp_path: Path) -> None:
    """It runs on while a save is held; on the loop this would never end."""
    disk = SlowDisk()
    save = asyncio.ensure_future(on(disk, tmp_path / "feed.json").save(b"1"))
    while not disk.begun:
        await asyncio.sleep(0.001)
    assert not save.done()
    disk.gate.set()
    await save


async def test_e3_kind_loading_does_not_hold_the_loop(tmp_path: Path) -> None:
    """Of a file that answers late; on the loop this would never end."""
    path = tmp_path / "feed.json"
    os.mkfifo(path)
    load = asyncio.ensure_future(FileCheckpoint(path).load())
    await asyncio.sleep(0)
    assert not load.done()
    await asyncio.to_thread(path.write_bytes, packed(b"1"))

    assert b"1" == await load


async def test_e3_kind_saves_at_the_same_time_keep_their_order(tmp_path: Path) -> None:
    """The last one wins, also if others were cancelled and still write."""
    disk = SlowDisk()
    checkpoint = on(disk, tmp_path / "feed.json")
    saves = [asyncio.ensure_future(checkpoint.save(b"%d" % number)) for number in range(10)]
    while not disk.begun:
        await asyncio.sleep(0.001)
    for save in saves[::2]:
        save.cancel()
    disk.gate.set()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(*saves, return_exceptions=True)

    assert b"9" == await checkpoint.load()
    assert {"feed.json"} == files_in(tmp_path)


@pytest.mark.parametrize(("system", "opens"), [("posix", True), ("nt", False)])
def test_e3_kind_on_windows_no_directory_is_opened(
    tmp_path: Path, system: str, opens: bool
) -> None:
    """It cannot be. Elsewhere the name of the new file is waited for as well."""
    path = tmp_path / "feed.json"
    command = [sys.executable, "-c", OPENED, str(path), system]
    run = subprocess.run(command, capture_output=True, text=True, check=True)

    assert opens == (run.stdout.split()[0] == "True")
    assert b"1" == path.read_bytes()
    assert isinstance(syncing(system), WindowsSyncing) == (system == "nt")


@given(st.binary())
def test_e3_kind_any_bytes_come_back(event: bytes) -> None:
    """The file adds a version, and changes nothing."""
    assert event == unpacked(packed(event), "feed.json")


class Fault(BaseException):
    """Neither an Exception."""


@pytest.mark.parametrize("fault", [OSError("no space"), Fault()])
async def test_e3_kind_a_disk_that_fails_leaves_no_other_file(
    tmp_path: Path, fault: BaseException
) -> None:
    """And the old event; the next save works."""
    path = tmp_path / "feed.json"
    await FileCheckpoint(path).save(b"1")

    class Failing(Syncing):
        def file(self, descriptor: int) -> None:
            raise fault

    checkpoint = FileCheckpoint(path, fsync=True)
    working: Any = checkpoint._sync
    checkpoint._sync = Failing()
    with pytest.raises(type(fault)):
        await checkpoint.save(b"2")
    assert (b"1", {"feed.json"}) == (await checkpoint.load(), files_in(tmp_path))
    checkpoint._sync = working
    await checkpoint.save(b"3")

    assert b"3" == await checkpoint.load()
