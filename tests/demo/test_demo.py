"""`gqlwire demo`: the market by itself, the market as a server, and the walk through it."""

import contextlib
import io
import json
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest

import gqlwire
from gqlwire.cli import main
from gqlwire.cli._demo import HINTS
from gqlwire.cli._exit import Exit
from gqlwire.demo import market as model
from gqlwire.demo import schema, walk
from gqlwire.demo.market import Market, Refused, Side, Status
from gqlwire.demo.server import serving
from gqlwire.errors import TransportQueryError

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
BOUND = 60.0


def market(seed: int = 1, *, steps: int = 0, history: int = 10_000) -> Market:
    made = Market(random.Random(seed), lambda: NOON, history=history)
    for _ in range(steps):
        made.step()
    return made


# The market by itself.


def test_same_seed_same_market() -> None:
    """The seed alone decides what happens."""
    one, same, other = market(7, steps=200), market(7, steps=200), market(8, steps=200)

    assert one.trades_after(0) == same.trades_after(0)
    assert one.instruments == same.instruments
    assert one.trades_after(0) != other.trades_after(0)


def test_trades_are_numbered_without_a_gap() -> None:
    """Trades count from 1, carry the price they were made at, and move their instrument."""
    made = market(steps=500)
    trades = made.trades_after(0)

    assert list(range(1, made.last_seq + 1)) == [trade.seq for trade in trades]
    assert 500 <= made.last_seq <= 1500
    for symbol, instrument in made.instruments.items():
        own = [trade for trade in trades if trade.symbol == symbol]
        assert instrument.price == own[-1].price
        assert instrument.volume == sum(trade.size for trade in own)
        expected = round(100 * (instrument.price / instrument.opening - 1), 2)
        assert expected == instrument.change
    assert {Side.BUY, Side.SELL} == {trade.side for trade in trades}
    assert {NOON} == {trade.at for trade in trades}


def test_prices_walk_and_stay_sane() -> None:
    """Prices move in small steps, and never far away from where they began."""
    made = market(steps=20_000, history=100_000)

    for symbol, instrument in made.instruments.items():
        prices = [t.price for t in made.trades_after(0) if t.symbol == symbol]
        assert len(set(prices)) > 50
        assert all(abs(after / before - 1) < 0.02 for before, after in pairwise(prices))
        assert all(0.5 < price / instrument.opening < 2 for price in prices)


def test_history_is_bounded() -> None:
    """The last trades can be replayed; what is too old or has not happened is refused."""
    made = market(steps=100, history=10)
    last = made.last_seq

    assert [last - 1, last] == [trade.seq for trade in made.trades_after(last - 2)]
    assert [] == made.trades_after(last)
    assert 10 == len(made.trades_after(last - 10))
    with pytest.raises(Refused, match=rf"trade {last - 10} is not kept any more.* {last - 9}$"):
        made.trades_after(last - 11)
    with pytest.raises(Refused, match=rf"{last + 1} has not happened yet, the last one is {last}"):
        made.trades_after(last + 1)


def test_order_at_any_price() -> None:
    """It is filled at once, is a trade, and becomes a position."""
    made = market(steps=3)
    price, before = made.instruments["BOLT"].price, made.last_seq

    order = made.place_order("BOLT", Side.BUY, 30, None)
    made.place_order("BOLT", Side.SELL, 50, None)

    assert (1, Status.FILLED, price) == (order.id, order.status, order.price)
    assert [(before + 1, Side.BUY, 30), (before + 2, Side.SELL, 50)] == [
        (trade.seq, trade.side, trade.size) for trade in made.trades_after(before)
    ]
    position = made.positions["BOLT"]
    assert (-20, round(-20 * price, 2)) == (position.size, position.cost)


