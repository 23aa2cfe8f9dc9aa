"""The address of a server: parses and checks its URL. This module does no I/O."""

from __future__ import annotations

import base64
import re
import string
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit, urlunsplit

from msgspec import Struct

from gqlwire.errors import InvalidURL

_PORTS = {"ws": 80, "wss": 443}
_MEANT = {"http": "ws", "https": "wss"}
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,20}")
_KNOWN_SCHEMES = {*_PORTS, *_MEANT, "ftp", "socks", "socks4", "socks4a", "socks5", "socks5h"}
_SHORTEST_SECRET = 4
_URL_SHOWN = 200


class Address(Struct, frozen=True):
    """The parts of a WebSocket URL.

    - `url`: the URL in ASCII, without user, password and fragment, for the request.
    - `host`: name and port, for messages.
    - `place`: `url` without its query, for logs, because the query may contain a token.
    - `authorization`: the header value for the `user:password@` of the URL, or None.
    - `secrets`: what may be a credential, as it is written and as it is meant.
    """

    url: str
    host: str
    place: str
    is_secure: bool
    authorization: str | None
    secrets: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<Address {self.place}>"

    def conceal(self, text: str) -> str:
        """Return `text`, which a server sent, with `***` for the credentials of the URL.

        Servers may repeat the URL of a request, and libraries quote what they sent. Credentials of
        less than 4 characters stay.
        """
        for secret in self.secrets:
            text = text.replace(secret, "***").replace(repr(secret)[1:-1], "***")
        return text


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
    bare = parts._replace(
        netloc=_ascii_netloc(netloc, url),
        path=_ascii(parts.path or "/"),
        query=_ascii(parts.query),
        fragment="",
    )
    authorization = _basic(parts)
    return Address(
        url=urlunsplit(bare),
        host=f"{name}:{port}",
        place=urlunsplit(bare._replace(query="")),
        is_secure=parts.scheme == "wss",
        authorization=authorization,
        secrets=_secrets(parts, authorization),
    )


def without_secrets(url: str) -> str:
    """Return `url`, which may be invalid, without what may be a credential.

    That is user, password, query and fragment. Where an `@` is not in its usual place, nobody can
    tell where a password ends, so nothing is shown but the scheme.
    """
    scheme, mark, rest = url.partition("://")
    if not mark or not _SCHEME.fullmatch(scheme):
        scheme, mark, rest = "", "", url
    place = re.split(r"[?#]", rest, maxsplit=1)[0]
    if "@" in rest:
        if scheme.lower() not in _KNOWN_SCHEMES:
            scheme = mark = ""
        authority = place.partition("/")[0]
        is_usual = rest.count("@") == 1 and "@" in authority
        place = f"***@{place.partition('@')[2]}" if is_usual else "***"
    shown = f"{scheme}{mark}{place}"
    return shown if len(shown) <= _URL_SHOWN else f"{shown[:_URL_SHOWN]}…"


def _ascii(text: str) -> str:
    """Escape what is not ASCII, and nothing else: `%2B` must not become `%252B`."""
    return text if text.isascii() else quote(text, safe=string.printable)


def _ascii_netloc(netloc: str, url: str) -> str:
    try:
        return netloc if netloc.isascii() else netloc.encode("idna").decode()
    except UnicodeError:
        raise InvalidURL(f"{without_secrets(url)!r} is not a URL: its host is not a name") from None


def _secrets(parts: SplitResult, authorization: str | None) -> tuple[str, ...]:
    found = {parts.query, unquote(parts.query), _ascii(parts.query)}
    found |= set(re.split(r"[&;=]", parts.query))
    found |= {value for pair in parse_qsl(parts.query) for value in pair[1:]}
    for text in (parts.username, parts.password, (authorization or "").partition(" ")[2]):
        found |= {text or "", unquote(text or "")}
    usable = (secret for secret in found if len(secret) >= _SHORTEST_SECRET)
    return tuple(sorted(usable, key=len, reverse=True))


def _split(url: str) -> SplitResult:
    shown = without_secrets(url)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as cause:
        # If the URL has credentials, urllib's message may show a part of them.
        why = cause if shown == url else "its host or port is invalid"
        raise InvalidURL(f"{shown!r} is not a URL: {why}") from None
    if " " in url or not url.isprintable():  # all other white space is not printable
        raise InvalidURL(
            f"{shown!r} is not a URL: it contains white space, or characters that are not printable"
        )
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
