"""A newline, ESC, C1 or bidi characters in a stray type, a close reason or a message were raw in
the log, where they forge lines, and on the terminal.

Texts of errors and logs are escaped in one place each. The attributes of errors stay raw.
"""

from __future__ import annotations

import asyncio
import json
import logging
import traceback
import unicodedata
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gqlwire
from doubles import on_virtual_time, settle
from gqlwire import _log, errors
from gqlwire._wire.failures import During, translate
from gqlwire.cli._console import harmless
from gqlwire.cli._output import as_json, colored
from gqlwire.errors import (
    ConnectionRejected,
    HandshakeRejected,
    ResultMismatch,
    TransportError,
    TransportQueryError,
)
from gqlwire.errors.text import printable, printable_json
from servers.fake import RawPeer, raw_fake
from spelling import NEWER, OLDER, Spelling
from virtual_server import (
    QUERY,
    TICKS,
    VirtualServer,
    begun,
    complains,
    hangs_up,
    keeping,
    kept,
    started,
    tidily,
    virtual_server,
)

served = pytest.fixture(name="server")(virtual_server)

BOTH = pytest.mark.parametrize("spelling", [NEWER, OLDER], ids=["newer", "older"])
NASTY = {
    "newline": "a\nERROR gqlwire forged",
    "return": "a\r\n\tb",
    "ESC": "\x1b[2J\x1b]0;title\x07",
    "C1": "\x9b31m\x85\x90",
    "bidi": "a\u202eb\u2066c\u200f\u061c",
    "separators": "a\u2028b\u2029c",
    "NUL and DEL": "\x00\x7f",
    "zero width": "a\u200bb\ufeff",
    "tags": "\U000e0041\U000e0001",
}
EACH = pytest.mark.parametrize("text", NASTY.values(), ids=NASTY)
nasty = st.text(
    st.one_of(st.sampled_from("".join(NASTY.values())), st.characters()), min_size=1, max_size=30
)
json_texts = st.recursive(
    st.one_of(nasty, st.integers(), st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(nasty, inner, max_size=3)),
    max_leaves=8,
)


def is_safe(text: str) -> bool:
    """Whether it can neither end a line nor control a terminal or the direction of text."""
    return all(c.isprintable() or unicodedata.category(c) == "Zs" for c in text)


def shown_by(failure: BaseException) -> list[str]:
    """All texts of it: its own, its repr, and the lines of a traceback that quote it."""
    told = "".join(traceback.format_exception_only(failure))
    return [str(failure), repr(failure), told.removesuffix("\n")]


def assert_log_is_safe(log: pytest.LogCaptureFixture) -> None:
    assert log.records
    for record in log.records:
        assert is_safe(record.getMessage()), record.getMessage()


# --- The row's own -------------------------------------------------------------------------------


