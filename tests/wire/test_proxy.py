"""Which proxy is chosen for a URL, and how it is named."""

from __future__ import annotations

import os
import urllib.request

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gqlwire._wire.address import without_secrets
from gqlwire._wire.proxy import proxy_for

WS = "ws://graph.example.com/graphql"
WSS = "wss://graph.example.com/graphql"
VARIABLES = ("ws_proxy", "wss_proxy", "http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*os.environ]:
        if name.lower() in VARIABLES:
            monkeypatch.delenv(name)
    # A CGI script must not take HTTP_PROXY from a request's header; the tests are none.
    monkeypatch.delenv("REQUEST_METHOD", raising=False)


def set_all(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("proxy", [False, None])
def test_no_proxy_is_used_with_false_or_none(
    proxy: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the environment says."""
    set_all(monkeypatch, all_proxy="http://env:3128")

    assert proxy_for(WS, proxy) is None


def test_an_empty_environment_has_no_proxy() -> None:
    """True means the environment, and it may be silent."""
    assert proxy_for(WS, True) is None
    assert proxy_for(WSS, True) is None


def test_an_argument_beats_the_environment_and_its_exceptions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A proxy that was asked for is used even where no_proxy lists the host."""
    set_all(monkeypatch, ws_proxy="http://env:3128", no_proxy="*")

    assert "http://mine:8080" == proxy_for(WS, "http://mine:8080")


@pytest.mark.parametrize(
    ("url", "order"),
    [
        (WS, ["ws_proxy", "http_proxy", "all_proxy"]),
        (WSS, ["wss_proxy", "https_proxy", "all_proxy"]),
    ],
)
@pytest.mark.parametrize("spelling", [str.lower, str.upper])
def test_the_nearest_variable_wins(
    url: str, order: list[str], spelling: type[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The WebSocket scheme's own variable, then the one of HTTP, then the one for all."""
    for name in VARIABLES[:-1]:
        monkeypatch.setenv(spelling(name), f"http://{name.replace('_', '-')}:1")

    for name in order:
        assert f"http://{name.replace('_', '-')}:1" == proxy_for(url, True)
        monkeypatch.delenv(spelling(name))
    assert proxy_for(url, True) is None


def test_lower_case_beats_upper_case_and_may_switch_it_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As in urllib: `http_proxy` hides `HTTP_PROXY`, even when it is empty."""
    set_all(monkeypatch, HTTP_PROXY="http://upper:1", http_proxy="http://lower:1")
    assert "http://lower:1" == proxy_for(WS, True)

    set_all(monkeypatch, http_proxy="")
    assert proxy_for(WS, True) is None


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("proxy.example:3128", "http://proxy.example:3128"),
        ("proxy.example", "http://proxy.example:80"),
        ("http://proxy.example", "http://proxy.example:80"),
        ("https://proxy.example/", "https://proxy.example:443"),
        ("HTTP://Proxy.Example:3128/", "http://proxy.example:3128"),
        ("socks5://proxy.example", "socks5://proxy.example:1080"),
        ("socks5h://proxy.example:9050", "socks5://proxy.example:9050"),
        ("socks4://10.0.0.1:1080", "socks4://10.0.0.1:1080"),
        ("http://[fd00::1]:3128", "http://[fd00::1]:3128"),
        ("http://[fd00::1]", "http://[fd00::1]:80"),
        ("http://user:p%40ss@proxy.example:3128", "http://user:p%40ss@proxy.example:3128"),
        ("user:pass@proxy.example:3128", "http://user:pass@proxy.example:3128"),
        ("socks5://user@proxy.example", "socks5://user:@proxy.example:1080"),
    ],
)
def test_a_proxy_is_completed(written: str, meant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scheme and a port are filled in, the same for the argument and for a variable."""
    set_all(monkeypatch, all_proxy=written)

    assert meant == proxy_for(WS, written)
    assert meant == proxy_for(WSS, True)


@pytest.mark.parametrize("scheme", ["ftp", "ws", "wss", "socks", "socks4a"])
def test_another_kind_of_proxy_is_refused_by_name(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error tells the scheme, and the variable or the argument that it came from."""
    proxy = f"{scheme}://user:secret@proxy.example:1"
    set_all(monkeypatch, HTTPS_PROXY=proxy)

    with pytest.raises(
        ValueError, match=rf"^proxy={scheme}://\*\*\*@.*: unknown proxy scheme; known: http"
    ) as argument:
        proxy_for(WS, proxy)
    with pytest.raises(
        ValueError, match=rf"^HTTPS_PROXY={scheme}://\*\*\*@.*: unknown proxy scheme; known"
    ) as variable:
        proxy_for(WSS, True)

    assert "secret" not in f"{argument.value}{variable.value}"


def test_a_proxy_of_the_system_is_named_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no variable is at fault, the system's settings are."""
    monkeypatch.setattr(
        "gqlwire._wire.proxy.getproxies", lambda: {"http": "gopher://proxy.example"}
    )

    with pytest.raises(ValueError, match="the http proxy of the system's settings: gopher://"):
        proxy_for(WS, True)


@pytest.mark.parametrize(
    "proxy",
    [
        "",
        "http://",
        "http://:3128",
        "http://user:secret@",
        "http://user:secret@proxy.example:port",
        "http://user:secret@proxy.example:70000",
        "http://user:secret@[fd00::1",
        "http://user:se/cret@proxy.example:1",
        "http://user:secret@proxy\u2100example:1",
        "user@:3128",
    ],
)
def test_an_invalid_address_is_refused_without_showing_secrets(proxy: str) -> None:
    """The sentence begins with the argument's name and never shows a password."""
    with pytest.raises(ValueError, match=r"^proxy=") as refused:
        proxy_for(WS, proxy)

    assert "cret" not in str(refused.value)
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


@pytest.mark.parametrize(
    ("no_proxy", "url"),
    [
        ("*", "ws://anything.example"),
        ("other.example, *", "ws://anything.example"),
        ("example.com", "ws://example.com/graphql"),
        ("example.com", "ws://deep.graph.example.com"),
        ("EXAMPLE.com", "ws://Graph.Example.COM"),
        ("example.com", "ws://example.com."),
        (".example.com", "ws://graph.example.com"),
        ("*.example.com", "ws://graph.example.com"),
        ("a.example , b.example,c.example", "ws://b.example"),
        ("localhost", "ws://localhost:8000"),
        ("127.0.0.1", "ws://127.0.0.1:8000"),
        ("10.0.0.0/8", "ws://10.1.2.3"),
        ("10.1.2.3/8", "ws://10.9.9.9"),
        ("::1", "ws://[::1]:8000"),
        ("[::1]", "ws://[::1]"),
        ("[::1]:8000", "ws://[::1]:8000"),
        ("fd00::/8", "ws://[fd12::9]"),
        ("0:0:0:0:0:0:0:1", "ws://[::1]"),
        ("example.com:8080", "ws://example.com:8080"),
        ("example.com:80", "ws://example.com"),
        ("10.0.0.0/8:8080", "ws://10.1.2.3:8080"),
        ("example.com:443", "wss://example.com"),
        ("ws://example.com", "ws://example.com"),
        ("http://example.com/", "ws://example.com"),
        ("https://example.com", "wss://example.com"),
        ("all://example.com:9", "wss://example.com:9"),
    ],
)
def test_a_listed_host_is_reached_directly(
    no_proxy: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`no_proxy` understands hosts, suffixes, addresses, networks, ports and schemes."""
    set_all(monkeypatch, all_proxy="http://env:3128", no_proxy=no_proxy)

    assert proxy_for(url, True) is None


@pytest.mark.parametrize(
    ("no_proxy", "url"),
    [
        ("", "ws://example.com"),
        (" , ,", "ws://example.com"),
        ("example.com", "ws://badexample.com"),
        ("example.com", "ws://example.com.evil.test"),
        (".example.com", "ws://example.com"),
        ("*.example.com", "ws://example.com"),
        ("localhost", "ws://app.localhost"),
        ("10.0.0.0/8", "ws://11.0.0.1"),
        ("10.0.0.0/8", "ws://10.example.com"),
        ("10.0.0.0/8", "ws://[::1]"),
        ("0.0.1", "ws://10.0.0.1"),
        (".0.0.1", "ws://10.0.0.1"),
        ("example.com:8080", "ws://example.com"),
        ("[::1]:8000", "ws://[::1]:8001"),
        ("wss://example.com", "ws://example.com"),
        ("https://example.com", "ws://example.com"),
        (".", "ws://example.com."),
        ("ws://", "ws://example.com"),
        (":80", "ws://example.com"),
    ],
)
def test_other_hosts_go_through_the_proxy(
    no_proxy: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is merely similar to an entry of `no_proxy` is not taken out."""
    set_all(monkeypatch, all_proxy="http://env:3128", no_proxy=no_proxy)

    assert "http://env:3128" == proxy_for(url, True)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_loopback_goes_through_the_proxy_like_other_hosts(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with httpx, unless `no_proxy` lists it."""
    set_all(monkeypatch, http_proxy="http://env:3128")

    assert "http://env:3128" == proxy_for(f"ws://{host}:8000", True)


def test_an_upper_case_no_proxy_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both spellings are read, as for the other variables."""
    set_all(monkeypatch, ALL_PROXY="http://env:3128", NO_PROXY="graph.example.com")

    assert proxy_for(WS, True) is None


@given(st.text(max_size=30))
def test_no_text_in_no_proxy_is_an_error(no_proxy: str) -> None:
    """An entry that nobody understands takes nothing out; it never fails a connect."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "gqlwire._wire.proxy.getproxies",
            lambda: {"all": "http://env:3128", "no": no_proxy},
        )
        assert proxy_for("ws://q.example:1", True) in (None, "http://env:3128")


@given(st.text(max_size=40))
def test_any_text_as_proxy_is_an_address_or_a_value_error(proxy: str) -> None:
    """Nothing but `ValueError` comes out, and what is returned can be parsed."""
    try:
        found = proxy_for(WS, proxy)
    except ValueError:
        return
    assert found is not None
    assert urllib.parse.urlsplit(found).port


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://user:secret@proxy.example:3128", "http://***@proxy.example:3128"),
        ("user:secret@proxy.example:3128", "***@proxy.example:3128"),
        ("http://:secret@proxy.example", "http://***@proxy.example"),
        ("http://user@proxy.example:3128", "http://***@proxy.example:3128"),
        # Nobody can tell where these passwords end.
        ("socks5://user:se@cr/et:x@proxy.example", "socks5://***"),
        ("socks5://us/er:secret@proxy.example", "socks5://***"),
        ("http://us@er:secret@proxy.example", "http://***"),
        ("user:se?cret@proxy.example", "***"),
        ("us://er:secret@proxy.example", "***@proxy.example"),
        ("http://proxy.example:3128", "http://proxy.example:3128"),
        ("http://proxy.example:3128/?token=x#y", "http://proxy.example:3128/"),
        ("proxy.example:3128", "proxy.example:3128"),
        ("http://[fd00::1]:3128", "http://[fd00::1]:3128"),
        ("", ""),
    ],
)
def test_credentials_are_never_shown(url: str, shown: str) -> None:
    """For logs and errors: the host stays readable where it is clear which it is."""
    assert shown == without_secrets(url)


@given(st.text(max_size=20), st.from_regex(r"[^\s:@]{4,20}", fullmatch=True))
def test_no_password_survives_redaction(user: str, password: str) -> None:
    """Whatever the user's name looks like, the password is gone."""
    marked = f"#{password}#"

    assert marked not in without_secrets(f"http://{user}:{marked}@proxy.example:1")
