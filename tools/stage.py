"""Run one stage of a target of the Makefile: say what it is, about how long it takes, and go on.

    python tools/stage.py "5,000 tests" "2 minutes" COMMAND ...

Nothing is silent: where the command says nothing for ten seconds, the time is told.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import time

SILENCE = 10.0


def main(arguments: list[str]) -> int:
    title, duration, *command = arguments
    begin = time.monotonic()
    say(f"== {title}: about {duration}")
    environment = {**os.environ, "PY_COLORS": "1"} if sys.stdout.isatty() else None
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment
    ) as process:
        assert process.stdout is not None
        # Ctrl-C is for the command, which shows what it has.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        pass_on(process.stdout.fileno(), begin)
    took = time.monotonic() - begin
    outcome = f"failed with status {process.returncode} after " if process.returncode else ""
    say(f"== {title}: {outcome}{took:.0f} s")
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


def pass_on(source: int, begin: float) -> None:
    """Show what comes until there is no more, and the time where nothing comes."""
    is_amid_a_line = False
    with selectors.DefaultSelector() as selector:
        selector.register(source, selectors.EVENT_READ)
        while True:
            if not selector.select(SILENCE):
                start = "\n" if is_amid_a_line else ""
                say(f"{start}   {time.monotonic() - begin:.0f} s")
                is_amid_a_line = False
            elif piece := os.read(source, 65536):
                sys.stdout.buffer.write(piece)
                sys.stdout.buffer.flush()
                is_amid_a_line = not piece.endswith(b"\n")
            else:
                return


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
