"""Who is suspected, and who is blamed: as data, without sockets and clocks."""

from __future__ import annotations

import string
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gqlwire._reconnect.suspicion import SOON, End, Suspicion, Trace, Verdict, is_refusal
from gqlwire.errors import (
    ConnectionClosed,
    KeepAliveTimeout,
    Phase,
    TransportClosed,
    TransportError,
    TransportProtocolError,
)

MANY = list(string.ascii_lowercase[:21])


def closed(code: int) -> ConnectionClosed:
    return ConnectionClosed("", code=code, phase=Phase.OPEN)


def end(
    failure: TransportError,
    keys: list[str] = MANY,
    *,
    life: float = 1.0,
    lead: float = 0.0,
    has_control: bool = False,
    places: int = 16,
    **seen: list[str],
) -> End[str]:
    """The end of a connection with `keys`; `seen`: fields of their traces, with who has them."""
    traces = [
        Trace(key, **{name: key in those for name, those in seen.items()})  # type: ignore[arg-type]
        for key in keys
    ]
    return End(failure, traces, life, lead, has_control, places)


def named(verdict: Verdict[str]) -> set[str]:
    return {key for group in verdict.apart for key in group}


@pytest.mark.parametrize("code", [1002, 1003, 1011, 4400, 4500, 4000, 4999])
def test_a_code_of_the_application_refuses_the_one_that_was_just_started(code: int) -> None:
    """And never had an event. It has to happen again, if there are others on the connection."""
    seen = {"is_first": ["b"], "is_fresh": ["b", "c"], "is_unheard": ["b"]}
    suspicion = Suspicion[str](5)
    verdict = suspicion.ended(end(closed(code), **seen))
    assert (None, [["b"]], 0) == (verdict.blamed, verdict.apart, verdict.count)
    assert "b" == suspicion.ended_apart(end(closed(code), ["b"], has_control=True, **seen)).blamed

    assert "b" == Suspicion[str](5).ended(end(closed(code), ["b"], **seen)).blamed


def test_a_code_refuses_the_one_that_was_held_back_for_it() -> None:
    """If no other connection may be opened, it is sent again later."""
    seen = {"is_first": ["b"], "is_fresh": ["b"], "is_unheard": ["b"]}
    suspicion = Suspicion[str](5)
    assert "b" == suspicion.ended(end(closed(4500), places=0, **seen)).held
    assert "b" == suspicion.ended(end(closed(4500), places=0, lead=2.0, **seen)).blamed


def test_others_that_stand_out_are_suspects_beside_one_that_was_just_started() -> None:
    """It is not the only one that may be the cause."""
    suspicion = Suspicion[str](5)
    for fresh in ("b", "c"):
        seen = {"is_first": [fresh], "is_fresh": [fresh], "is_unheard": [fresh], "was_last": ["a"]}
        verdict = suspicion.ended(end(closed(4500), **seen))
    assert [["c"], ["a"]] == verdict.apart


@pytest.mark.parametrize("code", [1000, 1001, 1005, 1006, 1012, 1013, 4401, 4403, 4408, 4429])
def test_other_codes_refuse_nothing(code: int) -> None:
    """They are about the connection, or nobody can say what they are about."""
    seen = {"is_first": ["b"], "is_fresh": ["b"], "is_unheard": ["b"]}
    assert Verdict() == Suspicion[str](5).ended(end(closed(code), **seen))
    assert not is_refusal(closed(code))


def test_a_code_refuses_nothing_if_a_query_may_be_meant() -> None:
    """One that was not answered, beside the only subscription."""
    seen = {"is_first": ["b"], "is_fresh": ["b"], "is_unheard": ["b"]}
    ended = end(closed(4500), ["b"], **seen)
    asked = End(ended.failure, ended.traces, ended.life, has_interrupted=True)
    assert "b" == Suspicion[str](5).ended(ended).blamed
    assert Verdict() == Suspicion[str](5).ended(asked)


def test_a_code_refuses_nothing_if_two_were_just_started() -> None:
    """It cannot be both."""
    seen = {"is_first": ["b", "c"], "is_fresh": ["b", "c"], "is_unheard": ["b", "c"]}
    assert Verdict() == Suspicion[str](5).ended(end(closed(4500), **seen))


