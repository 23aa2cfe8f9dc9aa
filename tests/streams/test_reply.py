"""Where the results of an operation wait: one result."""

from __future__ import annotations

import asyncio

import pytest
from streaming import LOST, event

from doubles import RecordingGate, on_virtual_time, settle
from gqlwire._streams.reply import Reply
from gqlwire.errors import TransportConnectionFailed


@on_virtual_time
async def test_a_reply_is_the_first_result() -> None:
    """Others are not waited for, nor kept."""
    reply = Reply(RecordingGate())
    reply.put(event(1))
    reply.put(event(2))
    reply.end(LOST)

    assert event(1) == await reply.get()


@on_virtual_time
async def test_a_reply_is_waited_for_and_that_is_counted() -> None:
    """The gate must know."""
    gate = RecordingGate()
    reply = Reply(gate)
    waiting = asyncio.ensure_future(reply.get())
    await settle()
    assert 1 == gate.waiting

    reply.put(event(1))

    assert event(1) == await waiting
    assert 0 == gate.waiting


@on_virtual_time
async def test_a_normal_end_without_a_result_returns_none() -> None:
    """The caller decides what that means."""
    reply = Reply(RecordingGate())
    reply.end(None)
    reply.end(LOST)
    reply.put(event(1))

    assert await reply.get() is None


@on_virtual_time
async def test_a_failure_interrupts_the_wait_for_a_reply() -> None:
    """Immediately, with a copy of its own."""
    gate = RecordingGate()
    reply = Reply(gate)
    waiting = asyncio.ensure_future(reply.get())
    await settle()
    before = asyncio.get_running_loop().time()

    reply.end(LOST)
    reply.end(None)

    with pytest.raises(TransportConnectionFailed, match="lost") as caught:
        await waiting
    assert caught.value is not LOST
    assert (before, 0) == (asyncio.get_running_loop().time(), gate.waiting)


@on_virtual_time
async def test_cancelling_the_wait_for_a_reply_is_noted() -> None:
    """Later results and ends change nothing."""
    gate = RecordingGate()
    reply = Reply(gate)
    waiting = asyncio.ensure_future(reply.get())
    await settle()

    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert 0 == gate.waiting
    reply.put(event(1))
    reply.end(LOST)
