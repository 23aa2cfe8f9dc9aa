"""What the command line says, and what is wrong with it: status 2 and one sentence."""

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from gqlwire.cli import main
from gqlwire.cli._arguments import COMMANDS, operation_options
from gqlwire.cli._exit import Exit, UsageError

URL = "ws://127.0.0.1:9/graphql"


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What the command says on stderr when it refuses its command line."""
    assert Exit.USAGE == main(arguments)
    out, err = capsys.readouterr()
    assert "" == out
    assert 1 == err.count("\n"), err
    assert err.startswith("gqlwire: ")
    return err.removeprefix("gqlwire: ").rstrip()


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """--version prints the version of the distribution."""
    assert 0 == main(["--version"])

    assert f"gqlwire {version('gqlwire')}\n" == capsys.readouterr().out


def test_start_is_light() -> None:
    """What only some commands need is not loaded for the others."""
    heavy = "{'picows', 'graphql', 'strawberry', 'uvicorn'}"
    code = "import sys; from gqlwire.cli import main; main(['--version']); "
    code += f"assert not {heavy} & set(sys.modules), sys.modules"

    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, capture_output=True)


def test_module_is_the_command() -> None:
    """`python -m gqlwire` is the command, exit status and all."""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-m", "gqlwire", "query", "nonsense", "{ a }"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (2, "") == (run.returncode, run.stdout)
    assert run.stderr.startswith("gqlwire: 'nonsense' is not the URL of a WebSocket server")


def test_help_explains_the_exit_statuses(capsys: pytest.CaptureFixture[str]) -> None:
    """--help of the command and of the operations explains each exit status and each command."""
    for arguments in (["--help"], ["query", "--help"], ["subscribe", "-h"]):
        assert 0 == main(arguments)
        out = capsys.readouterr().out
        assert all(str(int(status)) in out.partition("exit status:")[2] for status in Exit)
    assert 0 == main(["-h"])
    out = capsys.readouterr().out
    assert all(f"\n  {name:<11}{text}\n" in out for name, text in COMMANDS.items())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "missing command: query, subscribe or demo (see gqlwire --help)"),
        (["fetch"], "argument command: invalid choice: 'fetch'"),
        (["query"], "the following arguments are required: URL"),
        (["query", URL, "{ a }", "--count", "3"], "unrecognized arguments: --count 3"),
        (["query", URL, "{ a }", "--time", "3"], "unrecognized arguments: --time 3"),
        (["query", URL, "{ a }", "--timeout", "x"], "'x' is not a number of seconds"),
        (["query", URL, "{ a }", "--timeout", "-1"], "'-1' is not a number of seconds"),
        (["query", URL, "{ a }", "--timeout", "inf"], "'inf' is not a number of seconds"),
        (["subscribe", URL, "{ a }", "--count", "0"], "'0' is not a number of events"),
        (["subscribe", URL, "{ a }", "--count", "1.5"], "'1.5' is not a number of events"),
        (["query", URL, "{ a }", "-V", "a"], "'a' is not of the form NAME=JSON"),
        (["query", URL, "{ a }", "-V", "$a=1"], "'$a=1' is not of the form NAME=JSON"),
        (["query", URL, "{ a }", "--variables", "[1]"], "the value is JSON, but not an object"),
        (
            ["query", URL, "{ a }", "--variables", "{a}"],
            "the value is not JSON: Expecting property",
        ),
        (["query", URL, "{ a }", "--variables", '{"a":NaN}'], "JSON cannot represent NaN"),
        (["query", URL, "{ a }", "--variables", '{"a":1e999}'], "1e999 is out of range"),
        (["query", URL, "{ a }", "--init-payload", "7"], "the value is JSON, but not an object"),
        (["query", URL, "{ a }", "-H", "Secret"], "a header must be 'Name: value'"),
        (["query", URL, "{ a }", "-H", "A: b\r\nC: d"], "a header must be 'Name: value'"),
        (["query", URL, "{ a }", "--protocol", "http"], "invalid choice: 'http'"),
        (["query", URL, "{ a }", "--pretty", "--compact"], "not allowed with argument --pretty"),
        (["query", URL, "{ a }", "--key", "k.pem"], "--key needs --cert"),
        (
            ["query", URL, "{ a }", "--ca", "c", "--insecure"],
            "--ca and --insecure cannot be combined",
        ),
        (["query", URL, ""], "the document is empty"),
        (
            ["query", URL, "{ a", "-q"],
            "syntax error in the document at line 1, column 4: Expected Name",
        ),
        (["query", URL, "{\n  a(\n}"], "syntax error in the document at line 3, column 1: "),
        (["query", URL, "{a" * 5000], "nested too deeply"),
        (["query", URL, "fragment f on A { a }"], "the document has no operation"),
        (["query", URL, "query A { a } query B { b }"], "several operations (A, B)"),
        (["query", URL, "query A { a }", "-o", "B"], "no operation named 'B' (it has: A)"),
        (["query", URL, "{ a }", "--insecure"], "ssl needs a wss:// URL"),
        (["query", URL, "{ a }", "--proxy", "ftp://p"], "proxy=ftp://p: unknown proxy scheme"),
        (["query", "http://h/graphql", "{ a }"], "did you mean 'ws://h/graphql'?"),
        (["query", "https://h/graphql", "{ a }"], "did you mean 'wss://h/graphql'?"),
        (["subscribe", "ws://", "{ a }"], "is not the URL of a WebSocket server"),
        (["demo", "--port", "65536"], "'65536' is not a port number"),
        (["demo", "extra"], "unrecognized arguments: extra"),
    ],
)
def test_wrong_command_lines(
    capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    """What is wrong is told in one sentence that names it, before anything is connected."""
    assert expected in complaint(capsys, *arguments)


def test_token_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """A header that is spelt wrongly is not repeated: it may be a secret."""
    assert "hunter2" not in complaint(capsys, "query", URL, "{ a }", "-H", "Token hunter2")


@pytest.mark.parametrize("option", ["document", "--variables", "--init-payload"])
def test_unreadable_files(capsys: pytest.CaptureFixture[str], tmp_path: Path, option: str) -> None:
    """A file that is not there, is a folder or is no text is named."""
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    for path, why in (
        (tmp_path / "absent", "cannot be read: No such file or directory"),
        (tmp_path, "cannot be read: Is a directory"),
        (binary, "is not UTF-8 text"),
    ):
        rest = [f"@{path}"] if option == "document" else ["{ a }", option, f"@{path}"]

        assert f"'{path}' {why}" == complaint(capsys, "query", URL, *rest)


def test_wrong_certificate_files(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A TLS file that is not there or is none is named with its option."""
    text = tmp_path / "text.pem"
    text.write_text("no certificate")
    url = "wss://127.0.0.1:9/"

    absent = complaint(capsys, "query", url, "{ a }", "--ca", "absent.pem")
    no_ca = complaint(capsys, "query", url, "{ a }", "--ca", str(text))
    no_pair = complaint(capsys, "query", url, "{ a }", "--cert", str(text), "--key", "absent.pem")

    assert "--ca absent.pem: No such file or directory" == absent
    assert f"--ca {text}: not a PEM file of this kind" in no_ca
    assert f"--cert {text} --key absent.pem: " in no_pair