@pytest.mark.parametrize(("side", "factor"), [(Side.BUY, 0.999), (Side.SELL, 1.001)])
def test_order_with_a_limit(side: Side, factor: float) -> None:
    """It rests until the price is as good as its limit, and is filled once."""
    made = market()
    limit = made.instruments["AURA"].price * factor
    order = made.place_order("AURA", side, 10, limit)
    far = made.place_order("AURA", side, 10, limit * factor**999)
    assert [Status.OPEN, Status.OPEN] == [order.status, far.status]

    steps = 0
    while order.status is Status.OPEN:
        made.step()
        steps += 1
        assert steps < 5000

    assert order.price is not None
    assert order.price <= limit if side is Side.BUY else order.price >= limit
    assert (10 if side is Side.BUY else -10) == made.positions["AURA"].size
    fills = [
        t for t in made.trades_after(0) if (t.size, t.price, t.side) == (10, order.price, side)
    ]
    assert fills
    assert Status.OPEN is far.status
    before = made.last_seq
    made.step()
    assert 10 == abs(made.positions["AURA"].size)
    assert made.last_seq > before


def test_orders_are_cancelled() -> None:
    """An open order is withdrawn, once; then no price fills it."""
    made = market()
    order = made.place_order("AURA", Side.BUY, 10, made.instruments["AURA"].price - 0.01)

    assert Status.CANCELLED is made.cancel_order(order.id).status
    for _ in range(200):
        made.step()

    assert {} == made.positions
    with pytest.raises(Refused, match="order 1 is CANCELLED"):
        made.cancel_order(1)
    with pytest.raises(Refused, match="there is no order 2"):
        made.cancel_order(2)


@pytest.mark.parametrize(
    ("symbol", "size", "limit", "why"),
    [
        ("NOPE", 1, None, "there is no instrument NOPE"),
        ("AURA", 0, None, "a size must be between 1 and 10000, not 0"),
        ("AURA", 10_001, None, "a size must be between 1 and 10000, not 10001"),
        ("AURA", 1, 0.0, "a limit must be above 0, not 0"),
    ],
)
def test_refused_orders(symbol: str, size: int, limit: float | None, why: str) -> None:
    """An order that cannot be is refused, and leaves no trace."""
    made = market()

    with pytest.raises(Refused, match=re.escape(why)):
        made.place_order(symbol, Side.BUY, size, limit)

    assert ({}, 0) == (made.orders, made.last_seq)


# The market as a server.


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving("127.0.0.1", 0, 5) as url:
        yield url


async def ask(url: str, document: str, **variables: Any) -> Any:
    request = gqlwire.GraphQLRequest(document, variable_values=variables)
    async with gqlwire.connect(url) as session:
        return await session.execute(request)


async def test_instruments(url: str) -> None:
    """Instruments are found all at once, some, or one."""
    data = await ask(
        url,
        '{ all: instruments { symbol } some: instruments(symbols: ["DUNE"]) { symbol name }'
        ' one: instrument(symbol: "BOLT") { name opening } }',
    )

    assert [symbol for symbol, _, _ in model.LISTED] == [it["symbol"] for it in data["all"]]
    assert [{"symbol": "DUNE", "name": "Dune Solar"}] == data["some"]
    assert {"name": "Bolt & Nut", "opening": 12.45} == data["one"]


async def test_orders_and_positions(url: str) -> None:
    """Orders are placed, listed and cancelled, and make positions."""
    place = (
        'mutation ($limit: Float) { placeOrder(symbol: "EGIR", side: SELL, size: 3, limit: $limit)'
    )
    filled = (await ask(url, place + "{ id status price } }"))["placeOrder"]
    resting = (await ask(url, place + "{ id status price } }", limit=1e6))["placeOrder"]
    cancelled = await ask(
        url, "mutation ($id: Int!) { cancelOrder(id: $id) { status } }", id=resting["id"]
    )

    assert ("FILLED", "OPEN") == (filled["status"], resting["status"])
    assert {"cancelOrder": {"status": "CANCELLED"}} == cancelled
    data = await ask(
        url, "{ orders(status: CANCELLED) { id side } positions { symbol size cost } }"
    )
    assert {"id": resting["id"], "side": "SELL"} in data["orders"]
    assert {"symbol": "EGIR", "size": -3, "cost": round(-3 * filled["price"], 2)} in data[
        "positions"
    ]


