"""`key=` swallowed real events uncounted if it returned None or the same value for many events; and
after a replay that was longer than its memory, all events came twice.

Right: None is no key, what is dropped is counted and bounded, with a warning; a replay is
recognized as far as the memory goes.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from saving import lose, n, take

import gqlwire
from gqlwire._operations.keys import Keys
from spelling import Spelling, both
from virtual_server import TICKS, VirtualServer, begun, kept, started, tidily, virtual_server

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

served = pytest.fixture(name="server")(virtual_server)

WARNING = "key= of a subscription does not identify its events"


def by_number(event: Any) -> Any:
    return event["n"]


# --- F2 ------------------------------------------------------------------------------------------


@both
@tidily
async def test_f2_none_is_no_key(server: VirtualServer, spelling: Spelling) -> None:
    """All events are delivered, before and after a reconnect."""
    async with kept(server, spelling=spelling) as it:
        events = it.session.subscribe(TICKS, key=lambda event: None)
        await started(events, server.peer)
        server.peer.tell(*range(1, 50))
        await lose(it, server)
        server.peer.tell(*range(350))

        assert n(*range(1, 50), *range(350)) == await take(events, 399)
        assert (400, 0, 0) == (events.delivered, events.duplicates, events.dropped)
        await events.aclose()


@both
@tidily
async def test_f2_a_coarse_key_drops_no_more_events_than_it_has_values(
    server: VirtualServer, spelling: Spelling, caplog: pytest.LogCaptureFixture
) -> None:
    """They are counted, in the session as well; a warning says that the key is none."""
    async with kept(server, spelling=spelling) as it:
        events = it.session.subscribe(TICKS, key=lambda event: event["n"] % 7)
        await started(events, server.peer)
        server.peer.tell(*range(1, 50))
        await lose(it, server)
        server.peer.tell(*range(50, 400))

        assert n(*range(1, 50), *range(57, 400)) == await take(events, 392)
        assert (393, 7, 0) == (events.delivered, events.duplicates, events.dropped)
        assert (400, 7) == (it.session.counters.events, it.session.counters.duplicates)
        assert [logging.WARNING] == [r.levelno for r in caplog.records if WARNING in r.message]
        await lose(it, server)
        server.peer.tell(*range(20))
        assert n(*range(20)) == await take(events, 20)
        await events.aclose()

        assert 7 == it.session.counters.duplicates
        assert 1 == caplog.text.count(WARNING)


COARSE: dict[str, Callable[[int], Hashable]] = {
    "constant": lambda number: "x",
    "parity": lambda number: number % 2,
    "tens": lambda number: number // 10 % 10,
    "hundreds": lambda number: number // 100 % 3,
    "sometimes none": lambda number: None if number % 3 else number % 5,
    "wave": lambda number: abs(number % 40 - 20),
    "bool and int": lambda number: [True, 1, 0, False][number % 4],
}


@pytest.mark.parametrize("name", COARSE)
def test_f2_kind_a_key_that_identifies_nothing_swallows_a_bounded_number(name: str) -> None:
    """At each reconnect at most as many events as there are keys, and then none at all."""
    key = COARSE[name]
    keys: Keys[int] = Keys(key, 1_000)
    number, dropped = 0, 0
    values = {key(number) for number in range(500)} - {None}
    for _ in range(3):
        dropped += sum(not keys.is_new(number := number + 1) for _ in range(500))
        keys.cross()

    assert dropped <= len(values)


@pytest.mark.parametrize("memory", [1, 10, 1_000, 5_000])
@tidily
async def test_f2_kind_the_memory_can_be_chosen(server: VirtualServer, memory: int) -> None:
    """With `key_memory`: so many of the last events are recognized."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS, key=by_number, key_memory=memory)
        await started(events, server.peer, -1)
        server.peer.tell(*range(6_000))
        await take(events, 6_000)
        await lose(it, server)
        server.peer.tell(*range(6_000 - memory, 6_001))

        assert n(6_000) == await take(events, 1)
        assert memory == events.duplicates
        await events.aclose()


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"key": by_number, "key_memory": 0}, ValueError, "key_memory must be at least 1, not 0"),
        ({"key": by_number, "key_memory": -5}, ValueError, "key_memory must be at least 1"),
        ({"key": by_number, "key_memory": 1.5}, TypeError, "key_memory must be an int, not float"),
        ({"key": by_number, "key_memory": True}, TypeError, "key_memory must be an int, not bool"),
        ({"key": by_number, "key_memory": "9"}, TypeError, "key_memory must be an int, not str"),
        ({"key_memory": 5}, ValueError, "key_memory needs key"),
    ],
)
@tidily
async def test_f2_kind_a_memory_that_cannot_be_is_refused(
    server: VirtualServer, options: Any, kind: type[Exception], words: str
) -> None:
    """By `subscribe`."""
    async with kept(server) as it:
        with pytest.raises(kind, match=words):
            it.session.subscribe(TICKS, **options)


