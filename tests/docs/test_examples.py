"""The programs in examples/: each runs as it is, and prints what it is there to show."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gqlwire.demo.server import serving
from servers.certificates import Certificates
from servers.launch import Server, start_strawberry

pytestmark = pytest.mark.long

EXAMPLES = Path(__file__).parents[2] / "examples"

# What each prints against the demo; `...` stands for any text in a line.
PRINTED = {
    "lifespan": """\
started: 503
after the first trade: 200
""",
    "websockets_async": """\
{'instruments': [{'symbol': 'AURA', 'name': 'Aurora Robotics', 'price': ...}, {...}]}
{'placeOrder': {'status': 'FILLED'}}
{'trades': {'seq': ..., 'symbol': '...', 'price': ...}}
""",
    "subscribe": """\
... at ...
operation ... is over after 3 events
the server runs no subscription
""",
    "concurrent_operations": """\
FILLED 10 AURA
FILLED 10 BOLT
FILLED 10 DUNE
20 events of trades
5 events of heartbeat
3 events of prices
{'positions': [{'symbol': 'AURA', 'size': ...}, {...}, {...}]}
""",
    "auth": """\
by header: {'__typename': 'Query'}
by init payload: {'__typename': 'Query'}
this server lets everybody in
""",
    "sync_script": """\
{'instrument': {'name': 'Ægir Tidal Power', 'price': ...}}
{'heartbeat': {'beat': 1}}
{'heartbeat': {'beat': 2}}
{'heartbeat': {'beat': 3}}
""",
    "errors": """\
InvalidURL: 'http://127.0.0.1:8000/graphql' is ...; did you mean 'ws://127.0.0.1:8000/graphql'?
ConnectionRefused: 127.0.0.1:1 refuses connections: nothing listens on this port
HandshakeRejected: 127.0.0.1:... answered the WebSocket upgrade with HTTP 403: it forbids access...
TransportQueryError: there is no instrument NOPE (at instrument)
  data: ['instrument', 'lastSeq'], errors: 1
data: {'instrument': None}, errors: 1
OperationTimeout: 127.0.0.1:... did not answer the subscription within 0 seconds (...timeout)
  a TimeoutError, too: True
still open
TransportClosed: the connection to 127.0.0.1:... was closed by close()
""",
    "typed_results": """\
AURA <enum 'Side'> <class 'decimal.Decimal'> UTC
Placed(order={'symbol': 'BOLT', 'status': 'FILLED'})
<class 'decimal.Decimal'>
the data at $.heartbeat.beat does not fit Beats: Expected `str`, got `int`
$.heartbeat.beat {'heartbeat': {'beat': 1}}
the data at $.heartbeat.beat does not fit Beats: Expected `str`, got `int`
$.heartbeat.beat {'heartbeat': {'beat': 2}}
""",
    "surviving": """\
connected
connected again
a gap: the connection to 127.0.0.1:... was dropped by terminate()
connected again
a gap: the connection to 127.0.0.1:... was dropped by terminate()
2 gaps; all trades in order: True
interrupted; it may have been run: True
connected again
{'instrument': {'name': 'Aurora Robotics'}}
4 connections, state open
the second process continues after the first: True
""",
    "health_checks": """\
/healthz 200 {'alive': True}
/ready 503 {'problems': [...]}
/healthz 200 {'alive': True}
/ready 200 {'problems': []}
/healthz 200 {'alive': True}
/ready 503 {'problems': ['there is no connection to 127.0.0.1:... dropped by terminate()']}
closing ['Beats']
""",
    "slow_consumer": """\
block: next is 2, dropped 0
drop_oldest: 10 wait, some dropped: True
latest: 1 waits, some dropped: True
error: after 11 events: SlowConsumer
error: 10 events had been waiting
""",
    "many_subscriptions": """\
15 subscriptions in one loop
{'AURA': 30, 'BOLT': 30, 'CIRR': 30, 'DUNE': 30, 'EGIR': 30}
True trade 0 is not kept any more, the oldest one is ...
added later: ['trades']
['one', 'other']
the server runs no subscription
""",
    "keep_alives": """\
graphql-transport-ws: answered within a second: True
graphql-ws: answered within a second: True
pong: None
{'heartbeat': {'beat': 1}}
KeepAliveTimeout after 3 s
""",
}
OF_OTHER_SERVERS = {"tls"}


@pytest.fixture(scope="module")
def demo_url() -> Iterator[str]:
    with serving("127.0.0.1", 0, 7) as url:
        yield url


def run(name: str, *arguments: str) -> list[str]:
    """Run an example and return the lines that it printed; warnings are errors."""
    command = [sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py"), *arguments]
    ended = subprocess.run(
        command,
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        timeout=50,
        check=False,
    )
    assert 0 == ended.returncode, ended.stderr
    return ended.stdout.splitlines()


def pattern(expected: str) -> str:
    return ".*".join(map(re.escape, expected.split("...")))


@pytest.mark.parametrize("name", PRINTED)
def test_an_example_prints_what_it_shows(demo_url: str, name: str) -> None:
    """In this order; concurrent operations print in any order, and repeated lines may repeat."""
    printed = run(name, demo_url)
    expected = PRINTED[name].splitlines()

    for line in expected:
        assert any(re.fullmatch(pattern(line), said) for said in printed), (line, printed)
    if name in ("concurrent_operations", "websockets_async"):
        assert re.fullmatch(pattern(expected[-1]), printed[-1])
    else:
        assert len(expected) == len(printed)
        assert re.fullmatch("\n".join(map(pattern, expected)), "\n".join(printed))


def test_every_example_is_run() -> None:
    """None is left out."""
    assert {*PRINTED, *OF_OTHER_SERVERS} == {path.stem for path in EXAMPLES.glob("*.py")}


def test_no_example_hides_a_module_of_python() -> None:
    """A program's own folder comes first on the path."""
    names = {path.stem for path in EXAMPLES.glob("*.py")}

    assert names.isdisjoint(sys.stdlib_module_names)


@pytest.fixture(scope="module")
def guarded() -> Iterator[Server]:
    with start_strawberry(token="s3cret") as server:
        yield server


def test_auth_shows_a_refusal(guarded: Server) -> None:
    """The server of the tests takes the token either way, and no other."""
    printed = run("auth", guarded.url, "s3cret")

    refusal = (
        f"refused: 127.0.0.1:{guarded.port} closed the connection before it acknowledged "
        f"connection_init: 4403 Forbidden (forbidden: the server refused the credentials)"
    )
    assert [
        "by header: {'__typename': 'Query'}",
        "by init payload: {'__typename': 'Query'}",
        refusal,
        "code=4403 reason='Forbidden' status=None",
        "phase=init",
    ] == printed


def test_tls_trusts_an_own_authority_and_shows_a_certificate(certificates: Certificates) -> None:
    """The system's authorities do not vouch for the server of the tests; its own does."""
    server, client = certificates.server, certificates.client
    with start_strawberry(cert=server.cert, key=server.key, client_ca=certificates.ca) as secure:
        files = [str(path) for path in (certificates.ca, client.cert, client.key)]
        printed = run("tls", secure.url, *files)

    refused, answered = printed
    assert refused.startswith(f"the certificate of 127.0.0.1:{secure.port} was not accepted: ")
    assert "{'__typename': 'Query'}" == answered
