"""Failures: each ends with its status and one readable sentence, and soon."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Iterator

import pytest

from gqlwire.cli import main
from gqlwire.cli._exit import Exit, sentences, status_of
from gqlwire.errors import (
    KeepAliveTimeout,
    MessageTooBig,
    SlowConsumer,
    TransportError,
    TransportQueryError,
    TransportServerError,
)
from servers.fake import Fake, Peer, Refusal, fake
from servers.launch import Server

Printed = pytest.CaptureFixture[str]
BOUND = 60.0


async def failing(server_url: str, *options: str, command: str = "query") -> int:
    """The status of the command, run in a thread: the scripted servers need the loop."""
    arguments = [command, server_url, "{ a }", *options]
    return await asyncio.wait_for(asyncio.to_thread(main, arguments), BOUND)


def sentence(printed: Printed) -> str:
    """What was said on stderr: one line that begins with the program's name."""
    err = printed.readouterr().err
    assert err.startswith("gqlwire: ")
    assert 1 == err.count("\n"), err
    return err.removeprefix("gqlwire: ").rstrip()


@pytest.fixture
def free_port() -> Iterator[int]:
    """A port that nothing listens on."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


async def acknowledge(peer: Peer) -> None:
    await peer.ack()
    await peer.expect("subscribe")


async def say_nothing(peer: Peer) -> None:
    """A script that only listens."""


# 3: no connection.


@pytest.mark.parametrize("command", ["query", "subscribe"])
async def test_refused(free_port: int, capfd: Printed, command: str) -> None:
    """Where nothing listens, the sentence says so."""
    assert Exit.CONNECTION == await failing(f"ws://127.0.0.1:{free_port}/", command=command)

    expected = f"127.0.0.1:{free_port} refuses connections: nothing listens on this port"
    assert expected == sentence(capfd)


async def test_unknown_name(capfd: Printed) -> None:
    """A name without an address is named (.invalid never has one, RFC 2606)."""
    assert Exit.CONNECTION == await failing("ws://host.invalid/graphql")

    assert "the name of host.invalid:80 cannot be resolved" in sentence(capfd)


async def test_refused_upgrade(capfd: Printed) -> None:
    """A refused upgrade is told with its HTTP status."""
    async with fake(acknowledge, refuse=Refusal(401, body=b"who are you?")) as server:
        assert Exit.CONNECTION == await failing(server.url)

    said = sentence(capfd)
    assert "HTTP 401" in said
    assert "who are you?" in said


async def test_rejected_init(capfd: Printed) -> None:
    """A server that does not take the init payload is quoted."""

    async def script(peer: Peer) -> None:
        await peer.expect("connection_init")
        await peer.close(4403, "Forbidden")

    async with fake(script) as server:
        assert Exit.CONNECTION == await failing(server.url)

    assert "4403" in sentence(capfd)


async def test_connection_error(capfd: Printed) -> None:
    """Apollo's `connection_error` is quoted, too."""

    async def script(peer: Peer) -> None:
        await peer.expect("connection_init")
        await peer.send({"type": "connection_error", "payload": {"message": "no entry"}})

    async with fake(script, select="graphql-ws") as server:
        assert Exit.CONNECTION == await failing(server.url)

    assert "no entry" in sentence(capfd)


COMMANDS = pytest.mark.parametrize(
    ("command", "options"), [("query", []), ("subscribe", ["--no-reconnect"])]
)


@COMMANDS
async def test_lost(capfd: Printed, command: str, options: list[str]) -> None:
    """A connection that breaks ends the operation; a subscription where it is to end so."""

    async def script(peer: Peer) -> None:
        await acknowledge(peer)
        peer.abort()

    async with fake(script) as server:
        assert Exit.CONNECTION == await failing(server.url, *options, command=command)
        assert 1 == server.connections

    assert f"127.0.0.1:{server.port}" in sentence(capfd)


async def test_lost_after_an_event(capfd: Printed) -> None:
    """What came before the connection broke is printed."""

    async def script(peer: Peer) -> None:
        await peer.ack()
        id = (await peer.expect("subscribe"))["id"]
        await peer.send({"type": "next", "id": id, "payload": {"data": 1}})
        await peer.close(1011, "out of order")

    async with fake(script) as server:
        arguments = [server.url, "--no-reconnect"]
        assert Exit.CONNECTION == await failing(*arguments, command="subscribe")

    out, err = capfd.readouterr()
    assert "1\n" == out
    assert "out of order" in err


