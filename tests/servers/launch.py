"""Starts the real servers as child processes and ends them; knows no protocol.

A child says `{"port": N}` on stdout when it is ready and ends when its stdin does, so that not even
a killed test run leaves one behind.
"""

import json
import os
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import pytest

START_TIMEOUT = 60.0
STOP_TIMEOUT = 60.0

_HERE = Path(__file__).parent
_NODE = _HERE / "node"
_NODE_PACKAGES = (
    "@apollo/server",
    "@apollo/server-4",
    "@nestjs/graphql",
    "graphql",
    "graphql-ws",
    "graphql-ws-5",
    "postgraphile",
    "subscriptions-transport-ws",
    "ws",
)
_OLD_KINDS = ("postgraphile-v0", "subscriptions-transport-ws")
_GRAPHENE = _HERE.parents[1] / ".venv-graphene/bin/python"

Flag = str | int | bool | Path | Sequence[str] | None


class ServerFailed(RuntimeError):
    """A server did not start, or did not end, in time; the message carries its stderr."""


class Server:
    """One running server process. A `with` block stops it at its end.

    `url` is `ws://` or, with a certificate, `wss://127.0.0.1:PORT/graphql`; `protocols` are the
    subprotocols that it speaks.
    """

    def __init__(
        self, name: str, command: Sequence[str], protocols: tuple[str, ...], *, port: int, tls: bool
    ) -> None:
        self.name = name
        self.protocols = protocols
        self.port = port
        self._command = tuple(command)
        self._scheme = "wss" if tls else "ws"
        self._process: subprocess.Popen[bytes] | None = None
        with ExitStack() as stack:
            self._log: IO[bytes] = stack.enter_context(tempfile.TemporaryFile())
            self._start()
            self._resources = stack.pop_all()

    def __repr__(self) -> str:
        return f"<{self.name} at {self.url}, {'running' if self.running else 'ended'}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.port}/graphql"

    @property
    def running(self) -> bool:
        return self._process is not None

    @property
    def pid(self) -> int:
        """The process id; raises ServerFailed when the server was ended."""
        if self._process is None:
            raise ServerFailed(f"{self.name} does not run")
        return self._process.pid

    @property
    def stderr(self) -> str:
        """All that the server has written to stderr until now, also before a restart."""
        # pread: the child writes through the same file offset, a seek here would move its own.
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), size, 0).decode(errors="replace")

    def kill(self) -> None:
        """SIGKILL, and wait for the process: its sockets are gone when this returns."""
        if self._process is not None:
            self._process.kill()
            self._reap()

    def stop(self) -> None:
        """End it the graceful way: it closes its connections first. Bounded by STOP_TIMEOUT."""
        if self._process is None:
            return
        _pipe(self._process.stdin).close()
        try:
            self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ServerFailed(f"{self.name} did not end by itself\n{self.stderr}") from None
        self._reap()

    def restart(self) -> None:
        """Start it again on the same port and wait until it is ready; stop it first if it runs."""
        self.stop()
        self._start()

    def close(self) -> None:
        """Stop it for good, as the end of `with` does."""
        try:
            self.stop()
        finally:
            self._resources.close()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [*self._command, "--port", str(self.port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=_HERE,
            env=_untraced(),
        )
        try:
            ready = _first_line(_pipe(self._process.stdout), START_TIMEOUT)
            self.port = json.loads(ready)["port"]
        except (TimeoutError, ValueError, KeyError) as error:
            self.kill()
            raise ServerFailed(f"{self.name} did not start: {error}\n{self.stderr}") from None

    def _reap(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.wait()
            _pipe(process.stdin).close()
            _pipe(process.stdout).close()


def start_strawberry(**flags: Flag) -> Server:
    """Strawberry on uvicorn, both protocols.

    Flags: port, protocols, cert, key, client_ca, keep_alive_ms (legacy `ka`), token, tokens_expire,
    ledger, init_timeout_ms, ws (uvicorn's implementation), deflate, max_subscriptions (for each
    connection).

    With `tokens_expire` the init payload has to have a `token`, which is the time of its end (Unix
    time, seconds): a stale one is refused, and at its end the connection is closed with 4401. In
    the file `ledger` it keeps what was recorded.
    """
    spoken = _values(flags.get("protocols")) or ("graphql-transport-ws", "graphql-ws")
    # -P: the modules beside the script must not shadow anything that it imports.
    command = [sys.executable, "-P", str(_HERE / "strawberry_app.py")]
    return _start("strawberry", command, spoken, flags)


def start_node_graphql_ws(**flags: Flag) -> Server:
    """The package graphql-ws: the reference server of graphql-transport-ws. Needs Node.

    Flags: port, cert, key, client_ca, keep_alive_ms (WebSocket pings), token, tokens_expire,
    ledger, init_timeout_ms, deflate.
    """
    return _start_node("graphql_transport_ws.mjs", ("graphql-transport-ws",), flags)


def start_node_apollo(**flags: Flag) -> Server:
    """The package subscriptions-transport-ws: the reference server of graphql-ws. Needs Node.

    Flags: port, cert, key, client_ca, keep_alive_ms (`ka`), token, tokens_expire, ledger, deflate.
    """
    return _start_node("apollo.mjs", ("graphql-ws",), flags)


def start_framework(kind: str, **flags: Flag) -> Server:
    """A server of a framework on Node, as its manual sets it up. Needs Node.

    `kind`: apollo-server-4, apollo-server-5, nestjs, postgraphile-v0, postgraphile-v1,
    subscriptions-transport-ws. Flags: port, token.
    """
    spoken = ("graphql-ws",) if kind in _OLD_KINDS else ("graphql-transport-ws",)
    return _start_node("frameworks.mjs", spoken, {"kind": kind, **flags})


def start_graphene(**flags: Flag) -> Server:
    """starlette-graphene3 on uvicorn, in a virtual environment of its own. Flags: port."""
    if not _GRAPHENE.is_file():
        _missing("starlette-graphene3 is missing (make test installs it)")
    return _start(
        "graphene", [str(_GRAPHENE), str(_HERE / "graphene_app.py")], ("graphql-ws",), flags
    )


def node_available() -> bool:
    """Whether Node and the packages of the reference servers are here."""
    packages = (_NODE / "node_modules" / name / "package.json" for name in _NODE_PACKAGES)
    return shutil.which("node") is not None and all(package.is_file() for package in packages)


def require_node() -> None:
    """Skip the running test when Node is not here; fail it where Node has to be.

    It has to be where CI=true or GQLWIRE_REQUIRE_NODE=1: a skip there would hide every case that
    the reference servers are for.
    """
    if node_available():
        return
    _missing("Node or the packages of tests/servers/node are missing (make test installs them)")


def _missing(message: str) -> None:
    if os.environ.get("CI") == "true" or os.environ.get("GQLWIRE_REQUIRE_NODE") == "1":
        pytest.fail(message)
    pytest.skip(message)


def _start_node(script: str, protocols: tuple[str, ...], flags: dict[str, Flag]) -> Server:
    require_node()
    return _start(script.removesuffix(".mjs"), ["node", str(_NODE / script)], protocols, flags)


def _start(
    name: str, command: list[str], protocols: tuple[str, ...], flags: dict[str, Flag]
) -> Server:
    tls = flags.get("cert") is not None
    port = int(str(flags.pop("port", 0)))
    return Server(name, [*command, *_arguments(flags)], protocols, port=port, tls=tls)


def _arguments(flags: dict[str, Flag]) -> list[str]:
    arguments = []
    for name, value in flags.items():
        option = "--" + name.replace("_", "-")
        if value is True:
            arguments.append(option)
        elif value is not None and value is not False:
            arguments += [option, ",".join(_values(value))]
    return arguments


def _values(flag: Flag) -> tuple[str, ...]:
    if flag is None:
        return ()
    if isinstance(flag, str):
        return tuple(flag.split(","))
    return tuple(flag) if isinstance(flag, Sequence) else (str(flag),)


def _untraced() -> dict[str, str]:
    """The environment without the coverage of subprocesses: no server has code of ours."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream


def _first_line(stream: IO[bytes], timeout: float) -> bytes:
    """The first line; ValueError when the stream ends before it, TimeoutError after `timeout` s."""
    deadline, line = time.monotonic() + timeout, b""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while not line.endswith(b"\n"):
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise TimeoutError(f"not ready after {timeout:g} s")
            piece = os.read(stream.fileno(), 4096)
            if not piece:
                raise ValueError("it ended before it was ready")
            line += piece
    return line
