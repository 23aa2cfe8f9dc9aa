"""The programs for Hasura and Tibber in docs/surviving-disconnects.md, as they stand there.

Each runs as a process against a scripted server that does what the real one is known to do. Not as
on the page are where the server is, and how long its waits are.
"""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from test_tables import DOCS, text_of

import gqlwire
from gqlwire import RetryPolicy
from gqlwire.errors import HandshakeRejected
from servers.fake import Peer, Refusal, fake
from support import failure

BOUND = 60.0
PAGE = DOCS / "surviving-disconnects.md"


def program_under(heading: str, **constants: str) -> str:
    """The program of a section, with other values for what it begins with."""
    (code,) = re.findall(r"^```python no-run\n(.+?)^```", below(heading), re.DOTALL | re.MULTILINE)
    for name, value in constants.items():
        code, found = re.subn(
            rf"(?m)\b{name} ?= ?[^\s,]+(  #.*)?", f"{name}={value}", code, count=1
        )
        assert found, name
    return code.replace("RetryPolicy(", "RetryPolicy(first_delay=0.05, ")


def below(heading: str) -> str:
    """A section whose programs have comments, which look like headings."""
    return text_of(PAGE).partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


@asynccontextmanager
async def running(code: str, folder: Path, **environment: str) -> AsyncIterator[Any]:
    """The program, in a process that is killed at the end."""
    (folder / "program.py").write_text(code, "utf-8")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "program.py",
        cwd=folder,
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(BOUND):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def said(process: Any) -> str:
    """Its next line."""
    line = await process.stdout.readline()
    return str(line.decode().rstrip())


async def result(peer: Peer, id: str, payload: dict[str, Any]) -> None:
    await peer.send({"type": "next", "id": id, "payload": payload})


async def rows(peer: Peer, id: str, *numbers: int) -> None:
    """A batch."""
    batch = [{"id": n, "text": f"text {n}"} for n in numbers]
    await result(peer, id, {"data": {"messages_stream": batch}})


async def test_the_program_for_hasura(tmp_path: Path) -> None:
    """Over an expired token, batches without rows, a refusal, and SIGKILL: each row once."""
    token = tmp_path / "token"
    token.write_text("first", "utf-8")
    killed = asyncio.Event()

    async def begins(peer: Peer, token: str) -> None:
        await peer.send({"type": "ping"})
        init = await peer.expect("connection_init", skip=["pong"])
        assert {"headers": {"Authorization": f"Bearer {token}"}} == init["payload"]

    async def follows(peer: Peer, after: int) -> str:
        await peer.send({"type": "connection_ack"})
        start = await peer.expect("subscribe", skip=["pong"])
        assert {"after": after} == start["payload"]["variables"]
        return str(start["id"])

    async def script(peer: Peer) -> None:
        match len(server.peers):
            case 1:
                await begins(peer, "first")
                id = await follows(peer, 0)
                await rows(peer, id, 1, 2, 3)
                await rows(peer, id)
                token.write_text("second", "utf-8")
                await peer.close(1000)
            case 2:
                await begins(peer, "first")
                complaint = "Could not verify JWT: JWTExpired"
                await peer.send({"type": "connection_error", "payload": complaint})
                await peer.close(4400, '{"server_error_msg":"4400: Connection initialization fail')
            case 3:
                await begins(peer, "second")
                await rows(peer, await follows(peer, 3), 3, 4, 5)
                await peer.closed()
                killed.set()
            case 4:
                await begins(peer, "second")
                await rows(peer, await follows(peer, 5), 6)
                await peer.closed()

    async with fake(script) as server:
        code = program_under(
            "A Hasura stream, from top to bottom",
            URL=repr(server.url),
            TOKEN_URL=repr(token.as_uri()),
        )
        async with running(code, tmp_path) as process:
            assert ["up to 3", "up to 3"] == [await said(process), await said(process)]
            assert "back after " in await said(process)
            assert "up to 5" == await said(process)
        async with asyncio.timeout(BOUND):
            await killed.wait()
        async with running(code, tmp_path) as process:
            assert "up to 6" == await said(process)


async def test_the_program_for_tibber(tmp_path: Path) -> None:
    """Over a stream that cannot be started, a drop, a silent meter, and a token that is refused."""

    async def begins(peer: Peer) -> str:
        assert "my-application/1.0" == peer.request_headers["User-Agent"]
        init = await peer.ack()
        assert {"token": "s3cret"} == init["payload"]
        return await follows(peer)

    async def follows(peer: Peer) -> str:
        # Who refuses the last one may be told to stop it before it says that it has.
        start = await peer.expect("subscribe", skip=["complete"])
        assert {"home": "home-1"} == start["payload"]["variables"]
        return str(start["id"])

    async def refuses(peer: Peer, id: str) -> None:
        refusal = {"data": None, "errors": [{"message": "unable to start stream"}]}
        await result(peer, id, refusal)
        await peer.send({"type": "complete", "id": id})

    async def measures(peer: Peer, id: str, power: int) -> None:
        await result(peer, id, {"data": {"liveMeasurement": {"power": power}}})

    async def script(peer: Peer) -> None:
        match len(server.peers):
            case 1:
                await refuses(peer, await begins(peer))
                await measures(peer, await follows(peer), 100)
                await peer.close(1012)
            case 2:
                await refuses(peer, await begins(peer))
                id = await follows(peer)
                await measures(peer, id, 200)
                assert id == (await peer.expect("complete"))["id"]
                await measures(peer, await follows(peer), 300)
                await peer.close(4403, "Invalid token")

    async with fake(script) as server:
        code = program_under(
            "A Tibber feed, from top to bottom",
            URL=repr(server.url),
            PAUSE="0.05",
            idle_timeout="2",
        )
        environment = {"TIBBER_TOKEN": "s3cret", "TIBBER_HOME": "home-1"}
        async with running(code, tmp_path, **environment) as process:
            assert "it cannot be followed now: unable to start stream" == await said(process)
            assert "100 W" == await said(process)
            assert "back after " in await said(process)
            assert "200 W" == await said(process)
            assert "the meter is silent: " in await said(process)
            assert "300 W" == await said(process)
            _, err = await process.communicate()

        assert 2 == server.connections
    assert 1 == process.returncode
    assert b"4403 Invalid token" in err.splitlines()[-1]


@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_a_refusal_by_tibber_is_not_retried(status: int) -> None:
    """With the program's `should_retry` a refusal is final: there is one attempt."""

    def refuse(_: Any) -> Refusal | None:
        return Refusal(status) if server.connections > 1 else None

    async def script(peer: Peer) -> None:
        await peer.ack()
        await peer.expect("subscribe")
        await peer.close(1012)

    async with fake(script, refuse=refuse) as server:
        client = gqlwire.connect(
            server.url,
            init_payload={"token": "s3cret"},
            subprotocols=["graphql-transport-ws"],
            retry=RetryPolicy(
                first_delay=0.01,
                should_retry=lambda it: False if it.status in {400, 401, 403, 404} else None,
            ),
        )
        async with client as session:
            live = session.subscribe("subscription { liveMeasurement { power } }")
            told = await failure(HandshakeRejected, anext(live))
        assert 2 == server.connections

    assert status == told.status
