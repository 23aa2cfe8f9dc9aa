"""Whatever a server says, in whatever order: the machines keep their promises."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gqlwire._json import UNREADABLE
from gqlwire._protocols import Dialect, Setup, choose, default_offer, events, lenient
from gqlwire.errors import Phase, TransportProtocolError
from spelling import NEWER, OLDER, REQUEST, Spelling, both, guessing, opened, sent

if TYPE_CHECKING:
    from collections.abc import Callable

TOLD = (
    events.Acknowledged,
    events.Complaint,
    events.Pinged,
    events.Ponged,
    events.KeptAlive,
    events.Result,
    events.Failed,
    events.Completed,
    events.Stray,
)

# A machine that does much else at the same time is slow, not wrong.
patiently = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

# --- What a server may say -------------------------------------------------------------------

words = st.sampled_from(
    [
        "connection_ack",
        "connection_error",
        "ka",
        "ping",
        "pong",
        "next",
        "data",
        "error",
        "complete",
        "start_ack",
    ]
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)
errors = st.fixed_dictionaries({"message": st.text(max_size=8)})
payloads = st.one_of(
    anything,
    st.fixed_dictionaries({"data": anything}, optional={"errors": st.lists(errors)}),
    errors,
    st.lists(errors, max_size=2),
    st.fixed_dictionaries({"errors": st.lists(errors, max_size=2)}),
)
ids = st.sampled_from(["1", "2", "3", "4", "99"])
any_ids = ids | ids.map(int) | st.none() | scalars


def written(message: Any) -> bytes:
    """Write JSON as servers do: NaN and lone surrogates pass."""
    return json.dumps(message).encode()


plausible = st.fixed_dictionaries(
    {"type": words}, optional={"id": any_ids, "payload": payloads, "extra": scalars}
)
odd = st.dictionaries(st.sampled_from(["type", "id", "payload", "x"]), anything)
messages = st.one_of(
    plausible.map(written),
    plausible.map(written),
    odd.map(written),
    anything.map(written),
    st.binary(max_size=20),
)


@dataclass(frozen=True)
class Server:
    """The server says something."""

    text: bytes


@dataclass(frozen=True)
class Client:
    """We do something; `start` takes the next id, whatever `id` is."""

    act: str
    id: str = ""
    payload: dict[str, int] | None = None


acts = st.one_of(
    st.just(Client("start")),
    st.builds(Client, st.just("complete"), ids),
    st.builds(Client, st.sampled_from(["ping", "pong"]), payload=st.none() | st.just({"n": 1})),
)
courses = st.lists(
    st.one_of(messages.map(Server), messages.map(Server), acts), max_size=40
).flatmap(
    lambda course: st.one_of(
        st.just(course),
        st.integers(0, len(course)).map(
            lambda at: [*course[:at], Client("close"), *course[at:]],
        ),
    )
)
acknowledgement = Server(b'{"type":"connection_ack"}')
# Most courses shall come past the acknowledgement.
courses = st.one_of(courses, courses.map(lambda course: [acknowledgement, *course]))


# --- What must hold --------------------------------------------------------------------------


@dataclass
class Observer:
    """Goes through a course with a machine, and objects to what no machine may do."""

    dialect: Dialect
    started: int = 0
    live: set[str] = field(default_factory=set)
    stops: Counter[str] = field(default_factory=Counter)

    def go(self, course: list[Server | Client]) -> None:
        self.dialect.connection_init()
        self.flush()
        for step in course:
            before = self.dialect.phase
            if isinstance(step, Server):
                self.hear(step.text)
                allowed = [
                    (before, before),
                    (Phase.INIT, Phase.OPEN),
                    (Phase.INIT, Phase.CLOSED),
                ]
            else:
                self.act(step)
                allowed = [(before, Phase.CLOSED if step.act == "close" else before)]
            assert (before, self.dialect.phase) in allowed
            assert self.dialect.name in default_offer()

    def hear(self, text: bytes) -> None:
        phase = self.dialect.phase
        try:
            event = self.dialect.receive(text)
        except TransportProtocolError as refused:
            assert "the server sent a message that is not" in str(refused)  # noqa: PT017  # others fail the test by themselves
            return
        assert event is None or isinstance(event, TOLD)
        assert phase is not Phase.CLOSED or event is None
        if isinstance(event, events.Result | events.Failed | events.Completed):
            assert event.id in self.live
        if isinstance(event, events.Failed | events.Completed):
            self.live.remove(event.id)
        assert len(self.dialect.outbox) <= isinstance(event, events.Pinged)
        self.flush()

    def act(self, step: Client) -> None:
        match step.act:
            case "start" if self.dialect.phase is Phase.OPEN:
                self.started += 1
                self.live.add(str(self.started))
                self.dialect.subscribe(str(self.started), REQUEST)
            case "complete":
                self.dialect.complete(step.id)
                assert bool(self.dialect.outbox) is (step.id in self.live)
                self.live.discard(step.id)
            case "ping" | "pong":
                getattr(self.dialect, step.act)(step.payload)
            case "close":
                self.live.clear()
                self.dialect.close()
        self.flush()

    def flush(self) -> None:
        for said in sent(self.dialect):
            assert isinstance(said["type"], str)
            if said["type"] in ("complete", "stop"):
                self.stops[said["id"]] += 1
                assert 1 == self.stops[said["id"]]


MAKERS: list[Callable[[], Dialect]] = [
    lambda: choose(default_offer(), "graphql-transport-ws"),
    lambda: choose(default_offer(), "graphql-transport-ws", Setup(answer_pings=False)),
    lambda: choose(default_offer(), "graphql-ws"),
    lambda: choose(default_offer(), None),
]
machines = pytest.mark.parametrize(
    "make", MAKERS, ids=["graphql-transport-ws", "not answering", "apollo", "undecided"]
)


@machines
@patiently
@given(course=courses)
def test_no_course_of_events_breaks_a_machine(
    make: Callable[[], Dialect], course: list[Server | Client]
) -> None:
    """No foreign exception, no phase outside the table, no second stop, no result of the dead."""
    Observer(make()).go(course)


@machines
@patiently
@given(text=st.binary() | anything.map(written))
@pytest.mark.parametrize("is_open", [False, True], ids=["before the ack", "after the ack"])
def test_any_bytes_are_taken_or_refused_with_our_own_error(
    make: Callable[[], Dialect], is_open: bool, text: bytes
) -> None:
    """And what is refused leaves the machine as it was."""
    dialect = opened(make(), "1") if is_open else make()
    before = dialect.phase

    try:
        event = dialect.receive(text)
    except TransportProtocolError:
        assert before is dialect.phase
    else:
        assert event is None or isinstance(event, TOLD)


@both
@patiently
@given(course=courses)
def test_the_short_way_means_the_same_as_the_long_way(
    spelling: Spelling, course: list[Server | Client]
) -> None:
    """`receive` has a short cut for results; `Conversation.step` must say the same."""
    short, long = opened(spelling.make(), "1", "2"), opened(spelling.make(), "1", "2")
    conversation = long._conversation

    for step in course:
        if isinstance(step, Client):
            sent(short)  # pongs, which only `receive` sends
            short.complete(step.id)
            long.complete(step.id)
            assert sent(short) == sent(long)
            continue
        try:
            expected = conversation.step(_message(spelling, step.text))
        except TransportProtocolError:
            with pytest.raises(TransportProtocolError):
                short.receive(step.text)
            continue
        assert expected == short.receive(step.text)
        assert conversation.phase is short.phase
        assert conversation.live == short._conversation.live


def _message(spelling: Spelling, text: bytes) -> Any:
    try:
        return spelling.module._decode(text)
    except UNREADABLE:
        return lenient.read(
            text, spelling.module._BY_TYPE, nameless=spelling.module.ConnectionError
        )


@both
@patiently
@given(message=plausible)
def test_the_lenient_reader_reads_what_the_strict_one_does(
    spelling: Spelling, message: dict[str, Any]
) -> None:
    """What both can read is the same message to both."""
    text = written(message)
    module = spelling.module
    try:
        strict = module._decode(text)
    except UNREADABLE:
        return

    assert strict == lenient.read(text, module._BY_TYPE, nameless=module.ConnectionError)


@patiently
@given(st.lists(messages, min_size=1))
def test_undecided_is_one_of_the_two_from_the_first_message_on(texts: list[bytes]) -> None:
    """It tells what the one that was chosen tells."""
    undecided = guessing()
    with_refusals = [_told(undecided, text) for text in texts]

    chosen = next(s for s in (NEWER, OLDER) if s.make().name == undecided.name)
    alone = chosen.make()

    assert with_refusals == [_told(alone, text) for text in texts]
    assert alone.phase is undecided.phase


def _told(dialect: Dialect, text: bytes) -> object:
    try:
        return dialect.receive(text), sent(dialect)
    except TransportProtocolError as refused:
        return str(refused)


@both
@patiently
@given(
    id=st.from_regex(r"[0-9A-Za-z]{1,8}", fullmatch=True),
    request=st.dictionaries(st.text(max_size=8), payloads, max_size=3),
)
def test_a_request_is_carried_as_it_is(
    spelling: Spelling, id: str, request: dict[str, Any]
) -> None:
    """Whatever stands in it, under any id that a connection may choose."""
    encoded = msgspec.json.encode(request)

    dialect = opened(spelling.make())
    dialect.subscribe(id, encoded)

    assert [{"type": spelling.start, "id": id, "payload": json.loads(encoded)}] == sent(dialect)
