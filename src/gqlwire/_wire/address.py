"""The address of a server: parses and checks its URL. This module does no I/O."""

from __future__ import annotations

import base64
import re
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from msgspec import Struct

from gqlwire.errors import InvalidURL

_PORTS = {"ws": 80, "wss": 443}
_PASSWORD = re.compile(r"(//[^/@:]*:)[^/]*@")
_MEANT = {"http": "ws", "https": "wss"}


class Address(Struct, frozen=True):
    """The parts of a WebSocket URL.

    - `url`: the URL without user, password and fragment, for the request.
    - `host`: name and port, for messages.
    - `place`: `url` without its query, for logs, because the query may contain a token.
    - `authorization`: the header value for the `user:password@` of the URL, or None.
    """

    url: str
    host: str
    place: str
    is_secure: bool
    authorization: str | None


PENDING = Address("", "(host not known yet)", "(URL not known yet)", True, None)
"""Stands for the address if the user's `url` is a function that was not called yet."""


def parse(url: str) -> Address:
    """Parse a URL. Raises InvalidURL, whose message says what is wrong."""
    if not isinstance(url, str):
        raise InvalidURL(f"a URL must be a str, not {type(url).__name__}")
    parts = _split(url)
    port = parts.port or _PORTS[parts.scheme]
    name = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    netloc = f"{name}:{parts.port}" if parts.port else str(name)
    bare = parts._replace(netloc=netloc, path=parts.path or "/", fragment="")
    return Address(
        url=urlunsplit(bare),
        host=f"{name}:{port}",
        place=urlunsplit(bare._replace(query="")),
        is_secure=parts.scheme == "wss",
        authorization=_basic(parts),
    )


def _split(url: str) -> SplitResult:
    shown = _PASSWORD.sub(r"\1***@", url)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as cause:
        # If the URL has credentials, urllib's message may show a part of them.
        why = "its host or port is invalid" if "@" in url else cause
        raise InvalidURL(f"{shown!r} is not a URL: {why}") from None
    if " " in url or not url.isprintable():  # all other white space is not printable
        raise InvalidURL(f"{shown!r} is not a URL: it contains white space or control characters")
    if parts.scheme in _MEANT:
        meant = _MEANT[parts.scheme] + shown[len(parts.scheme) :]
        raise InvalidURL(f"{shown!r} is not the URL of a WebSocket server; did you mean {meant!r}?")
    if port == 0:
        raise InvalidURL(f"{shown!r} is not a URL: port 0 is invalid")
    if parts.scheme not in _PORTS or not parts.hostname:
        raise InvalidURL(
            f"{shown!r} is not the URL of a WebSocket server: it needs ws:// or wss://, and a host"
        )
    return parts


def _basic(parts: SplitResult) -> str | None:
    if parts.username is None:
        return None
    credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return "Basic " + base64.b64encode(credentials.encode()).decode()
