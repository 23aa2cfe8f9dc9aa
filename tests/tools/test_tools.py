"""The tools that other promises rest on: what they let through, and what they stop."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

TOOLS = Path(__file__).resolve().parents[2] / "tools"
DEMO_URL = "ws://127.0.0.1:54321/graphql"


def load(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Import a tool, which is a script and no package, by its path."""
    spec = importlib.util.spec_from_file_location(name, TOOLS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


class Docs:
    """`run_docs` with pages that a test writes, and a demo that is only a URL."""

    def __init__(self, tool: ModuleType, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.tool = tool
        self.page = folder / "page.md"
        self.capsys = capsys

    def run(self, text: str) -> tuple[int, str]:
        """Run one page; return the exit status and everything that was said."""
        self.page.write_text(text, "utf-8")
        status: int = self.tool.main([str(self.page)])
        said = self.capsys.readouterr()
        return status, said.out + said.err


@pytest.fixture
def docs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Docs:
    tool = load("run_docs", monkeypatch)

    @contextlib.contextmanager
    def demo() -> Iterator[str]:
        yield DEMO_URL

    monkeypatch.setattr(tool, "start_demo", demo)
    return Docs(tool, tmp_path, capsys)


def test_blocks_of_all_three_kinds_run_in_one_folder(docs: Docs) -> None:
    """What one block leaves behind, a later one of the same page finds."""
    status, said = docs.run(
        "```python\nopen('left', 'w').write('a')\n```\n"
        "1. in a list\n   ```bash\n   echo -n b >> left\n   ```\n"
        "```console\n$ cat left; \\\n> echo\nab\n$ export C=c\n$ echo $C\nc\n```\n"
        "```json\n{}\n```\n"
    )

    assert (0, "docs: 1 pages, 3 blocks ran, 0 not, 0 failed\n") == (status, said)


def test_the_demo_takes_the_place_of_the_written_url(docs: Docs) -> None:
    """In the code, in what is expected, and in the environment."""
    status, said = docs.run(
        "```python\nimport os\n"
        "print('ws://127.0.0.1:8000/graphql')\n"
        f"assert os.environ['GQLWIRE_DEMO_URL'] == '{DEMO_URL}'\n"
        f"assert 'ws://127.0.0.1:8000/graphql' == '{DEMO_URL}'\n```\n\n"
        "```text\nws://127.0.0.1:8000/graphql\n```\n"
    )

    assert 0 == status, said


@pytest.mark.parametrize(
    "expected",
    [
        "1\n2\n3\n4\nend of 4",
        "...",
        "1\n...\nend of 4",
        "1\n2\n3\n4\n...\nend of 4",
        "1\n...\n3\n...",
        "...\nend of ...",
    ],
)
def test_three_dots_stand_for_any_lines_or_any_text(docs: Docs, expected: str) -> None:
    """A whole line of them for lines, also none; within a line for a piece of it."""
    status, said = docs.run(f"```bash\nseq 4; echo end of 4\n```\n\n```text\n{expected}\n```\n")

    assert 0 == status, said


@pytest.mark.parametrize(
    "expected", ["1", "1\n3", "2\n1", "1\n2\n3", "...\n3", "1\n...\n1", "(1|2)"]
)
def test_other_output_than_the_page_shows_fails(docs: Docs, expected: str) -> None:
    """The failure names the block and shows the difference."""
    status, said = docs.run(f"\n```bash\nseq 2\n```\n```text\n{expected}\n```\n")

    assert 1 == status
    assert f"FAILED {docs.page}:2: it printed something else" in said
    assert "+++ the block" in said


def test_text_further_down_is_not_output(docs: Docs) -> None:
    """Only the block that follows directly is compared."""
    status, said = docs.run("```bash\necho 1\n```\nor:\n```text\n2\n```\n")

    assert 0 == status, said


def test_a_console_block_compares_the_output_of_each_command(docs: Docs) -> None:
    """The failure names the command."""
    status, said = docs.run("```console\n$ echo one\none\n$ echo two\nthree\n```\n")

    assert 1 == status
    assert "$ echo two\nit printed something else" in said
    assert "echo one" not in said


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        ("python\nimport sys; print('so far'); sys.exit(3)", "exit status 3\n    so far"),
        ("python\nimport warnings\nwarnings.warn('old')", "UserWarning: old"),
        ("python\n1 +", "SyntaxError"),
        ("bash\nfalse\necho", "exit status 1"),
        ("bash\nfalse | true", "exit status 1"),
        ("console\n$ echo told >&2; false\n$ true", "exit status 1\n    told"),
    ],
)
def test_a_block_that_fails_is_listed_with_its_output(docs: Docs, block: str, reason: str) -> None:
    """And the blocks after it still run."""
    status, said = docs.run(f"```{block}\n```\n```python\nprint('ok')\n```\n")

    assert 1 == status
    assert f"FAILED {docs.page}:1: " in said
    assert reason in said
    assert "2 blocks ran, 0 not, 1 failed" in said


def test_a_traceback_has_the_line_numbers_of_the_page(docs: Docs) -> None:
    """Line 5 of the page is line 5 of the program."""
    _, said = docs.run("# Title\n\n```python\nx = 0\n1 / x\n```\n")

    assert 'page_3.py", line 5, in <module>' in said


