"""The errors for an answer to the upgrade that is no WebSocket, and what may have caused it.

A sentence never shows the query of a URL, nor a user or a password: they may be credentials. So
`Address.conceal` goes over whatever a server sent. This module knows neither sockets nor GraphQL.
"""

from __future__ import annotations

from gqlwire._wire.address import Address, without_secrets
from gqlwire._wire.answer import MAX_HEAD, TLS_RECORDS, Answer, HeadTooLong, NotHTTP
from gqlwire.errors import HandshakeRejected

_BODY_SHOWN, _BODY_KEPT = 200, 4096
_PATH_SHOWN = 100
_SWITCHING = 101

_WSS = "the server speaks TLS on this port (did you mean wss://?)"

_PROXY = (
    "a proxy in front of it may not pass on the upgrade (nginx needs proxy_http_version 1.1 and "
    "the headers Upgrade and Connection)"
)

_STATUS_HINTS = {
    401: "it requires valid credentials",
    403: "it forbids access, or nothing is at this path ({path})",
    404: "nothing is at this path ({path})",
    405: "this is not a WebSocket endpoint",
    426: f"{_PROXY}, or it accepts none of the subprotocols",
    429: "too many requests or connections",
    505: _PROXY,
}

# What nginx, Go, Apache and Node say where TLS is expected and plain HTTP comes.
_SAID_BY_TLS_PORTS = (
    b"plain http request was sent to https port",
    b"client sent an http request to an https server",
    b"speaking plain http to an ssl-enabled server port",
    b"combination of host and port requires tls",
)

# How servers of other protocols begin, where it tells what they are.
_OTHER_PROTOCOLS = (
    (b"SSH-", "it is an SSH server"),
    (b"220", "it is a mail or FTP server"),
    (b"* OK", "it is an IMAP server"),
    (b"+OK", "it is a POP3 server"),
    (b"-ERR", "it is a Redis server"),
    (b"-DENIED", "it is a Redis server"),
    (b"RFB ", "it is a VNC server"),
)


def rejected(answer: Answer, address: Address) -> HandshakeRejected:
    """Return the error for an answer with another status than 101."""
    body = answer.rest[:_BODY_KEPT]
    text = f"{address.host} answered the WebSocket upgrade with HTTP {answer.status}"
    location = answer.headers.get("Location")
    if 300 <= answer.status < 400 and location:
        # The request has credentials, and the new address may belong to somebody else.
        moved = printable(address.conceal(without_secrets(location)))
        text += f": it has moved to {moved}; redirects are not followed"
        return _rejection(text, answer, address)
    hint = _hint(answer.status, body, address)
    text += f": {hint}" if hint else ""
    # A piece of a credential, which the cut would leave, is not found. So the cut comes after.
    said = " ".join(address.conceal(body.decode(errors="replace")).split())
    if said:
        text += f"; it said: {printable(said[:_BODY_SHOWN])}"
    return _rejection(text, answer, address)


def invalid(answer: Answer, address: Address, what: str) -> HandshakeRejected:
    """Return the error for a 101 that breaks RFC 6455, section 4.1."""
    why = printable(address.conceal(what))
    text = f"{address.host} accepted the upgrade, but not as RFC 6455 requires: {why}"
    return _rejection(text, answer, address)


def unreadable(fault: NotHTTP | HeadTooLong, address: Address, alpn: str) -> HandshakeRejected:
    """Return the error for what is not the head of an HTTP answer.

    `alpn`: the protocol that the server chose in the TLS handshake, or an empty string.
    """
    if isinstance(fault, HeadTooLong):
        text = (
            f"{address.host} answered the WebSocket upgrade with headers of more than "
            f"{MAX_HEAD} bytes, which is gqlwire's limit"
        )
        return HandshakeRejected(text, host=address.host, status=fault.status)
    text = f"{address.host} did not answer as a WebSocket server does: "
    text += _other_protocol(fault.beginning, address, alpn)
    return HandshakeRejected(text, host=address.host)


def _other_protocol(beginning: bytes, address: Address, alpn: str) -> str:
    # An HTTP/2 server begins with a SETTINGS frame (RFC 9113, section 3.4).
    if beginning[:1] == b"\0" and beginning[3:5] == b"\x04\x00":
        return "it speaks HTTP/2" + (
            f", which ssl= offers by ALPN ({alpn}): offer only http/1.1" if alpn else ""
        )
    if beginning.startswith(TLS_RECORDS) and not address.is_secure:
        return _WSS
    line = beginning.splitlines()[0] if beginning.strip() else beginning
    excerpt = address.conceal(line.decode("latin-1"))[:_BODY_SHOWN]
    known = next((what for how, what in _OTHER_PROTOCOLS if beginning.startswith(how)), None)
    return f"{known or 'it does not speak HTTP'}; it sent {excerpt!r}"


def _hint(status: int, body: bytes, address: Address) -> str:
    if status == 400 and not address.is_secure:
        said = body.lower()
        if any(phrase in said for phrase in _SAID_BY_TLS_PORTS):
            return _WSS
    if 200 <= status < 300:
        return "this is not a WebSocket endpoint"
    return _STATUS_HINTS.get(status, "").format(path=_path(address))


def _path(address: Address) -> str:
    path = "/" + address.place.split("/", 3)[-1]
    return path if len(path) <= _PATH_SHOWN else f"{path[:_PATH_SHOWN]}…"


def _rejection(text: str, answer: Answer, address: Address) -> HandshakeRejected:
    return HandshakeRejected(
        text,
        host=address.host,
        status=answer.status,
        headers={name.lower(): value for name, value in answer.headers.items()},
        body=b"" if answer.status == _SWITCHING else answer.rest[:_BODY_KEPT],
    )


def printable(text: str) -> str:
    """Return `text` with escapes for what could break a line or a terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
