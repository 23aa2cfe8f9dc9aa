"""The names and keywords that a user of gql 4 writes for its websocket transport."""

import importlib
import inspect

import pytest

import gqlwire
from gqlwire import errors
from gqlwire.transport import exceptions
from gqlwire.transport.websockets import WebsocketsTransport

PATHS = [
    "gqlwire.Client",
    "gqlwire.GraphQLRequest",
    "gqlwire.gql",
    "gqlwire.transport.websockets.WebsocketsTransport",
    "gqlwire.transport.exceptions.TransportAlreadyConnected",
    "gqlwire.transport.exceptions.TransportClosed",
    "gqlwire.transport.exceptions.TransportConnectionFailed",
    "gqlwire.transport.exceptions.TransportError",
    "gqlwire.transport.exceptions.TransportProtocolError",
    "gqlwire.transport.exceptions.TransportQueryError",
    "gqlwire.transport.exceptions.TransportServerError",
]

KEYWORDS = {
    gqlwire.Client: [
        "schema",
        "introspection",
        "transport",
        "fetch_schema_from_transport",
        "introspection_args",
        "execute_timeout",
        "serialize_variables",
        "parse_results",
    ],
    gqlwire.GraphQLRequest: ["request", "variable_values", "operation_name", "extensions"],
    WebsocketsTransport: [
        "url",
        "headers",
        "ssl",
        "init_payload",
        "connect_timeout",
        "close_timeout",
        "ack_timeout",
        "keep_alive_timeout",
        "ping_interval",
        "pong_timeout",
        "answer_pings",
        "connect_args",
        "subprotocols",
    ],
}

ATTRIBUTES = {
    gqlwire.Client: [
        "validate",
        "execute",
        "execute_async",
        "subscribe",
        "subscribe_async",
        "connect_async",
        "close_async",
        "schema",
        "introspection",
        "execute_timeout",
    ],
    gqlwire.AsyncClientSession: ["execute", "subscribe", "fetch_schema"],
    gqlwire.GraphQLRequest: ["document", "payload", "serialize_variable_values"],
    WebsocketsTransport: [
        "connect",
        "close",
        "wait_closed",
        "execute",
        "subscribe",
        "send_ping",
        "send_pong",
        "payloads",
        "ping_received",
        "pong_received",
        "response_headers",
        "subprotocol",
        "APOLLO_SUBPROTOCOL",
        "GRAPHQLWS_SUBPROTOCOL",
    ],
}


@pytest.mark.parametrize("path", PATHS)
def test_the_path_exists(path: str) -> None:
    """With only the package's name changed."""
    module, _, name = path.rpartition(".")

    assert getattr(importlib.import_module(module), name).__name__ == name


@pytest.mark.parametrize("kind", KEYWORDS, ids=lambda kind: kind.__name__)
def test_the_keywords_are_taken(kind: type) -> None:
    """Each keyword of gql's constructor is one of ours."""
    assert set(KEYWORDS[kind]) <= set(inspect.signature(kind).parameters)


@pytest.mark.parametrize("kind", ATTRIBUTES, ids=lambda kind: kind.__name__)
def test_the_attributes_exist(kind: type) -> None:
    """Methods and properties."""
    assert [] == [name for name in ATTRIBUTES[kind] if not hasattr(kind, name)]


def test_a_transport_keeps_its_arguments_as_attributes() -> None:
    """`url`, `headers`, `init_payload` and the timeouts can be read, and init_payload be set."""
    transport = WebsocketsTransport(
        url="ws://127.0.0.1/graphql", headers={"a": "b"}, init_payload={"c": 1}, ack_timeout=3
    )
    transport.init_payload = {"c": 2}

    assert "ws://127.0.0.1/graphql" == transport.url
    assert {"a": "b"} == transport.headers
    assert {"c": 2} == transport.init_payload
    assert 3 == transport.ack_timeout
    assert 10 == transport.connect_timeout == transport.close_timeout


def test_options_for_another_library_name_their_replacement() -> None:
    """`connect_args` cannot be supported."""
    with pytest.raises(TypeError, match=r"ping_timeout.*instead see max_message_size"):
        WebsocketsTransport(url="ws://127.0.0.1/", connect_args={"ping_timeout": 1})
    with pytest.raises(ValueError, match=r"unknown subprotocols \['soap'\]"):
        WebsocketsTransport(url="ws://127.0.0.1/", subprotocols=["soap"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_message_size": 0}, "max_message_size must be at least 1 byte"),
        ({"ping_interval": 0}, "ping_interval must be more than 0 seconds"),
        ({"keep_alive_timeout": -1}, "keep_alive_timeout must be more than 0"),
        ({"headers": {"X-A": "b\r\nX-C: d"}}, "'X-A' contains a line break"),
        ({"headers": [("X\n-A", "b")]}, "is not the name of a header"),
        ({"subprotocols": []}, "subprotocols is empty"),
    ],
)
def test_settings_that_cannot_work_are_refused(options: dict[str, object], words: str) -> None:
    """At once, and not at some moment of a connection."""
    with pytest.raises(ValueError, match=words):
        WebsocketsTransport(url="ws://127.0.0.1/", **options)


def test_the_errors_are_the_same_under_both_paths() -> None:
    """`transport.exceptions` is an alias of `errors`, whole."""
    ours = {name for name, kind in vars(errors).items() if _is_public_error(kind)}

    assert ours | {"Phase"} == set(exceptions.__all__)
    assert all(getattr(errors, name) is getattr(exceptions, name) for name in exceptions.__all__)


def _is_public_error(kind: object) -> bool:
    is_error = isinstance(kind, type) and issubclass(kind, errors.TransportError)
    return is_error and not kind.__name__.startswith("_")
