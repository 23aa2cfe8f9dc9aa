"""What the options of a transport have to be, checked before anything runs."""

from __future__ import annotations

import ssl as ssl_module
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from gqlwire._protocols import SUBPROTOCOLS
from gqlwire._wire import deflate
from gqlwire._wire.address import Address

if TYPE_CHECKING:
    from gqlwire.transport.credentials import Given, Headers, InitPayload


class TransportOptions(TypedDict, total=False):
    """The options of `WebsocketsTransport`, which explains them."""

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
    compression: Literal["deflate"] | None


def check_connect_args(connect_args: Mapping[str, Any] | None) -> None:
    """Raise TypeError for gql's option: it went to a library that is not used here."""
    if connect_args:
        raise TypeError(
            f"connect_args were for another library ({', '.join(connect_args)}); see "
            f"max_message_size, proxy, compression, ssl, headers and ping_interval"
        )


def check_subprotocols(forced: tuple[str, ...] | None) -> None:
    """Raise ValueError for subprotocols that there are not, and for none."""
    unknown = [name for name in forced or () if name not in SUBPROTOCOLS]
    if unknown or forced == ():
        raise ValueError(f"subprotocols are of {', '.join(SUBPROTOCOLS)}, not {unknown}")


def check_compression(compression: str | None) -> None:
    """Raise ValueError for another compression, ModuleNotFoundError if its extra is missing."""
    if compression not in (None, "deflate"):
        raise ValueError(f'compression is "deflate" or None, not {compression!r}')
    if compression:
        deflate.offer()  # tells what to install, if need be


def check_ssl(ssl: object, address: Address) -> None:
    """Raise ValueError for TLS settings without TLS."""
    if ssl and not address.is_secure:
        raise ValueError(f"ssl is for wss:// URLs, and this is {address.place}")
