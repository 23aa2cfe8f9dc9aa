"""Tables, sentences and links in the pages: what the code says is what they say."""

import asyncio
import re
import socket
import textwrap
import tomllib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import fields
from functools import partial
from pathlib import Path

import msgspec
import pytest

import gqlwire
from gqlwire import errors
from gqlwire._wire import failures
from gqlwire.cli import _arguments
from gqlwire.cli._exit import Exit
from gqlwire.errors import Phase, TransportError
from gqlwire.errors.reasons import MEANINGS
from gqlwire.retry import BEFORE_ACK, CLOSE_CODES, STATUSES, Action
from gqlwire.transport.websockets import WebsocketsTransport
from servers.certificates import Certificates, client_context, server_context
from servers.fake import Peer, RawPeer, Refusal, fake, raw_fake

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", ROOT / "CHANGELOG.md", *DOCS.rglob("*.md")]
HOST = "api.example.com:443"

# --- Reading pages --------------------------------------------------------------------------------


def text_of(page: Path) -> str:
    return page.read_text("utf-8")


def section(page: Path, heading: str) -> str:
    """What stands under a heading, up to the next one."""
    (found,) = re.findall(
        rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", text_of(page), re.MULTILINE | re.DOTALL
    )
    return str(found)


def table(text: str) -> list[list[str]]:
    """The rows of the first table, without its head."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return [[cell.replace("\\|", "|") for cell in row] for row in cells[2:]]


def plain(cell: str) -> str:
    return cell.strip("`")


# --- Errors ---------------------------------------------------------------------------------------


def public_errors() -> dict[str, type[TransportError]]:
    return {
        name: kind
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, TransportError) and name[0] != "_"
    }


def test_the_tree_is_that_of_the_module() -> None:
    """Line by line."""
    (drawn,) = re.findall(
        r"```text\n(.*?)\n```", section(DOCS / "errors.md", "The tree"), re.DOTALL
    )

    assert textwrap.dedent(str(errors.__doc__).split("\n\n")[1]) == drawn


def test_each_error_has_a_row() -> None:
    """In the order of the tree; the last column tells which are Python's TimeoutError, too."""
    rows = table(section(DOCS / "errors.md", "Each error"))
    kinds = public_errors()

    assert list(kinds) == [plain(row[0]) for row in rows]
    assert [issubclass(kind, TimeoutError) for kind in kinds.values()] == [
        row[4] == "yes" for row in rows
    ]


def test_each_phase_has_a_row() -> None:
    """In their order."""
    rows = table(section(DOCS / "errors.md", "Phases"))

    assert [str(phase) for phase in Phase] == [plain(row[0]) for row in rows]


def test_the_close_codes_are_those_of_the_code() -> None:
    """Code and meaning."""
    rows = table(section(DOCS / "errors.md", "Close codes"))

    assert {str(code): meaning for code, meaning in MEANINGS.items()} == dict(rows)


# --- Sentences: each is made by what it tells of --------------------------------------------------


async def said(kind: type[TransportError], operation: Awaitable[object]) -> str:
    with pytest.raises(kind) as caught:
        async with asyncio.timeout(60):
            await operation
    return str(caught.value)


async def connecting(url: str, **options: object) -> None:
    async with gqlwire.connect(url, reconnecting=False, **options):
        pass


async def running(url: str, **options: object) -> None:
    async with gqlwire.connect(url, reconnecting=False, **options) as session:
        await session.execute("{ hello }")


async def bad_url(_: Certificates) -> tuple[str, int]:
    return await said(errors.InvalidURL, connecting("http://api.example.com/graphql")), 0


def from_peer(
    kind: type[TransportError], script: Callable[[Peer], Awaitable[None]], **options: object
) -> Callable[[Certificates], Awaitable[tuple[str, int]]]:
    """The sentence of an operation on a server that plays `script`."""

    async def make(_: Certificates) -> tuple[str, int]:
        async with fake(script) as server:
            return await said(kind, running(server.url, **options)), server.port

    return make


async def twice(_: Certificates) -> tuple[str, int]:
    async with fake(acknowledge) as server:
        transport = WebsocketsTransport(server.url)
        await transport.connect()
        sentence = await said(errors.TransportAlreadyConnected, transport.connect())
        await transport.close()
        return sentence, server.port


async def acknowledge(peer: Peer) -> None:
    await peer.ack()
    await peer.closed()


async def no_json(peer: Peer) -> None:
    await peer.ack()
    await peer.expect("subscribe")
    await peer.send_text("hello")


