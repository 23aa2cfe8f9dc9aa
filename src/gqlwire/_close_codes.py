"""What the close codes of the field mean, and the error that a closed connection becomes.

Codes: RFC 6455, section 7.4; PROTOCOL.md of enisdenjo/graphql-ws; and what servers use them for
besides. This module knows no socket and no policy.
"""

from __future__ import annotations

from gqlwire.errors import ConnectionClosed, Phase

ABNORMAL = 1006
"""No close frame came (RFC 6455, section 7.1.5)."""

MEANINGS = {
    1000: "normal closure",
    1001: "the server is going away",
    1002: "protocol error; often: subprotocol not acceptable",
    1003: "unsupported data",
    1005: "no code given",
    1007: "text that is not UTF-8",
    1008: "against the server's policy",
    1009: "message too big for the server",
    1010: "a required extension is missing",
    1011: "internal error of the server",
    1012: "the server restarts",
    1013: "the server asks to try again later",
    1014: "bad gateway",
    3008: "the server heard nothing from us for too long; ping more often",
    4400: "the server calls a message invalid, or refused connection_init",
    4401: "unauthorized: the credentials are missing, wrong or expired",
    4403: "forbidden: the server refused the credentials",
    4406: "subprotocol not acceptable",
    4408: "connection_init came too late for the server",
    4409: "an operation with this id exists already",
    4429: "too many requests or connections",
    4499: "terminated by the server",
    4500: "internal error of the server",
    4504: "the server gave up waiting",
}

_WHEN = {
    Phase.HANDSHAKE: " during the handshake",
    Phase.INIT: " before it acknowledged connection_init",
}


def connection_closed(
    *, host: str, phase: Phase, code: int, reason: str = "", hint: str = ""
) -> ConnectionClosed:
    """Build the error for a connection that the server, or the network, ended.

    `hint` is what else is known of why, as a part of the sentence.
    """
    when = _WHEN.get(phase, "")
    if code == ABNORMAL:
        text = f"the connection to {host} was lost{when}: no close frame came (1006)"
    else:
        text = f"{host} closed the connection{when}: {code}"
        text += f" {reason}" if reason else ""
        meaning = MEANINGS.get(code)
        text += f" ({meaning})" if meaning else ""
    if hint:
        text += f"; {hint}"
    return ConnectionClosed(text, host=host, phase=phase, code=code, reason=reason)
