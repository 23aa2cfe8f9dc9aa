"""The benchmarks: what their server says, what their clients count, what is made of the numbers.

Nothing here measures time.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # `benchmarks` is not installed

from benchmarks import (  # noqa: E402  # as above
    comparisons,
    hot_path,
    instructions,
    peers,
    report,
    targets,
    trials,
)
from benchmarks.bench import Bench, Blaster, ContenderFailed, Settings  # noqa: E402
from benchmarks.contenders import fan_out  # noqa: E402
from benchmarks.results import Results, Run  # noqa: E402
from benchmarks.scenarios import ALL, TITLES, blasts, pairs, slow_consumer  # noqa: E402
from benchmarks.tables import ABSENT, TO, spread  # noqa: E402

pytestmark = pytest.mark.long

PYTHON = Path(sys.executable)
RESULTS = ROOT / "benchmarks" / "results"

# --- The server -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    """A bench on which everything runs in the Python of the tests."""
    with Bench(Settings(rounds=1, scale=0.001), peers.Peers(PYTHON, PYTHON, PYTHON)) as made:
        yield made


@pytest.fixture
def blaster(bench: Bench) -> Blaster:
    """The server, with nothing left to say."""
    blaster = bench.blaster()
    blaster.forget()
    return blaster


@asynccontextmanager
async def client(blaster: Blaster, compression: Any = None) -> AsyncIterator[ClientConnection]:
    """A client that was acknowledged."""
    async with connect(
        blaster.url, subprotocols=["graphql-transport-ws"], compression=compression, max_size=None
    ) as connection:
        await connection.send('{"type":"connection_init"}')
        assert '{"type":"connection_ack"}' == await connection.recv()
        yield connection


async def subscribe(connection: ClientConnection, id: str, **order: float) -> None:
    message = {"id": id, "type": "subscribe", "payload": {"query": "…", "variables": order}}
    await connection.send(json.dumps(message))


async def until_complete(connection: ClientConnection, count: int = 1) -> list[str]:
    """All messages up to the last of `count` completions."""
    texts: list[str] = []
    async for text in connection:
        texts.append(str(text))
        count -= '"type":"complete"' in texts[-1]
        if count == 0:
            break
    return texts


@pytest.mark.parametrize("size", [150, 1_000, 16_000, 1_000_000])
async def test_a_blast_has_the_events_that_were_ordered(blaster: Blaster, size: int) -> None:
    """As many as ordered, each of about the ordered size, then a completion, and a report."""
    async with client(blaster) as connection:
        await subscribe(connection, "7", events=5, size=size)
        *events, end = await until_complete(connection)

    said = blaster.report()
    assert 5 == len(events)
    assert all(abs(len(text) - size) < 0.04 * size for text in events)
    assert {("7", "next")} == {
        (json.loads(text)["id"], json.loads(text)["type"]) for text in events
    }
    assert all(json.loads(text)["payload"]["data"]["trades"][0]["seq"] for text in events)
    assert {"id": "7", "type": "complete"} == json.loads(end)
    assert 5 == said["blast"]
    assert said["bytes"] > sum(map(len, events))


async def test_a_blast_is_the_same_when_deflated(blaster: Blaster) -> None:
    """Compressed frames hold what plain ones hold, in fewer bytes."""
    seen, sent = [], []
    for compression in (None, "deflate"):
        async with client(blaster, compression) as connection:
            assert (compression is not None) == bool(connection.protocol.extensions)
            await subscribe(connection, "1", events=20, size=1_000)
            seen.append(await until_complete(connection))
        sent.append(blaster.report()["bytes"])

    assert seen[0] == seen[1]
    assert sent[1] < sent[0] / 2


async def test_events_are_dealt_out_in_turn(blaster: Blaster) -> None:
    """To each live operation `burst` events, once `live` of them are there; then all complete."""
    async with client(blaster) as connection:
        for id in "abc":
            await subscribe(connection, id, events=12, live=3, burst=2)
        texts = await until_complete(connection, 3)

    assert 12 == blaster.report()["blast"]
    messages = [json.loads(text) for text in texts]
    assert "aabbccaabbcc" == "".join(m["id"] for m in messages if m["type"] == "next")
    assert "abc" == "".join(m["id"] for m in messages if m["type"] == "complete")


async def test_an_operation_that_the_client_completes_gets_nothing(blaster: Blaster) -> None:
    """It does not count among those that wait for the blast."""
    async with client(blaster) as connection:
        await subscribe(connection, "a", live=2)
        await connection.send('{"id":"a","type":"complete"}')
        for id in "bc":
            await subscribe(connection, id, events=4, live=2)
        texts = await until_complete(connection, 2)

    assert 4 == blaster.report()["blast"]
    assert {"b": 3, "c": 3} == Counter(json.loads(text)["id"] for text in texts)


async def test_a_query_is_answered_immediately(blaster: Blaster) -> None:
    """`live` 0 is a single result and a completion, and no blast."""
    async with client(blaster) as connection:
        await subscribe(connection, "q", live=0, size=1_000)
        first, second = await until_complete(connection)

    assert "next" == json.loads(first)["type"]
    assert "complete" == json.loads(second)["type"]
    assert blaster.heard(0) is None


async def test_the_echo_says_what_it_hears(blaster: Blaster) -> None:
    """Without a subprotocol, and at its path."""
    async with connect(f"{blaster.base}/echo") as connection:
        await connection.send("anything")

        assert "anything" == await connection.recv()


async def test_a_client_that_does_not_read_is_reported(blaster: Blaster) -> None:
    """The server says so, and has not sent everything."""
    async with client(blaster) as connection:
        connection.transport.pause_reading()
        await subscribe(connection, "1", events=400, size=1_000_000, patience=0.1)
        said = blaster.report()
        connection.transport.abort()

    assert 0.1 == said["blocked"]
    assert 0 < said["bytes"] < 400 * 1_000_000


# --- The clients ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "mode"),
    [
        *[("ours.client", mode) for mode in ("dict", "typed", "batches", "typed-batches")],
        *[("limit.client", mode) for mode in ("dict", "typed", "frames")],
        *[(f"{who}.fan_out", "events") for who in ("ours", "limit")],
        ("ours.fan_out", "merged"),
    ],
)
def test_a_contender_counts_every_event(bench: Bench, module: str, mode: str) -> None:
    """Its own checks hold (how many, of what, to whom), and its figures are complete."""
    order = {"events": 6_000, "live": 3 if "fan_out" in module else 1}

    figures = blasts.blast(bench, blasts.module(module), mode, order)

    assert {"rate", "cpu_us", "fed"} == set(figures)
    assert figures["rate"]
    assert figures["cpu_us"]


def test_a_contender_reports_what_it_counted(bench: Bench, blaster: Blaster) -> None:
    """All events but the first, with which the clock starts."""
    told = bench.run(
        PYTHON, "-m", "benchmarks.contenders.ours.client", blaster.url, "dict", '{"events":500}'
    )

    assert 499 == told["events"]
    assert 500 == blaster.report()["blast"]


@pytest.mark.parametrize(
    ("module", "mode", "wanted", "expected"),
    [
        ("ours.round_trips", "typed", {"count": 50, "in_flight": 5}, "p99_us"),
        ("limit.round_trips", "answer", {"count": 50, "in_flight": 5}, "p99_us"),
        ("ours.fan_out", "idle", {"live": 200}, "bytes"),
        ("ours.connections", "pings", {"count": 100, "idle": 0.05}, "idle_percent"),
    ],
)
def test_a_contender_that_is_not_blasted(
    bench: Bench, blaster: Blaster, module: str, mode: str, wanted: dict[str, int], expected: str
) -> None:
    """Round trips, memory and connections: each ends well and tells its figure."""
    command = blasts.module(module)(bench.peers)

    told = bench.run(*command, blaster.url, mode, json.dumps(wanted))

    assert isinstance(told[expected], float)


def test_a_sleeping_consumer_is_measured(bench: Bench) -> None:
    """The server sends everything, the consumer holds one event, and the peak is known."""
    (trial,) = (
        trial
        for trial in slow_consumer.trials(bench)
        if (trial.contender, trial.case) == ("gqlwire, latest", {"size": 150})
    )

    figures = trial.measure(bench)

    assert 1 == figures["buffered"]
    # One was taken, one is held.
    assert bench.settings.count(slow_consumer.SENT // 150, least=5_000) - 2 == figures["dropped"]
    assert isinstance(figures["peak"], int)


def test_a_consumer_that_takes_too_much_is_ended(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the limit of memory there is no peak, only the limit."""
    monkeypatch.setattr(slow_consumer, "MOST", 1)
    first = slow_consumer.trials(bench)[0]

    assert {"over": 1} == first.measure(bench)


