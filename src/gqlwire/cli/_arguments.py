"""The command line: its options, and the errors in it.

It includes what the options read from files and stdin. This module knows no connection.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import gqlwire
from gqlwire.cli import _values
from gqlwire.cli._exit import STATUSES, UsageError

COMMANDS = {
    "query": "Run a query or a mutation, and print its data.",
    "subscribe": "Print the events of a subscription, one JSON line each.",
    "demo": "Start a GraphQL server that is a small market, and walk through it.",
}
QUERY_SECONDS = 10.0
CONNECT_SECONDS = 10.0
PING_SECONDS = 25.0
"""Servers and proxies commonly close a silent connection after 30 or 60 seconds."""
DEMO_PORT = 8000

_DOCUMENT = "the document itself, @FILE to read a file, or - to read stdin (the default)"


@dataclass(frozen=True)
class TLS:
    """TLS options. `ca`, `cert`, `key` and `proxy_ca` are names of PEM files."""

    ca: str | None
    cert: str | None
    key: str | None
    insecure: bool
    proxy_ca: str | None = None


@dataclass(frozen=True)
class Operation:
    """What to run, where, and how to print it. Times are in seconds; None means no limit."""

    command: str
    url: str
    document: str
    variables: dict[str, Any]
    operation_name: str | None
    timeout: float | None
    count: int | None
    reconnecting: bool
    tls: TLS
    transport: dict[str, Any] = field(repr=False)
    """Keyword arguments for `WebsocketsTransport`."""
    pretty: bool | None
    color: str
    quiet: bool
    verbose: bool
    wire: bool


@dataclass(frozen=True)
class Demo:
    """The options of the demo. `port` 0 means any free port."""

    serve: bool
    host: str
    port: int
    seed: int | None
    color: str


class Parser(argparse.ArgumentParser):
    """A parser that raises UsageError instead of ending the process."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError with `message`, and where to find help."""
        raise UsageError(f"{message} (see {self.prog} --help)")


