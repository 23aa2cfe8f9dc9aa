"""Hold the public surface of gqlwire to complete types, as `pyright --verifytypes` sees them.

Prints the score and fails below 100 %. What belongs to other packages is not counted.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

PACKAGE = "gqlwire"


def main() -> int:
    report = verified()
    completeness = report["typeCompleteness"]
    score = completeness["completenessScore"]
    counts = completeness["exportedSymbolCounts"]
    print(
        f"types: {score:.1%} complete; of {sum(counts.values())} public symbols "
        f"{counts['withUnknownType']} unknown and {counts['withAmbiguousType']} ambiguous"
    )
    faults = [*told(report["generalDiagnostics"])]
    for symbol in completeness["symbols"]:
        if symbol["isExported"] and not symbol["isTypeKnown"]:
            faults += [symbol["name"], *told(symbol["diagnostics"], "  ")]
    for fault in faults:
        print(fault, file=sys.stderr)
    # A package that cannot be seen has no symbols, and then a perfect score says nothing.
    return 0 if score == 1 and sum(counts.values()) and not faults else 1


def verified() -> dict[str, Any]:
    """Return pyright's report on the package that is installed beside this interpreter."""
    command = [sys.executable, "-m", "pyright", "--verifytypes", PACKAGE]
    command += ["--ignoreexternal", "--outputjson"]
    # With --verifytypes pyright does not heed --pythonpath: it takes the first python on PATH.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    here = {**os.environ, "PATH": path}
    run = subprocess.run(command, env=here, capture_output=True, text=True, check=False)
    try:
        report: dict[str, Any] = json.loads(run.stdout)
    except json.JSONDecodeError:
        sys.exit(f"types: pyright gave no report (exit {run.returncode})\n{run.stdout}{run.stderr}")
    if "typeCompleteness" not in report:
        sys.exit("\n".join(["types: pyright could not look", *told(report["generalDiagnostics"])]))
    return report


def told(diagnostics: list[dict[str, Any]], indent: str = "") -> list[str]:
    return [f"{indent}{one['severity']}: {one['message']}" for one in diagnostics]


if __name__ == "__main__":
    sys.exit(main())