def test_a_contender_that_fails_is_reported(bench: Bench) -> None:
    """The others are measured all the same."""
    results = Results()

    def fail(bench: Bench) -> Any:
        return bench.run(PYTHON, "-c", "raise SystemExit('it is broken')")

    def work(bench: Bench) -> Any:
        return bench.run(PYTHON, "-c", "print('{\"rate\": 3}')")

    trials.run_all("x", [trials.Trial("a", {}, fail), trials.Trial("b", {}, work)], bench, results)

    assert ["x, a, {}: ended with status 1: it is broken"] == results.failures
    assert [Run("x", "b", {}, 0, {"rate": 3})] == results.runs


def test_a_server_that_says_nothing_is_a_failure(blaster: Blaster) -> None:
    """A report that does not come is not waited for without end."""
    with pytest.raises(ContenderFailed, match=r"said nothing for 0\.01 seconds"):
        blaster.report(0.01)


@pytest.mark.parametrize("got", [[3, 1, 2], [2, 2], [2, 2, 3]], ids=str)
def test_an_event_for_the_wrong_subscription_fails_the_check(got: list[int]) -> None:
    """The total is not enough, in one loop over all as with a task for each."""
    order = {"events": 6, "live": 3}
    fan_out.check([2, 2, 2], order)

    with pytest.raises(AssertionError):
        fan_out.check(got, order)


