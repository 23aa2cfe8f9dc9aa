"""Show the health of a session in each state, as JSON.

    python tools/health_states.py [--table]

The client is real, and the server is that of the tests (`tests/virtual_server.py`), on virtual
time: so the ages are the same in each run, and the dates are those of the run. `--table` prints the
table of `docs/health.md` in place of the JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from doubles import VirtualTimeLoop  # noqa: E402
from gqlwire import Health, RetryPolicy  # noqa: E402
from gqlwire._reconnect.options import ReconnectOptions  # noqa: E402
from gqlwire.errors import ConnectionRefused, Phase  # noqa: E402
from virtual_server import MUTE, UNREACHABLE, VirtualServer, keeping, soon  # noqa: E402

TICKS = "subscription Ticks { n }"
REFUSED = ConnectionRefused(
    "server.example:80 refuses connections: nothing listens on this port",
    host="server.example:80",
    phase=Phase.CONNECT,
)


async def states() -> dict[str, Health]:
    """Return the health in each state, one second after it began."""
    found: dict[str, Health] = {}
    server = VirtualServer()
    policy = RetryPolicy(initial=True, first_delay=4)
    idle = ReconnectOptions(idle_close_after=10)
    it = keeping(server, policy, reconnect=idle, connect_timeout=2, ack_timeout=5)

    async def note(seconds: float = 1) -> None:
        await asyncio.sleep(seconds)
        health = it.session.health()
        found[str(health.state)] = health

    server.will(UNREACHABLE, MUTE)
    connecting = soon(it.lasting.connect())
    await note()  # connect
    await note(1 + 4 + 1)  # init: after the timeout, and the wait
    server.peer.say({"type": "connection_ack"})
    await connecting
    events = it.session.subscribe(TICKS)
    step = soon(anext(events))
    await asyncio.sleep(0.5)
    server.peer.tell(1)
    await step
    server.peer.tell(2, 3)
    await note(0.5)  # open
    server.will(REFUSED)
    server.peer.hang_up(1012)
    await note(8 + 1)  # waiting, for the second time
    await events.aclose()
    await it.lasting.ready()
    await note(10 + 1)  # idle
    await it.lasting.close()
    await note()  # closed
    return found


def taken() -> dict[str, Health]:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(states())


def table(found: dict[str, Health]) -> str:
    lines = ["| state | `is_alive` | `problems()` |", "|---|---|---|"]
    for state, health in found.items():
        said = "; ".join(health.problems()) or "none"
        lines.append(f"| `{state}` | {'yes' if health.is_alive else 'no'} | {said} |")
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    found = taken()
    if "--table" in arguments:
        print(table(found))
        return
    for state, health in found.items():
        print(f"--- {state}")
        print(json.dumps(health.to_dict(), indent=2))


if __name__ == "__main__":
    main(sys.argv[1:])
