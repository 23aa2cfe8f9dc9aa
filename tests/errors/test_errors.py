"""The tree of errors: what catches what, what each carries, and what it says."""

from __future__ import annotations

import inspect
import pickle
from typing import Any

import pytest

from gqlwire import errors
from gqlwire.errors import (
    AckTimeout,
    CloseTimeout,
    ConnectionClosed,
    ConnectionRefused,
    ConnectionRejected,
    ConnectTimeout,
    CredentialsFailed,
    HandshakeRejected,
    InvalidURL,
    KeepAliveTimeout,
    MessageTooBig,
    NameNotResolved,
    OperationInterrupted,
    OperationTimeout,
    Phase,
    ProxyFailed,
    SlowConsumer,
    TLSFailed,
    TransportAlreadyConnected,
    TransportClosed,
    TransportConnectionFailed,
    TransportError,
    TransportProtocolError,
    TransportQueryError,
    TransportServerError,
)
from gqlwire.errors.reasons import replica

CLASSES = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, Exception) and kind.__module__ == errors.__name__
]
PUBLIC = [kind for kind in CLASSES if not kind.__name__.startswith("_")]

NO_CONNECTION = [
    NameNotResolved,
    ConnectionRefused,
    ProxyFailed,
    TLSFailed,
    HandshakeRejected,
    ConnectionClosed,
    ConnectionRejected,
    MessageTooBig,
    TransportClosed,
    CredentialsFailed,
    OperationInterrupted,
    ConnectTimeout,
    AckTimeout,
    CloseTimeout,
    KeepAliveTimeout,
]
TIMEOUTS = [OperationTimeout, ConnectTimeout, AckTimeout, CloseTimeout, KeepAliveTimeout]


@pytest.mark.parametrize("kind", PUBLIC)
def test_every_error_is_a_transport_error(kind: type[Exception]) -> None:
    """Who catches that one catches all."""
    assert issubclass(kind, TransportError)


@pytest.mark.parametrize("kind", PUBLIC)
def test_every_error_stands_in_the_picture_of_the_tree(kind: type[Exception]) -> None:
    """The module's docstring is what people read."""
    assert f" {kind.__name__}" in str(errors.__doc__)


@pytest.mark.parametrize("kind", NO_CONNECTION)
def test_every_loss_of_the_connection_is_a_connection_failure(kind: type[Exception]) -> None:
    """Code written for gql catches all of them by this class."""
    assert issubclass(kind, TransportConnectionFailed)


def test_nothing_else_is_a_connection_failure() -> None:
    """An operation's own trouble leaves the connection alone."""
    expected = {*NO_CONNECTION, TransportConnectionFailed}

    assert expected == {kind for kind in PUBLIC if issubclass(kind, TransportConnectionFailed)}


def test_timeouts_are_pythons_too() -> None:
    """`except TimeoutError` works, and catches nothing else."""
    assert set(TIMEOUTS) == {kind for kind in PUBLIC if issubclass(kind, TimeoutError)}


def test_a_bad_url_is_a_value_error() -> None:
    """As such things are in Python."""
    assert issubclass(InvalidURL, ValueError)


def test_a_refusal_and_a_missing_sign_of_life_are_the_servers() -> None:
    """gql raises TransportServerError for these two."""
    expected = {TransportServerError, ConnectionRejected, KeepAliveTimeout}

    assert expected == {kind for kind in PUBLIC if issubclass(kind, TransportServerError)}


# --- What they carry -------------------------------------------------------------------------


def test_a_connection_failure_carries_its_facts() -> None:
    """Keyword by keyword."""
    failure = TransportConnectionFailed(
        "no", host="h:80", phase=Phase.OPEN, code=1001, reason="bye", status=502
    )

    facts = (failure.host, failure.phase, failure.code, failure.reason, failure.status)
    assert ("h:80", "open", 1001, "bye", 502) == facts
    assert "no" == str(failure)


def test_a_connection_failure_without_facts_says_so() -> None:
    """None, and empty strings."""
    failure = TransportConnectionFailed("no")

    facts = (failure.host, failure.phase, failure.code, failure.reason, failure.status)
    assert ("", None, None, "", None) == facts


def test_a_refused_handshake_carries_the_answer() -> None:
    """Status, headers, and what the body began with."""
    failure = HandshakeRejected(
        "no", host="h:80", status=401, headers={"www-authenticate": "Bearer"}, body=b"<html>"
    )

    assert (401, {"www-authenticate": "Bearer"}, b"<html>") == (
        failure.status,
        failure.headers,
        failure.body,
    )
    assert Phase.HANDSHAKE is failure.phase
    assert {} == HandshakeRejected("no").headers


def test_a_rejected_init_carries_the_payload_and_the_phase() -> None:
    """The payload is whatever the server gave."""
    failure = ConnectionRejected("no", payload={"a": 1}, host="h:80", code=4403, reason="token")

    assert ({"a": 1}, 4403, "token", Phase.INIT) == (
        failure.payload,
        failure.code,
        failure.reason,
        failure.phase,
    )


def test_a_message_too_big_carries_the_limit_and_the_code_that_we_closed_with() -> None:
    """1009 is the code for it (RFC 6455, section 7.4.1)."""
    failure = MessageTooBig("no", limit=64, host="h:80")

    assert (64, 1009, Phase.OPEN) == (failure.limit, failure.code, failure.phase)