@pytest.mark.parametrize(
    "failure", [closed(1006), closed(4403), TransportProtocolError(), KeepAliveTimeout()]
)
def test_who_alone_is_unheard_twice_is_a_suspect(failure: TransportError) -> None:
    """The second time, not the first."""
    suspicion = Suspicion[str](5)
    assert Verdict() == suspicion.ended(end(failure, is_unheard=["d"]))
    assert [["d"]] == suspicion.ended(end(failure, is_unheard=["d"])).apart


def test_who_has_the_last_message_twice_is_a_suspect() -> None:
    """So a connection that ends after some events shows whose they were."""
    suspicion = Suspicion[str](5)
    suspicion.ended(end(closed(1006), was_last=["e"]))
    assert [["e"]] == suspicion.ended(end(closed(1006), was_last=["e"])).apart

    suspicion = Suspicion[str](5)
    suspicion.ended(end(closed(1006), was_last=["e"]))
    assert Verdict() == suspicion.ended(end(closed(1006), was_last=["f"]))


def test_ends_that_differ_are_no_row() -> None:
    """Nor are connections that lasted differently long, beyond a minute."""
    suspicion = Suspicion[str](5)
    for failure, life in [
        (closed(1006), 1.0),
        (closed(1000), 1.0),
        (closed(1000), 500.0),
        (closed(1000), 7.0),
        (closed(1006), 7.0),
    ]:
        assert Verdict() == suspicion.ended(end(failure, life=life, is_unheard=["a"]))


@pytest.mark.parametrize("failure", [closed(1012), closed(1001), closed(4429), TransportClosed()])
def test_nobody_is_a_suspect_if_the_cause_is_known(failure: TransportError) -> None:
    """A server that restarts, or this side."""
    suspicion = Suspicion[str](5)
    for _ in range(9):
        assert Verdict() == suspicion.ended(end(failure, is_unheard=["a"]))
        assert Verdict() == suspicion.ended_apart(end(failure, ["a"], has_control=True))


def test_who_is_alone_is_blamed_after_so_many_ends() -> None:
    """While another, older connection lives."""
    suspicion = Suspicion[str](3)
    for count in (1, 2):
        verdict = suspicion.ended_apart(end(closed(1006), ["a"], has_control=True))
        assert ([["a"]], count) == (verdict.apart, verdict.count)
    verdict = suspicion.ended_apart(end(closed(1006), ["a"], has_control=True))
    assert ("a", 3) == (verdict.blamed, verdict.count)


@pytest.mark.parametrize(
    ("has_control", "life"), [(False, 1.0), (True, SOON + 1)], ids=["no control", "long"]
)
def test_ends_that_prove_nothing_begin_the_count_again(has_control: bool, life: float) -> None:
    """If the server goes down for all, or the connection lasted."""
    suspicion = Suspicion[str](2)
    suspicion.ended_apart(end(closed(1006), ["a"], has_control=True))
    ended = end(closed(1006), ["a"], has_control=has_control, life=life)
    assert Verdict() == suspicion.ended_apart(ended)
    assert 1 == suspicion.ended_apart(end(closed(1006), ["a"], has_control=True)).count


def test_one_that_is_alone_in_the_session_is_held_back() -> None:
    """Then it counts if the connection lasted longer without it than with it."""
    suspicion = Suspicion[str](3)
    one = ["a"]
    assert Verdict() == suspicion.ended(end(closed(1006), one))
    assert Verdict() == suspicion.ended(end(closed(1006), one))
    assert "a" == suspicion.ended(end(closed(1006), one)).held
    assert 2 == suspicion.ended(end(closed(1006), one, lead=2.0)).count
    assert Verdict() == suspicion.ended(end(closed(1006), one, lead=0.5))
    assert 1 == suspicion.ended(end(closed(1006), one, lead=2.0)).count