@pytest.mark.parametrize("protocol", ["graphql-transport-ws", "graphql-ws"])
async def test_trades_resume_from_a_cursor(url: str, protocol: str) -> None:
    """What comes after a trade is replayed and goes on live, in both protocols."""
    async with gqlwire.connect(url, subprotocols=[protocol]) as session:
        seqs = []
        async for data in session.subscribe("subscription { trades { seq } }"):
            seqs.append(data["trades"]["seq"])
            if len(seqs) == 5:
                break
        resumed = gqlwire.GraphQLRequest(
            "subscription ($after: Int!) { trades(after: $after) { seq } }",
            variable_values={"after": seqs[-1]},
        )
        async for data in session.subscribe(resumed):
            seqs.append(data["trades"]["seq"])
            if len(seqs) == 20:
                break

    assert list(range(seqs[0], seqs[0] + 20)) == seqs


async def test_trades_of_some_symbols(url: str) -> None:
    """A feed can be narrowed to some symbols."""
    document = 'subscription { trades(symbols: ["AURA"], after: 1) { symbol } }'
    symbols = []
    async with gqlwire.connect(url) as session:
        async for data in session.subscribe(document):
            symbols.append(data["trades"]["symbol"])
            if len(symbols) == 3:
                break

    assert ["AURA"] * 3 == symbols


async def test_prices_and_heartbeat(url: str) -> None:
    """Both tick at once, and then at their interval."""
    async with gqlwire.connect(url) as session:
        beats = []
        async for data in session.subscribe(
            "subscription { heartbeat(intervalMs: 5) { beat at } }"
        ):
            beats.append(data["heartbeat"]["beat"])
            if len(beats) == 3:
                break
        document = 'subscription { prices(symbols: ["BOLT"], intervalMs: 5) { symbol price } }'
        async for data in session.subscribe(document):
            (quote,) = data["prices"]
            break

    assert [1, 2, 3] == beats
    assert "BOLT" == quote["symbol"]
    assert quote["price"] > 0