@EACH
@BOTH
@tidily
async def test_k4_a_close_reason_and_a_stray_type(
    server: VirtualServer, spelling: Spelling, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    """In the log, and in the failure; `reason` is as it came."""
    caplog.set_level(logging.DEBUG, "gqlwire")
    async with kept(server, spelling=spelling) as it:
        server.peer.say({"type": text}, {"type": "connection_error", "payload": text})
        server.peer.hang_up(1012, text)
        await settle()

        failure: Any = it.lasting.failure
        assert text == failure.reason
        assert all(map(is_safe, shown_by(failure)))
        await it.session.wait_ready()
        assert text in it.session.counters.unknown_messages
    assert_log_is_safe(caplog)
    assert any(printable(text) in record.getMessage() for record in caplog.records)


@EACH
@BOTH
@tidily
async def test_k4_errors_of_operations(
    server: VirtualServer, spelling: Spelling, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Refused, or in a result; `errors` is as it came."""
    caplog.set_level(logging.DEBUG, "gqlwire")
    async with kept(server, spelling=spelling) as it:
        asking = await begun(it.session.execute(QUERY))
        server.peer.refuse(text)
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        step = await begun(anext(events))
        payload = {"data": None, "errors": [{"message": text, "path": [text]}]}
        server.peer.say(server.peer.result(payload, events.id))
        for task in (asking, step):
            with pytest.raises(TransportQueryError) as told:
                await task
            assert all(map(is_safe, shown_by(told.value)))
            assert told.value.errors is not None
            assert text == told.value.errors[0]["message"]
        await events.aclose()
    assert_log_is_safe(caplog)


@EACH
@BOTH
@tidily
async def test_k4_refusals_before_the_acknowledgement(
    server: VirtualServer, spelling: Spelling, text: str
) -> None:
    """`connection_error`, and a close frame."""
    server.will(complains({"message": text}), hangs_up(4403, text))
    for _ in range(2):
        with pytest.raises(TransportError) as told:
            await keeping(server, spelling=spelling).lasting.connect()
        assert all(map(is_safe, shown_by(told.value)))
        if isinstance(told.value, ConnectionRejected):
            assert {"message": text} == told.value.payload


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 503 Busy\x1b[2J\x9b\r\nX-Why: \x1b[31m\r\n\r\nsorry\x1b[2J\x85 \xe2\x80\xae",
        b"HTTP/1.1 302 Found\r\nLocation: ws://\x1b[2J\xe2\x80\xaeevil/\r\n\r\n",
        b"HTTP/1.1 101 \x1b[2J\r\nUpgrade: \x1b[31mwebsocket\r\n\r\n",
        b"HTTP/1.1 \x1b[2J\xc2\x9b\r\n\r\n",
        b"SSH-2.0-\x1b[2J\xc2\x9b\xe2\x80\xae\r\n\r\n",
    ],
)
async def test_k4_http_answers(answer: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """Status lines, headers and bodies; the cause that a traceback shows is escaped, too."""

    async def script(peer: RawPeer) -> None:
        await peer.read_request()
        await peer.send_raw(answer)
        peer.end()

    async with raw_fake(script, upgrade=False) as server:
        with pytest.raises(TransportError) as told:
            await gqlwire.connect(server.url, proxy=None).connect_async()
    assert not isinstance(told.value, TimeoutError)
    cause: BaseException | None = told.value
    while cause is not None:
        assert all(map(is_safe, shown_by(cause))), shown_by(cause)
        cause = cause.__cause__ or cause.__context__


# --- Its kind ------------------------------------------------------------------------------------


@given(text=nasty)
def test_k4_kind_printable(text: str) -> None:
    """What it returns is safe, what was safe is left as it is, and twice is as once."""
    shown = printable(text)

    assert is_safe(shown)
    assert shown == printable(shown)
    assert (shown == text) is is_safe(text)
    assert is_safe(harmless(text))


@given(text=nasty, spelling=st.sampled_from([NEWER, OLDER]), code=st.integers(1000, 4999))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_k4_kind_whatever_a_server_says(
    caplog: pytest.LogCaptureFixture, text: str, spelling: Spelling, code: int
) -> None:
    """In any place of a message that reaches a log or an error."""

    @on_virtual_time
    async def tell() -> None:
        server = VirtualServer()
        async with kept(server, spelling=spelling) as it:
            asking = await begun(it.session.execute(QUERY))
            error = {"type": "error", "id": server.peer.id, "payload": text}
            complaint = {"type": "connection_error", "payload": {text: text}}
            messages = [{"type": text}, complaint, error]
            server.peer.say(*(json.dumps(each, ensure_ascii=False).encode() for each in messages))
            server.peer.hang_up(code, text)
            await settle()
            assert all(map(is_safe, shown_by(it.lasting.failure or ValueError())))
            asking.cancel()
            await asyncio.wait([asking])

    caplog.clear()
    caplog.set_level(logging.DEBUG, "gqlwire")
    if all(not "\ud800" <= c <= "\udfff" for c in text):
        tell()
        assert_log_is_safe(caplog)


@given(text=nasty)
def test_k4_kind_every_error(text: str) -> None:
    """Whoever makes one: the text is escaped when it is made."""
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, TransportError):
            made: Any = kind(text)
            assert all(map(is_safe, shown_by(made)))


@given(texts=st.lists(nasty, min_size=1, max_size=3))
def test_k4_kind_every_log_call(texts: list[str]) -> None:
    """Of either logger, by whatever it is given: texts, exceptions, objects, a dict."""
    records: list[logging.LogRecord] = []

    class Keeping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    class Odd:
        def __str__(self) -> str:
            return texts[0]

        __repr__ = __str__

    handler = Keeping()
    for logger in (logging.getLogger("gqlwire"), logging.getLogger("gqlwire.wire")):
        former = logger.level
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
        logger.info("%s " * len(texts), *texts)
        logger.warning("%s %r %.3s %d %5.1f", ValueError(texts[0]), Odd(), Odd(), 3, 4.5)
        logger.error("%(a)s %(b)r", {"a": texts[0], "b": texts[-1]})
        logger.removeHandler(handler)
        logger.setLevel(former)

    assert 6 == len(records)
    assert all(is_safe(record.getMessage()) for record in records)
    assert _log.logger.name == "gqlwire"


@given(value=json_texts, color=st.booleans(), indent=st.booleans())
def test_k4_kind_results_on_a_terminal(value: Any, color: bool, indent: bool) -> None:
    """With `--compact` as well; they are still the same JSON."""
    text = as_json(value, indent=indent, shown=True)
    lines = text.decode().split("\n")

    assert all(map(is_safe, lines))
    assert indent or 1 == len(lines)
    assert value == json.loads(text)
    if color:
        plain = b"".join(colored(text)).decode().replace("\x1b[", "").split("\n")
        assert all(map(is_safe, plain))


@given(value=json_texts)
def test_k4_kind_results_for_programs_are_as_they_came(value: Any) -> None:
    """A pipe is no terminal."""
    text = as_json(value, indent=False, shown=False)

    assert value == json.loads(text)
    if all(not "\ud800" <= c <= "\udfff" for c in str(value)):
        assert msgspec.json.encode(value) == text


@given(text=nasty)
def test_k4_kind_escaped_json_is_json(text: str) -> None:
    """Also for characters outside of the basic plane."""
    if all(not "\ud800" <= c <= "\udfff" for c in text):
        assert text == json.loads(printable_json(msgspec.json.encode(text).decode()))


class Exact(msgspec.Struct, forbid_unknown_fields=True):
    pass


@EACH
@tidily
async def test_k4_kind_a_field_of_a_result_that_does_not_fit(
    server: VirtualServer, text: str
) -> None:
    """The cause, which names an unknown field, is escaped as well."""
    async with kept(server) as it:
        asking = await begun(it.session.execute(QUERY, result_type=Exact))
        server.peer.answer({text: 1})
        with pytest.raises(ResultMismatch) as told:
            await asking

        cause = told.value.__context__
        assert all(map(is_safe, shown_by(told.value)))
        assert cause is None or all(map(is_safe, shown_by(cause)))


def test_k4_kind_a_translated_cause() -> None:
    """Of the socket library."""
    from picows import WSError

    cause = WSError("said \x1b[2J\n")
    failure = translate(cause, host="h", during=During.UPGRADE, proxy=None)

    assert all(map(is_safe, shown_by(failure) + shown_by(cause)))
    assert isinstance(HandshakeRejected("x"), TransportError)
    assert issubclass(ResultMismatch, TransportError)