async def graphql_errors(peer: Peer) -> None:
    await peer.ack()
    start = await peer.expect("subscribe")
    found = [{"message": "no such user", "path": ["user", 0, "name"]}, {"message": "too late"}]
    payload = {"data": {"user": None}, "errors": found}
    await peer.send({"id": start["id"], "type": "next", "payload": payload})
    await peer.closed()


class Trade(msgspec.Struct):
    price: float


class Trades(msgspec.Struct):
    trade: Trade


async def misfit(_: Certificates) -> tuple[str, int]:
    async def script(peer: Peer) -> None:
        await peer.ack()
        start = await peer.expect("subscribe")
        payload = {"data": {"trade": {"price": "high"}}}
        await peer.send({"id": start["id"], "type": "next", "payload": payload})
        await peer.closed()

    async with fake(script) as server, gqlwire.connect(server.url) as session:
        asked = session.execute("{ trade { price } }", result_type=Trades)
        return await said(errors.ResultMismatch, asked), server.port


async def defer(peer: Peer) -> None:
    await peer.ack()
    start = await peer.expect("subscribe")
    payload = {"data": {"user": {}}, "hasNext": True}
    await peer.send({"id": start["id"], "type": "next", "payload": payload})
    await peer.closed()


async def reject(peer: Peer) -> None:
    await peer.expect("connection_init")
    await peer.send({"type": "connection_error", "payload": {"message": "Invalid token"}})
    await peer.closed()


async def flood(peer: Peer) -> None:
    await peer.ack()
    start = await peer.expect("subscribe")
    for _ in range(20):
        await peer.send({"id": start["id"], "type": "next", "payload": {"data": {"n": 1}}})
    await peer.expect("complete")
    other = await peer.expect("subscribe")
    await peer.send({"id": other["id"], "type": "next", "payload": {"data": {"n": 2}}})
    await peer.send({"id": other["id"], "type": "complete"})


async def slow(_: Certificates) -> tuple[str, int]:
    async with fake(flood) as server, gqlwire.connect(server.url) as session:
        events = session.subscribe("subscription { n }", buffer=10, overflow="error")
        await anext(events)
        await session.execute("{ n }")
        return await said(errors.SlowConsumer, drain(events)), server.port


class Stale:
    """A checkpoint of a program that had another `result_type`."""

    def load(self) -> bytes:
        return b'{"data":{"n":"one"}}'

    def save(self, event: bytes) -> None: ...


async def stale(_: Certificates) -> tuple[str, int]:
    async with fake(acknowledge) as server, gqlwire.connect(server.url) as session:
        events = session.subscribe(
            "subscription { n }",
            result_type=dict[str, int],
            resume=lambda last, variables: variables,
            checkpoint=Stale(),
        )
        return await said(errors.InvalidCheckpoint, drain(events)), server.port


async def drain(events: gqlwire.Subscription[object]) -> None:
    async for _ in events:
        pass


async def unknown_name(_: Certificates) -> tuple[str, int]:
    cause = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    failure = failures.translate(cause, host=HOST, during=failures.During.TCP, proxy=None)
    assert isinstance(failure, errors.NameNotResolved)
    return str(failure), 0


