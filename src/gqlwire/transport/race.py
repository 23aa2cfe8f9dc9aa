"""Asks a silent server again, in another way, while the first request still waits.

This module knows no subprotocols: an offer is whatever `dial` takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from gqlwire._connection.connection import Connection
from gqlwire.errors import TransportConnectionFailed

T = TypeVar("T")


class AnsweredLate(TransportConnectionFailed):
    """The server answered an attempt after another one. No user sees this error."""


async def first_answer(
    dial: Callable[[T], Coroutine[Any, Any, Connection]],
    first: T,
    others: Sequence[T],
    *,
    sent: asyncio.Event,
    silence: float,
) -> Connection:
    """Return the first connection that opens; `dial` makes one with an offer.

    If the server does not answer the `first` offer, each of the `others` joins it: the first of
    them `silence` seconds after `sent` is set. What becomes of the first offer counts: if it
    fails, that is raised. An attempt that the server answers too late raises AnsweredLate in
    `dial`. Cancelling leaves no connection behind.
    """
    loop = asyncio.get_running_loop()
    main = loop.create_task(dial(first))
    running, waiting = [main], list(others)
    try:
        await _either(main, sent)
        while True:
            done, _ = await asyncio.wait(
                running,
                timeout=silence if waiting else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for task in sorted(done, key=_has_failed):  # any answer is better than a failure
                running.remove(task)
                failure = task.exception()
                if failure is None:
                    return task.result()
                if not running or (task is main and not isinstance(failure, AnsweredLate)):
                    raise failure
            if waiting:
                running.append(loop.create_task(dial(waiting.pop(0))))
    finally:
        await _give_up(running)


def _has_failed(task: asyncio.Task[Connection]) -> bool:
    return task.exception() is not None


async def _either(main: asyncio.Task[Connection], sent: asyncio.Event) -> None:
    signal = asyncio.get_running_loop().create_task(sent.wait())
    try:
        await asyncio.wait([main, signal], return_when=asyncio.FIRST_COMPLETED)
    finally:
        signal.cancel()


async def _give_up(running: list[asyncio.Task[Connection]]) -> None:
    for task in running:
        task.cancel()
    if running:
        await asyncio.wait(running)
    for task in running:
        if not task.cancelled() and task.exception() is None:
            await task.result().discard()
