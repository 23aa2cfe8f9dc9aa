"""Translates the exceptions of sockets, TLS, HTTP and proxies to those of gqlwire.

No other exception leaves an attempt to connect; the original is kept as `__cause__`. The message
says what failed, in words that do not depend on the library. This module knows no GraphQL.
"""

from __future__ import annotations

import enum
import os
import socket
import ssl

from picows import WSError, WSInvalidURL
from python_socks import ProxyError, ProxyTimeoutError

from gqlwire._wire.answer import Answer
from gqlwire.errors import (
    ConnectionRefused,
    InvalidURL,
    NameNotResolved,
    Phase,
    ProxyFailed,
    TLSFailed,
    TransportConnectionFailed,
    TransportError,
)
from gqlwire.errors.text import escape_args

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
    "TLSV1_ALERT_NO_APPLICATION_PROTOCOL": "the server accepts none of the protocols that ssl= "
    "offers by ALPN (WebSockets need http/1.1)",
    "UNSUPPORTED_PROTOCOL": "client and server support no common TLS version",
    "TLSV1_ALERT_PROTOCOL_VERSION": "client and server support no common TLS version",
}

# What is said otherwise about a proxy.
_PROXY_TLS_FAULTS = {
    "WRONG_VERSION_NUMBER": "it does not speak TLS on this port (did you mean http://?)",
    "RECORD_LAYER_FAILURE": "it does not speak TLS on this port (did you mean http://?)",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it requires a client certificate: see proxy_ssl",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "it accepted none of the TLS parameters (it may require a "
    "client certificate: see proxy_ssl)",
    "TLSV1_ALERT_UNKNOWN_CA": "it does not trust the client certificate",
}
# Codes of certificates that another authority would accept.
_UNTRUSTED = {18, 19, 20, 21}

PROXY_TLS_HINT = "it may speak TLS on this port: did you mean https://?"
PROXY_CERTIFICATE_HINT = "it may require a (different) client certificate: see proxy_ssl"

_PROXY_STATUSES = {
    403: "it does not allow this target",
    407: "it requires a user and a password in its URL (http://user:password@host:port)",
    502: "it cannot reach the target",
    503: "it cannot reach the target",
    504: "the target did not answer it in time",
}


class During(enum.Enum):
    """What an attempt to connect was doing when it failed."""

    TCP = "TCP"
    PROXY = "the proxy"
    TLS = "the TLS handshake"
    UPGRADE = "the handshake"


def translate(
    cause: BaseException, *, host: str, during: During, proxy: str | None
) -> TransportError:
    """Return our error for `cause`, which ended an attempt to connect to `host`.

    `proxy` is the URL of the proxy without its credentials, or None.
    """
    if isinstance(cause, TransportError):
        return cause
    if isinstance(cause, WSInvalidURL):
        # Its message shows the URL, and so would the traceback.
        return InvalidURL(f"the URL of {host} is not one of a WebSocket server")
    if isinstance(cause, WSError | ProxyError | ProxyTimeoutError):
        escape_args(cause)
    failure = _failure(cause, host, during, proxy)
    failure.__cause__ = cause
    return failure


def proxy_refusal(answer: Answer) -> str:
    """Return why a proxy did not open a tunnel."""
    hint = _PROXY_STATUSES.get(answer.status)
    return f"it answered HTTP {answer.status}" + (f": {hint}" if hint else "")


def _failure(cause: BaseException, host: str, during: During, proxy: str | None) -> TransportError:
    phase = Phase.CONNECT if during is During.TCP else Phase.HANDSHAKE
    if isinstance(cause, ProxyError | ProxyTimeoutError):
        text = f"the proxy {proxy} did not connect to {host}: {cause}"
        return ProxyFailed(text, host=host, phase=Phase.CONNECT)
    if isinstance(cause, ssl.SSLError):
        if during is During.PROXY:
            return TLSFailed(_proxy_tls_sentence(cause, f"{proxy}", host), host=host, phase=phase)
        return TLSFailed(_tls_sentence(cause, host), host=host, phase=phase)
    if isinstance(cause, UnicodeError) and during is During.TCP:
        text = f"the name of {host} cannot be resolved: it is not a host name"
        return NameNotResolved(text, host=host, phase=phase)
    if isinstance(cause, OSError) and during is During.TCP:
        return _unreachable(cause, host, proxy)
    if isinstance(cause, OSError):
        return _lost(cause, host, during, proxy)
    text = (
        f"no connection to {host}: {cause}"
        if isinstance(cause, WSError | ValueError)
        else (f"no connection to {host}: {cause!r}")
    )
    return TransportConnectionFailed(text, host=host, phase=phase)


def _why(cause: OSError) -> str:
    if isinstance(cause.errno, int) and cause.errno > 0:
        # asyncio replaces the message of the system by its own.
        return os.strerror(cause.errno)
    return cause.strerror or str(cause) or type(cause).__name__


def _lost(cause: OSError, host: str, during: During, proxy: str | None) -> TransportError:
    # aiofastnet gives no reason for the end of the stream during the TLS handshake.
    is_end = isinstance(cause, ConnectionResetError) and not cause.args
    if during is During.PROXY:
        why = "it closed the connection" if is_end else _why(cause)
        text = f"the proxy {proxy} on the way to {host} was lost: {why}"
        return ProxyFailed(text, host=host, phase=Phase.CONNECT)
    why = "the server closed it without an answer" if is_end else _why(cause)
    text = f"the connection to {host} was lost during {during.value}: {why}"
    if during is During.TLS:
        text += " (the server may not speak TLS on this port, or not know this host name)"
    return TransportConnectionFailed(text, host=host, phase=Phase.HANDSHAKE)


def _unreachable(cause: OSError, host: str, proxy: str | None) -> TransportError:
    why, phase = _why(cause), Phase.CONNECT
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
        return f"the certificate of {host} was not accepted: {_certificate_fault(cause)}"
    reason = _tls_reason(cause)
    return f"TLS with {host} failed: {_TLS_FAULTS.get(reason, reason)}"


def _proxy_tls_sentence(cause: ssl.SSLError, proxy: str, host: str) -> str:
    name = f"the proxy {proxy} on the way to {host}"
    if isinstance(cause, ssl.SSLCertVerificationError):
        hint = "; see proxy_ssl" if cause.verify_code in _UNTRUSTED else ""
        return f"the certificate of {name} was not accepted: {_certificate_fault(cause)}{hint}"
    reason = _tls_reason(cause)
    fault = _PROXY_TLS_FAULTS.get(reason) or _TLS_FAULTS.get(reason, reason)
    return f"TLS with {name} failed: {fault}"


def _certificate_fault(cause: ssl.SSLCertVerificationError) -> str:
    return _CERTIFICATE_FAULTS.get(cause.verify_code, cause.verify_message)


def _tls_reason(cause: ssl.SSLError) -> str:
    # The layers below raise some without a reason.
    return getattr(cause, "reason", None) or str(cause)
