"""Starting and ending the real servers."""

import asyncio
import os
import signal
from collections.abc import Callable

import pytest
from websockets.exceptions import ConnectionClosed

from .launch import (
    Server,
    ServerFailed,
    node_available,
    require_node,
    start_node_apollo,
    start_node_graphql_ws,
    start_strawberry,
)
from .plain import dial, talk

pytestmark = pytest.mark.long

STARTERS: dict[str, Callable[..., Server]] = {
    "strawberry": start_strawberry,
    "graphql-ws": start_node_graphql_ws,
    "apollo": start_node_apollo,
}


@pytest.mark.parametrize("name", STARTERS)
async def test_kill_and_restart(name: str) -> None:
    """A killed server drops its connections, and comes back on the same port as a new process."""
    with STARTERS[name]() as server:
        (protocol, *_), url, pid = server.protocols, server.url, server.pid
        async with talk(server, protocol) as client:
            await client.execute("mutation { increment }")
            server.kill()
            with pytest.raises(ConnectionClosed):
                await client.receive()
        assert 1006 == client.socket.close_code
        with pytest.raises(ConnectionRefusedError):
            async with dial(url):
                pass
        server.restart()
        assert url == server.url
        assert pid != server.pid
        async with talk(server, protocol) as client:
            assert {"data": {"counter": 0}} == await client.execute("{ counter }")


@pytest.mark.parametrize(
    ("name", "code"), [("strawberry", 1012), ("graphql-ws", 1001), ("apollo", 1001)]
)
async def test_stop_closes_connections(name: str, code: int) -> None:
    """A server that is stopped says goodbye with a close frame."""
    with STARTERS[name]() as server:
        async with talk(server, server.protocols[0]) as client:
            await asyncio.to_thread(server.stop)
            await client.socket.wait_closed()
        assert code == client.socket.close_code
        assert not server.running


@pytest.mark.parametrize("name", STARTERS)
async def test_sigterm(name: str) -> None:
    """SIGTERM ends a server the graceful way as well."""
    with STARTERS[name]() as server:
        async with talk(server, server.protocols[0]) as client:
            os.kill(server.pid, signal.SIGTERM)
            await client.socket.wait_closed()
        assert client.socket.close_code in (1001, 1012)


def test_failure_to_start_carries_stderr() -> None:
    """A server that cannot start raises at once, with what it wrote to stderr."""
    with start_strawberry() as server, pytest.raises(ServerFailed, match=r"(?i)in use"):
        start_strawberry(port=server.port)
    with pytest.raises(ServerFailed, match="FileNotFoundError"):
        start_strawberry(cert="no-such-file", key="no-such-file")


def test_require_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """Absent Node skips a test, and fails it where Node has to be."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("GQLWIRE_REQUIRE_NODE", raising=False)
    assert not node_available()
    with pytest.raises(pytest.skip.Exception):
        require_node()
    monkeypatch.setenv("GQLWIRE_REQUIRE_NODE", "1")
    with pytest.raises(pytest.fail.Exception):
        require_node()
    monkeypatch.setenv("GQLWIRE_REQUIRE_NODE", "0")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception):
        start_node_apollo()
