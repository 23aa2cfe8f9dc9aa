"""How the tests run the command: in a process of its own, on pipes or on a terminal.

A process is for signals, pipes and terminals; the other tests call `gqlwire.cli.main` directly.
"""

import errno
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

BOUND = 60.0
"""Seconds after which a test takes a thing for hung."""

# A test run in the background of a script ignores SIGINT, and its children would, too.
_MAIN = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from gqlwire.cli import main
sys.exit(main())
"""
# Ctrl-C on a terminal reaches the process that the terminal controls.
_MAIN_ON_TERMINAL = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n" + _MAIN


@contextmanager
def running(*arguments: str, before: str = "", **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """The command, as a process; stdout and stderr are pipes. It is killed if it is left over.

    `before` is what the process runs first.
    """
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", before + _MAIN, *arguments], **{**pipes, **options}
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def first_line(process: subprocess.Popen[bytes]) -> bytes:
    """The first line of its stdout."""
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], BOUND)[0], "nothing came"
    return process.stdout.readline()


def interrupt(process: subprocess.Popen[bytes], number: int = signal.SIGINT) -> tuple[int, str]:
    """Send a signal; return the exit status and stderr."""
    process.send_signal(number)
    return ended(process)


def ended(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    """Wait for its end; return the exit status and stderr."""
    _, stderr = process.communicate(timeout=BOUND)
    return process.returncode, stderr.decode()


def until(is_so: Callable[[], object]) -> None:
    """Wait for a condition by polling."""
    deadline = time.monotonic() + BOUND
    while not is_so():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


def waiting_bytes(stream: Any) -> int:
    """How much is in a pipe and has not been read."""
    answer = fcntl.ioctl(stream.fileno(), termios.FIONREAD, b"\0\0\0\0")
    size: int = struct.unpack("i", answer)[0]
    return size


class Terminal:
    """The command on a terminal of 80 columns; `shown` is all that has appeared on it."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        self.shown = ""
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        plain = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLUMNS")}
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", _MAIN_ON_TERMINAL, *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env={**plain, "TERM": "xterm", **environment},
        )
        os.close(slave)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._master)

    def type(self, keys: str) -> None:
        """Press keys; "\\x03" is Ctrl-C."""
        os.write(self._master, keys.encode())

    def until(self, text: str, times: int = 1) -> None:
        """Read until `text` has appeared so many times."""
        while self.shown.count(text) < times:
            assert self._read(), f"{text!r} did not appear: {self.shown!r}"

    def end(self) -> int:
        """Read to the end; the exit status."""
        while self._read():
            pass
        return self._process.wait(BOUND)

    def _read(self) -> bool:
        assert select.select([self._master], [], [], BOUND)[0], f"nothing came: {self.shown!r}"
        try:
            piece = os.read(self._master, 65536)
        except OSError as error:
            # Linux raises this once nobody has the terminal open any more.
            if error.errno != errno.EIO:
                raise
            return False
        self.shown += piece.decode(errors="replace").replace("\r\n", "\n")
        return bool(piece)
