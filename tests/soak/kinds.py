"""The kinds of endurance runs: what happens in each, and what nobody has to worry about in it."""

from dataclasses import dataclass, field
from typing import Any

from hardship import PATIENCE


@dataclass(frozen=True)
class Kind:
    """A kind of run. An event of each feed comes every `interval` seconds.

    Between two mutations, or queries, of a place are `pause` seconds. `options` are the client's.
    `warnings` are the rows of docs/logging.md that are expected, `stderr` what the servers may say,
    as a pattern.
    """

    name: str
    interval: float
    pause: float
    is_rough: bool
    options: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    stderr: str = "(?!)"


SUSPECTS = (
    "… ended the connection…: …; … of the subscriptions may be the cause, "
    "and get a connection of their own"
)

KINDS = (
    Kind(
        "weather",
        interval=0.5,
        pause=0.25,
        is_rough=True,
        warnings=(
            "…; the next attempt is in … s",
            "… connections were lost within 10 minutes: …; the next attempt is in … s",
            "… sent an unexpected message of type …; gqlwire ignores it, and later ones like it",
            SUSPECTS,
            "…: a subscription ends: …",
            "… refused to continue a subscription: …; the next attempt is in … s",
        ),
        # The refusals that the run asks for, and the poison that is no stream; the rest is what
        # servers say when a client is gone while they send.
        stderr="ERROR:strawberry.execution:not ready"
        "|ERROR:strawberry.ws.task:Exception in worker task"
        "|ERROR:asyncio:Task exception was never retrieved"
        "|ERROR:uvicorn.error:Exception in ASGI application"
        "|WARNING:asyncio:socket.send.. raised exception"
        "|Internal error occurred during message handling.*(ERR_STREAM_DESTROYED|EPIPE|ECONNRESET"
        "|Subscription field must return Async Iterable)"
        "|[}]",
    ),
    Kind(
        "steady",
        interval=0.1,
        pause=0.1,
        is_rough=False,
        options={
            "ping_interval": 2,
            "pong_timeout": PATIENCE,
            "keep_alive_timeout": PATIENCE,
            "connect_timeout": PATIENCE,
            "ack_timeout": PATIENCE,
        },
    ),
)
