"""How a contender looks at itself. On the standard library alone: peers use it, too."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

PAGE = os.sysconf("SC_PAGE_SIZE")


def rss() -> int:
    """Return the bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def settled_rss() -> int:
    """Return how much it holds without garbage."""
    gc.collect()
    gc.collect()
    return rss()


def peak_rss() -> int:
    """Return the most that it has held.

    Not `ru_maxrss`: that one a child takes over from its parent.
    """
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def allow_many_sockets() -> None:
    """Lift the limit of open files as far as it goes without asking anybody."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def tell(**figures: float | str | None) -> None:
    """Print the measured figures."""
    print(json.dumps(figures), flush=True)


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run a contender, on the loop that the command line names."""
    if "uvloop" in sys.argv:
        import uvloop

        uvloop.run(main)
    else:
        asyncio.run(main)
