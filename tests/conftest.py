"""The servers that many tests share, each started once."""

import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import gqlwire
from doubles import SteadyLoop
from gqlwire import AsyncClientSession, Client
from gqlwire.transport import negotiation
from servers.certificates import Certificates, make_certificates
from servers.launch import Server, start_node_apollo, start_node_graphql_ws, start_strawberry

# A shell without job control starts what is in the background with SIGINT ignored. Tests send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

NEWER, OLDER = "graphql-transport-ws", "graphql-ws"

# No test is timed, nor how soon its examples are found: the machine may be busy.
# `--hypothesis-profile=whole`: what `make test-all` runs, beside the tests that are marked as long.
UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("whole", UNTIMED)
settings.register_profile("brief", UNTIMED, max_examples=20)
settings.load_profile("brief")


def examples(count: int) -> int:
    """So many, where 100 is what a test has by default; fewer if the profile is brief."""
    return max(1, count * settings().max_examples // 100)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of a test that is `sampled`, all cases but each n-th are long."""
    seen: Counter[str] = Counter()
    for item in items:
        sampled = item.get_closest_marker("sampled")
        if sampled is not None:
            name = item.nodeid.partition("[")[0]
            if seen[name] % sampled.args[0]:
                item.add_marker("long")
            seen[name] += 1


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], SteadyLoop]]:
    """No time limit of a test runs out because the machine is busy."""
    return {"steady": SteadyLoop}


@dataclass(frozen=True)
class Speaker:
    """A real server, and the protocol to speak with it."""

    server: Server
    protocol: str

    @property
    def answers_queries(self) -> bool:
        """Strawberry runs nothing but subscriptions in Apollo's protocol."""
        return not (self.server.name == "strawberry" and self.protocol == OLDER)

    def client(self, **options: object) -> Client:
        return gqlwire.connect(self.server.url, subprotocols=[self.protocol], **options)

    def observer(self) -> Client:
        """A second connection, by which the server tells about itself."""
        return gqlwire.connect(self.server.url)


@pytest.fixture(scope="session")
def strawberry() -> Iterator[Server]:
    with start_strawberry() as server:
        yield server


@pytest.fixture(scope="session")
def node_graphql_ws() -> Iterator[Server]:
    with start_node_graphql_ws() as server:
        yield server


@pytest.fixture(scope="session")
def node_apollo() -> Iterator[Server]:
    with start_node_apollo() as server:
        yield server


SPEAKERS = [
    ("strawberry", NEWER),
    ("strawberry", OLDER),
    ("node_graphql_ws", NEWER),
    ("node_apollo", OLDER),
]


@pytest.fixture(params=SPEAKERS, ids=lambda pair: "/".join(pair))
def speaker(request: pytest.FixtureRequest) -> Speaker:
    name, protocol = request.param
    return Speaker(request.getfixturevalue(name), protocol)


@pytest.fixture
async def session(speaker: Speaker) -> AsyncIterator[AsyncClientSession]:
    async with speaker.client() as session:
        yield session


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    directory: Path = tmp_path_factory.mktemp("certificates")
    return make_certificates(directory)


@pytest.fixture(autouse=True)
def _fresh_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test's server was found to speak is not remembered for the next one's."""
    monkeypatch.setattr(negotiation.memory, "_known", negotiation.Memory()._known)


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxies of the machine that runs the tests are not on the way to its loopback."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "ws_proxy", "wss_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
