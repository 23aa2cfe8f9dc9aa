"""`gqlwire query` and `gqlwire subscribe`: run one operation.

`_output` prints on stdout, `_console` on stderr.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterator
from typing import Any

from gqlwire import Client, ExecutionResult, GraphQLRequest, RetryPolicy, Subscription
from gqlwire.cli import _signals
from gqlwire.cli._arguments import Operation
from gqlwire.cli._console import Console
from gqlwire.cli._exit import Exit, UsageError, graphql_errors, sentences, status_of
from gqlwire.cli._losses import Losses
from gqlwire.cli._output import Output, OutputError
from gqlwire.cli._progress import Tally, shown
from gqlwire.cli._tls import make_context, make_proxy_context
from gqlwire.errors import IncompleteResult, TransportError
from gqlwire.retry import Action
from gqlwire.transport.websockets import WebsocketsTransport

CLOSE_SECONDS = 3.0
BREATH_SECONDS = 0.02


def run(operation: Operation, console: Console) -> int:
    """Run the operation and return the exit status. Raises UsageError."""
    console.quiet = operation.quiet
    request = _request(operation)
    client = _client(operation, console)
    if operation.tls.insecure:
        console.complain("warning: --insecure: the certificate of the server is not checked")
    pretty = operation.pretty
    if operation.command == "subscribe":
        pretty = bool(pretty)  # one line for each event, also on a terminal
    output = Output(console, pretty=pretty, color=operation.color)
    work = _query if operation.command == "query" else _subscribe
    with _logging(operation, console):
        try:
            return _signals.run(work(operation, client, request, output, console))
        except TransportError as failure:
            for sentence in sentences(failure):
                console.complain(sentence)
            return status_of(failure)
        except OutputError as failure:
            console.complain(str(failure))
            return Exit.OUTPUT


async def _query(
    operation: Operation,
    client: Client,
    request: GraphQLRequest,
    output: Output,
    console: Console,
) -> int:
    del operation  # the client has its time limit
    async with client as session:
        try:
            result = await session.execute(request, get_execution_result=True)
        except IncompleteResult as part:
            with contextlib.suppress(BrokenPipeError):
                await output.write(part.data)
            raise
        if result.data is not None or not result.errors:
            with contextlib.suppress(BrokenPipeError):
                await output.write(result.data)
    for sentence in graphql_errors(result.errors or []):
        console.complain(sentence)
    return Exit.GRAPHQL if result.errors else Exit.OK


async def _subscribe(
    operation: Operation,
    client: Client,
    request: GraphQLRequest,
    output: Output,
    console: Console,
) -> int:
    scope = asyncio.timeout(None)
    loop = asyncio.get_running_loop()

    def leave() -> None:
        if not scope.expired():
            scope.reschedule(loop.time())

    async with client as session:
        tally = Tally(time.monotonic())
        events = session.subscribe(request, get_execution_result=True)
        try:
            async with scope, events, shown(tally, console):
                if operation.timeout is not None:
                    scope.reschedule(loop.time() + operation.timeout)
                with output.stdout.watched(leave):
                    await _print(events, operation.count, output, tally)
        except BrokenPipeError:
            pass
        except TimeoutError:
            if not scope.expired():
                raise
    if not tally.faulty:
        return Exit.OK
    console.complain(f"{tally.faulty:,} of {tally.events:,} events had errors")
    return Exit.GRAPHQL


async def _print(
    events: Subscription[ExecutionResult], count: int | None, output: Output, tally: Tally
) -> None:
    breath = time.monotonic()
    async for event in events:
        tally.count(faulty=bool(event.errors))
        await output.write(_shown(event))
        if tally.events == count:
            return
        # Buffered events are taken without giving way; signals and pings also need a turn.
        if time.monotonic() - breath > BREATH_SECONDS:
            await asyncio.sleep(0)
            breath = time.monotonic()


def _shown(event: ExecutionResult) -> Any:
    is_plain = event.has_next is None and event.incremental is None and not event.is_part
    if not event.errors and is_plain:
        return event.data
    parts = {
        "data": event.data,
        "errors": event.errors,
        "pending": event.pending,
        "incremental": event.incremental or None,
        "completed": event.completed,
        "hasNext": event.has_next,
    }
    kept = {name: part for name, part in parts.items() if part is not None}
    return {"data": None, **kept} if event.errors else kept


def _request(operation: Operation) -> GraphQLRequest:
    from graphql import GraphQLError, GraphQLSyntaxError

    try:
        request = GraphQLRequest(
            operation.document,
            variable_values=operation.variables,
            operation_name=operation.operation_name,
        )
        _ = request.kind
        request.encode()
    except GraphQLSyntaxError as wrong:
        place = (wrong.locations or [])[0]
        text = wrong.message.removeprefix("Syntax Error: ")
        raise UsageError(
            f"syntax error in the document at line {place.line}, column {place.column}: {text}"
        ) from None
    except GraphQLError as wrong:
        raise UsageError(wrong.message) from None
    except TypeError as wrong:
        raise UsageError(str(wrong)) from None
    except RecursionError:
        raise UsageError("the document is nested too deeply") from None
    return request


def _client(operation: Operation, console: Console) -> Client:
    try:
        transport = WebsocketsTransport(
            operation.url,
            ssl=make_context(operation.tls),
            proxy_ssl=make_proxy_context(operation.tls),
            close_timeout=CLOSE_SECONDS,
            **operation.transport,
        )
    except (ValueError, TypeError, ImportError) as wrong:
        raise UsageError(str(wrong)) from None
    return Client(
        transport=transport,
        execute_timeout=operation.timeout,
        reconnecting=operation.reconnecting,
        retry=RetryPolicy(should_retry=_refused),
        hooks=Losses(console).hooks(),
    )


def _refused(failure: TransportError) -> Action | None:
    """End with a failure that would end the first attempt as well.

    The credentials are those of the command line, so new attempts would fail as well. The exit
    status says why.
    """
    action, _ = RetryPolicy().judge(failure)
    return Action.STOP if action in (Action.STOP, Action.REFRESH) else None


class _ToConsole(logging.Handler):
    """Sends the log to the console."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record as a line on stderr."""
        self._console.complain(self.format(record))


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a record says something else than the error that ends the command."""
    return record.levelno < logging.ERROR or record.exc_info is not None


@contextlib.contextmanager
def _logging(operation: Operation, console: Console) -> Iterator[None]:
    ours, wire = logging.getLogger("gqlwire"), logging.getLogger("gqlwire.wire")
    handler = _ToConsole(console)
    is_chatty = operation.verbose or operation.wire
    style = "%(asctime)s.%(msecs)03d %(message)s" if is_chatty else "warning: %(message)s"
    handler.setFormatter(logging.Formatter(style, "%H:%M:%S"))
    former = ours.level, wire.level
    if not is_chatty:
        handler.addFilter(_is_news)
    ours.addHandler(handler)
    ours.setLevel(logging.INFO if operation.verbose else logging.WARNING)
    wire.setLevel(logging.DEBUG if operation.wire else logging.WARNING)
    try:
        yield
    finally:
        ours.removeHandler(handler)
        ours.setLevel(former[0])
        wire.setLevel(former[1])
