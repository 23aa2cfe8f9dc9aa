"""Translates the exceptions of sockets, TLS, HTTP and proxies to those of gqlwire.

No other exception leaves an attempt to connect; the original is kept as `__cause__`. The message
says what failed, in words that do not depend on the library. This module knows no GraphQL.
"""

from __future__ import annotations

import io
import os
import re
import socket
import ssl
from collections.abc import Mapping

from picows import WSError, WSHandshakeError, WSInvalidURL
from python_socks import ProxyError, ProxyTimeoutError

from gqlwire.errors import (
    ConnectionRefused,
    HandshakeRejected,
    InvalidURL,
    NameNotResolved,
    Phase,
    ProxyFailed,
    TLSFailed,
    TransportConnectionFailed,
    TransportError,
)
from gqlwire.errors.text import tame

FOREIGN = (OSError, ValueError, WSError, ProxyError, ProxyTimeoutError)
"""The exceptions that an attempt to connect may raise."""

_BODY_SHOWN = 200

# OpenSSL, x509_vfy.h: X509_V_ERR_*.
_CERTIFICATE_FAULTS = {
    9: "it is not valid yet",
    10: "it has expired",
    18: "it is self-signed, and not among the trusted ones",
    19: "a certificate of its chain is self-signed, and not among the trusted ones",
    20: "it was issued by an authority that is not trusted here",
    21: "it was issued by an authority that is not trusted here",
    23: "it was revoked",
    62: "it is for another host name",
    64: "it is for another IP address",
}

_TLS_FAULTS = {
    "WRONG_VERSION_NUMBER": "the server does not speak TLS on this port (did you mean ws://?)",
    "RECORD_LAYER_FAILURE": "the server does not speak TLS on this port (did you mean ws://?)",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the server requires a client certificate",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "the server accepted none of the TLS parameters (it may "
    "require a client certificate)",
    "TLSV1_ALERT_UNKNOWN_CA": "the server does not trust the client certificate",
    "UNSUPPORTED_PROTOCOL": "client and server support no common TLS version",
    "TLSV1_ALERT_PROTOCOL_VERSION": "client and server support no common TLS version",
}

_STATUS_HINTS = {
    401: "it requires valid credentials",
    403: "it forbids access",
    404: "there is nothing at this path",
    429: "too many requests or connections",
}


def translate(
    cause: BaseException, *, host: str, phase: Phase, proxy: str | None
) -> TransportError:
    """Return our error for `cause`, which ended an attempt to connect to `host` in `phase`.

    `proxy` is the URL of the proxy without its password, or None.
    """
    if isinstance(cause, TransportError):
        return cause
    if isinstance(cause, WSError | ProxyError | ProxyTimeoutError):
        tame(cause)
    failure = _failure(cause, host, phase, proxy)
    failure.__cause__ = cause
    return failure


def _failure(cause: BaseException, host: str, phase: Phase, proxy: str | None) -> TransportError:
    if isinstance(cause, WSInvalidURL):
        return InvalidURL(str(cause))
    if isinstance(cause, ProxyError | ProxyTimeoutError):
        text = f"the proxy {proxy} did not connect to {host}: {cause}"
        return ProxyFailed(text, host=host, phase=Phase.CONNECT)
    if isinstance(cause, WSHandshakeError):
        return _rejected(cause, host)
    if isinstance(cause, ssl.SSLError):
        return TLSFailed(_tls_sentence(cause, host), host=host, phase=Phase.HANDSHAKE)
    if isinstance(cause, UnicodeError) and phase is Phase.CONNECT:
        text = f"the name of {host} cannot be resolved: it is not a host name"
        return NameNotResolved(text, host=host, phase=phase)
    if isinstance(cause, OSError):
        return _unreachable(cause, host, phase, proxy)
    text = (
        f"no connection to {host}: {cause}"
        if isinstance(cause, WSError | ValueError)
        else (f"no connection to {host}: {cause!r}")
    )
    return TransportConnectionFailed(text, host=host, phase=phase)


def _unreachable(cause: OSError, host: str, phase: Phase, proxy: str | None) -> TransportError:
    why = cause.strerror or str(cause) or type(cause).__name__
    if isinstance(cause.errno, int) and cause.errno > 0:
        # asyncio replaces the message of the system by its own.
        why = os.strerror(cause.errno)
    if phase is not Phase.CONNECT:
        text = f"the connection to {host} was lost during the handshake: {why}"
        return TransportConnectionFailed(text, host=host, phase=phase)
    if proxy is not None:
        text = f"the proxy {proxy} on the way to {host} cannot be reached: {why}"
        return ProxyFailed(text, host=host, phase=phase)
    if isinstance(cause, socket.gaierror):
        text = f"the name of {host} cannot be resolved: {why}"
        return NameNotResolved(text, host=host, phase=phase)
    if isinstance(cause, ConnectionRefusedError):
        text = f"{host} refuses connections: nothing listens on this port"
    else:
        text = f"{host} cannot be reached: {why}"
    return ConnectionRefused(text, host=host, phase=phase)


def _tls_sentence(cause: ssl.SSLError, host: str) -> str:
    if isinstance(cause, ssl.SSLCertVerificationError):
        fault = _CERTIFICATE_FAULTS.get(cause.verify_code, cause.verify_message)
        return f"the certificate of {host} was not accepted: {fault}"
    # The layers below raise some without a reason.
    reason = getattr(cause, "reason", None) or str(cause)
    return f"TLS with {host} failed: {_TLS_FAULTS.get(reason, reason)}"


def _rejected(cause: WSHandshakeError, host: str) -> HandshakeRejected:
    status = cause.response.status if cause.response is not None else None
    raw = cause.raw_header or b""
    number = int(status) if status is not None else _status_of(raw)
    headers = cause.response.headers if cause.response is not None else _headers_of(raw)
    body = (cause.raw_body or b"")[:4096]
    if number is None:
        text = f"{host} did not answer as a WebSocket server does: {cause}"
    elif number == 101:
        text = f"{host} accepted the upgrade, but not as RFC 6455 requires: {cause}"
    else:
        text = _status_sentence(number, host, headers, body)
    return HandshakeRejected(
        text,
        host=host,
        status=number,
        headers={name.lower(): value for name, value in headers.items()},
        body=body,
    )


def _status_sentence(status: int, host: str, headers: Mapping[str, str], body: bytes) -> str:
    text = f"{host} answered the WebSocket upgrade with HTTP {status}"
    location = headers.get("Location")
    if 300 <= status < 400 and location:
        # The request has credentials, and the new address may belong to somebody else.
        return f"{text}: it has moved to {location}; redirects are not followed"
    if 200 <= status < 300:
        text += ": this is not a WebSocket endpoint"
    elif status in _STATUS_HINTS:
        text += f": {_STATUS_HINTS[status]}"
    said = " ".join(body[:_BODY_SHOWN].decode(errors="replace").split())
    return f"{text}; it said: {said}" if said else text


def _status_of(raw_header: bytes) -> int | None:
    # picows parses only registered statuses; load balancers send others (460, 520).
    words = raw_header.split(None, 2)
    is_http = len(words) >= 2 and words[0].startswith(b"HTTP/")
    return int(words[1]) if is_http and re.fullmatch(rb"\d{3}", words[1]) else None


def _headers_of(raw_header: bytes) -> Mapping[str, str]:
    _, _, lines = raw_header.partition(b"\r\n")
    import http.client  # slow to import, and rarely needed

    try:
        return dict(http.client.parse_headers(io.BytesIO(lines + b"\r\n\r\n")).items())
    except http.client.HTTPException:
        return {}
