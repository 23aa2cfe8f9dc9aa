"""`gqlwire query` and `gqlwire subscribe` against real servers and scripted ones: what they print.

Documents, variables, headers and TLS files come in every way there is; results go out as JSON.
"""

import asyncio
import io
import json
import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import NEWER, OLDER
from gqlwire.cli import main
from servers.certificates import Certificates
from servers.fake import Peer, fake
from servers.launch import Server, start_strawberry

Printed = pytest.CaptureFixture[str]


def lines(printed: Printed, *arguments: str, status: int = 0, err: str = "") -> list[object]:
    """Run the command; the JSON lines that it prints."""
    assert status == main(arguments)
    out, said = printed.readouterr()
    assert err == said
    return [json.loads(line) for line in out.splitlines()]


def type_in(monkeypatch: pytest.MonkeyPatch, document: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(document), encoding="utf-8"))


@pytest.fixture(params=["strawberry", "node_graphql_ws", "node_apollo"])
def server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(request.param)
    return found


# Real servers.


def test_query(server: Server, capfd: Printed) -> None:
    """`query` prints the data of the result, as one line, on every server."""
    assert [{"hello": "Hello, wörld!"}] == lines(
        capfd, "query", server.url, "query ($n: String) { hello(name: $n) }", "-V", "n=wörld"
    )


def test_mutation(server: Server, capfd: Printed) -> None:
    """`query` runs mutations, too."""
    before = lines(capfd, "query", server.url, "{ counter }")
    after = lines(capfd, "query", server.url, "mutation { increment(by: 5) }")

    assert [{"increment": before[0]["counter"] + 5}] == after  # type: ignore[index]


def test_subscribe(server: Server, capfd: Printed) -> None:
    """`subscribe` prints each event as one line and ends with the subscription."""
    expected = [{"countdown": number} for number in (2, 1, 0)]

    assert expected == lines(capfd, "subscribe", server.url, "subscription { countdown(from: 2) }")


@pytest.mark.parametrize("protocol", [NEWER, OLDER])
def test_forced_protocol(strawberry: Server, capfd: Printed, protocol: str) -> None:
    """--protocol is spoken alone, and -v tells which it is."""
    document = "subscription { countdown(from: 0) }"

    assert 0 == main(["subscribe", strawberry.url, document, "--protocol", protocol, "-v"])

    out, err = capfd.readouterr()
    assert '{"countdown":0}\n' == out
    assert f"connected to {strawberry.url} ({protocol})" in err


def test_query_takes_one_event(strawberry: Server, capfd: Printed) -> None:
    """`query` with a subscription prints the first event; `subscribe` with a query its result."""
    first = lines(capfd, "query", strawberry.url, "subscription { ticks(count: -1) { seq } }")
    only = lines(capfd, "subscribe", strawberry.url, "{ hello }")

    assert ([{"ticks": {"seq": 0}}], [{"hello": "Hello, world!"}]) == (first, only)


def test_count(strawberry: Server, capfd: Printed) -> None:
    """--count ends an endless subscription after so many events, with status 0."""
    document = "subscription { ticks(count: -1) { seq } }"

    assert [{"ticks": {"seq": seq}} for seq in range(3)] == lines(
        capfd, "subscribe", strawberry.url, document, "--count", "3"
    )


def test_duration(strawberry: Server, capfd: Printed) -> None:
    """--timeout ends an endless subscription after so many seconds, with status 0."""
    document = "subscription { ticks(count: -1, intervalMs: 60000) { seq } }"

    shown = lines(capfd, "subscribe", strawberry.url, document, "--timeout", "0.3")

    assert shown in ([{"ticks": {"seq": 0}}], [])  # the first one may be late


