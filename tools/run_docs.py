"""Run the code blocks of README.md and docs/**/*.md, and compare what they print.

Blocks marked `python` are complete programs, `bash` complete scripts; a block marked `console`
holds commands after `$ ` (continued after `> `), each followed by what it prints, or by nothing
if that does not matter. The blocks of a page run in order in one folder, which is new and has the
repository's `examples` in it. A block fails when it ends with another status than 0, when it
takes more than a minute, or when it prints something else than the `text` block that follows it
directly. In what is expected, a line `...` stands for any lines, and `...` within a line for any
text. Warnings are errors.

    <!-- no-run: the reason -->
    ```python no-run

A demo server runs beside them: its URL stands in GQLWIRE_DEMO_URL, and takes the place of
ws://127.0.0.1:8000/graphql wherever a block says that.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import queue
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent
WRITTEN_URL = "ws://127.0.0.1:8000/graphql"
URL_VARIABLE = "GQLWIRE_DEMO_URL"
BLOCK_SECONDS = 60
DEMO_SECONDS = 30

RUNNABLE = {"python", "bash", "console"}
MEANT = {"py": "python", "python3": "python", "pycon": "python", "": "text"} | dict.fromkeys(
    ["sh", "shell", "zsh", "shell-session"], "bash"
)
FENCE = re.compile(r"(?P<indent>\s*)(?P<fence>`{3,}|~{3,})\s*(?P<info>[^`]*)")
REASON = re.compile(r"\s*<!--\s*no-run:\s*(?P<reason>\S.*?)\s*-->\s*")
END_OF_COMMAND = "\x1e"


class Broken(Exception):
    """A page, or the demo, is not as it must be; the text says where and why."""


@dataclass(frozen=True)
class Block:
    """A fenced block; `line` is that of its opening fence, counted from 1."""

    page: Path
    line: int
    end: int
    language: str
    flags: tuple[str, ...]
    code: str
    reason: str | None = None
    expected: str | None = None

    @property
    def place(self) -> str:
        page = self.page.relative_to(ROOT) if self.page.is_relative_to(ROOT) else self.page
        return f"{page}:{self.line}"

    def at(self, url: str) -> Block:
        """Return the block with the demo's URL in it."""
        expected = self.expected and self.expected.replace(WRITTEN_URL, url)
        return replace(self, code=self.code.replace(WRITTEN_URL, url), expected=expected)


