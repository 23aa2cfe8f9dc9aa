"""The options of a transport: each is declared once, and secrets among them are not shown."""

import inspect

import gqlwire
from gqlwire.transport.options import ConnectOptions, TransportOptions
from gqlwire.transport.websockets import WebsocketsTransport

SECRETS = {
    "headers": {"Authorization": "Bearer s3cret"},
    "init_payload": {"token": "s3cret"},
}


def test_type_checkers_know_the_options_of_a_transport() -> None:
    """But `connect_args`, which is there to say what to use instead of it."""
    declared = set(TransportOptions.__struct_fields__) - {"connect_args"}

    assert declared == ConnectOptions.__optional_keys__


def test_the_url_comes_first_and_the_options_by_name() -> None:
    """As in gql."""
    parameters = inspect.signature(WebsocketsTransport).parameters
    kinds = {name: parameter.kind for name, parameter in parameters.items()}

    assert inspect.Parameter.POSITIONAL_OR_KEYWORD == kinds.pop("url")
    assert {inspect.Parameter.KEYWORD_ONLY} == set(kinds.values())
    assert set(TransportOptions.__struct_fields__) == set(kinds)


def test_a_transport_shows_no_secret() -> None:
    """Neither in a debugger nor in a log."""
    transport = WebsocketsTransport("wss://u:s3cret@api.example.com/graphql?t=s3cret", **SECRETS)

    assert "<WebsocketsTransport to api.example.com:443, closed>" == repr(transport)
    assert [("host", "api.example.com:443")] == transport.__rich_repr__()


def test_two_transports_to_one_place_are_two() -> None:
    """Equal options do not make them equal, and each is a key of its own."""
    one, other = (WebsocketsTransport("ws://127.0.0.1/graphql") for _ in range(2))

    assert one != other
    assert 2 == len({one, other})


def test_options_of_a_client_reach_its_transport() -> None:
    """By `gqlwire.connect`."""
    client = gqlwire.connect("ws://127.0.0.1/graphql", ack_timeout=3, **SECRETS)

    assert isinstance(client.transport, WebsocketsTransport)
    assert (3, SECRETS["headers"]) == (client.transport.ack_timeout, client.transport.headers)
