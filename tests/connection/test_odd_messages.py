"""Messages as no PROTOCOL.md has them: each costs its own operation at most."""

import asyncio
from typing import Any

import pytest

from conftest import NEWER, OLDER
from gqlwire._operations.subscription import Subscription
from gqlwire.errors import Phase, TransportError, TransportProtocolError, TransportQueryError
from servers.fake import Peer, fake
from support import BOUND, QUERY, TICKS, connected, leaves_nothing

tidy = pytest.fixture(autouse=True)(leaves_nothing)

START = {NEWER: "subscribe", OLDER: "start"}
EVENT = {NEWER: "next", OLDER: "data"}
# Two words for what each protocol calls otherwise, and for what only the other one has.
EVENT_OF, FOREIGN = "<event>", {NEWER: "ka", OLDER: "ping"}
GOOD = {"data": {"ticks": "odd"}}


async def outcomes(events: Subscription[Any]) -> list[Any]:
    """What each step brings, until the end: a value, or an error."""
    found: list[Any] = []
    while True:
        try:
            result = await anext(events)
        except StopAsyncIteration:
            return found
        except TransportError as told:
            found.append(told)
        else:
            found.append(result.errors or (result.data or {}).get("ticks"))


async def say(protocol: str, messages: list[Any]) -> tuple[list[Any], str]:
    """Have `messages` said while three operations run; two of them must not notice.

    In the messages, "<id>" is the id of the third, "<event>" the protocol's word for an event.
    The outcomes of the third, behind them an event "after" and its end; and its id.
    """

    def put(part: Any, id: str) -> Any:
        if isinstance(part, dict):
            return {name: put(value, id) for name, value in part.items()}
        return {"<id>": id, "<number>": int(id), EVENT_OF: EVENT[protocol]}.get(str(part), part)

    async def script(peer: Peer) -> None:
        await peer.ack()
        ids = [(await peer.expect(START[protocol]))["id"] for _ in range(3)]
        for odd in messages:
            await peer.send(put(odd, ids[2]))
        for id in [ids[0], ids[1], ids[2]]:
            after = {"data": {"ticks": "after", "hello": "after"}}
            await peer.send({"type": EVENT[protocol], "id": id, "payload": after})
            await peer.send({"type": "complete", "id": id})

    async with fake(script) as server, connected(server, subprotocols=[protocol]) as transport:
        events = transport.subscribe(TICKS)
        async with asyncio.timeout(BOUND):
            answer, bystander, found = await asyncio.gather(
                transport.execute(QUERY), outcomes(transport.subscribe(TICKS)), outcomes(events)
            )
        assert "after" == answer.data["hello"]
        assert ["after"] == bystander
        assert Phase.OPEN is transport.phase
        return found, str(events.id)


PROTOCOLS = pytest.mark.parametrize("protocol", [NEWER, OLDER])

STRAYS: dict[str, dict[str, Any]] = {
    "an unknown type": {"type": "news", "id": "<id>", "payload": GOOD},
    "no type": {"id": "<id>", "payload": GOOD},
    "nothing at all": {},
    "a type that is null": {"type": None, "id": "<id>"},
    "a type that is a number": {"type": 7, "id": "<id>"},
    "a type that is an object": {"type": {"type": "next"}, "id": "<id>"},
    "an acknowledgement": {"type": "connection_ack"},
    "a word of our own": {"type": "connection_init"},
    "an event whose id is null": {"type": EVENT_OF, "id": None, "payload": GOOD},
    "an event without an id": {"type": EVENT_OF, "payload": GOOD},
    "an event whose id is an object": {"type": EVENT_OF, "id": {}, "payload": GOOD},
    "an event of nobody's": {"type": EVENT_OF, "id": "never-ours", "payload": GOOD},
    "an error of nobody's": {"type": "error", "id": "never-ours", "payload": []},
    "an error without an id": {"type": "error", "payload": {"message": "no"}},
    "an error whose id is null": {"type": "error", "id": None, "payload": {"message": "no"}},
    "an end of nobody's": {"type": "complete", "id": "never-ours"},
    "an end without an id": {"type": "complete"},
    "an end whose id is null": {"type": "complete", "id": None},
    "a complaint": {"type": "connection_error", "payload": "what?"},
}


@PROTOCOLS
@pytest.mark.parametrize("stray", STRAYS.values(), ids=STRAYS)
async def test_a_stray_message_ends_no_operation(protocol: str, stray: dict[str, Any]) -> None:
    """All three operations continue, however often it comes."""
    found, _ = await say(protocol, [stray] * 3)

    assert ["after"] == found


@PROTOCOLS
async def test_a_message_of_the_other_protocol_ends_no_operation(protocol: str) -> None:
    """Its type is unknown in the protocol that is spoken."""
    other = {NEWER: OLDER, OLDER: NEWER}[protocol]
    words = [{"type": FOREIGN[protocol]}, {"type": EVENT[other], "id": "<id>", "payload": GOOD}]
    found, _ = await say(protocol, words)

    assert ["after"] == found


