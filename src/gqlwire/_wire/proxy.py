"""Chooses the proxy for a URL, from the argument or the environment, as httpx does.

This module does no I/O; picows connects to the proxy.

The environment is read by `urllib.request.getproxies`, which includes the settings of macOS and
Windows. For `ws://` the variables are `ws_proxy`, then `http_proxy`; for `wss://`, `wss_proxy`,
then `https_proxy`; for both, `all_proxy` last. `no_proxy` is a list with commas. An entry is one
of:

- `*`: no proxy for any host;
- `example.com`: this host and its subdomains; `.example.com`: only the subdomains;
- an IP address, or a network such as `10.0.0.0/8` or `fd00::/8`;
- any of these with a port (`example.com:8080`, `[::1]:8080`) or a scheme (`wss://example.com`;
  `http://` also matches `ws://`, and `https://` also matches `wss://`).

As in httpx, `localhost` and loopback addresses use the proxy unless `no_proxy` lists them. Unlike
gqlwire, httpx does not match an address against a network.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from ipaddress import ip_address, ip_network
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from gqlwire._wire.address import Address, without_secrets
from gqlwire.errors import Phase, ProxyFailed

_VARIABLES = {"ws": ("ws", "http", "all"), "wss": ("wss", "https", "all")}
_DEFAULT_PORT = {"http": 80, "https": 443, "ws": 80, "wss": 443, "socks4": 1080, "socks5": 1080}
_PROXY_SCHEMES = ("http", "https", "socks4", "socks5")
# The h means that the proxy looks up names, which picows's SOCKS5 client always requests.
_SAME_AS = {"socks5h": "socks5"}


def proxy_for(url: str, proxy: str | bool | None) -> str | None:
    """Return the URL of the proxy for `url`, or None to connect directly.

    `url` is a `ws://` or `wss://` URL. `proxy` is True to use the environment, False or None for no
    proxy, or the URL of a proxy, which is used even if `no_proxy` lists the host. The format is
    `scheme://[user:password@]host[:port]`, with special characters of the password
    percent-encoded; a missing scheme means `http`.

    The result has one of the schemes `http`, `https`, `socks4` and `socks5`, and always a port.
    Raises `ValueError` for an invalid proxy; the message names the argument or the variable.
    """
    if isinstance(proxy, str):
        return _checked(proxy, "proxy=")
    if not proxy:
        return None
    target = urlsplit(url)
    settings = getproxies()
    for name in _VARIABLES[target.scheme]:
        if found := settings.get(name):
            if _listed(target, settings.get("no", "")):
                return None
            return _checked(found, _origin(name))
    return None


def chosen(address: Address, proxy: str | bool | None) -> str | None:
    """Return the proxy for an attempt to connect. Raises ProxyFailed for an invalid one."""
    try:
        return proxy_for(address.url, proxy)
    except ValueError as unusable:
        text = f"no connection to {address.host}: {unusable}"
        raise ProxyFailed(text, host=address.host, phase=Phase.CONNECT) from unusable


def getproxies() -> dict[str, str]:
    """Return the proxies of the environment, or those of the settings of macOS or Windows."""
    from_environment = any(name.lower().endswith("_proxy") for name in os.environ)
    if not from_environment and sys.platform not in ("darwin", "win32"):
        return {}
    # Slow to import, because it imports http.client.
    from urllib.request import getproxies as found

    return found()


def _checked(proxy_url: str, source: str) -> str:
    """Return `proxy_url` with a scheme and a port; errors begin with its `source`."""
    proxy_url = proxy_url.strip()
    shown = source + without_secrets(proxy_url)
    if " " in proxy_url or not proxy_url.isprintable():
        # In a user or a password they have to be percent-encoded; a surrogate has no encoding.
        raise ValueError(f"{shown}: it contains white space, or characters that are not printable")
    try:
        parts = urlsplit(proxy_url if "://" in proxy_url else f"http://{proxy_url}")
        host, port = parts.hostname, parts.port
    except ValueError:
        # urllib's message may show a part of the password.
        raise ValueError(f"{shown}: the host or the port is invalid") from None
    scheme = _SAME_AS.get(parts.scheme, parts.scheme)
    if scheme not in _PROXY_SCHEMES:
        raise ValueError(
            f"{shown}: unknown proxy scheme; known: {', '.join(_PROXY_SCHEMES)}, socks5h"
        )
    if not host:
        raise ValueError(f"{shown}: the host is missing")
    credentials, at, _ = parts.netloc.rpartition("@")
    if at and ":" not in credentials:
        # The SOCKS client ignores a user name without a password.
        credentials += ":"
    address = f"[{host}]" if ":" in host else host
    return f"{scheme}://{credentials}{at}{address}:{port or _DEFAULT_PORT[scheme]}"


def _origin(name: str) -> str:
    """Return where `getproxies` found the proxy `name`: the variable as the user wrote it."""
    # Reversed, so that the lower-case spelling comes first: getproxies prefers it.
    for variable in sorted(os.environ, reverse=True):
        if variable.lower() == f"{name}_proxy" and os.environ[variable]:
            return f"{variable}="
    return f"the {name} proxy of the system's settings: "


class _Entry(NamedTuple):
    """The parts of one entry of `no_proxy`."""

    scheme: str
    host: str
    port: int | None


def _listed(target: SplitResult, no_proxy: str) -> bool:
    """Return whether `no_proxy` lists the host of `target`."""
    host = (target.hostname or "").rstrip(".")
    port = target.port or _DEFAULT_PORT[target.scheme]
    for text in filter(None, (part.strip().lower() for part in no_proxy.split(","))):
        entry = _parsed(text)
        if (
            entry.scheme in ("", *_VARIABLES[target.scheme])
            and entry.port in (None, port)
            and _covers(entry.host, host)
        ):
            return True
    return False


def _parsed(text: str) -> _Entry:
    scheme, _, rest = text.rpartition("://")
    with suppress(ValueError):
        # Otherwise the end of a bare IPv6 address would be read as a port.
        ip_network(rest, strict=False)
        return _Entry(scheme, rest, None)
    rest = rest.rstrip("/")
    host, _, port = rest.rpartition(":")
    if not port.isdecimal():
        return _Entry(scheme, rest.strip("[]"), None)
    return _Entry(scheme, host.strip("[]"), int(port))


def _covers(entry: str, host: str) -> bool:
    """Return whether the host, network or suffix `entry` matches `host`."""
    if entry == "*":
        return True
    try:
        address = ip_address(host)
    except ValueError:
        if entry.startswith((".", "*.")):
            return host.endswith(entry.lstrip("*"))
        return host == entry or (entry != "localhost" and host.endswith(f".{entry}"))
    with suppress(ValueError):
        return address in ip_network(entry, strict=False)
    return False
