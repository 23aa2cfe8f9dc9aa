"""The exit statuses: which failure leads to which status, and what is printed.

This module imports only light modules, because every run of the command loads it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import IntEnum
from typing import Any

from gqlwire.errors import (
    AckTimeout,
    ConnectTimeout,
    IncompleteResult,
    InvalidURL,
    OperationTimeout,
    SlowConsumer,
    TransportError,
    TransportProtocolError,
    TransportQueryError,
)

STATUSES = """\
exit status:
  0    it worked; also if --count or --timeout ended a subscription, or if the
       program that read the output ended
  1    the server answered with GraphQL errors; a subscription continues after
       an event with errors, and ends with this. In the demo: a check failed
  2    the command line, the document, a variable, a file or the URL is wrong
  3    no connection: not found, refused, TLS, rejected by the server, or lost;
       a subscription first connects again, as long as that may help
  4    a timeout: for connecting, or for the answer to a query
  5    the server sent something unreadable, or, for query, only the first part of
       the result (@defer, @stream)
  6    the output could not be written, or not as fast as events arrived
  130  Ctrl-C; 143: SIGTERM. The server was told to stop; the connection closed
"""


class Exit(IntEnum):
    """The exit statuses; STATUSES says what each one means."""

    OK = 0
    GRAPHQL = 1
    USAGE = 2
    CONNECTION = 3
    TIMEOUT = 4
    PROTOCOL = 5
    OUTPUT = 6
    INTERRUPTED = 130
    TERMINATED = 143


class UsageError(Exception):
    """The command line asks for something impossible; the text says why, in one sentence."""


_STATUSES: tuple[tuple[type[TransportError], Exit], ...] = (
    (TransportQueryError, Exit.GRAPHQL),
    (InvalidURL, Exit.USAGE),
    (OperationTimeout, Exit.TIMEOUT),
    (ConnectTimeout, Exit.TIMEOUT),
    (AckTimeout, Exit.TIMEOUT),
    (TransportProtocolError, Exit.PROTOCOL),
    (IncompleteResult, Exit.PROTOCOL),
    (SlowConsumer, Exit.OUTPUT),
    (TransportError, Exit.CONNECTION),
)


_MOST_ERRORS = 100

_PART = (
    "the server sends this result in parts (@defer, @stream), and this is only the first one: use "
    "subscribe to get them all"
)


def status_of(failure: TransportError) -> Exit:
    """Return the exit status that `failure` leads to."""
    return next(status for kind, status in _STATUSES if isinstance(failure, kind))


def sentences(failure: TransportError) -> list[str]:
    """Return what to print for `failure`: one sentence, or one for each GraphQL error."""
    if isinstance(failure, TransportQueryError) and failure.errors:
        return graphql_errors(failure.errors)
    if isinstance(failure, IncompleteResult):
        return [*graphql_errors(failure.errors or []), _PART]
    return [str(failure) or type(failure).__name__]


def graphql_errors(errors: Sequence[Any]) -> list[str]:
    """Return a sentence for each error object of a result; of very many, for the first ones."""
    found = [_said(error) for error in errors[:_MOST_ERRORS]]
    more = len(errors) - len(found)
    return [*found, f"and {more:,} more"] if more else found


def _said(error: Any) -> str:
    try:
        return _graphql_error(error)
    except RecursionError:
        return "an error that is nested too deeply to be shown"


def _graphql_error(error: Any) -> str:
    if not isinstance(error, Mapping):
        return str(error)
    message = str(error.get("message") or "an error without a message")
    details = ", ".join(_details(error))
    return f"{message} ({details})" if details else message


def _details(error: Mapping[str, Any]) -> Iterator[str]:
    path = error.get("path")
    if isinstance(path, list) and path:
        yield "at " + ".".join(map(str, path))
    locations = error.get("locations")
    for place in locations if isinstance(locations, list) else []:
        if isinstance(place, Mapping) and "line" in place and "column" in place:
            yield f"line {place['line']}, column {place['column']}"
    extensions = error.get("extensions")
    if isinstance(extensions, Mapping) and isinstance(extensions.get("code"), str):
        yield extensions["code"]
