"""The options of a transport, each declared once, and the checks of their values.

A new option is a field of `TransportOptions`, a key of `ConnectOptions` for type checkers, and the
place that uses it.
"""

from __future__ import annotations

import ssl as ssl_module
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

from msgspec import Struct

from gqlwire._protocols import DIALECTS
from gqlwire._wire import MAX_MESSAGE_SIZE, OpenWebSocket, deflate
from gqlwire._wire.address import Address, without_secrets
from gqlwire._wire.proxy import proxy_for
from gqlwire.transport.credentials import Given, Headers, InitPayload


class TransportOptions(Struct, kw_only=True, dict=True, weakref=True, eq=False):
    """The options of `WebsocketsTransport`; its docstring explains them."""

    headers: Given[Headers | None] = None
    ssl: ssl_module.SSLContext | bool | None = None
    init_payload: Given[InitPayload | None] = None
    connect_timeout: float | None = 10
    close_timeout: float | None = 10
    ack_timeout: float | None = 10
    keep_alive_timeout: float | None = None
    ping_interval: float | None = None
    pong_timeout: float | None = None
    answer_pings: bool = True
    subprotocols: Sequence[str] | None = None
    max_message_size: int = MAX_MESSAGE_SIZE
    proxy: str | bool | None = True
    proxy_ssl: ssl_module.SSLContext | bool | None = None
    compression: Literal["deflate"] | None = None
    open_websocket: OpenWebSocket | None = None
    connect_args: Mapping[str, Any] | None = None


class ConnectOptions(TypedDict, total=False):
    """`TransportOptions`, as the keyword arguments of a function."""

    headers: Given[Headers | None]
    ssl: ssl_module.SSLContext | bool | None
    init_payload: Given[InitPayload | None]
    connect_timeout: float | None
    close_timeout: float | None
    ack_timeout: float | None
    keep_alive_timeout: float | None
    ping_interval: float | None
    pong_timeout: float | None
    answer_pings: bool
    subprotocols: Sequence[str] | None
    max_message_size: int
    proxy: str | bool | None
    proxy_ssl: ssl_module.SSLContext | bool | None
    compression: Literal["deflate"] | None
    open_websocket: OpenWebSocket | None


def check_connect_args(connect_args: Mapping[str, Any] | None) -> None:
    """Raise TypeError for gql's `connect_args`, which go to a library that gqlwire does not use."""
    if connect_args:
        raise TypeError(
            f"connect_args ({', '.join(connect_args)}) are for the websockets library, which "
            f"gqlwire does not use; instead see max_message_size, proxy, compression, ssl, headers "
            f"and ping_interval"
        )


def check_subprotocols(forced: tuple[str, ...] | None) -> None:
    """Raise ValueError for names of protocols that gqlwire does not know, and for no name."""
    known = ", ".join(DIALECTS)
    unknown = [name for name in forced or () if name not in DIALECTS]
    if unknown:
        raise ValueError(f"unknown subprotocols {unknown}; known: {known}")
    if forced == ():
        raise ValueError(f"subprotocols is empty; known: {known}")


def check_compression(compression: str | None) -> None:
    """Raise ValueError for another compression, ModuleNotFoundError if its extra is missing."""
    if compression not in (None, "deflate"):
        raise ValueError(f'compression must be "deflate" or None, not {compression!r}')
    if compression:
        deflate.offer()  # raises if the extra is missing


def check_ssl(ssl: object, address: Address) -> None:
    """Raise ValueError for TLS settings without TLS."""
    if ssl and not address.is_secure:
        raise ValueError(f"ssl needs a wss:// URL, not {address.place}")


def check_proxy(proxy: str | bool | None, proxy_ssl: object) -> None:
    """Raise ValueError for a proxy that cannot be used, and for TLS settings without TLS to it.

    What the environment says about proxies may change, so it is not known here.
    """
    url = proxy_for("", proxy) if isinstance(proxy, str) else None
    if not proxy_ssl or proxy is True:
        return
    if url is None:
        raise ValueError("proxy_ssl needs a proxy, and proxy= says to use none")
    if not url.startswith("https://"):
        raise ValueError(f"proxy_ssl needs an https:// proxy, not {without_secrets(url)}")


def context_of(ssl: ssl_module.SSLContext | bool | None) -> ssl_module.SSLContext | None:
    """Return the context of an option; None means the system's CAs."""
    return ssl if isinstance(ssl, ssl_module.SSLContext) else None
