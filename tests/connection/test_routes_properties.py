"""The short and the long way of a result: any messages."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from routing import (
    COMPACT,
    CONSUMERS,
    EAGER,
    HOLES,
    IDS,
    SPEECHES,
    Consumer,
    Counted,
    Slow,
    Speech,
    Step,
    Way,
    as_sent,
    courses,
    see,
    ways,
)
from routing import quiet as quiet

from doubles import on_virtual_time
from gqlwire._connection.routes import Routes


@settings(deadline=None)
@given(course=courses(alone=False), consumers=CONSUMERS)
@on_virtual_time
async def test_all_ways_deliver_the_same_for_any_bursts(
    course: tuple[Speech, list[Step]], consumers: list[Consumer]
) -> None:
    """However slow it is: the same events, failures and end, the same counts; the server is told
    the same; the connection ends for the same reason."""
    long, *others = ways()

    expected = await see(long, course[0], consumers, course[1])

    for way in others:
        assert expected == await see(way, course[0], consumers, course[1])


@settings(deadline=None)
@given(course=courses(alone=True), consumers=EAGER)
@on_virtual_time
async def test_all_ways_deliver_the_same_for_messages_that_begin_like_results(
    course: tuple[Speech, list[Step]], consumers: list[Consumer]
) -> None:
    """The end of such a message shows another id, another type, or invalid JSON. If nothing comes
    between it and its consumer, even the order among consumers is the same.

    The consumer that finds this out has one more in `delivered`, which is left out here.
    """
    long, *others = ways()

    expected = await see(long, course[0], consumers, course[1])

    for way in others:
        seen = await see(way, course[0], consumers, course[1])
        assert expected == replace(seen, counts=expected.counts)


@settings(deadline=None)
@given(
    speech=st.sampled_from(SPEECHES),
    burst=st.lists(st.sampled_from(IDS) | st.just("end of 12"), max_size=12),
    hole=st.sampled_from(HOLES),
    place=st.integers(0, 12),
    id=st.sampled_from(IDS),
)
@on_virtual_time
async def test_invalid_json_that_begins_like_a_result_costs_one_event(
    speech: Speech, burst: list[str], hole: str, place: int, id: str
) -> None:
    """On all ways. Nobody else notices, and its own consumer gets all other events."""
    clean = [
        COMPACT.write("complete", "12", None)
        if each == "end of 12"
        else as_sent(speech, each, n)[0]
        for n, each in enumerate(burst)
    ]
    broken = [*clean[:place], COMPACT.write(speech.result, id, hole), *clean[place:]]
    begin = as_sent(speech, "1", -1)
    consumers = [Consumer()] * len(IDS)

    long = await see(Way(Slow, None), speech, consumers, [begin, broken])
    without = await see(Way(Slow, None), speech, consumers, [begin, clean])
    for way in (Way(Routes, Counted()), Way(Routes, None)):
        assert long == await see(way, speech, consumers, [begin, broken])

    is_over = id == "12" and COMPACT.write("complete", "12", None) in clean[:place]
    faults = [[each for each in told if "invalid result" in each] for told in long.told]
    assert [int(each == id and not is_over) for each in IDS] == [*map(len, faults)]
    assert without.told == [
        [each for each in told if "invalid result" not in each] for told in long.told
    ]