@pytest.mark.parametrize("kind", [ConnectTimeout, AckTimeout, CloseTimeout, KeepAliveTimeout])
def test_a_timeout_of_a_phase_carries_limit_phase_and_host(kind: type[Any]) -> None:
    """So that whoever catches it knows which one fired."""
    failure = kind("no", limit=2.5, host="h:80", phase=Phase.INIT)

    assert (2.5, "h:80", Phase.INIT, None) == (
        failure.limit,
        failure.host,
        failure.phase,
        failure.code,
    )


def test_an_operations_timeout_carries_limit_and_host() -> None:
    """It has no phase: the connection is open and stays so."""
    failure = OperationTimeout("no", limit=2.5, host="h:80")

    assert (2.5, "h:80") == (failure.limit, failure.host)


def test_a_slow_consumer_error_carries_the_size_of_its_buffer() -> None:
    """In events and in bytes."""
    failure = SlowConsumer("no", events=3, size=400)

    assert (3, 400) == (failure.events, failure.size)


@pytest.mark.parametrize("kind", PUBLIC)
def test_every_error_can_be_made_of_a_message_or_of_nothing_much(kind: type[Exception]) -> None:
    """As tests and mocks of users do."""
    assert "no" == str(kind("no"))


@pytest.mark.parametrize("kind", PUBLIC)
def test_a_replica_has_the_same_facts_and_is_another_object(kind: type[Exception]) -> None:
    """One failure reaches many waiters, each with a traceback of its own."""
    failure = kind("no")
    failure.__dict__.update(host="h:80", code=4403, errors=[1], limit=2.0)
    failure.__cause__ = OSError("the root of it")
    assert isinstance(failure, TransportError)

    duplicate = replica(failure)

    assert duplicate is not failure
    assert kind is type(duplicate)
    assert str(failure) == str(duplicate)
    assert failure.__dict__ == duplicate.__dict__
    assert failure.__cause__ is duplicate.__cause__


@pytest.mark.parametrize("kind", PUBLIC)
def test_every_error_survives_pickling(kind: type[Exception]) -> None:
    """As when it crosses from one process to another."""
    failure = kind("no")

    revived = pickle.loads(pickle.dumps(failure))

    assert kind is type(revived)
    assert (str(failure), failure.__dict__) == (str(revived), revived.__dict__)


# --- What a query error says -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ([], "the server reported an error without details"),
        ([{"message": "no"}], "no"),
        ([{"message": "no"}, {"message": "never"}], "no (and 1 more)"),
        ([{"message": "no"}] * 3, "no (and 2 more)"),
        ([{"message": "no", "path": ["user", 0, "name"]}], "no (at user.0.name)"),
        ([{"message": "no", "path": []}], "no"),
        ([{"message": "no", "path": "user"}], "no"),
        ([{"message": "no", "path": ["a"]}, 1], "no (at a) (and 1 more)"),
        ([{"code": 7}], "{'code': 7}"),
        (["no"], "no"),
        ([None], "None"),
        ([["no"]], "['no']"),
    ],
)
def test_a_query_error_says_the_first_error_and_how_many_more(said: list[Any], text: str) -> None:
    """Whatever the server put into the list."""
    assert text == str(TransportQueryError.of(said))


def test_a_query_error_carries_everything() -> None:
    """The errors as the server sent them."""
    said = [{"message": "no", "extensions": {"code": "X"}}]

    failure = TransportQueryError.of(said, query_id="7", data={"n": None}, extensions={"t": 1})

    assert ("7", said, {"n": None}, {"t": 1}) == (
        failure.query_id,
        failure.errors,
        failure.data,
        failure.extensions,
    )


# --- gql's signatures ------------------------------------------------------------------------


def test_gqls_constructors_work() -> None:
    """Positional arguments and all (gql 4, `gql.transport.exceptions`)."""
    query = TransportQueryError("no", "1", [{"message": "no"}], {"n": 1}, {"t": 1})
    server = TransportServerError("no", 500)

    assert ("1", [{"message": "no"}], {"n": 1}, {"t": 1}) == (
        query.query_id,
        query.errors,
        query.data,
        query.extensions,
    )
    assert ("no", 500) == (str(server), server.code)
    assert TransportServerError("no").code is None
    for kind in (
        TransportError,
        TransportProtocolError,
        TransportClosed,
        TransportConnectionFailed,
        TransportAlreadyConnected,
    ):
        assert "no" == str(kind("no"))


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        (TransportQueryError, ["msg", "query_id", "errors", "data", "extensions"]),
        (TransportServerError, ["message", "code"]),
    ],
)
def test_gqls_parameters_have_their_names_and_order(
    kind: type[Exception], parameters: list[str]
) -> None:
    """They may be given by keyword, too."""
    assert parameters == list(inspect.signature(kind).parameters)


# --- Phases ----------------------------------------------------------------------------------


def test_phases_are_the_words_of_the_documentation() -> None:
    """A phase compares with a plain str."""
    expected = [
        "connect",
        "handshake",
        "init",
        "open",
        "closing",
        "waiting",
        "idle",
        "closed",
    ]

    assert expected == [str(phase) for phase in Phase]
    assert "open" == Phase.OPEN
