"""What nobody should hear in a run, or only what is expected: the log, asyncio, the servers.

It must not know what is expected: the run says so.
"""

import asyncio
import gc
import logging
import re
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from log_table import as_row, rows


class Witness(logging.Handler):
    """Counts warnings and errors of the log by their row in docs/logging.md; keeps complaints.

    `counts` has the rows, `unexpected` the first lines of those that are not `expected`.
    `complaints` are those of asyncio, of finalizers, of threads, and Python's own warnings.
    """

    def __init__(self, expected: Collection[str]) -> None:
        super().__init__(logging.WARNING)
        self.counts: Counter[str] = Counter()
        self.unexpected: list[str] = []
        self.complaints: list[str] = []
        self._rows = {text for _, text in rows()}
        self._expected = expected

    def emit(self, record: logging.LogRecord) -> None:
        row = as_row(str(record.msg))
        self.counts[row] += 1
        if row not in self._expected or row not in self._rows:
            self._note(self.unexpected, f"{record.levelname} {record.getMessage()}")

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hear all of it, in the running loop, until the end of the block."""
        loop, logger = asyncio.get_running_loop(), logging.getLogger("gqlwire")
        logger.addHandler(self)
        hooks = sys.unraisablehook, threading.excepthook
        loop.set_exception_handler(lambda _, told: self.complain("asyncio", told))
        sys.unraisablehook = lambda told: self.complain("finalizer", told.exc_value)
        threading.excepthook = lambda told: self.complain("thread", told.exc_value)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("always")
                warnings.showwarning = lambda told, *_, **__: self.complain("warning", told)
                yield
                gc.collect()
        finally:
            sys.unraisablehook, threading.excepthook = hooks
            loop.set_exception_handler(None)
            logger.removeHandler(self)

    def complain(self, source: str, told: Any) -> None:
        self._note(self.complaints, f"{source}: {told!r}")

    @staticmethod
    def _note(notes: list[str], line: str) -> None:
        # The first ones are enough to know, and the memory of the process is measured.
        if len(notes) < 20:
            notes.append(line[:500])


def said(stderr: str) -> list[str]:
    """The first line of each record that a server has written to stderr.

    What follows the head of a record of Python's belongs to it, such as a traceback.
    """
    found: list[str] = []
    is_within = False
    for line in stderr.splitlines():
        if _HEAD.match(line):
            is_within = True
            found.append(line)
        elif line[:1].strip() and not is_within:
            is_within = line.startswith("Traceback ")
            found.append(line)
    return found


_HEAD = re.compile(r"(DEBUG|INFO|WARNING|ERROR|CRITICAL):|Exception |Fatal |Task ")
"""By `logging`, or by the interpreter itself."""