def main(arguments: list[str]) -> int:
    pages = [Path(argument).resolve() for argument in arguments]
    pages = pages or [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    try:
        blocks = {page: [checked(block) for block in read(page)] for page in pages}
        skipped = [block for page in pages for block in blocks[page] if block.reason]
        failures: list[str] = []
        ran = 0
        with demo_for(blocks) as url:
            for page in pages:
                runnable = [b for b in blocks[page] if b.language in RUNNABLE and not b.reason]
                failures += run_page([block.at(url) for block in runnable], url)
                ran += len(runnable)
    except Broken as broken:
        print(broken, file=sys.stderr)
        return 1
    for block in skipped:
        print(f"not run: {block.place} ({block.reason})")
    for failure in failures:
        print(failure, file=sys.stderr)
    print(f"docs: {len(pages)} pages, {ran} blocks ran, {len(skipped)} not, {len(failures)} failed")
    return 1 if failures or not ran else 0


# Reading pages.


def read(page: Path) -> list[Block]:
    """Return the fenced blocks of a page, each with its reason and its expected output."""
    if not page.is_file():
        raise Broken(f"{page}: there is no such page")
    lines = page.read_text("utf-8").splitlines()
    found = list(fenced(page, lines))
    blocks = []
    for block, following in zip_longest(found, found[1:]):
        above = REASON.fullmatch(lines[block.line - 2]) if block.line > 1 else None
        expected = None
        if block.language in RUNNABLE and following and following.language == "text":
            between = lines[block.end : following.line - 1]
            expected = None if any(map(str.strip, between)) else following.code
        blocks.append(replace(block, reason=above and above["reason"], expected=expected))
    return blocks


def fenced(page: Path, lines: list[str]) -> Iterator[Block]:
    numbered = iter(enumerate(lines, 1))
    for start, text in numbered:
        opening = FENCE.fullmatch(text)
        if opening is None:
            continue
        indent, fence = len(opening["indent"]), opening["fence"]
        code = ""
        for end, line in numbered:
            if line.strip().startswith(fence) and not line.strip().strip(fence[0]):
                language, *flags = opening["info"].split() or [""]
                yield Block(page, start, end, language, tuple(flags), code)
                break
            code += line[min(indent, len(line) - len(line.lstrip())) :] + "\n"
        else:
            raise Broken(f"{page}:{start}: this block is never closed")


def checked(block: Block) -> Block:
    """Return the block, or raise `Broken` where it would be left out in silence."""
    if block.language in MEANT:
        raise Broken(f"{block.place}: mark this block {MEANT[block.language]!r}, or it is not run")
    if block.language in RUNNABLE:
        if set(block.flags) - {"no-run"}:
            raise Broken(f"{block.place}: unknown words after the language: {block.flags}")
        if block.flags and not block.reason:
            raise Broken(f"{block.place}: the line above must be <!-- no-run: the reason -->")
    if block.language == "console":
        list(session(block))
    if block.reason and not block.flags:
        raise Broken(f"{block.place}: there is a reason above, and no 'no-run' at the block")
    return block


# Running blocks.


def run_page(blocks: list[Block], url: str) -> list[str]:
    """Run the blocks of one page in order, and return what failed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if (ROOT / "examples").is_dir():
            (folder / "examples").symlink_to(ROOT / "examples")
        faults = ((block, run_block(block, folder, url)) for block in blocks)
        return [f"FAILED {block.place}: {fault}" for block, fault in faults if fault]


def run_block(block: Block, folder: Path, url: str) -> str | None:
    """Run one block; return None if it passed, else the failure."""
    if block.language == "console":
        return run_console(block, folder, url)
    if block.language == "python":
        program = folder / f"{block.page.stem}_{block.line}.py"
        # Empty lines in front give tracebacks the line numbers of the page.
        program.write_text("\n" * block.line + block.code, "utf-8")
        command = [sys.executable, "-W", "error", str(program)]
    else:
        command = ["bash", "-euo", "pipefail", "-c", block.code]
    stdout, fault = run(command, folder, url)
    if fault or block.expected is None:
        return fault
    return difference(block.expected, stdout)


def run_console(block: Block, folder: Path, url: str) -> str | None:
    steps = list(session(block))
    script = "".join(f"{command}\nprintf '\\036'\n" for command, _ in steps)
    stdout, fault = run(["bash", "-euo", "pipefail", "-c", script], folder, url)
    if fault:
        return fault
    outputs = stdout.split(END_OF_COMMAND)
    for (command, expected), output in zip(steps, outputs, strict=False):
        if expected and (fault := difference(expected, output)):
            return f"$ {command}\n{fault}"
    if block.expected is None:
        return None
    return difference(block.expected, stdout.replace(END_OF_COMMAND, ""))


def session(block: Block) -> Iterator[tuple[str, str]]:
    """Return each command of a `console` block with the output shown below it."""
    command, shown = "", ""
    for line in block.code.splitlines():
        if line.startswith("$ "):
            if command:
                yield command, shown
            command, shown = line.removeprefix("$ "), ""
        elif not command:
            raise Broken(f"{block.place}: a console block begins with a command, after '$ '")
        elif not shown and (line.startswith("> ") or command.endswith("\\")):
            command += "\n" + line.removeprefix("> ")
        else:
            shown += line + "\n"
    yield command, shown


def run(command: list[str], folder: Path, url: str) -> tuple[str, str | None]:
    """Run a command; return its output, and the failure if there is one."""
    beside = str(Path(sys.executable).parent)
    path = os.pathsep.join([beside, os.environ.get("PATH", os.defpath)])
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "PATH": path, URL_VARIABLE: url},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        start_new_session=True,
    )
    try:
        stdout, stderr = process.communicate(timeout=BLOCK_SECONDS)
        fault = f"exit status {process.returncode}" if process.returncode else None
    except subprocess.TimeoutExpired:
        end_group(process)
        stdout, stderr = process.communicate()
        fault = f"not done after {BLOCK_SECONDS} s"
    finally:
        # Processes that a block has started in the background end with it.
        end_group(process)
    return stdout, fault and f"{fault}\n{indented(stdout)}{indented(stderr)}"


def end_group(process: subprocess.Popen[str]) -> None:
    # macOS answers with PermissionError where only the dead are left in a group.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def difference(expected: str, actual: str) -> str | None:
    """Return None if the page shows the output, else the difference."""
    wanted, printed = tidy(expected), tidy(actual)
    if re.fullmatch("".join(map(pattern, wanted)), "".join(f"{line}\n" for line in printed)):
        return None
    lines = difflib.unified_diff(wanted, printed, "the page", "the block", lineterm="", n=99)
    return "it printed something else\n" + indented("\n".join(lines))


def tidy(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().splitlines()]


def pattern(line: str) -> str:
    if line.strip() == "...":
        return r"(?:.*\n)*"
    return ".*".join(map(re.escape, line.split("..."))) + r"\n"


def indented(text: str) -> str:
    lines = text.replace(END_OF_COMMAND, "").splitlines()
    return "".join(f"    {line}\n" for line in lines)


# The demo server.


@contextlib.contextmanager
def demo_for(blocks: dict[Path, list[Block]]) -> Iterator[str]:
    """Start the demo if a block speaks of it; yield its URL."""
    codes = [block.code for page in blocks.values() for block in page if not block.reason]
    if not any(word in code for code in codes for word in (WRITTEN_URL, URL_VARIABLE)):
        yield WRITTEN_URL
        return
    with start_demo() as url:
        yield url


@contextlib.contextmanager
def start_demo() -> Iterator[str]:
    """Serve the demo on a free port until the end of the context; yield its URL."""
    command = [str(Path(sys.executable).parent / "gqlwire"), "demo", "--serve", "--port", "0"]
    with tempfile.TemporaryFile("w+", encoding="utf-8") as log:
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True
            )
        except OSError as error:
            raise Broken(f"the demo cannot be started: {error}") from None
        with process:
            try:
                yield announced_url(process, log)
            finally:
                stop(process)


def announced_url(process: subprocess.Popen[str], log: IO[str]) -> str:
    """Read the line of JSON with which the demo says that it is ready, and where."""
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read_all() -> None:
        assert process.stdout is not None
        # Beyond the first line too, so that the pipe does not fill up.
        for line in process.stdout:
            lines.put(line)
        lines.put("")

    threading.Thread(target=read_all, daemon=True).start()
    try:
        url: str = json.loads(lines.get(timeout=DEMO_SECONDS))["url"]
    except (queue.Empty, ValueError, KeyError, TypeError) as error:
        log.seek(0)
        raise Broken(f"the demo did not say its URL: {error!r}\n{log.read()}") from None
    return url


def stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
