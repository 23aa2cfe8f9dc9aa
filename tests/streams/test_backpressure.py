"""When a shared socket is read: not for a full stream, unless somebody waits for something."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doubles import RecordingGate
from gqlwire._streams.backpressure import ReadGate
from gqlwire._streams.stream import Buffer, EventStream, Overflow


class Socket:
    """What a gate acts on: it objects to a second pause, and to a second resumption."""

    def __init__(self) -> None:
        self.reads = True
        self.needed = False
        self.gate = ReadGate()
        self.gate.attach(self, self.pause, self.resume, lambda: self.needed)

    def pause(self) -> None:
        assert self.reads
        self.reads = False

    def resume(self) -> None:
        assert not self.reads
        self.reads = True


def stream() -> EventStream:
    return EventStream(RecordingGate(), Buffer(), Overflow.BLOCK)


def test_a_full_stream_stops_reading() -> None:
    """While nobody waits for anything."""
    socket = Socket()
    socket.gate.hold(stream())

    assert socket.reads is False
    assert socket.gate.paused is True


def test_reading_resumes_when_the_stream_has_room() -> None:
    """Nothing else keeps it paused."""
    socket, full = Socket(), stream()
    socket.gate.hold(full)
    socket.gate.release(full)

    assert socket.reads is True
    assert socket.gate.paused is False


def test_reading_resumes_when_the_last_full_stream_has_room() -> None:
    """One that is still full keeps it paused."""
    socket, one, other = Socket(), stream(), stream()
    socket.gate.hold(one)
    socket.gate.hold(other)

    socket.gate.release(one)
    assert socket.reads is False

    socket.gate.release(other)
    assert socket.reads is True


def test_a_stream_that_is_held_twice_is_released_once() -> None:
    """It says so with every event that comes too many."""
    socket, full = Socket(), stream()
    socket.gate.hold(full)
    socket.gate.hold(full)
    socket.gate.release(full)

    assert socket.reads is True


def test_releasing_a_stream_that_was_never_held_is_harmless() -> None:
    """Nothing is resumed that was not paused."""
    socket = Socket()
    socket.gate.release(stream())
    socket.gate.open()
    socket.gate.check()

    assert socket.reads is True


def test_reading_does_not_stop_while_somebody_waits() -> None:
    """Two may wait; both must have what they wait for."""
    socket, full = Socket(), stream()
    socket.gate.waiting += 1
    if socket.gate.paused:
        socket.gate.check()
    socket.gate.waiting += 1
    if socket.gate.paused:
        socket.gate.check()
    socket.gate.hold(full)
    assert socket.reads is True

    socket.gate.waiting -= 1
    socket.gate.hold(full)
    assert socket.reads is True

    socket.gate.waiting -= 1
    socket.gate.hold(full)
    assert socket.reads is False


def test_reading_resumes_as_soon_as_somebody_waits() -> None:
    """A consumer that asks for something inside its own loop is not deadlocked."""
    socket = Socket()
    socket.gate.hold(stream())
    socket.gate.waiting += 1
    if socket.gate.paused:
        socket.gate.check()

    assert socket.reads is True


@pytest.mark.parametrize("needed", [True, False])
def test_waits_of_the_connection_itself_count(needed: bool) -> None:
    """A pong, an acknowledgement, the server's goodbye."""
    socket = Socket()
    socket.needed = needed
    socket.gate.hold(stream())
    assert needed is socket.reads

    socket.needed = True
    socket.gate.check()
    assert socket.reads is True


def test_a_gate_can_be_opened_while_streams_are_full() -> None:
    """At the end of a connection."""
    socket = Socket()
    socket.gate.hold(stream())
    socket.gate.open()

    assert socket.reads is True


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["hold", "release", "wait", "cease", "need", "open"]), st.booleans()
        )
    )
)
def test_reading_never_stops_while_somebody_waits_nor_without_a_full_stream(
    course: list[tuple[str, bool]],
) -> None:
    """Whatever happens in whatever order."""
    socket, streams = Socket(), (stream(), stream())
    held: set[EventStream] = set()
    waiting = 0

    for step, flag in course:
        match step:
            case "hold":
                held.add(streams[flag])
                socket.gate.hold(streams[flag])
            case "release":
                held.discard(streams[flag])
                socket.gate.release(streams[flag])
            case "wait":
                waiting += 1
                socket.gate.waiting += 1
                if socket.gate.paused:
                    socket.gate.check()
            case "cease" if waiting:
                waiting -= 1
                socket.gate.waiting -= 1
            case "need":
                socket.needed = flag
                socket.gate.check()
            case "open":
                socket.gate.open()
        assert socket.gate.paused is not socket.reads
        if waiting or socket.needed or not held:
            assert socket.reads is True
