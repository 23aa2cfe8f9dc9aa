"""What may differ for each connection: URL, headers and init payload.

Each is a value, or a function that is called before the socket is opened. A call after that could
take too long: servers close with 4408 if `connection_init` is late. This module knows no socket and
no message.
"""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeAlias, TypeVar

from msgspec import Struct

from gqlwire._connection.user_tasks import abandon
from gqlwire._json import encode
from gqlwire._wire.address import PENDING, Address, parse
from gqlwire.errors import CredentialsFailed, InvalidURL, Phase
from gqlwire.retry import Attempt

T = TypeVar("T")
U = TypeVar("U")

Headers = Mapping[str, str] | Iterable[tuple[str, str]]
InitPayload = Mapping[str, Any]
Given: TypeAlias = T | Callable[[Attempt], T | Awaitable[T]]
"""A value, or a function of the `Attempt` that returns it, or a coroutine function that does."""


Url: TypeAlias = Given[str] | list[str] | tuple[str, ...]
"""A URL, a function that returns one, or several URLs of servers that do the same."""


_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HANDSHAKE = "gqlwire makes the WebSocket handshake itself; leave the header out"
_NO_BODY = "the upgrade request has no body; leave the header out"
_SET_BY_US = {
    "upgrade": _HANDSHAKE,
    "connection": _HANDSHAKE,
    "keep-alive": _HANDSHAKE,
    "proxy-connection": _HANDSHAKE,
    "sec-websocket-protocol": "use the option subprotocols=",
    "sec-websocket-extensions": 'use the option compression="deflate"',
    "content-length": _NO_BODY,
    "transfer-encoding": _NO_BODY,
    "trailer": _NO_BODY,
    "te": _NO_BODY,
    "expect": _NO_BODY,
    "proxy-authorization": "it would go to the server; use the option proxy=, with "
    "http://user:password@host:port",
}


def parse_all(url: Url) -> tuple[Address, ...]:
    """Return the addresses of a URL, or of several; of a function, one that stands for it.

    Raises InvalidURL, which names the place of a URL in a list, and ValueError for an empty list.
    """
    if callable(url):
        return (PENDING,)
    if not isinstance(url, list | tuple):
        return (parse(url),)
    if not url:
        raise ValueError("url is an empty list; give at least one URL")
    addresses: list[Address] = []
    for place, each in enumerate(url):
        try:
            addresses.append(parse(each))
        except InvalidURL as invalid:
            raise InvalidURL(f"url[{place}]: {invalid}") from None
    return tuple(addresses)


class Credentials(Struct, frozen=True):
    """What one attempt to connect is made with."""

    address: Address
    headers: list[tuple[str, str]]
    init_payload: InitPayload | None

    def __repr__(self) -> str:
        return f"<Credentials for {self.address!r}>"


async def read(given: Given[T], attempt: Attempt, *, name: str, limit: float | None) -> T:
    """Return the value; if it is a function, call it, for `limit` seconds at most.

    Raises CredentialsFailed if the function raises, or takes longer. A function that is cancelled
    is not waited for.
    """
    if not callable(given):
        return given
    try:
        answer: Any = given(attempt)
        value: T = await _within(limit, answer) if inspect.isawaitable(answer) else answer
    except asyncio.CancelledError as fault:
        task = asyncio.current_task()
        if task and task.cancelling():
            raise
        # Nobody cancelled this task: the CancelledError comes from the function's own awaits.
        raise _failed(name, fault) from fault
    except Exception as fault:  # the user's function may raise anything
        raise _failed(name, fault) from fault
    return value


class UnusableCredentials(CredentialsFailed, TypeError, ValueError):
    """A function for credentials returned something that cannot be used."""


def used(given: object, name: str, use: Callable[[U], T], value: U) -> T:
    """Return `use(value)`; what that raises is the fault of the function that `given` may be.

    Before the first acknowledgement this is a TypeError or a ValueError, as it is for a value.
    Later it is a failure that is retried, like one of a function that raises.
    """
    try:
        return use(value)
    except (TypeError, ValueError) as wrong:
        if not callable(given):
            raise
        text = f"no connection was attempted: the function for {name} returned what cannot be used"
        raise UnusableCredentials(f"{text}: {wrong}", phase=Phase.CONNECT) from wrong
    except Exception as fault:  # an iterator of the user's may raise anything
        raise _failed(name, fault) from fault