async def test_lost_for_good(capfd: Printed) -> None:
    """A subscription connects again; where that is refused, too, it ends as a first refusal."""

    async def script(peer: Peer) -> None:
        if len(server.peers) > 1:
            await peer.expect("connection_init")
            await peer.close(4403, "Forbidden")
            return
        await peer.ack()
        id = (await peer.expect("subscribe"))["id"]
        await peer.send({"type": "next", "id": id, "payload": {"data": 1}})
        await peer.close(1012, "Restarting")

    async with fake(script) as server:
        assert Exit.CONNECTION == await failing(server.url, command="subscribe")
        assert 2 == server.connections

    out, err = capfd.readouterr()
    assert "1\n" == out
    loss, end = err.splitlines()
    host = f"127.0.0.1:{server.port}"
    assert loss.startswith(f"gqlwire: warning: {host} closed the connection: 1012 Restarting")
    assert "; connecting again" in loss
    assert end.startswith(f"gqlwire: {host} closed the connection before it acknowledged")


# 4: too late.


async def test_connect_timeout(capfd: Printed) -> None:
    """A server that accepts and then says nothing at all costs --connect-timeout."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"ws://127.0.0.1:{silent.getsockname()[1]}/"
        assert Exit.TIMEOUT == await failing(url, "--connect-timeout", "0.2")

    assert "did not upgrade within 0.2 seconds (--connect-timeout)" in sentence(capfd)


async def test_ack_timeout(capfd: Printed) -> None:
    """A server that never acknowledges costs --connect-timeout, too."""
    async with fake(say_nothing) as server:
        assert Exit.TIMEOUT == await failing(server.url, "--connect-timeout", "0.2")

    assert "did not acknowledge connection_init within 0.2 seconds" in sentence(capfd)


def test_operation_timeout(strawberry: Server, capfd: Printed) -> None:
    """A query that is not answered in time ends with its own sentence."""
    arguments = ["query", strawberry.url, "{ slow(ms: 60000) }", "--timeout", "0.2"]

    assert Exit.TIMEOUT == main(arguments)

    expected = (
        f"127.0.0.1:{strawberry.port} did not answer the query within 0.2 seconds (--timeout)"
    )
    assert expected == sentence(capfd)


# 5: unreadable.


@COMMANDS
@pytest.mark.parametrize(
    "reply",
    ["this is no JSON", '{"type":"next","id":"ID","payload":7}'],
    ids=["message", "payload"],
)
async def test_unreadable(capfd: Printed, command: str, options: list[str], reply: str) -> None:
    """What cannot be read is shown in part."""

    async def script(peer: Peer) -> None:
        await peer.ack()
        id = (await peer.expect("subscribe"))["id"]
        await peer.send_text(reply.replace("ID", id))

    async with fake(script) as server:
        assert Exit.PROTOCOL == await failing(server.url, *options, command=command)

    assert reply.partition("ID")[0].rpartition(":")[2].strip('"') in sentence(capfd)


# The rest of the table, and of the words.


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (KeepAliveTimeout("silent"), Exit.CONNECTION),
        (MessageTooBig("big"), Exit.CONNECTION),
        (TransportServerError("bad"), Exit.CONNECTION),
        (SlowConsumer("slow"), Exit.OUTPUT),
        (TransportQueryError("no result"), Exit.GRAPHQL),
        (TransportError(), Exit.CONNECTION),
    ],
)
def test_statuses(failure: TransportError, status: Exit) -> None:
    """Each kind of failure has a status and at least a word."""
    assert status == status_of(failure)
    assert [str(failure) or "TransportError"] == sentences(failure)


def test_graphql_error_in_words() -> None:
    """A GraphQL error is told with its path, its places and its code."""
    error = {
        "message": "too many",
        "path": ["a", 0, "b"],
        "locations": [{"line": 1, "column": 2}, "nonsense"],
        "extensions": {"code": "LIMIT"},
    }
    failure = TransportQueryError.of([error, {"extensions": {"code": 7}}])

    assert [
        "too many (at a.0.b, line 1, column 2, LIMIT)",
        "an error without a message",
    ] == sentences(failure)


@contextlib.asynccontextmanager
async def deep(levels: int) -> AsyncIterator[Fake]:
    """A server whose one result is an array in an array in an array."""

    async def script(peer: Peer) -> None:
        await peer.ack()
        id = (await peer.expect("subscribe"))["id"]
        data = "[" * levels + "]" * levels
        await peer.send_text(f'{{"type":"next","id":"{id}","payload":{{"data":{data}}}}}')

    async with fake(script) as server:
        yield server


async def test_deep_results(capfd: Printed) -> None:
    """A result is printed, or refused with a sentence, however deep it is."""
    for levels in (100, 100_000):
        async with deep(levels) as server:
            status = await failing(server.url, "--pretty")
        out, err = capfd.readouterr()
        if levels == 100:
            assert (Exit.OK, "") == (status, err)
            assert json.loads(out) is not None
        else:
            assert (Exit.PROTOCOL, "") == (status, out)
            assert 1 == err.count("\n")