def test_one_loop_is_measured_wherever_tasks_are(bench: Bench) -> None:
    """With the same order, so that the rows can be compared."""
    whole = Bench(Settings(), bench.peers)
    found = {
        name: {
            trial.case["live"]: trial.measure.keywords["order"]
            for trial in ALL["fan_out"].trials(whole)
            if trial.contender == name and trial.case["what"] == "cost"
        }
        for name in ("gqlwire, a task each", "gqlwire, one loop over all (merge)")
    }
    tasks, merged = found.values()

    assert [1, 100, 10_000, 100_000] == list(merged)
    assert tasks == merged


# --- The order of measuring -----------------------------------------------------------------------


def test_rounds_are_interleaved() -> None:
    """Case by case, each round begun by another contender; some are measured less often,
    and some more."""
    listed = [
        trials.Trial(name, {"size": size}, lambda _: {}, rounds, often)
        for size in (1, 2)
        for name, rounds, often in (("a", 9, 1), ("b", 9, 2), ("c", 1, 2))
    ]

    def order(round: int) -> str:
        return "".join(trial.contender for trial in trials.ordered(listed, round, 3))

    assert ["abcabc", "baba", "abab", "bb"] == [order(0), order(1), order(2), order(5)]
    assert "" == order(6)


def test_without_node_it_is_said_and_left_out(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No contender runs on Node, and a note of the results says why."""
    monkeypatch.setattr(peers.shutil, "which", lambda name: None)
    without = peers.Peers(PYTHON, PYTHON, PYTHON)
    peers.set_up_node(without)

    found = [trial for scenario in ALL.values() for trial in scenario.trials(bench)]

    assert ["Node is not here: no rows for graphql-ws."] == without.notes
    assert without.notes[0] in capsys.readouterr().err
    assert not [trial for trial in found if "Node" in trial.contender]


# --- What is made of the numbers ------------------------------------------------------------------


def canned() -> Results:
    """Results with round numbers; three rounds, whose middle counts."""
    results = Results(
        about={
            "date": "2020-01-02 03:04 UTC",
            "command": "python -m benchmarks",
            "rounds": 3,
            "scale": 1,
            "minutes": 9,
        },
        machine={"cpu": "X", "cores": 2, "memory_gb": 8, "kernel": "K", "governor": None},
        versions={"python": "3.11", "gql": "4.4.0"},
    )

    def add(scenario: str, contender: str, figure: str, middle: float, **case: Any) -> None:
        for round, factor in enumerate((0.5, 1, 7)):
            figures: Any = {figure: middle * factor, "fed": 0.9}
            results.runs.append(Run(scenario, contender, case, round, figures))

    for contender, rate in (
        ("gqlwire, dict", 600_000),
        ("gqlwire, typed", 800_000),
        ("gql on websockets", 100_000),
        ("Node graphql-ws, iterate", 500_000),
        ("Node graphql-ws, sink", 1_000_000),
        ("limit, typed", 1_000_000),
    ):
        add("throughput", contender, "rate", rate, size=150)
    for pair, first, second in (
        (pairs.DICT_BY_NODE, 600_000, 500_000),
        (pairs.DICT_BY_GQL, 600_000, 100_000),
        (pairs.TYPED_BY_NODE, 800_000, 1_000_000),
        (pairs.TYPED_BY_LIMIT, 800_000, 1_000_000),
        (pairs.P99_BY_ECHO, 110, 100),
        # A cost is the inverse of a rate.
        (pairs.MERGED_BY_MERGED, 1_000_000 / 1.05, 1_000_000),
        (pairs.MERGED_BY_ONE, 500_000, 1_000_000),
        (pairs.TASKS_BY_ONE, 800_000, 1_000_000),
        (pairs.IMPORT_BY_IMPORT, 120, 200),
    ):
        add("pairs", pair.first[0], pair.figure, first, pair=pair.name)
        add("pairs", pair.second[0], pair.figure, second, pair=pair.name)
    add("fan_out", "gqlwire, live and idle, no task", "bytes", 1_500, what="memory", live=10_000)
    for policy in slow_consumer.POLICIES:
        add("slow_consumer", f"gqlwire, {policy}", "peak", 9_000_000, size=150)
    for name, middle in (
        ("import gqlwire", 120),
        ("import gqlwire's Client, gql and WebsocketsTransport", 320),
        ("python, gqlwire's environment", 20),
        ("import gql and its WebsocketsTransport", 520),
        ("python, gql's environment", 20),
    ):
        add("start_up", name, "ms", middle, what="python")
    return results


def test_targets_are_computed_from_medians() -> None:
    """Each figure of the table by hand, on both sides of its bounds."""
    reached = {row[0]: row[3:] for row in targets.table(canned()).rows}

    assert {
        "dict events vs Node `iterate`": ["1.20", "at least"],
        "dict events vs gql (websockets)": ["6.00", "at least"],
        "typed events vs Node callback sink": ["0.80", "**missed**"],
        "typed events vs the hand-written limit loop": ["0.80", "**missed**"],
        "p99 of one-at-a-time `execute` vs bare picows echo": ["1.10", "aim"],
        "`execute`, 100 in flight, vs gql (operations per second)": [ABSENT, "not measured"],
        "cost per event, 10,000 live subscriptions in one loop (`merge`) vs 1 in the same loop": [
            "1.05",
            "aim",
        ],
        "the same vs 1 in an `async for` of its own": ["2.00", "**missed**"],
        "the same, a task for each vs 1": ["1.25", "at least"],
        "memory of one idle subscription on a shared socket": ["1.50 kB", "at least"],
        "memory of one idle connection": [ABSENT, "not measured"],
        # The highest of all rounds: a bound is no matter of the middle.
        "peak memory with a sleeping consumer, 1 GB sent, worst policy": ["63.0 MB", "reached"],
        "`import gqlwire` vs `import gql` + its websocket transport": ["0.20", "aim"],
        "the same, with `Client`, `gql` and `WebsocketsTransport` of gqlwire loaded": [
            "0.60",
            "**missed**",
        ],
    } == reached


def test_of_pairs_the_ratios_of_rounds_count() -> None:
    """And not the ratio of medians; a round in which one of them failed is left out."""
    pair = pairs.DICT_BY_GQL
    results = Results()
    assert pair.ratio(results) is None
    for round, rates in enumerate([(10, 5), (30, 10), (40, 20), (90, None), (None, 7)]):
        for (name, _), rate in zip((pair.first, pair.second), rates, strict=True):
            if rate is not None:
                case: Any = {"pair": pair.name}
                results.runs.append(Run("pairs", name, case, round, {"rate": rate}))

    assert [2, 3, 2] == pair.ratios(results)
    assert pair.ratio(results) == 2
    [table] = pairs.tables(results)
    assert [[pair.name, f"2.00 (2.00{TO}3.00)", "3"]] == table.rows


def test_where_a_peer_is_ahead_is_found() -> None:
    """With both figures and the name of the best; nowhere else."""
    rows = comparisons.behind(canned()).rows

    assert [
        [
            "events of 150 B per second (typed)",
            "800,000",
            "1,000,000",
            "Node graphql-ws, sink",
        ]
    ] == rows


def test_a_peer_that_starved_is_found() -> None:
    """When the server worked for more than half of the time; ours and the limit may starve."""
    results = canned()
    for name in ("gql on websockets", "gqlwire, dict"):
        for run in results.matching("throughput"):
            if run.contender == name:
                run.figures["fed"] = 0.4

    assert [] == comparisons.starved(canned())
    assert ["throughput, gql on websockets, {'size': 150}"] == comparisons.starved(results)
    for run in results.matching("pairs", pair=pairs.DICT_BY_NODE.name):
        run.figures["fed"] = 0.4
    case = {"pair": "dict events by Node `iterate`"}
    assert f"pairs, Node graphql-ws, iterate, {case}" in comparisons.starved(results)
    assert f"| gql on websockets | 100 (50.0{TO}700) † |" in report.tables(results, "throughput")


def test_a_spread_is_the_middle_and_both_ends() -> None:
    """One round has no ends, and none is a dash."""
    assert f"2.00 (1.00{TO}9.00)" == spread([9, 1, 2])
    assert "12.3" == spread([12.34])
    assert ABSENT == spread([])


def test_results_survive_their_file(tmp_path: Path) -> None:
    """What is saved is what is loaded."""
    canned().save(tmp_path / "results.json")

    assert canned() == Results.load(tmp_path / "results.json")


def test_the_report_has_everything() -> None:
    """Machine, versions, the targets, and a section with a plot for each scenario measured."""
    text = report.markdown(canned())

    assert "machine: X, 2 cores, 8 GB, K, governor unknown" in text
    assert "versions: python 3.11, gql 4.4.0" in text
    assert "| typed events vs Node callback sink | 1.10 | 1.30 | 0.80 | **missed** |" in text
    assert "![Throughput](throughput.svg)" in text
    assert "connections.svg" not in text


def test_blocks_of_a_page_are_written_and_the_rest_is_kept() -> None:
    """Twice gives the same; a block that there is none of is an error."""
    page = "before\n<!-- results: behind -->\nold\n<!-- /results -->\nafter\n"

    once = report.page_with(canned(), page)

    assert once.startswith("before\n<!-- results: behind -->\n\n|")
    assert once.endswith("\n\n<!-- /results -->\nafter\n")
    assert "old" not in once
    assert once == report.page_with(canned(), once)
    with pytest.raises(report.UnknownBlock, match="nonsense"):
        report.page_with(canned(), page.replace("behind", "nonsense"))


def test_samples_of_the_hot_path_are_shared_out_to_functions() -> None:
    """By the innermost one; what is loaded, and what other threads do, does not count."""
    loop = "main (x);BaseEventLoop.run_until_complete (asyncio/base_events.py)"
    stacks = [
        f"{loop};step (a.py);decode (b.py) 3",
        f"{loop};cut (c.py) 1",
        f"{loop};exec (<frozen importlib._bootstrap>);load (d.py) 7",
        "thread (e.py);wait (f.py) 9",
    ]

    assert {"decode (b.py)": 0.75, "cut (c.py)": 0.25} == hot_path.shares("\n".join(stacks))
    text = hot_path.report({"now": hot_path.Profile({"cut (c.py)": 250, "step (a.py)": 750})}, 10)
    assert "## now: 1,000 ns\n" in text
    assert "| `cut (c.py)` | 250 | 25% |\n" in text
    assert "| the rest | 0 | 0% |\n" in text


def test_instructions_are_those_of_one_more() -> None:
    """What a process takes once is not counted; the tool says how many there were in all."""
    case = instructions.Case("ours.client", "dict", instructions.events, (10, 30))

    assert 700 == instructions.count(case, lambda number: 5_000_000 + 700 * number)
    assert 1_234_567 == instructions.instructions_of("==1== I   refs:      1,234,567\n==1== \n")
    with pytest.raises(ValueError, match="not enough"):
        instructions.instructions_of("valgrind: I refs: many")


def test_instructions_are_shown_beside_earlier_ones() -> None:
    """In thousands, a row for each case."""
    counted = dict.fromkeys(instructions.CASES, 12345.0)
    text = instructions.report({"before (abc)": counted, "now": counted})

    assert "| | before (abc) | now |\n|---|---:|---:|\n" in text
    assert len(instructions.CASES) == text.count(" | 12.3 | 12.3 |\n")


def test_instructions_of_imports_are_shown_in_millions() -> None:
    """A row for each."""
    text = instructions.loads_report({"asyncio": 198_400_000, "gql": 826_000_000})

    assert text.endswith("| asyncio | 198 |\n| gql | 826 |\n")


@pytest.mark.parametrize("case", instructions.CASES.values(), ids=instructions.CASES)
def test_every_case_of_instructions_runs(case: instructions.Case, bench: Bench) -> None:
    """Each case does what it is ordered to, to its end."""
    blaster = bench.blaster()
    order = case.order(20_000) if "events" in case.order(1) else case.order(100)
    url = f"{blaster.base}/echo" if case.echoes else blaster.url
    module = f"benchmarks.contenders.{case.contender}"

    told = bench.run(PYTHON, "-m", module, url, case.mode, json.dumps(order))

    assert {"cpu", "cpu_us"} & {*told}


# --- What is kept in the repository ---------------------------------------------------------------


def test_the_page_says_what_the_results_say() -> None:
    """Its tables are those of results.json, and so is results.md; its plots are there."""
    results = Results.load(RESULTS / "results.json")
    page = report.PAGE.read_text("utf-8")
    plots = re.findall(r"\]\(\.\./benchmarks/results/(\w+)\.svg\)", page)

    assert report.page_with(results, page) == page
    assert report.markdown(results) == (RESULTS / "results.md").read_text("utf-8")
    assert list(TITLES) == plots
    assert all((RESULTS / f"{name}.svg").is_file() for name in plots)


def test_every_pin_is_exact() -> None:
    """So that two runs measure the same peers."""
    pins = ROOT / "benchmarks" / "pins"
    lines = [line for path in pins.glob("*.txt") for line in path.read_text().splitlines()]
    packages = json.loads((pins / "package.json").read_text())["dependencies"]

    assert [] == [line for line in lines if not re.fullmatch(r"[\w.\[\],-]+==[\w.]+", line)]
    assert [] == [pin for pin in packages.values() if not re.fullmatch(r"\d+\.\d+\.\d+", pin)]
