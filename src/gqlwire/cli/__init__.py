"""The command `gqlwire`: queries, subscriptions and a demo, from a shell.

Exit status: 0 it worked; 1 GraphQL errors; 2 wrong command line, document, file or URL; 3 no
connection; 4 a timeout; 5 the server sent something unreadable; 6 the output could not be written;
130 and 143 ended by Ctrl-C or SIGTERM. `gqlwire --help` says more.

Each command is imported when it runs. This package uses only public names of gqlwire.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from gqlwire.cli import _arguments
from gqlwire.cli._console import Console
from gqlwire.cli._exit import Exit, UsageError

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with these arguments, by default those of the process.

    Returns the exit status. If something goes wrong, prints one sentence about it on stderr.
    """
    console = Console()
    try:
        command, rest = _arguments.split(sys.argv[1:] if argv is None else argv)
        if command == "demo":
            from gqlwire.cli._demo import run as run_demo

            return run_demo(_arguments.demo_options(rest), console)
        from gqlwire.cli._run import run as run_operation

        return run_operation(_arguments.operation_options(command, rest), console)
    except UsageError as wrong:
        console.complain(str(wrong))
        return Exit.USAGE
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except SystemExit as done:
        # argparse ends this way after --help and --version.
        return int(done.code or 0)
