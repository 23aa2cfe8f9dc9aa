"""Hold the size of modules and functions under `src/` to its budget.

A module has at most 500 lines, a function at most 40 and nine of ten at most 25. A function's
length is that of its text from `def` to the end, without its docstring and its decorators;
`@overload` signatures are no functions.
"""

from __future__ import annotations

import ast
import math
import sys
from pathlib import Path
from typing import NamedTuple

MODULE_LINES = 500
FUNCTION_LINES = 40
NINE_OF_TEN_LINES = 25

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Size(NamedTuple):
    """How many lines something has, and where it is."""

    lines: int
    place: str


def main(root: Path) -> int:
    paths = sorted(root.rglob("*.py"))
    modules = [measured_module(path) for path in paths]
    functions = sorted(size for path in paths for size in measured_functions(path))
    if not functions:
        print(f"size budget: there are no functions under {root}", file=sys.stderr)
        return 1
    nine_of_ten = functions[math.ceil(0.9 * len(functions)) - 1].lines
    longest, largest = functions[-1], max(modules)
    print(
        f"size budget: {len(modules)} modules, the largest {largest.lines} lines "
        f"({largest.place}); {len(functions)} functions, the longest {longest.lines} lines "
        f"({longest.place}), nine of ten at most {nine_of_ten}"
    )
    faults = [f"{m.place}: {m.lines} lines" for m in modules if m.lines > MODULE_LINES]
    faults += [f"{f.place}: {f.lines} lines" for f in functions if f.lines > FUNCTION_LINES]
    if nine_of_ten > NINE_OF_TEN_LINES:
        faults += [f"nine of ten functions: {nine_of_ten} lines; over {NINE_OF_TEN_LINES} are:"]
        faults += [f"  {f.place}: {f.lines}" for f in functions if f.lines > NINE_OF_TEN_LINES]
    for fault in faults:
        print(f"over budget: {fault}", file=sys.stderr)
    return 1 if faults else 0


def measured_module(path: Path) -> Size:
    return Size(len(path.read_text("utf-8").splitlines()), str(path))


def measured_functions(path: Path) -> list[Size]:
    tree = ast.parse(path.read_text("utf-8"), str(path))
    return [
        Size(length(node), f"{path}:{node.lineno} {node.name}")
        for node in ast.walk(tree)
        if isinstance(node, Function) and not is_overload(node)
    ]


def length(function: Function) -> int:
    whole = (function.end_lineno or function.lineno) - function.lineno + 1
    if ast.get_docstring(function, clean=False) is None:
        return whole
    docstring = function.body[0]
    return whole - ((docstring.end_lineno or docstring.lineno) - docstring.lineno + 1)


def is_overload(function: Function) -> bool:
    names = (ast.unparse(decorator) for decorator in function.decorator_list)
    return any(name.rpartition(".")[2] == "overload" for name in names)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "src")))
