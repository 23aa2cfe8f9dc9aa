"""Where the results of an operation wait: any course of events, against a model."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw
from streaming import LOST, cost

from doubles import RecordingGate, next_event, on_virtual_time
from gqlwire._streams.stream import Buffer, EventStream, Overflow
from gqlwire.errors import SlowConsumer, TransportConnectionFailed

WAITS = object()


BLOBS = [bytes(size) for size in (0, 1, 100, 6 << 20)]


class Model:
    """What a stream is supposed to do, said as simply as can be."""

    def __init__(self, buffer: Buffer, overflow: Overflow) -> None:
        self.overflow = overflow
        self.events = 1 if overflow is Overflow.LATEST else buffer.events
        self.size = buffer.size
        self.waiting: list[Raw] = []
        self.delivered = 0
        self.dropped = 0
        self.over = False
        self.failure: Any = None
        self.held = False
        self.told: list[str] = []

    def exceeds(self, events: int, size: int) -> bool:
        return len(self.waiting) > events or cost(*self.waiting) > size

    def put(self, payload: Raw) -> None:
        if self.over:
            return
        self.waiting.append(payload)
        if not self.exceeds(self.events, self.size):
            return
        match self.overflow:
            case Overflow.ERROR:
                self.refuse()
            case Overflow.BLOCK:
                self.held = True
                self.told.append("hold")
                if self.exceeds(self.events + 65_536, self.size + (16 << 20)):
                    self.refuse()
            case _:
                while self.exceeds(self.events, self.size) and len(self.waiting) > 1:
                    del self.waiting[0]
                    self.dropped += 1

    def refuse(self) -> None:
        if len(self.waiting) > 1:
            del self.waiting[-1]
            self.dropped += 1
            self.end(SlowConsumer)

    def end(self, failure: Any) -> None:
        if not self.over:
            self.over = True
            self.failure = failure
            self.release(always=True)

    def take(self) -> object:
        if self.waiting:
            self.delivered += 1
            payload = self.waiting.pop(0)
            self.release()
            return payload
        if self.over:
            return self.failure or StopAsyncIteration
        return WAITS

    def clear(self) -> None:
        self.waiting.clear()
        self.release()

    def release(self, *, always: bool = False) -> None:
        if self.held and (always or not self.exceeds(self.events // 2, self.size // 2)):
            self.held = False
            self.told.append("release")


def taken_of(stream: EventStream) -> object:
    coroutine = next_event(stream)
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    except (StopAsyncIteration, TransportConnectionFailed, SlowConsumer) as end:
        return type(end)
    coroutine.close()
    return WAITS


buffers = st.builds(
    Buffer, st.integers(1, 4), st.sampled_from([1, 150, 300, 1 << 20, 7 << 20, 1 << 30])
)


steps = st.one_of(
    st.tuples(st.just("put"), st.integers(0, len(BLOBS) - 1)),
    st.tuples(st.just("put"), st.integers(0, len(BLOBS) - 1)),
    st.tuples(st.just("take"), st.just(0)),
    st.tuples(st.sampled_from(["end", "fail", "clear"]), st.just(0)),
)


@pytest.mark.parametrize("overflow", Overflow)
@settings(deadline=None)
@given(buffer=buffers, course=st.lists(steps, max_size=40))
@on_virtual_time
async def test_a_stream_does_what_its_model_does(
    overflow: Overflow, buffer: Buffer, course: list[tuple[str, int]]
) -> None:
    """Same events in the same order, same counts, same end, same words to the gate."""
    gate = RecordingGate()
    stream, model = EventStream(gate, buffer, overflow), Model(buffer, overflow)

    for step, blob in course:
        match step:
            case "put":
                # Equal payloads are told apart by identity.
                payload = Raw(BLOBS[blob])
                stream.put(payload)
                model.put(payload)
            case "take":
                assert model.take() is taken_of(stream)
            case "end":
                stream.end(None)
                model.end(None)
            case "fail":
                stream.end(LOST)
                model.end(TransportConnectionFailed)
            case "clear":
                stream.clear()
                model.clear()
        assert (model.delivered, model.dropped, model.over, len(model.waiting)) == (
            stream.delivered,
            stream.dropped,
            bool(stream.over),
            stream.buffered,
        )
        assert cost(*model.waiting) == stream.buffered_size
        assert (model.told, 0) == (gate.told, gate.waiting)