async def test_wrong_subscriptions(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    """A cursor or symbol that cannot be is a GraphQL error, and no news for the server's log."""
    documents = {
        'subscription { prices(symbols: ["NOPE"]) { price } }': "there is no instrument NOPE",
        "subscription { trades(after: 999999999) { seq } }": "999999999 has not happened yet",
        "subscription { nope }": "Cannot query field 'nope'",
    }
    async with gqlwire.connect(url) as session:
        for document, why in documents.items():
            with pytest.raises(TransportQueryError, match=why):
                await anext(session.subscribe(document))
        assert {"runningSubscriptions": 0} == await session.execute("{ runningSubscriptions }")

    assert ("", "") == tuple(capfd.readouterr())


async def test_faults_of_the_server_are_logged(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What nobody foresaw is in the log."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError("by accident")

    monkeypatch.setattr(Market, "instrument", broken)

    with pytest.raises(TransportQueryError, match="by accident"):
        await ask(url, '{ instrument(symbol: "AURA") { price } }')

    assert "by accident" in caplog.text


def test_page_for_browsers(url: str) -> None:
    """The same address answers HTTP: a page for browsers, and queries."""
    home = url.replace("ws:", "http:").removesuffix("graphql")
    page = urllib.request.Request(home, headers={"Accept": "text/html"})
    query = urllib.request.Request(
        home + "graphql",
        data=b'{"query": "{ runningSubscriptions }"}',
        headers={"Content-Type": "application/json"},
    )

    with urllib.request.urlopen(page, timeout=BOUND) as answer:
        assert "GraphiQL" in answer.read().decode()
    with urllib.request.urlopen(query, timeout=BOUND) as answer:
        assert b"runningSubscriptions" in answer.read()


def test_ipv6() -> None:
    """It listens on IPv6, too."""
    with serving("::1", 0, None) as url:
        assert url.startswith("ws://[::1]:")
        assert 0 == main(["query", url, "{ lastSeq }"])


def test_server_that_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for the server is told if it never comes."""
    monkeypatch.setattr("gqlwire.demo.server.START_SECONDS", 0.01)
    monkeypatch.setattr("gqlwire.demo.server.Server.run", lambda *_: None)

    with pytest.raises(OSError, match="did not start"), serving("127.0.0.1", 0, None):
        pytest.fail("it is there")


# gqlwire demo --serve


@contextlib.contextmanager
def served(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command `gqlwire demo --serve`, and the URL that it tells."""
    code = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code += "from gqlwire.cli import main; sys.exit(main())"
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code, "demo", "--serve", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    ) as process:
        try:
            assert process.stdout is not None
            yield process, json.loads(process.stdout.readline())["url"]
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve(number: int, capfd: pytest.CaptureFixture[str]) -> None:
    """It tells its URL on stdout, what to try on stderr, and serves until a signal."""
    with served("--port", "0", "--seed", "1") as (process, url):
        assert 0 == main(["query", url, '{ instrument(symbol: "AURA") { name } }'])
        assert '{"instrument":{"name":"Aurora Robotics"}}\n' == capfd.readouterr().out
        process.send_signal(number)
        out, err = process.communicate(timeout=BOUND)

    assert (128 + number, "") == (process.returncode, out)
    assert [f"  gqlwire {hint.format(url=url)}" for hint in HINTS] == err.splitlines()[1:]


def test_serve_with_clients() -> None:
    """Clients that are connected do not keep it from ending, and learn why they end."""
    with (
        served("--port", "0") as (process, url),
        subprocess.Popen(
            [
                sys.executable,
                "-m",
                "gqlwire",
                "subscribe",
                "--no-reconnect",
                url,
                "subscription { trades { seq } }",
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as client,
    ):
        assert client.stdout is not None
        client.stdout.readline()
        process.terminate()
        process.communicate(timeout=BOUND)
        _, err = client.communicate(timeout=BOUND)

    assert (Exit.TERMINATED, Exit.CONNECTION) == (process.returncode, client.returncode)
    assert b"1012" in err


@pytest.mark.parametrize("hint", HINTS)
def test_hints_work(url: str, hint: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Each command that is recommended works as it stands."""
    arguments = shlex.split(hint.format(url=url))
    if arguments[0] == "subscribe" and "--count" not in arguments:
        arguments += ["--count", "2"]

    assert 0 == main(arguments)

    out, err = capfd.readouterr()
    assert "" == err
    assert all(json.loads(line) for line in out.splitlines())


def test_port_in_use(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    """A port that is taken is a sentence."""
    port = url.rpartition(":")[2].partition("/")[0]

    assert Exit.USAGE == main(["demo", "--serve", "--port", port])

    err = capfd.readouterr().err
    assert err.startswith(f"gqlwire: the demo cannot listen on 127.0.0.1:{port}: ")
    assert 1 == err.count("\n")


def test_extra_is_missing(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Without the extra, the sentence says how to get it."""
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "gqlwire.demo.server")

    assert Exit.USAGE == main(["demo"])

    assert "pip install 'gqlwire[demo]'" in capfd.readouterr().err


# The walk.


@pytest.fixture
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A walk that does not linger, but until each subscription has brought something."""
    monkeypatch.setattr(walk, "LIVE_SECONDS", 0.5)
    monkeypatch.setattr(walk, "LEGACY_SECONDS", 0.3)
    run_for = walk.Live.run_for

    async def linger(live: walk.Live, seconds: float) -> None:
        await run_for(live, seconds)
        while len(live.events) < len(live._tasks):
            await run_for(live, 0.1)

    monkeypatch.setattr(walk.Live, "run_for", linger)


def test_walk() -> None:
    """It ends by itself, soon, with status 0, in 80 columns, and tells of both protocols."""
    assert walk.LIVE_SECONDS + walk.LEGACY_SECONDS < 5  # all that it waits for on purpose
    run = subprocess.run(
        [sys.executable, "-W", "error", "-m", "gqlwire", "demo"],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, "http_proxy": "http://127.0.0.1:9", "PYTHONIOENCODING": "utf-8"},
        check=False,
        timeout=BOUND,
    )

    assert (0, "") == (run.returncode, run.stderr)
    assert max(map(len, run.stdout.splitlines())) <= 80
    assert "\x1b" not in run.stdout
    for told in (
        "it speaks graphql-transport-ws",
        "it speaks graphql-ws",
        "a ping takes ",
        "<- our order",
        "TransportQueryError: there is no instrument NOPE",
        "the server ran 3 subscriptions; after we stopped, it runs none",
        "the server ran 2 subscriptions; after we stopped, it runs none",
        "from its history, then live to #",
        "dropped after #",
        "connected again, after ",
        "none is missing, and none arrived twice",
        "All checks passed",
    ):
        assert told in run.stdout
    table = re.findall(r"^ +(graphql\S+) +(\d) +(\d+) +([\d.]+) +(\d+)$", run.stdout, re.MULTILINE)
    assert [("graphql-transport-ws", "3"), ("graphql-ws", "2")] == [row[:2] for row in table]
    for _, _, events, seconds, rate in table:
        assert abs(int(events) / float(seconds) - int(rate)) <= 0.1 * int(rate)


@pytest.mark.usefixtures("brisk")
def test_walk_in_colours(capsys: pytest.CaptureFixture[str]) -> None:
    """Colours change nothing of what is said."""
    assert 0 == main(["demo", "--color", "always", "--seed", "1"])
    out = capsys.readouterr().out

    assert "\x1b[1mgqlwire demo\x1b[0m" in out
    plain = re.sub(r"\x1b\[\d*m", "", out)
    assert "\x1b" not in plain
    assert max(map(len, plain.splitlines())) <= 80


@pytest.mark.usefixtures("brisk")
def test_walk_on_a_narrow_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal that cannot show a letter gets another one."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)

    assert 0 == main(["demo"])

    out.seek(0)
    assert "?gir Tidal Power" in out.read()


@pytest.mark.usefixtures("brisk")
@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("WRONG", "{ lastSeq }", "the wrong query did not fail"),
        ("HEARTBEAT", "subscription { nope }", "Cannot query field 'nope'"),
        ("OUR_SIZE", 8, "our order did not appear among the trades"),
        ("RUNNING", "{ runningSubscriptions: lastSeq }", "the server runs "),
        ("TRADES", 'subscription { trades(symbols: ["AURA"]) { seq symbol side size price } }',
         "no trade before "),
        ("after_last", lambda _, variables: variables, "a trade is missing or arrived twice"),
    ],
)  # fmt: skip
def test_walk_that_does_not_hold(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    value: object,
    told: str,
) -> None:
    """If something is not as it should be, the walk says so and ends with another status."""
    monkeypatch.setattr(walk, name, value)

    assert Exit.GRAPHQL == main(["demo", "--seed", "1"])

    out, err = capsys.readouterr()
    assert "All checks passed" not in out
    assert err.startswith("gqlwire: the demo failed: ")
    assert told in err


@pytest.mark.usefixtures("brisk")
def test_server_that_does_not_stop(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A subscription that the server goes on running is found out."""

    @contextlib.contextmanager
    def leaking(self: schema.Exchange) -> Iterator[None]:
        self.running += 1
        yield

    monkeypatch.setattr(schema.Exchange, "subscriber", leaking)
    monkeypatch.setattr(walk, "STOP_SECONDS", 0.2)

    assert Exit.GRAPHQL == main(["demo"])

    assert "the server still runs 3 subscriptions" in capsys.readouterr().err


def test_walk_into_a_pipe_that_closes() -> None:
    """`gqlwire demo | head -1` ends early and quietly."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "gqlwire", "demo"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert b"" == process.stderr.read()
        assert 0 == process.wait(BOUND)