@PROTOCOLS
async def test_strays_are_logged_once_per_type(
    protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    """So that a server that sends one a second does not fill the log."""
    await say(protocol, [{"type": "news"}, {"type": "news"}, {"type": "x" * 999}, {"type": "news"}])

    told = [record.getMessage() for record in caplog.records if record.name == "gqlwire"]
    assert 2 == len(told)
    assert "of type news;" in told[0]
    assert f"of type {'x' * 40}…;" in told[1]


@PROTOCOLS
async def test_an_id_that_comes_back_as_a_number_is_the_same_id(protocol: str) -> None:
    """There are servers that echo it so."""
    found, _ = await say(protocol, [{"type": EVENT_OF, "id": "<number>", "payload": GOOD}])

    assert ["odd", "after"] == found


UNUSABLE: dict[str, tuple[dict[str, Any], str]] = {
    "none": ({}, "no payload"),
    "null": ({"payload": None}, "null"),
    "a string": ({"payload": "so what"}, "so what"),
    "a number": ({"payload": 7}, "7"),
    "a list": ({"payload": [1]}, "[1]"),
    "an empty object": ({"payload": {}}, "{}"),
    "other keys": ({"payload": {"date": {}}}, "date"),
    "errors that are null": ({"payload": {"errors": None}}, "null"),
    "errors that are empty": ({"payload": {"errors": []}}, "[]"),
}


@PROTOCOLS
@pytest.mark.parametrize(("fields", "words"), UNUSABLE.values(), ids=UNUSABLE)
async def test_an_event_whose_payload_is_not_a_result_fails_its_step(
    protocol: str, fields: dict[str, Any], words: str
) -> None:
    """The error has an excerpt, and the subscription continues."""
    found, _ = await say(protocol, [{"type": EVENT_OF, "id": "<id>", **fields}])

    told, after = found
    assert TransportProtocolError is type(told)
    assert str(told).startswith("the server sent an invalid result: ")
    assert words in str(told)
    assert "after" == after


ERRORS: dict[str, tuple[Any, list[Any], str]] = {
    "a list": ([{"message": "no"}], [{"message": "no"}], "no"),
    "two": ([{"message": "no"}, {"message": "nor"}], [{"message": "no"}, {"message": "nor"}],
            "no (and 1 more)"),
    "a path": ([{"message": "no", "path": ["a", 0]}], [{"message": "no", "path": ["a", 0]}],
               "no (at a.0)"),
    "an object": ({"message": "no"}, [{"message": "no"}], "no"),
    "errors": ({"errors": [{"message": "no"}]}, [{"message": "no"}], "no"),
    "a string": ("no", [{"message": "no"}], "no"),
    "a number": (7, [{"message": "7"}], "7"),
    "strings": (["no"], ["no"], "no"),
    "no message": ([{"code": 7}], [{"code": 7}], "{'code': 7}"),
    "empty": ([], [], "the server reported an error without details"),
    "null": (None, [], "the server reported an error without details"),
    "nulls": ([None], [None], "None"),
}  # fmt: skip


@PROTOCOLS
@pytest.mark.parametrize(("payload", "errors", "text"), ERRORS.values(), ids=ERRORS)
async def test_an_error_of_any_shape_ends_its_operation(
    protocol: str, payload: Any, errors: list[Any], text: str
) -> None:
    """With its errors and its id; a `complete` after it is ignored."""
    odd = {"type": "error", "id": "<id>", "payload": payload}
    found, id = await say(protocol, [odd, odd, {"type": "complete", "id": "<id>"}])

    (told,) = found
    assert TransportQueryError is type(told)
    assert (errors, id, None, None) == (told.errors, told.query_id, told.data, told.extensions)
    assert text == str(told)


@PROTOCOLS
async def test_an_error_without_a_payload(protocol: str) -> None:
    """Ends the operation, too."""
    found, id = await say(protocol, [{"type": "error", "id": "<id>"}])

    (told,) = found
    assert ([], id) == (told.errors, told.query_id)


@PROTOCOLS
async def test_messages_after_the_end_of_an_operation_are_dropped(protocol: str) -> None:
    """A second end, an error, and events."""
    end = {"type": "complete", "id": "<id>"}
    late = {"type": EVENT_OF, "id": "<id>", "payload": GOOD}
    error = {"type": "error", "id": "<id>", "payload": [{"message": "late"}]}
    found, _ = await say(protocol, [late, end, end, late, error, end])

    assert ["odd"] == found


@PROTOCOLS
async def test_errors_of_a_result_are_in_the_result(protocol: str) -> None:
    """Such an event is an event like any other here, and so is one whose data is null."""
    errors = [{"message": "no"}]
    payloads = [{"errors": errors}, {"data": None, "errors": errors}, {"data": None}]
    found, _ = await say(
        protocol,
        [{"type": EVENT_OF, "id": "<id>", "payload": payload} for payload in payloads],
    )

    assert [errors, errors, None, "after"] == found


@PROTOCOLS
async def test_deferred_parts_arrive_as_they_were_sent(protocol: str) -> None:
    """`@defer` and `@stream`: what is not merged is not lost either, and ends nothing."""
    part = {"path": ["ticks"], "data": {"late": 1}}
    payloads = [
        {"data": {"ticks": 0}, "hasNext": True},
        {"incremental": [part], "hasNext": True},
        {"hasNext": False},
    ]

    async def script(peer: Peer) -> None:
        await peer.ack()
        id = (await peer.expect(START[protocol]))["id"]
        for payload in payloads:
            await peer.send({"type": EVENT[protocol], "id": id, "payload": payload})
        await peer.send({"type": "complete", "id": id})

    async with fake(script) as server, connected(server, subprotocols=[protocol]) as transport:
        async with asyncio.timeout(BOUND):
            results = [result async for result in transport.subscribe(QUERY)]

    assert [({"ticks": 0}, None, True), (None, [part], True), (None, [], False)] == [
        (result.data, result.incremental, result.has_next) for result in results
    ]
