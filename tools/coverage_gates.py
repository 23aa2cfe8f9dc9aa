"""Hold the measured coverage to its gates, after `coverage combine`.

The protocols, which are pure, are covered to the last line and branch; all of gqlwire to 95 %.
Prints the files that are not complete, the worst first.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

TOTAL_PERCENT = 95.0
COMPLETE = ("gqlwire/_protocols/", "gqlwire/_connection/keepalive.py")
SHOWN = 20


def main() -> int:
    report = measured()
    files = {path.replace("\\", "/"): figures for path, figures in report["files"].items()}
    gated = {path: figures for path, figures in files.items() if is_gated(path)}
    print_table(files)
    total = report["totals"]["percent_covered"]
    print(f"coverage: {total:.2f} % of {len(files)} files; {len(gated)} of them must have 100 %")

    faults = [f"{path} is not covered completely" for path in gated if lacks(gated[path])]
    if not gated:
        faults += [f"nothing of {' and '.join(COMPLETE)} was measured"]
    if total < TOTAL_PERCENT:
        faults += [f"the total is below {TOTAL_PERCENT:.0f} %"]
    if not report["meta"]["branch_coverage"]:
        faults += ["branches were not measured"]
    for fault in faults:
        print(f"coverage gate: {fault}", file=sys.stderr)
    return 1 if faults else 0


def measured() -> dict[str, Any]:
    command = [sys.executable, "-m", "coverage", "json", "--quiet", "--fail-under=0", "-o", "-"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        sys.exit(f"coverage gate: no report\n{run.stdout}{run.stderr}")
    report: dict[str, Any] = json.loads(run.stdout)
    return report


def is_gated(path: str) -> bool:
    return any(f"/{part}" in f"/{path}" for part in COMPLETE)


def lacks(figures: dict[str, Any]) -> bool:
    return bool(figures["missing_lines"] or figures.get("missing_branches"))


def print_table(files: dict[str, Any]) -> None:
    incomplete = [path for path in files if lacks(files[path])]
    incomplete.sort(key=lambda path: files[path]["summary"]["percent_covered"])
    for path in incomplete[:SHOWN]:
        figures = files[path]
        exits = [f"{line}->{to}" for line, to in figures.get("missing_branches", [])]
        missing = ", ".join([*spans(figures["missing_lines"]), *exits])
        print(f"{figures['summary']['percent_covered']:6.1f} %  {path}  {missing}")
    if len(incomplete) > SHOWN:
        print(f"          and {len(incomplete) - SHOWN} more files that are nearer to 100 %")


def spans(lines: list[int]) -> list[str]:
    """Write `[1, 2, 3, 7]` as `1-3` and `7`."""
    found: list[list[int]] = []
    for line in lines:
        if found and line == found[-1][-1] + 1:
            found[-1].append(line)
        else:
            found.append([line])
    return [f"{span[0]}-{span[-1]}" if span[1:] else f"{span[0]}" for span in found]


if __name__ == "__main__":
    sys.exit(main())