def split(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """Return the command, and the arguments after it. Raises UsageError."""
    parser = Parser(
        prog="gqlwire",
        description="GraphQL over WebSocket: graphql-transport-ws, and Apollo's graphql-ws.",
        epilog="commands:\n"
        + "".join(f"  {name:<11}{text}\n" for name, text in COMMANDS.items())
        + f"\n{STATUSES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version)
    parser.add_argument("command", choices=COMMANDS, metavar="command", help="see below")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="see gqlwire command --help")
    if not arguments:
        *others, last = COMMANDS
        parser.error(f"missing command: {', '.join(others)} or {last}")
    said = parser.parse_args(arguments)
    return said.command, said.arguments


def operation_options(command: str, arguments: Sequence[str]) -> Operation:
    """Parse the arguments of `query` or `subscribe`. Raises UsageError."""
    # Intermixed: options may come between the URL and the document.
    said = _operation_parser(command).parse_intermixed_args(list(arguments))
    if said.key and not said.cert:
        raise UsageError("--key needs --cert: it is the key of that certificate")
    if said.insecure and said.ca:
        raise UsageError("--ca and --insecure cannot be combined: --insecure checks nothing")
    return Operation(
        command=command,
        url=said.url,
        document=_values.document(said.document),
        variables={**(said.variables or {}), **dict(said.variable)},
        operation_name=said.operation_name,
        timeout=said.timeout,
        count=said.count,
        reconnecting=said.reconnecting,
        tls=TLS(said.ca, said.cert, said.key, said.insecure, said.proxy_ca),
        transport={
            "headers": said.header,
            "init_payload": said.init_payload,
            "connect_timeout": said.connect_timeout,
            "ack_timeout": said.connect_timeout,
            "ping_interval": said.ping_interval,
            "subprotocols": said.protocol and [said.protocol],
            "proxy": said.proxy,
            "compression": "deflate" if said.compression else None,
        },
        pretty=said.pretty,
        color=said.color,
        quiet=said.quiet,
        verbose=said.verbose,
        wire=said.wire,
    )


def demo_options(arguments: Sequence[str]) -> Demo:
    """Parse the arguments of `demo`. Raises UsageError."""
    parser = Parser(prog="gqlwire demo", description=COMMANDS["demo"])
    parser.add_argument("--serve", action="store_true", help="only serve, until Ctrl-C")
    parser.add_argument(
        "--host", default="127.0.0.1", help="the address to listen on (%(default)s)"
    )
    parser.add_argument(
        "--port",
        type=_values.port,
        help=f"the port to listen on; 0: any free port (the default; with --serve {DEMO_PORT})",
    )
    parser.add_argument("--seed", type=int, help="the same seed makes the same market")
    _add_color(parser)
    said = parser.parse_args(arguments)
    port = said.port if said.port is not None else (DEMO_PORT if said.serve else 0)
    return Demo(said.serve, said.host, port, said.seed, said.color)


def _operation_parser(command: str) -> Parser:
    parser = Parser(
        prog=f"gqlwire {command}",
        description=COMMANDS[command],
        epilog=STATUSES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("url", metavar="URL", help="ws:// or wss://")
    parser.add_argument("document", metavar="DOCUMENT", nargs="?", default="-", help=_DOCUMENT)
    _add_request(parser)
    _add_limits(parser, command)
    _add_connection(parser, command)
    _add_tls(parser)
    _add_output(parser, command)
    return parser


def _add_request(parser: Parser) -> None:
    group = parser.add_argument_group("the request")
    group.add_argument(
        "-V",
        "--variable",
        metavar="NAME=JSON",
        action="append",
        default=[],
        type=_values.variable,
        help="a variable; a value that is not JSON is a string; may be repeated",
    )
    group.add_argument(
        "--variables",
        metavar="JSON|@FILE",
        type=_values.json_object,
        help="variables, as one JSON object",
    )
    group.add_argument(
        "-o",
        "--operation-name",
        metavar="NAME",
        help="which operation to run, if the document has several",
    )


def _add_limits(parser: Parser, command: str) -> None:
    group = parser.add_argument_group("limits (0 seconds: none)")
    if command == "query":
        default, text = QUERY_SECONDS, "to wait for the answer (%(default)g)"
        parser.set_defaults(count=None)
    else:
        default, text = None, "to continue; then stop, with status 0"
        group.add_argument("--count", metavar="N", type=_values.count, help="stop after N events")
    group.add_argument(
        "--timeout", metavar="SECONDS", type=_values.limit, default=default, help=f"seconds {text}"
    )
    group.add_argument(
        "--connect-timeout",
        metavar="SECONDS",
        type=_values.limit,
        default=CONNECT_SECONDS,
        help="seconds to wait for the WebSocket, and then for connection_ack (%(default)g)",
    )


def _add_connection(parser: Parser, command: str) -> None:
    group = parser.add_argument_group("the connection")
    group.add_argument(
        "-H",
        "--header",
        metavar="NAME: VALUE",
        action="append",
        default=[],
        type=_values.header,
        help="a header of the upgrade request; may be repeated",
    )
    group.add_argument(
        "--init-payload",
        metavar="JSON|@FILE",
        type=_values.json_object,
        help="the payload of connection_init, as a JSON object",
    )
    group.add_argument(
        "--protocol",
        choices=["graphql-transport-ws", "graphql-ws"],
        help="use only this protocol",
    )
    _add_survival(parser, group, command)
    group.add_argument(
        "--proxy",
        metavar="URL",
        default=True,
        type=lambda text: text if text != "none" else None,
        help="a URL with http, https or socks5, or none (default: what the environment says)",
    )
    group.add_argument("--compression", action="store_true", help="offer permessage-deflate")


def _add_survival(parser: Parser, group: Any, command: str) -> None:
    # A query is short: if the connection is lost during it, the command fails.
    lives_on = command == "subscribe"
    if lives_on:
        group.add_argument(
            "--no-reconnect",
            dest="reconnecting",
            action="store_false",
            help="end when the connection is lost",
        )
    else:
        parser.set_defaults(reconnecting=False)
    group.add_argument(
        "--ping-interval",
        metavar="SECONDS",
        type=_values.limit,
        default=PING_SECONDS if lives_on else None,
        help=f"seconds between pings ({f'{PING_SECONDS:g}; 0: none' if lives_on else 'none'})",
    )


def _add_tls(parser: Parser) -> None:
    group = parser.add_argument_group("TLS (wss://)")
    group.add_argument("--ca", metavar="FILE", help="trust only these authorities (PEM)")
    group.add_argument("--cert", metavar="FILE", help="your client certificate (PEM)")
    group.add_argument("--key", metavar="FILE", help="its key, if that is in another file")
    group.add_argument("--insecure", action="store_true", help="trust any certificate")
    group.add_argument(
        "--proxy-ca", metavar="FILE", help="authorities of an https:// proxy (PEM), only these"
    )


def _add_output(parser: Parser, command: str) -> None:
    group = parser.add_argument_group("the output")
    shape = group.add_mutually_exclusive_group()
    is_query = command == "query"
    shape.add_argument(
        "--pretty",
        action="store_true",
        default=None,
        help="indented JSON" + (" (the default on a terminal)" if is_query else ""),
    )
    shape.add_argument(
        "--compact",
        dest="pretty",
        action="store_false",
        default=None,
        help="one line of JSON for each result (the default"
        + (" in a pipe or a file)" if is_query else ")"),
    )
    _add_color(group)
    group.add_argument("-q", "--quiet", action="store_true", help="no progress and no notes")
    group.add_argument(
        "-v", "--verbose", action="store_true", help="report on the connection, on stderr"
    )
    group.add_argument("--wire", action="store_true", help="show the messages, on stderr")


def _add_color(group: Any) -> None:
    group.add_argument(
        "--color",
        choices=["auto", "always", "never"],
        default="auto",
        help="auto: on a terminal, unless NO_COLOR is set",
    )


class _Version(argparse.Action):
    """Print the version."""

    def __init__(self, option_strings: Sequence[str], dest: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help="print the version")

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        print(f"gqlwire {gqlwire.__version__}")
        parser.exit()
