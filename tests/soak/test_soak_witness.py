"""What an endurance run hears: the log by its table, complaints of Python, lines of servers."""

import asyncio
import logging
import threading
import warnings

import pytest
from kinds import KINDS
from witness import Witness, said

from log_table import rows

LOSS = "%s; the next attempt is in %.1f s"
ROW = "…; the next attempt is in … s"


async def test_expected_warnings_are_counted_by_their_row() -> None:
    witness = Witness([ROW])
    with witness.listening():
        for number in range(3):
            logging.getLogger("gqlwire").warning(LOSS, f"lost {number}", 1.5)
        logging.getLogger("gqlwire").info(LOSS, "lost", 1.5)

    assert {ROW: 3} == witness.counts
    assert [] == witness.unexpected == witness.complaints


@pytest.mark.parametrize("expected", [[], ["a line that the table has not"]])
async def test_any_other_line_is_unexpected(expected: list[str]) -> None:
    witness = Witness(expected)
    with witness.listening():
        logging.getLogger("gqlwire").warning("a line that the table has not")
        logging.getLogger("gqlwire").error("hook %s raised", "x")

    assert [
        "WARNING a line that the table has not",
        "ERROR hook x raised",
    ] == witness.unexpected


class Sore:
    def __del__(self) -> None:
        raise ValueError("sore")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_complaints_of_python_are_heard() -> None:
    witness = Witness([])
    with witness.listening():
        asyncio.get_running_loop().call_exception_handler({"message": "a task was lost"})
        Sore()
        thread = threading.Thread(target=lambda: 1 / 0)
        thread.start()
        thread.join()
        warnings.warn("not closed", ResourceWarning, stacklevel=1)

    sources = [line.partition(":")[0] for line in witness.complaints]
    assert ["asyncio", "finalizer", "thread", "warning"] == sources
    assert "a task was lost" in witness.complaints[0]


async def test_a_flood_is_not_kept() -> None:
    """The memory of the process is measured."""
    witness = Witness([])
    for _ in range(100):
        witness.complain("asyncio", "x" * 10_000)

    assert 20 == len(witness.complaints)
    assert 500 == max(map(len, witness.complaints))


PYTHON = """\
ERROR:strawberry.execution:not ready

GraphQL request:2:3
Traceback (most recent call last):
  File "x.py", line 1, in <module>
ValueError: not ready
WARNING:asyncio:slow
Exception in thread Thread-1:
Traceback (most recent call last):
ValueError: worse
"""


def test_a_record_of_a_server_is_one_line() -> None:
    assert [
        "ERROR:strawberry.execution:not ready",
        "WARNING:asyncio:slow",
        "Exception in thread Thread-1:",
    ] == said(PYTHON)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", []),
        ("Traceback (most recent call last):\n  x\nValueError: y\n", ["Traceback (most recent"]),
        ("what\n    at f (x.js)\n  code: 1\n}\n", ["what", "}"]),
        ("(node:7) Warning\nWARNING:c:d\nof it\n", ["(node:7) W", "WARNING:c:d"]),
    ],
)
def test_others_write_lines(text: str, lines: list[str]) -> None:
    found = said(text)

    assert len(lines) == len(found)
    assert all(line.startswith(begin) for line, begin in zip(found, lines, strict=True))


def test_what_runs_expect_is_in_the_table() -> None:
    """A steady run expects nothing."""
    table = {text for _, text in rows()}

    assert {row for kind in KINDS for row in kind.warnings} <= table
    assert [()] == [kind.warnings for kind in KINDS if not kind.is_rough]