async def refused(_: Certificates) -> tuple[str, int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
    return await said(errors.ConnectionRefused, connecting(f"ws://127.0.0.1:{port}/")), port


async def no_proxy(_: Certificates) -> tuple[str, int]:
    cause = ConnectionRefusedError(111, "Connection refused")
    proxy = "http://proxy.example.com:3128"
    failure = failures.translate(cause, host=HOST, during=failures.During.TCP, proxy=proxy)
    assert isinstance(failure, errors.ProxyFailed)
    return str(failure), 0


async def expired(certificates: Certificates) -> tuple[str, int]:
    async with fake(acknowledge, ssl=server_context(certificates.expired)) as server:
        context = client_context(certificates.ca)
        return await said(errors.TLSFailed, connecting(server.url, ssl=context)), server.port


async def unauthorized(_: Certificates) -> tuple[str, int]:
    async with fake(acknowledge, refuse=Refusal(401, body=b"no token")) as server:
        return await said(errors.HandshakeRejected, connecting(server.url)), server.port


def answers(
    kind: type[TransportError], answer: bytes
) -> Callable[[Certificates], Awaitable[tuple[str, int]]]:
    """Let a server answer the upgrade with these bytes."""

    async def make(_: Certificates) -> tuple[str, int]:
        async def script(peer: RawPeer) -> None:
            await peer.read_request()
            await peer.send_raw(answer)
            peer.end()

        async with raw_fake(script, upgrade=False) as server:
            return await said(kind, connecting(server.url)), server.port

    return make


async def close_early(peer: Peer) -> None:
    await peer.expect("connection_init")
    await peer.close(4403, "Invalid token")


async def vanish(peer: Peer) -> None:
    await peer.ack()
    await peer.expect("subscribe")
    peer.abort()


async def be_big(peer: Peer) -> None:
    await peer.ack()
    start = await peer.expect("subscribe")
    payload = {"data": "x" * 2000}
    await peer.send({"id": start["id"], "type": "next", "payload": payload})
    await peer.closed()


async def closed_by_us(_: Certificates) -> tuple[str, int]:
    async with fake(acknowledge) as server:
        async with gqlwire.connect(server.url) as session:
            pass
        return await said(errors.TransportClosed, session.execute("{ n }")), server.port


async def lose(peer: Peer, code: int) -> None:
    await peer.ack()
    await peer.expect("subscribe")
    await peer.close(code)


async def unconnected(_: Certificates) -> tuple[str, int]:
    async with fake(partial(lose, code=1013)) as server, gqlwire.connect(server.url) as session:
        await said(errors.OperationInterrupted, session.execute("{ hello }"))
        asked = session.execute("{ hello }", timeout=0.1)
        return await said(errors.OperationTimeout, asked), server.port


async def eventless(_: Certificates) -> tuple[str, int]:
    async with fake(acknowledge) as server, gqlwire.connect(server.url) as session:
        events = session.subscribe("subscription { n }", first_event_timeout=0.1)
        return await said(errors.OperationTimeout, drain(events)), server.port


async def unheard(_: Certificates) -> tuple[str, int]:
    async with fake(acknowledge) as server, gqlwire.connect(server.url) as session:
        events = session.subscribe("subscription { n }")
        return await said(errors.OperationTimeout, events.next(timeout=0.1)), server.port


async def made_anew(_: Certificates) -> tuple[str, int]:
    async with fake(acknowledge) as server, gqlwire.connect(server.url) as session:
        events = drain(session.subscribe("subscription { n }", survive=False))
        waiting = asyncio.create_task(said(errors.TransportClosed, events))
        await server.peers[0].expect("subscribe")
        await session.reconnect("a new token")
        return await waiting, server.port


async def no_token(_: Certificates) -> tuple[str, int]:
    tokens: dict[str, str] = {}
    failing = connecting("ws://127.0.0.1/", headers=lambda _: {"Authorization": tokens["TOKEN"]})
    return await said(errors.CredentialsFailed, failing), 0


async def interrupted(_: Certificates) -> tuple[str, int]:
    async with fake(partial(lose, code=1012)) as server, gqlwire.connect(server.url) as session:
        return await said(
            errors.OperationInterrupted, session.execute("mutation { n }")
        ), server.port


async def no_upgrade(_: Certificates) -> tuple[str, int]:
    async def script(peer: RawPeer) -> None:
        await peer.read_request()

    async with raw_fake(script, upgrade=False) as server:
        options = {"connect_timeout": 0.1}
        return await said(errors.ConnectTimeout, connecting(server.url, **options)), server.port


async def no_ack(peer: Peer) -> None:
    await peer.expect("connection_init")
    await peer.closed()


async def no_goodbye(_: Certificates) -> tuple[str, int]:
    async def script(peer: RawPeer) -> None:
        await peer.ack()
        await peer.reader.read()

    async with raw_fake(script) as server:
        transport = WebsocketsTransport(server.url, close_timeout=0.1)
        await transport.connect()
        return await said(errors.CloseTimeout, transport.close()), server.port


SENTENCES = [
    ("InvalidURL", bad_url),
    ("TransportAlreadyConnected", twice),
    ("TransportProtocolError", from_peer(errors.TransportProtocolError, no_json)),
    ("TransportQueryError", from_peer(errors.TransportQueryError, graphql_errors)),
    ("ResultMismatch", misfit),
    ("IncompleteResult", from_peer(errors.IncompleteResult, defer)),
    ("ConnectionRejected", from_peer(errors.ConnectionRejected, reject)),
    (
        "KeepAliveTimeout",
        from_peer(errors.KeepAliveTimeout, acknowledge, ping_interval=0.2, pong_timeout=0.1),
    ),
    (
        "KeepAliveTimeout",
        from_peer(errors.KeepAliveTimeout, acknowledge, keep_alive_timeout=0.1),
    ),
    ("SlowConsumer", slow),
    ("InvalidCheckpoint", stale),
    (
        "OperationTimeout",
        from_peer(errors.OperationTimeout, acknowledge, execute_timeout=0.1),
    ),
    ("OperationTimeout", unconnected),
    ("OperationTimeout", eventless),
    ("OperationTimeout", unheard),
    ("NameNotResolved", unknown_name),
    ("ConnectionRefused", refused),
    ("ProxyFailed", no_proxy),
    ("TLSFailed", expired),
    ("HandshakeRejected", unauthorized),
    ("HandshakeRejected", answers(errors.HandshakeRejected, b"HTTP/1.1 403 Forbidden\r\n\r\n")),
    ("HandshakeRejected", answers(errors.HandshakeRejected, b"SSH-2.0-OpenSSH_9.6\r\n")),
    ("ConnectionClosed", from_peer(errors.ConnectionClosed, close_early)),
    ("ConnectionClosed", from_peer(errors.ConnectionClosed, vanish)),
    ("ConnectionClosed", answers(errors.ConnectionClosed, b"")),
    ("MessageTooBig", from_peer(errors.MessageTooBig, be_big, max_message_size=1000)),
    ("TransportClosed", closed_by_us),
    ("TransportClosed", made_anew),
    ("CredentialsFailed", no_token),
    ("OperationInterrupted", interrupted),
    ("ConnectTimeout", no_upgrade),
    ("AckTimeout", from_peer(errors.AckTimeout, no_ack, ack_timeout=0.1)),
    ("CloseTimeout", no_goodbye),
]


async def test_the_sentences_are_what_the_errors_say(certificates: Certificates) -> None:
    """Each error is raised, and its message is the one that the page quotes."""
    made = []
    for name, make in SENTENCES:
        sentence, port = await make(certificates)
        made.append([f"`{name}`", sentence.replace(f"127.0.0.1:{port}", HOST)])

    assert made == table(section(DOCS / "errors.md", "What they say"))
    never_itself = {"TransportError", "TransportServerError", "TransportConnectionFailed"}
    assert set(public_errors()) == {name for name, _ in SENTENCES} | never_itself


# --- The command line -----------------------------------------------------------------------------


def options_of(parser: object) -> set[str]:
    return {option for action in parser._actions for option in action.option_strings}


def options_in(heading: str) -> set[str]:
    rows = table(section(DOCS / "command-line.md", heading))
    return {option for row in rows for option in re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", row[0])}


def test_the_options_are_those_of_the_command() -> None:
    """Of both commands that run an operation, and of the demo."""
    commands = [_arguments._operation_parser(name) for name in ("query", "subscribe")]

    assert set().union(*map(options_of, commands)) == options_in("Options of query and subscribe")


def test_the_exit_statuses_are_those_of_the_command() -> None:
    """All of them."""
    rows = table(section(DOCS / "command-line.md", "Errors and exit status"))

    assert [str(int(status)) for status in Exit] == [row[0] for row in rows]


# --- Slow consumers -------------------------------------------------------------------------------


def test_the_policies_are_those_of_the_code() -> None:
    """And the bounds that hold by default."""
    page = DOCS / "slow-consumers.md"
    rows = table(section(page, "When the buffer is full"))
    buffer = gqlwire.Buffer()

    named = [re.findall(r'`"(\w+)"`', row[0])[0] for row in rows]
    assert [str(policy) for policy in gqlwire.Overflow] == [*dict.fromkeys(named)]
    bounds = f"{buffer.events:,} events and {buffer.size // 2**20} MiB"
    assert bounds in " ".join(text_of(page).split())


# --- Surviving disconnects ------------------------------------------------------------------------

SURVIVING = DOCS / "surviving-disconnects.md"


def tables(heading: str) -> dict[str, list[list[str]]]:
    """The tables of a section, by what stands above their first column."""
    found = re.findall(r"(?:^\|.*\n)+", section(SURVIVING, heading), re.MULTILINE)
    return {text.split("|")[1].strip(" `"): table(text) for text in found}


def test_the_fields_of_the_policy_are_those_of_the_code() -> None:
    """With their defaults."""
    rows = tables("The policy")["field"]

    told = [(plain(name), default) for name, default, _ in rows]
    assert [(field.name, str(field.default)) for field in fields(gqlwire.RetryPolicy)] == told


def test_the_actions_are_those_of_the_code() -> None:
    """In their order."""
    rows = tables("The policy")["action"]

    assert [str(action) for action in Action] == [plain(row[0]) for row in rows]


@pytest.mark.parametrize(
    ("head", "actions"),
    [
        ("close code", CLOSE_CODES),
        ("before `connection_ack", BEFORE_ACK),
        ("status", STATUSES),
    ],
)
def test_the_tables_of_the_policy_are_those_of_the_code(
    head: str, actions: Mapping[int, Action]
) -> None:
    """Line by line."""
    rows = tables("The policy")[head]

    assert [[str(code), str(action)] for code, action in actions.items()] == rows


def test_hooks_and_counters_have_the_names_of_the_code() -> None:
    """Attempts, hooks and their events, counters, and the options of a client."""
    steering = tables("Watching and steering")
    attempt = [plain(row[0]) for row in tables("Credentials")["attribute"]]
    hooks = {plain(name): re.findall(r"`(\w+)`", told) for name, _, told in steering["hook"]}
    (counters,) = [row[1] for row in steering[""] if row[0] == "`session.counters`"]

    assert list(gqlwire.Attempt.__struct_fields__) == attempt
    assert list(gqlwire.Hooks.__struct_fields__) == list(hooks)
    for kind, *names in hooks.values():
        assert names in ([], list(getattr(gqlwire, kind).__struct_fields__))
    assert [field.name for field in fields(gqlwire.Counters)] == re.findall(r"`(\w+)`", counters)


# --- The architecture -----------------------------------------------------------------------------


def test_the_layers_are_those_of_the_contract() -> None:
    """Line by line."""
    pyproject = tomllib.loads(text_of(ROOT / "pyproject.toml"))
    layers = pyproject["tool"]["importlinter"]["contracts"][0]["layers"]
    page = section(ROOT / "ARCHITECTURE.md", "Who may import whom")

    assert layers == re.findall(r"```text\n(.*?)\n```", page, re.DOTALL)[0].splitlines()


def test_every_package_has_a_row() -> None:
    """And each module of the root."""
    rows = table(section(ROOT / "ARCHITECTURE.md", "The parts"))
    named = [name for row in rows for name in re.findall(r"`([\w.]+)`", row[0])]
    source = ROOT / "src" / "gqlwire"
    packages = {path.parent.name for path in source.glob("*/__init__.py")}
    modules = {path.stem for path in source.glob("*.py")} - {"__init__"}

    assert sorted(packages | modules) == sorted(named)


def test_the_files_that_architecture_names_exist() -> None:
    """In the package, or in the repository."""
    named = set(re.findall(r"`([\w/]+\.(?:py|toml))`", text_of(ROOT / "ARCHITECTURE.md")))
    places = (ROOT, ROOT / "src" / "gqlwire", *(ROOT / "src" / "gqlwire").glob("_*/"))

    assert len(named) > 15
    assert [] == [name for name in named if not any((place / name).is_file() for place in places)]


# --- All pages ------------------------------------------------------------------------------------


def test_the_page_of_the_transport_shows_the_example() -> None:
    """As it is in the file."""
    example = text_of(ROOT / "examples" / "websockets_async.py")

    assert f"```python\n{example}```" in text_of(DOCS / "websockets_transport.md")


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as they are made for Markdown on the web."""
    outside = re.sub(r"^```.*?^```", "", text_of(page), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", outside, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Those within the repository; to a file or folder, and to a heading of it."""
    outside = re.sub(r"^```.*?^```", "", text_of(page), flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"\]\(([^)]+)\)", outside)
    broken = []
    for link in links:
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        if "://" not in link and not (
            target.exists() and (not anchor or anchor in anchors(target))
        ):
            broken.append(link)

    assert [] == broken


@pytest.mark.parametrize("folder", [DOCS, DOCS / "contributing"], ids=lambda folder: folder.name)
def test_every_page_is_in_the_index(folder: Path) -> None:
    """Readers start there."""
    links = re.findall(r"\]\(([\w-]+\.md)\)", text_of(folder / "index.md"))

    assert {page.name for page in folder.glob("*.md")} == {*links, "index.md"}


def test_pages_for_users_name_no_tests() -> None:
    """These are for contributors, below docs/contributing."""
    pages = [ROOT / "README.md", *DOCS.glob("*.md")]

    assert [] == [page.name for page in pages if re.search(r"\btests/", text_of(page))]