async def _within(limit: float | None, answer: Awaitable[T]) -> T:
    """Await what a function of the user returned, in a task of its own.

    It may swallow a cancellation. In our task, that would undo the one of `close()`.
    """
    task = asyncio.ensure_future(answer)
    try:
        await asyncio.wait([task], timeout=limit)
    finally:
        is_late = not task.done()
        if is_late:
            abandon(task)
    if is_late:
        raise TimeoutError
    return task.result()


def _failed(name: str, fault: BaseException) -> CredentialsFailed:
    kind = "took too long" if isinstance(fault, TimeoutError) else f"raised {fault!r}"
    text = f"no connection was attempted: the function for {name} {kind}"
    return CredentialsFailed(text, phase=Phase.CONNECT)


async def gather(
    url: Given[str] | Address,
    headers: Given[Headers | None],
    init_payload: Given[InitPayload | None],
    attempt: Attempt,
    limit: float | None,
) -> Credentials:
    """Return what to connect with; each function may take `limit` seconds.

    `url` is an `Address` if it was parsed before.

    Raises CredentialsFailed as `read` does, and InvalidURL, ValueError or TypeError for a URL,
    headers or a payload that cannot be used. If a function returned them, the error is a
    CredentialsFailed as well.
    """
    if isinstance(url, Address):
        address = url
    else:
        address = parse(await read(url, attempt, name="url", limit=limit))
    said = await read(headers, attempt, name="headers", limit=limit)
    pairs = used(headers, "headers", header_items, said)
    payload = await read(init_payload, attempt, name="init_payload", limit=limit)
    used(init_payload, "init_payload", _check_init_payload, payload)
    return Credentials(address, pairs, payload)


def header_items(headers: Headers | None) -> list[tuple[str, str]]:
    """Return headers as pairs.

    Raises ValueError for headers that would break the request, and for those that gqlwire sets
    itself: the message names the option to use. Raises TypeError for anything that is
    not a mapping or pairs of str.
    """
    items = headers.items() if isinstance(headers, Mapping) else headers or ()
    try:
        pairs = [(name, value) for name, value in items]
    except (TypeError, ValueError) as cause:
        raise TypeError(f"headers must be a mapping or pairs of str: {cause}") from cause
    for name, value in pairs:
        if not (isinstance(name, str) and isinstance(value, str)):
            kind = type(value).__name__  # and not the value: it may be a secret
            raise TypeError(f"headers must be a mapping or pairs of str; {name!r} is {kind}")
        _check_header(name, value)
    return pairs


def _check_header(name: str, value: str) -> None:
    """Raise ValueError for a header that would break the request, or that gqlwire sets itself."""
    if not _NAME.fullmatch(name):
        # Somebody may have put the value, too, into the name.
        before = name.partition(":")[0][:40]
        shown = name if name == before else f"{before}…"
        raise ValueError(
            f"{shown!r} is not the name of a header: it may have letters, digits and "
            f"!#$%&'*+-.^_`|~ only (RFC 9110, section 5.6.2)"
        )
    instead = _SET_BY_US.get(name.lower())
    if instead is None and name.lower().startswith("sec-websocket-"):
        instead = _HANDSHAKE
    if instead is not None:
        raise ValueError(f"the header {name!r} cannot be given: {instead}")
    # RFC 9110, section 5.5; a line break would begin another header, or request.
    if not {"\r", "\n", "\0"}.isdisjoint(value):
        raise ValueError(f"the header {name!r} contains a line break or a NUL")
    if any((char < " " and char != "\t") or char == "\x7f" for char in value):
        raise ValueError(f"the header {name!r} contains a control character")
    if any("\ud800" <= char <= "\udfff" for char in value):
        raise ValueError(f"the header {name!r} contains a surrogate, which UTF-8 cannot encode")


def _check_init_payload(payload: InitPayload | None) -> None:
    """Raise TypeError for a payload that cannot be written as a JSON object; say where it fails."""
    text = encode(payload, "init_payload")
    if payload is not None and not text.startswith(b"{"):
        kind = type(payload).__name__  # and not the value: it may be a secret
        raise TypeError(f"init_payload must be a JSON object, such as a dict, not {kind}")


def lasting(headers: Given[Headers | None]) -> Given[Headers | None]:
    """Return headers that can be read more than once, unlike a generator of pairs."""
    if headers is None or callable(headers) or isinstance(headers, Mapping):
        return headers
    return header_items(headers)