def test_a_block_that_does_not_end_is_ended(docs: Docs, monkeypatch: pytest.MonkeyPatch) -> None:
    """With everything that it started."""
    monkeypatch.setattr(docs.tool, "BLOCK_SECONDS", 1)

    status, said = docs.run("```bash\necho begun\nsleep 50 & wait\n```\n")

    assert 1 == status
    assert "not done after 1 s\n    begun" in said


def test_a_block_is_left_out_only_for_a_reason(docs: Docs) -> None:
    """It is counted, and the reason is told."""
    status, said = docs.run(
        "<!-- no-run: it installs -->\n```bash no-run\nfalse\n```\n```bash\ntrue\n```\n"
    )

    assert 0 == status
    assert f"not run: {docs.page}:2 (it installs)\n" in said
    assert "1 blocks ran, 1 not, 0 failed" in said


@pytest.mark.parametrize(
    ("page", "complaint"),
    [
        ("```bash no-run\n```\n", "the line above must be <!-- no-run: the reason -->"),
        ("<!-- no-run: -->\n```bash no-run\n```\n", "the line above must be"),
        ("<!-- no-run: x -->\n\n```bash no-run\n```\n", "the line above must be"),
        ("<!-- no-run: x -->\n```bash\n```\n", "no 'no-run' at the block"),
        ("```python norun\n```\n", "unknown words after the language"),
        ("```py\n```\n", "mark this block 'python'"),
        ("```sh\n```\n", "mark this block 'bash'"),
        ("```\n```\n", "mark this block 'text'"),
        ("```python\n", "never closed"),
        ("```console\npip install\n```\n", "begins with a command"),
    ],
)
def test_no_block_is_left_out_in_silence(docs: Docs, page: str, complaint: str) -> None:
    """A page that would hide a block from the tool is refused."""
    status, said = docs.run(page)

    assert 1 == status
    assert complaint in said


def test_pages_without_a_block_prove_nothing(docs: Docs) -> None:
    """So they fail, and so does a page that is not there."""
    assert 1 == docs.run("# Title\n")[0]
    assert 1 == docs.tool.main([str(docs.page.with_name("absent.md"))])


@pytest.mark.parametrize(
    ("program", "status", "said"),
    [
        (f'print(\'{{"url": "{DEMO_URL}"}}\', flush=True); time.sleep(50)', 0, "1 blocks ran"),
        ("sys.exit('no port is free')", 1, "no port is free"),
        ("print('listening', flush=True); time.sleep(50)", 1, "did not say its URL"),
    ],
)
def test_the_demo_is_started_and_stopped(
    program: str,
    status: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its first line tells the URL; if it does not, what it complained of is shown."""
    # The tool runs the `gqlwire` that stands beside its Python.
    command = tmp_path / "gqlwire"
    command.write_text(
        f"#!{sys.executable}\nimport os, sys, time\n"
        "assert ['demo', '--serve', '--port', '0'] == sys.argv[1:]\n"
        f"print(os.getpid(), file=open('{tmp_path}/pid', 'w'))\n{program}\n"
    )
    command.chmod(0o755)
    (tmp_path / "python").symlink_to(sys.executable)
    page = tmp_path / "page.md"
    page.write_text(f'```bash\ntest "$GQLWIRE_DEMO_URL" = {DEMO_URL}\n```\n')
    tool = load("run_docs", monkeypatch)
    monkeypatch.setattr(tool.sys, "executable", str(tmp_path / "python"))

    assert status == tool.main([str(page)])

    captured = capsys.readouterr()
    assert said in captured.out + captured.err
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def function(name: str, lines: int, docstring: str = "") -> str:
    """The text of a function of so many lines, and a docstring on top of them."""
    body = [f'    """{docstring}"""'] if docstring else []
    return "\n".join([f"def {name}():", *body, *["    pass"] * (lines - 1)]) + "\n"


def budget(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    (tmp_path / "module.py").write_text(source)
    status: int = load("size_budget", monkeypatch).main(tmp_path)
    return status


SMALL = "".join(function(f"small{n}", 25) for n in range(9))


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(SMALL + function("f", 40), id="a function of 40 lines"),
        pytest.param(SMALL + function("f", 40, "One.\n    Two.\n    "), id="its docstring is free"),
        pytest.param(function("f", 4) + "\n" * 496, id="a module of 500 lines"),
    ],
)
def test_code_at_the_limits_is_within_budget(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limits are the last sizes that pass."""
    assert 0 == budget(source, tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        pytest.param(SMALL + function("long", 41), "module.py:226 long: 41 lines", id="function"),
        pytest.param(function("f", 4) + "\n" * 497, "module.py: 501 lines", id="module"),
        pytest.param(SMALL + function("a", 26) * 2, "nine of ten functions: 26", id="nine of ten"),
        pytest.param("X = 1\n", "there are no functions", id="nothing to measure"),
    ],
)
def test_code_one_line_beyond_a_limit_is_named(
    source: str,
    complaint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each limit stops the first size beyond it."""
    assert 1 == budget(source, tmp_path, monkeypatch)
    assert complaint in capsys.readouterr().err


def test_the_summary_shows_the_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, whether or not all is well; `@overload` signatures are not counted."""
    overloads = "from typing import overload\n@overload\n" + function("g", 2)

    budget(
        overloads + function("g", 3) + "class C:\n  async def h(self): pass\n",
        tmp_path,
        monkeypatch,
    )

    place = tmp_path / "module.py"
    assert (
        f"size budget: 1 modules, the largest 9 lines ({place}); 2 functions, "
        f"the longest 3 lines ({place}:5 g), nine of ten at most 3\n"
    ) == capsys.readouterr().out
