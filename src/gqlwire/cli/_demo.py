"""`gqlwire demo`: serves the market, and walks through it unless `--serve` is given."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import signal
import sys
import time
from typing import NoReturn

from gqlwire.cli._arguments import Demo
from gqlwire.cli._console import PROGRAM, Console, may_color
from gqlwire.cli._exit import Exit, UsageError
from gqlwire.errors import TransportError

HINTS = (
    "query {url} '{{ instruments {{ symbol name price change }} }}'",
    "query {url} 'mutation {{ placeOrder(symbol: \"AURA\", side: BUY, size: 100) {{ status }} }}'",
    "subscribe {url} 'subscription {{ trades {{ seq symbol side price size }} }}' --count 9",
    "subscribe {url} 'subscription {{ prices {{ symbol price }} }}' --protocol graphql-ws",
)


def run(options: Demo, console: Console) -> int:
    """Serve the market or walk through it; return the exit status. Raises UsageError."""
    try:
        from gqlwire.demo.server import serving
    except ModuleNotFoundError as missing:
        raise UsageError(
            f"the demo needs a package that is not installed ({missing.name}): "
            f"pip install 'gqlwire[demo]'"
        ) from None
    with contextlib.ExitStack() as stack:
        try:
            url = stack.enter_context(serving(options.host, options.port, options.seed))
        except OSError as wrong:
            place, why = f"{options.host}:{options.port}", wrong.strerror or wrong
            raise UsageError(f"the demo cannot listen on {place}: {why}") from None
        if options.serve:
            _serve(url)
        return _walk(url, console, color=may_color(options.color, sys.stdout))


def _serve(url: str) -> NoReturn:
    def end(*_: object) -> NoReturn:
        sys.exit(Exit.TERMINATED)

    signal.signal(signal.SIGTERM, end)
    print(json.dumps({"url": url}), flush=True)
    page = url.replace("ws", "http", 1)
    print(f"The market is open; in a browser, see {page}. Ctrl-C closes it. Try:", file=sys.stderr)
    for hint in HINTS:
        print(f"  {PROGRAM} {hint.format(url=url)}", file=sys.stderr)
    while True:
        time.sleep(3600)


def _walk(url: str, console: Console, *, color: bool) -> int:
    from gqlwire.demo.walk import WalkFailed, walk

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    try:
        asyncio.run(walk(url, color=color))
    except (WalkFailed, TransportError) as failure:
        console.complain(f"the demo failed: {failure}")
        return Exit.GRAPHQL
    except BrokenPipeError:
        # The reader of stdout has ended. Python must not write what is buffered when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return Exit.OK