def test_without_places_a_suspect_is_held_back() -> None:
    """A server may allow one connection only."""
    suspicion = Suspicion[str](2)
    suspicion.ended(end(closed(1006), is_unheard=["c"], places=0))
    assert "c" == suspicion.ended(end(closed(1006), is_unheard=["c"], places=0)).held
    verdict = suspicion.ended(end(closed(1006), is_unheard=["c"], places=0, lead=2.0))
    assert "c" == verdict.blamed


def test_no_limit_means_that_nobody_is_blamed() -> None:
    """As with `suspect_attempts=None`."""
    suspicion = Suspicion[str](None)
    for count in range(1, 50):
        verdict = suspicion.ended_apart(end(closed(1006), ["a"], has_control=True))
        assert (None, count) == (verdict.blamed, verdict.count)


def drops_until_found(
    keys: list[str], culprit: str, kind: Callable[[list[str]], dict[str, list[str]]]
) -> tuple[int, int]:
    """Play it: the connection that has the cause on it ends.

    Return how often, and how often at most for another one.
    `kind` is what is seen of those that are on such a connection.
    """
    suspicion = Suspicion[str](5)
    main, apart, places = list(keys), list[list[str]](), 16
    hit = dict.fromkeys(keys, 0)
    for drops in range(1, 50):
        on = next((group for group in apart if culprit in group), main)
        for key in on:
            hit[key] += 1
        ended = end(
            closed(1006),
            on,
            has_control=bool(apart) or on is not main,
            places=places - len(apart) + (on is not main),
            **kind(on),
        )
        if on is main:
            verdict = suspicion.ended(ended)
        else:
            apart.remove(on)
            verdict = suspicion.ended_apart(ended)
        if verdict.blamed is not None:
            assert culprit == verdict.blamed
            return drops, max((hit[key] for key in keys if key != culprit), default=0)
        if on is not main:
            main += [key for key in on if key not in named(verdict)]
        main = [key for key in main if key not in named(verdict)]
        apart += verdict.apart
    raise AssertionError("it was not found")


@settings(max_examples=200)
@given(st.integers(2, 60), st.data())
def test_the_culprit_is_found_whoever_it_is(count: int, data: st.DataObject) -> None:
    """Though nothing at all is seen of it: by dividing them."""
    keys = [str(number) for number in range(count)]
    culprit = data.draw(st.sampled_from(keys))
    _, others = drops_until_found(keys, culprit, lambda _: {})
    assert others <= 6


@pytest.mark.parametrize("culprit", MANY)
def test_the_others_have_two_drops_if_it_shows(culprit: str) -> None:
    """By being unheard, or by the last message."""
    for name in ("is_unheard", "was_last"):
        _, others = drops_until_found(MANY, culprit, lambda _, name=name: {name: [culprit]})
        assert 2 == others


def test_silence_misleads_if_the_silent_live_on_connections_of_their_own() -> None:
    """Then the one whose message was the last again is a suspect as well."""
    seen = {"is_unheard": ["a", "b"], "was_last": ["c"]}
    suspicion = Suspicion[str](5)
    suspicion.ended(end(closed(1006), **seen))
    assert [["a"], ["b"]] == suspicion.ended(end(closed(1006), **seen)).apart
    others = [key for key in MANY if key not in "ab"]
    seen = {"is_unheard": ["d"], "was_last": ["c"]}
    suspicion.ended(end(closed(1006), others, has_control=True, **seen))
    again = suspicion.ended(end(closed(1006), others, has_control=True, **seen))
    assert [["d"], ["c"]] == again.apart


def test_suspicions_beside_a_connection_that_lives_are_not_limited() -> None:
    """It is not the server that ends its connections."""
    suspicion = Suspicion[str](5)
    for number in range(30):
        seen = {"is_unheard": [MANY[number % 20]] * 2}
        verdict = suspicion.ended(end(closed(1006), has_control=True, **seen))
    assert verdict.apart


def test_after_many_wrong_suspicions_there_is_a_pause() -> None:
    """Not for ever: all of them may have been wrong by chance."""
    suspicion = Suspicion[str](5)
    ends = [suspicion.ended(end(closed(1006))) for _ in range(2 + 8 + 8 + 8)]
    assert [False] * 2 + [True] * 8 + [False] * 8 + [True] * 8 == [bool(one.apart) for one in ends]