def test_documents_from_stdin(
    strawberry: Server, capfd: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No document and `-` read one from stdin, whatever is around them on the line."""
    document = "query A { hello } query B { echoInt(value: 4) }"

    for place in ([], ["-"]):
        type_in(monkeypatch, document.encode())
        assert [{"echoInt": 4}] == lines(capfd, "query", strawberry.url, "-o", "B", *place)
    type_in(monkeypatch, b"\xff")
    assert 2 == main(["query", strawberry.url])
    assert "gqlwire: the input from stdin is not UTF-8 text\n" == capfd.readouterr().err


def test_files(strawberry: Server, capfd: Printed, tmp_path: Path) -> None:
    """@file gives the document, the variables and the init payload, with a byte order mark, too."""
    files = {
        "document": "query ($v: String!) { echoString(value: $v) initPayload }",
        "variables": '{"v": "grün"}',
        "payload": '{"token": "ü"}',
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text, "utf-8-sig")
    at = {name: f"@{tmp_path / name}" for name in files}

    assert [{"echoString": "grün", "initPayload": '{"token":"ü"}'}] == lines(
        capfd, "query", strawberry.url, at["document"], "--variables", at["variables"],
        "--init-payload", at["payload"],
    )  # fmt: skip


def test_headers(strawberry: Server, capfd: Printed) -> None:
    """-H sets a header of the upgrade request."""
    document = '{ header(name: "x-test") }'

    assert [{"header": "a: b"}] == lines(
        capfd, "query", strawberry.url, document, "-H", "X-Test: a: b"
    )


def test_output_for_people(strawberry: Server, capfd: Printed) -> None:
    """--pretty indents, --color always colours, and neither changes what is said."""
    arguments = [
        "query",
        strawberry.url,
        '{ nothing echoString(value: "a \\"é\\": 1") echoInt(value: -7) }',
    ]

    assert 0 == main([*arguments, "--pretty"])
    plain = '{\n  "nothing": null,\n  "echoString": "a \\"é\\": 1",\n  "echoInt": -7\n}\n'
    assert plain == capfd.readouterr().out
    assert 0 == main([*arguments, "--color", "always"])
    colored = capfd.readouterr().out
    assert '\x1b[34;1m"nothing"\x1b[0m:\x1b[33mnull\x1b[0m,' in colored
    assert '\x1b[32m"a \\"é\\": 1"\x1b[0m' in colored
    assert "\x1b[36m-7\x1b[0m}\n" in colored


def test_errors_of_a_query(strawberry: Server, capfd: Printed) -> None:
    """The data goes to stdout, each error to stderr in a sentence, and the status is 1."""
    document = '{\n hello fail(message: "no\\nway") }'

    assert [{"hello": "Hello, world!", "fail": None}] == lines(
        capfd, "query", strawberry.url, document, status=1,
        err="gqlwire: no way (at fail, line 2, column 8)\n",
    )  # fmt: skip


def test_refused_operation(strawberry: Server, capfd: Printed) -> None:
    """An operation that the server does not run prints nothing on stdout; the status is 1."""
    err = "gqlwire: Cannot query field 'nope' on type 'Query'. (line 1, column 3)\n"

    for command in ("query", "subscribe"):
        assert [] == lines(capfd, command, strawberry.url, "{ nope }", status=1, err=err)


def test_events_with_errors(strawberry: Server, capfd: Printed) -> None:
    """An event with errors is printed with them, the next ones follow, and the status is 1."""
    document = "subscription { flaky(count: 3) { seq value } }"

    events = lines(
        capfd, "subscribe", strawberry.url, document, status=1,
        err="gqlwire: 1 of 3 events had errors\n",
    )  # fmt: skip

    assert {"flaky": {"seq": 0, "value": "v0"}} == events[0]
    assert {"flaky": {"seq": 2, "value": "v2"}} == events[2]
    assert {"data", "errors"} == events[1].keys()  # type: ignore[attr-defined]
    assert {"flaky": {"seq": 1, "value": None}} == events[1]["data"]  # type: ignore[index]
    assert "flaky 1" == events[1]["errors"][0]["message"]  # type: ignore[index]


def test_verbose_and_wire(strawberry: Server, capfd: Printed) -> None:
    """-v tells of the connection, --wire shows the messages, neither shows the init payload."""
    arguments = ["query", strawberry.url, "{ hello }", "--init-payload", '{"token":"hunter2"}']
    loggers = [logging.getLogger(name) for name in ("gqlwire", "gqlwire.wire")]
    before = [(logger.level, list(logger.handlers)) for logger in loggers]

    assert 0 == main([*arguments, "-v"])
    verbose = capfd.readouterr().err
    assert 0 == main([*arguments, "--wire"])
    wire = capfd.readouterr().err

    assert "connected to" in verbose
    assert "disconnected from" in verbose
    assert '"type":"next"' not in verbose
    assert "connected to" not in wire
    assert all(f'"type":"{type}"' in wire for type in ("connection_init", "subscribe", "next"))
    assert "hunter2" not in verbose + wire
    assert before == [(logger.level, list(logger.handlers)) for logger in loggers]


# TLS.


@pytest.fixture(scope="module")
def secure(certificates: Certificates) -> Iterator[Server]:
    pair = certificates.server
    with start_strawberry(cert=pair.cert, key=pair.key) as server:
        yield server


@pytest.fixture(scope="module")
def exclusive(certificates: Certificates) -> Iterator[Server]:
    pair = certificates.server
    with start_strawberry(cert=pair.cert, key=pair.key, client_ca=certificates.ca) as server:
        yield server


def test_own_authority(secure: Server, certificates: Certificates, capfd: Printed) -> None:
    """--ca trusts an authority; without it the certificate is refused, and the error says why."""
    arguments = ["query", secure.url, "{ hello }"]

    assert [{"hello": "Hello, world!"}] == lines(capfd, *arguments, "--ca", str(certificates.ca))
    assert 3 == main(arguments)
    host = f"127.0.0.1:{secure.port}"
    assert f"gqlwire: the certificate of {host} was not accepted: " in capfd.readouterr().err


def test_insecure(secure: Server, capfd: Printed) -> None:
    """--insecure trusts anybody, and warns of it once."""
    assert [{"hello": "Hello, world!"}] == lines(
        capfd, "query", secure.url, "{ hello }", "--insecure", "--quiet",
        err="gqlwire: warning: --insecure: the certificate of the server is not checked\n",
    )  # fmt: skip


def test_client_certificate(exclusive: Server, certificates: Certificates, capfd: Printed) -> None:
    """--cert and --key show our certificate to a server that asks for one."""
    arguments = ["query", exclusive.url, "{ hello }", "--ca", str(certificates.ca)]
    pair = certificates.client

    assert [{"hello": "Hello, world!"}] == lines(
        capfd, *arguments, "--cert", str(pair.cert), "--key", str(pair.key)
    )
    assert 3 == main(arguments)
    assert capfd.readouterr().err.startswith("gqlwire: ")
    other = certificates.other_client
    assert 2 == main([*arguments, "--cert", str(pair.cert), "--key", str(other.key)])
    assert "the key does not belong to the certificate" in capfd.readouterr().err


# What only a scripted server says.


async def run(*arguments: str) -> int:
    """The command in a thread: the scripted servers need the loop."""
    return await asyncio.to_thread(main, arguments)


ODD = (
    '{"big":123456789012345678901234567890,"float":1.0,"tiny":1e-7,"text":"\\ud800 ü \\u009b",'
    '"esc":"\\u001b"}'
)


SHOWN = {
    "--compact": '{"big":123456789012345678901234567890,"float":1.0,"tiny":1e-07,'
    '"text":"\\ud800 \\u00fc \\u009b","esc":"\\u001b"}\n',
    "--pretty": '{\n  "big": 123456789012345678901234567890,\n  "float": 1.0,\n  "tiny": 1e-07,\n'
    '  "text": "\\ud800 \\u00fc \\u009b",\n  "esc": "\\u001b"\n}\n',
}


@pytest.mark.parametrize("option", SHOWN)
async def test_odd_values(capfd: Printed, option: str) -> None:
    """Numbers keep their worth and their kind, lone surrogates and controls come out as escapes."""

    async def script(peer: Peer) -> None:
        await peer.ack()
        id = (await peer.expect("subscribe"))["id"]
        await peer.send_text(f'{{"type":"next","id":"{id}","payload":{{"data":{ODD}}}}}')
        await peer.send({"type": "complete", "id": id})

    async with fake(script) as server:
        assert 0 == await run("query", server.url, "{ odd }", option)

    assert SHOWN[option] == capfd.readouterr().out


async def test_terminals_are_not_steered(capfd: Printed) -> None:
    """Control characters of the server's reach neither the indented output nor stderr."""

    async def script(peer: Peer) -> None:
        await peer.ack()
        id = (await peer.expect("subscribe"))["id"]
        errors = [{"message": "\x1b[2J\x9b gone"}, "just text", {}, {"path": [], "locations": 3}]
        payload = {"data": {"a": "\x7f\x9b1m\x1b"}, "errors": errors}
        await peer.send({"type": "next", "id": id, "payload": payload})
        await peer.send({"type": "complete", "id": id})

    async with fake(script) as server:
        assert 1 == await run("query", server.url, "{ a }", "--pretty")

    out, err = capfd.readouterr()
    assert '{\n  "a": "\\u007f\\u009b1m\\u001b"\n}\n' == out
    assert [
        "gqlwire: \\x1b[2J\\x9b gone",
        "gqlwire: just text",
        "gqlwire: an error without a message",
        "gqlwire: an error without a message",
    ] == err.splitlines()


async def test_null_is_a_result(capfd: Printed) -> None:
    """`{"data": null}` without errors prints null."""

    async def script(peer: Peer) -> None:
        await peer.ack()
        id = (await peer.expect("subscribe"))["id"]
        await peer.send({"type": "next", "id": id, "payload": {"data": None}})

    async with fake(script) as server:
        assert 0 == await run("query", server.url, "{ a }")

    assert ("null\n", "") == tuple(capfd.readouterr())


async def test_incremental_results(capfd: Printed) -> None:
    """`query` prints the first part and fails, `subscribe` prints all parts."""
    parts = [
        {"data": {"a": 1}, "hasNext": True},
        {"incremental": [{"data": {"b": 2}, "path": []}], "hasNext": True},
        {"hasNext": False},
    ]

    async def script(peer: Peer) -> None:
        await peer.ack()
        id = (await peer.expect("subscribe"))["id"]
        for part in parts:
            await peer.send({"type": "next", "id": id, "payload": part})
        await peer.send({"type": "complete", "id": id})

    async with fake(script) as server:
        assert 5 == await run("query", server.url, "{ a ... @defer { b } }")
        out, err = capfd.readouterr()
        assert ('{"a":1}\n', True) == (out, "@defer, @stream" in err)
        assert 0 == await run("subscribe", server.url, "{ a ... @defer { b } }")

    assert parts == [json.loads(line) for line in capfd.readouterr().out.splitlines()]


async def test_warnings_of_the_library(capfd: Printed) -> None:
    """What the library warns of is said on stderr, as all else is."""

    async def script(peer: Peer) -> None:
        await peer.ack()
        await peer.send({"type": "surprise"})
        id = (await peer.expect("subscribe"))["id"]
        await peer.send({"type": "next", "id": id, "payload": {"data": 1}})

    async with fake(script) as server:
        assert 0 == await run("query", server.url, "{ a }")

    err = capfd.readouterr().err
    assert err.startswith("gqlwire: warning: ")
    assert "surprise" in err


@pytest.mark.parametrize("option", [[], ["--quiet"]])
async def test_a_lost_connection_is_made_again(capfd: Printed, option: list[str]) -> None:
    """A subscription goes on; what happened is said on stderr, once however often it is tried."""

    async def script(peer: Peer) -> None:
        place = len(server.peers)
        if place == 2:
            await peer.close(1012)
            return
        await peer.ack()
        id = (await peer.expect("subscribe"))["id"]
        await peer.send({"type": "next", "id": id, "payload": {"data": place}})
        if place == 1:
            await peer.close(1012, "soon back")
        else:
            await peer.send({"type": "complete", "id": id})

    async with fake(script) as server:
        assert 0 == await run("subscribe", server.url, "subscription { a }", *option)

    out, err = capfd.readouterr()
    assert "1\n3\n" == out
    lost, found = err.splitlines()
    assert lost == (
        f"gqlwire: warning: 127.0.0.1:{server.port} closed the connection: 1012 soon back "
        f"(the server is restarting); connecting again"
    )
    again = (
        r"gqlwire: warning: connected again after \d\.\d s; events from this time may be missing"
    )
    assert re.fullmatch(again, found)


async def test_a_time_limit_holds_without_a_connection(capfd: Printed) -> None:
    """--timeout ends a subscription that waits for a server, too."""

    async def script(peer: Peer) -> None:
        if len(server.peers) > 1:
            await peer.close(1013)
            return
        await peer.ack()
        await peer.expect("subscribe")
        await peer.close(1013)

    async with fake(script) as server:
        assert 0 == await run("subscribe", server.url, "subscription { a }", "--timeout", "3")

    out, err = capfd.readouterr()
    assert "" == out
    assert err.endswith("1013 (the server asks to try again later); connecting again\n")


async def test_text_streams(capsys: Printed) -> None:
    """Where stdout is no file (a notebook, a test), results are written all the same."""

    async def script(peer: Peer) -> None:
        await peer.ack()
        id = (await peer.expect("subscribe"))["id"]
        await peer.send({"type": "next", "id": id, "payload": {"data": "é"}})
        await peer.send({"type": "complete", "id": id})

    async with fake(script) as server:
        assert 0 == await run("subscribe", server.url, "subscription { a }")

    assert '"é"\n' == capsys.readouterr().out


async def test_compression(capfd: Printed) -> None:
    """--compression offers permessage-deflate, and reads what is compressed."""

    async def script(peer: Peer) -> None:
        await peer.ack()
        id = (await peer.expect("subscribe"))["id"]
        await peer.send({"type": "next", "id": id, "payload": {"data": "x" * 9999}})

    async with fake(script, compression="deflate") as server:
        assert 0 == await run("query", server.url, "{ a }", "--compression")
        offered = server.requests[0].headers["Sec-WebSocket-Extensions"]

    assert offered.startswith("permessage-deflate")
    assert f'"{"x" * 9999}"\n' == capfd.readouterr().out