@tidily
async def test_f2_kind_repetitions_are_counted_in_mergers_and_lists(server: VirtualServer) -> None:
    """And a subscription that has ended keeps its count."""
    async with kept(server) as it:
        first = it.session.subscribe(TICKS, key=by_number)
        second = it.session.subscribe(TICKS, key=by_number)
        for events in (first, second):
            await started(events, server.peer)
            server.peer.tell(1, 2, id=events.id)
            await take(events, 2)
        await lose(it, server)
        for events in (first, second):
            server.peer.tell(1, 2, 3, id=events.id)
        assert n(3) == await anext(first.batches())
        merged = gqlwire.merge([second])
        assert (second, {"n": 3}) == await anext(merged)
        await merged.aclose()
        await first.aclose()

        assert [(4, 2)] * 2 == [(each.delivered, each.duplicates) for each in (first, second)]
        assert (12, 4, 0) == (
            it.session.counters.events,
            it.session.counters.duplicates,
            it.session.counters.dropped,
        )


async def coroutine(event: Any) -> Any:
    return event["n"]


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (lambda event: [event["n"]], "key= returned list, which cannot be hashed"),
        (lambda event: event, "key= returned dict, which cannot be hashed"),
        (lambda event: {event["n"]}, "key= returned set, which cannot be hashed"),
        (lambda event: (1, [event["n"]]), "unhashable type: 'list'"),
        (coroutine, "key= of a subscription must not be a coroutine function"),
    ],
)
@tidily
async def test_f2_kind_what_cannot_be_a_key_is_an_error(
    server: VirtualServer, key: Any, words: str
) -> None:
    """Of the first step."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS, key=key)
        step = await begun(anext(events))
        server.peer.tell(1)
        with pytest.raises(TypeError, match=words):
            await step
        await events.aclose()


# --- F3 ------------------------------------------------------------------------------------------


@both
@tidily
async def test_f3_a_replay_that_is_longer_than_the_memory(
    server: VirtualServer, spelling: Spelling
) -> None:
    """1,500 with 1,000 remembered: only those come twice that nobody remembers."""
    async with kept(server, spelling=spelling) as it:
        events = it.session.subscribe(TICKS, key=by_number)
        await started(events, server.peer, 0)
        server.peer.tell(*range(1, 1_500))
        await take(events, 1_499)
        await lose(it, server)
        server.peer.tell(*range(1_510))

        assert n(*range(500), *range(1_500, 1_510)) == await take(events, 510)
        assert 1_000 == events.duplicates
        await events.aclose()


@given(
    st.integers(1, 60),
    st.integers(0, 200),
    st.integers(0, 200),
    st.integers(0, 200),
    st.sets(st.integers(0, 200)),
)
def test_f3_kind_any_replay_is_recognized_as_far_as_the_memory_goes(
    memory: int, before: int, back: int, beyond: int, missed: set[int]
) -> None:
    """From anywhere, with events that never came in between; what is new is never dropped."""
    keys: Keys[int] = Keys(lambda number: number, memory)
    came = [number for number in range(before) if number not in missed]
    assert all(keys.is_new(number) for number in came)
    known = {*came[-memory:]}
    keys.cross()
    replay = range(max(0, before - back), before + beyond)

    delivered = [number for number in replay if keys.is_new(number)]
    assert delivered == [number for number in replay if number not in known]


def test_f3_kind_events_of_one_connection_are_never_compared() -> None:
    """Only across a reconnect; after the replay, keys may come again."""
    keys: Keys[int] = Keys(lambda number: number, 10)
    assert [True] * 4 == [keys.is_new(number) for number in (1, 2, 1, 3)]
    keys.cross()

    found = [keys.is_new(number) for number in (2, 1, 9, 3, 4, 3, 4, 1, 2)]
    assert [False, False, True, False, True, True, True, True, True] == found


def test_f3_kind_keys_that_come_again_after_a_long_time_are_not_repetitions() -> None:
    """Numbers that start again from 0, long after a reconnect whose cursor was exact."""
    keys: Keys[int] = Keys(lambda number: number % 65_536, 1_000)
    assert all(keys.is_new(number) for number in range(500))
    keys.cross()

    assert all(keys.is_new(number) for number in range(500, 200_000))


def test_f3_kind_the_memory_is_bounded() -> None:
    """Twice the memory at most, whatever comes."""
    keys: Any = Keys(lambda number: number, 100)
    for number in range(5_000):
        keys.is_new(number)
        if number % 777 == 0:
            keys.cross()
        assert len(keys._known) + len(keys._fresh) <= 200