def test_variables_are_json_or_strings() -> None:
    """-V takes JSON where it is JSON, else a string; it wins over --variables."""
    said = operation_options(
        "query",
        [URL, "-V", "a=1", "-V", 'b={"c":[true,null]}', "{ a }", "-V", "d=x=y", "-V", "e=",
         "--variables", '{"a": 0, "z": 1.5}', "-V", 'f="1"', "-V", "g=NaN", "-V", f"h={10**30}"],
    )  # fmt: skip

    assert {
        "a": 1, "b": {"c": [True, None]}, "d": "x=y", "e": "", "z": 1.5, "f": "1", "g": "NaN",
        "h": 10**30,
    } == said.variables  # fmt: skip
    assert "{ a }" == said.document


def test_options_reach_the_transport(tmp_path: Path) -> None:
    """Each option of the connection is one of the transport's; 0 seconds mean no limit."""
    payload = tmp_path / "payload.json"
    payload.write_text(json.dumps({"token": "é"}), "utf-8-sig")

    said = operation_options(
        "subscribe",
        [URL, "{ a }", "-H", "A: b: c ", "-H", "A:d", "--init-payload", f"@{payload}",
         "--protocol", "graphql-ws", "--connect-timeout", "0", "--ping-interval", "2.5",
         "--proxy", "none", "--compression", "--timeout", "0"],
    )  # fmt: skip

    assert {
        "headers": [("A", "b: c"), ("A", "d")],
        "init_payload": {"token": "é"},
        "connect_timeout": None,
        "ack_timeout": None,
        "ping_interval": 2.5,
        "subprotocols": ["graphql-ws"],
        "proxy": None,
        "compression": "deflate",
    } == said.transport
    assert (None, None) == (said.timeout, said.count)


def test_defaults_are_the_transports() -> None:
    """Without options a query has ten seconds and follows the proxies of the environment."""
    said = operation_options("query", [URL, "{ a }"])

    assert (10.0, None, {}, "auto") == (said.timeout, said.pretty, said.variables, said.color)
    assert (True, [], None) == tuple(
        said.transport[n] for n in ("proxy", "headers", "subprotocols")
    )


def test_only_subscriptions_reconnect() -> None:
    """And ping, by default, so that a dead connection is noticed; --no-reconnect is theirs."""
    query = operation_options("query", [URL, "{ a }"])
    subscription = operation_options("subscribe", [URL, "{ a }"])
    silent = ["--no-reconnect", "--ping-interval", "0"]
    ending = operation_options("subscribe", [URL, "{ a }", *silent])

    assert (False, None) == (query.reconnecting, query.transport["ping_interval"])
    assert (True, 25.0) == (subscription.reconnecting, subscription.transport["ping_interval"])
    assert (False, None) == (ending.reconnecting, ending.transport["ping_interval"])
    with pytest.raises(UsageError, match="unrecognized arguments: --no-reconnect"):
        operation_options("query", [URL, "{ a }", "--no-reconnect"])


def test_compression_needs_an_extra(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the extra, --compression says how to get it."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "websockets"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "websockets", None)

    said = complaint(capsys, "query", URL, "{ a }", "--compression")

    assert "pip install 'gqlwire[deflate]'" in said


def test_no_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process without stdin is told that it gave no document."""
    monkeypatch.setattr(sys, "stdin", None)

    with pytest.raises(UsageError, match="no stdin to read one from"):
        operation_options("query", [URL])
