"""Print the layout of the source in figures, beside that of another revision.

    python tools/layout.py [--before REVISION] [--json]

**Modules.** A module is a `.py` file, `__init__.py` included. A room is a top-level entry of the
package: a subpackage, or a module in the package root. The root's own `__init__.py` is a room, too.

**Arrows.** An arrow goes from a module to a module of the same package that it imports. All import
statements count: those that run when the module is loaded, those inside functions, and those under
`if TYPE_CHECKING`. For a reader all three are the same: to understand one module they have to know
the other. Two rows show how many arrows exist only because of the later two kinds.
`from a import b` points to the module `a.b` if there is one, else to `a`. Not counted: imports of
other packages, the parent packages that Python loads on the way, and `importlib.import_module`.

**Floors.** The number of modules on the longest path of arrows, with each cycle taken as one
module. Between rooms the same is counted, without the arrows inside a room.

**Cycles.** Groups of two or more modules (or rooms) each of which leads to all the others.

**Functions** are measured by `size_budget.py`. "Nine of ten" is the 90th percentile.

**Attributes** of a class are the distinct names that its methods assign on `self`, the names in
`__slots__`, and the fields of a dataclass or a `msgspec.Struct`. Inherited attributes do not count.
Classes are found by name, wherever they are; of two with one name the larger one is shown.
"""

from __future__ import annotations

import argparse
import ast
import json
import math
import statistics
from collections.abc import Iterator
from enum import IntEnum
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

from revisions import ROOT, source_of
from size_budget import Function, Size, measured_functions, measured_module

PACKAGE = "gqlwire"
BIG_FOUR = ("Connection", "WebsocketsTransport", "ReconnectingTransport", "EventStream")
LARGEST = 10

Graph = dict[str, set[str]]


class Kind(IntEnum):
    """When an import statement runs. The weaker the reason for an arrow, the greater."""

    LOAD = 0
    FUNCTION = 1
    TYPES = 2


class Module(NamedTuple):
    """A parsed file; `name` has dots."""

    name: str
    path: Path
    tree: ast.Module

    @property
    def package(self) -> str:
        """The package that relative imports start from."""
        if self.path.name == "__init__.py":
            return self.name
        return self.name.rpartition(".")[0]


class Layout(NamedTuple):
    """`figures` by what they measure; `attributes` by class."""

    figures: dict[str, float]
    attributes: dict[str, int]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--before", metavar="REVISION", help="show this revision as well")
    parser.add_argument("--json", action="store_true", help="print JSON, with all classes")
    chosen = parser.parse_args(arguments)
    layouts = {}
    if chosen.before:
        with source_of(chosen.before, ROOT) as source:
            layouts[f"before ({chosen.before})"] = measured(source / PACKAGE)
    layouts["now"] = measured(ROOT / "src" / PACKAGE)
    if chosen.json:
        print(json.dumps({name: layout._asdict() for name, layout in layouts.items()}, indent=2))
    else:
        print(table(layouts), end="")


# --- What is measured -------------------------------------------------------------------------


def measured(package: Path) -> Layout:
    """Measure the package in a directory."""
    modules = parsed(package)
    arrows = arrows_of(modules)
    graph = graph_of(modules, arrows)
    rooms = rooms_of(graph)
    figures: dict[str, float] = {
        "modules": len(modules),
        "modules in the root": sum(module.path.parent == package for module in modules.values()),
        "rooms": len(rooms),
        "lines": sum(measured_module(module.path).lines for module in modules.values()),
        **shape(graph, "modules"),
        "arrows only inside functions": list(arrows.values()).count(Kind.FUNCTION),
        "arrows only for type checkers": list(arrows.values()).count(Kind.TYPES),
        **shape(rooms, "rooms"),
        **lengths(
            [size for module in modules.values() for size in measured_functions(module.path)]
        ),
    }
    return Layout(figures, attributes_of(modules))


def shape(graph: Graph, nodes: str) -> dict[str, float]:
    return {
        f"floors of {nodes}": floors(graph),
        f"arrows between {nodes}": sum(map(len, graph.values())),
        f"cycles of {nodes}": len(cycles(graph)),
    }


def lengths(functions: list[Size]) -> dict[str, float]:
    lines = sorted(function.lines for function in functions) or [0]
    return {
        "functions": len(functions),
        "lines of the median function": statistics.median(lines),
        "lines of nine of ten functions, at most": lines[math.ceil(0.9 * len(lines)) - 1],
        "lines of the longest function": lines[-1],
    }


def parsed(package: Path) -> dict[str, Module]:
    modules = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        modules[name] = Module(name, path, ast.parse(path.read_text("utf-8"), str(path)))
    return modules


# --- Imports ----------------------------------------------------------------------------------


def arrows_of(modules: dict[str, Module]) -> dict[tuple[str, str], Kind]:
    """Return each arrow with the strongest reason for it."""
    arrows: dict[tuple[str, str], Kind] = {}
    for module in modules.values():
        for statement, kind in imports(module.tree):
            for name in imported_names(statement, module.package):
                target = home(name, modules)
                if target is not None and target != module.name:
                    arrow = module.name, target
                    arrows[arrow] = min(kind, arrows.get(arrow, kind))
    return arrows


def imports(
    node: ast.AST, kind: Kind = Kind.LOAD
) -> Iterator[tuple[ast.Import | ast.ImportFrom, Kind]]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield node, kind
    for child in ast.iter_child_nodes(node):
        yield from imports(child, max(kind, kind_inside(node, child)))


def kind_inside(node: ast.AST, child: ast.AST) -> Kind:
    if isinstance(node, Function):
        return Kind.FUNCTION
    if isinstance(node, ast.If) and child in node.body and is_type_checking(node.test):
        return Kind.TYPES
    return Kind.LOAD


def is_type_checking(test: ast.expr) -> bool:
    return ast.unparse(test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


def imported_names(statement: ast.Import | ast.ImportFrom, package: str) -> list[str]:
    """Return the absolute name of each thing that a statement imports."""
    base = ""
    if isinstance(statement, ast.ImportFrom):
        parts = [statement.module] if statement.module else []
        if statement.level:
            parents = package.split(".")
            parts = parents[: len(parents) - statement.level + 1] + parts
        base = ".".join(parts) + "."
    return [base + alias.name for alias in statement.names]


def home(name: str, modules: dict[str, Module]) -> str | None:
    """Return the module that a name belongs to, if it is one of these."""
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name or None


def graph_of(modules: dict[str, Module], arrows: dict[tuple[str, str], Kind]) -> Graph:
    graph: Graph = {name: set() for name in modules}
    for start, end in arrows:
        graph[start].add(end)
    return graph


def rooms_of(graph: Graph) -> Graph:
    rooms: Graph = {}
    for module, targets in graph.items():
        start = room(module)
        rooms.setdefault(start, set()).update({room(target) for target in targets} - {start})
    return rooms


def room(module: str) -> str:
    return ".".join(module.split(".")[:2])


def floors(graph: Graph) -> int:
    """Return the number of nodes on the longest path, each cycle taken as one node."""
    collapsed: dict[frozenset[str], set[frozenset[str]]] = {}
    group_of = groups(graph)
    for node, targets in graph.items():
        below = {group_of[target] for target in targets} - {group_of[node]}
        collapsed.setdefault(group_of[node], set()).update(below)
    height: dict[frozenset[str], int] = {}
    for group in TopologicalSorter(collapsed).static_order():
        height[group] = 1 + max((height[below] for below in collapsed[group]), default=0)
    return max(height.values(), default=0)


def cycles(graph: Graph) -> list[frozenset[str]]:
    return [group for group in set(groups(graph).values()) if len(group) > 1]


def groups(graph: Graph) -> dict[str, frozenset[str]]:
    """Return with each node those that lead to it and to which it leads."""
    reached = {node: reachable(graph, node) for node in graph}
    return {
        node: frozenset({node, *(other for other in reached[node] if node in reached[other])})
        for node in graph
    }


def reachable(graph: Graph, start: str) -> set[str]:
    found: set[str] = set()
    open_ends = [start]
    while open_ends:
        new = graph[open_ends.pop()] - found
        found |= new
        open_ends += new
    return found


# --- Attributes -------------------------------------------------------------------------------


def attributes_of(modules: dict[str, Module]) -> dict[str, int]:
    """Return the number of attributes of each class, the largest first."""
    found: dict[str, int] = {}
    for module in modules.values():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef):
                found[node.name] = max(len(attributes(node)), found.get(node.name, 0))
    by_size = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    return {name: count for name, count in by_size if count}


def attributes(node: ast.ClassDef) -> set[str]:
    found = slots(node)
    if has_fields(node):
        found |= fields(node)
    for method in node.body:
        if isinstance(method, Function):
            found |= assigned(method)
    return found


def assigned(method: Function) -> set[str]:
    """Return the attributes that a method assigns on its first argument."""
    arguments = [*method.args.posonlyargs, *method.args.args]
    return {
        node.attr
        for node in ast.walk(method)
        if arguments
        and isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == arguments[0].arg
    }


def slots(node: ast.ClassDef) -> set[str]:
    found = {
        each.value
        for statement in node.body
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__slots__"
        for each in ast.walk(statement.value)
        if isinstance(each, ast.Constant) and isinstance(each.value, str)
    }
    return found - {"__weakref__", "__dict__"}


def has_fields(node: ast.ClassDef) -> bool:
    """Whether annotations in the class body are fields: of a dataclass, or of a Struct."""
    decorators = (each.func if isinstance(each, ast.Call) else each for each in node.decorator_list)
    names = {ast.unparse(each).rpartition(".")[2] for each in [*decorators, *node.bases]}
    return bool(names & {"dataclass", "Struct"})


def fields(node: ast.ClassDef) -> set[str]:
    return {
        statement.target.id
        for statement in node.body
        if isinstance(statement, ast.AnnAssign)
        and isinstance(statement.target, ast.Name)
        and "ClassVar" not in ast.unparse(statement.annotation)
    }


# --- The table --------------------------------------------------------------------------------


def table(layouts: dict[str, Layout]) -> str:
    """Return all figures in Markdown, a column for each layout."""
    head = ["| | " + " | ".join(layouts) + " |", "|---|" + "---:|" * len(layouts)]
    figures = [
        row(name, [layout.figures[name] for layout in layouts.values()])
        for name in next(iter(layouts.values())).figures
    ]
    classes = [
        row(f"attributes of `{name}`", [layout.attributes.get(name) for layout in layouts.values()])
        for name in shown_classes(layouts)
    ]
    return "\n".join([*head, *figures, *classes]) + "\n"


def shown_classes(layouts: dict[str, Layout]) -> list[str]:
    """Return the big four, and the others that are among the ten largest of a layout."""
    others = {name for layout in layouts.values() for name in [*layout.attributes][:LARGEST]}
    latest = [*layouts.values()][-1].attributes
    by_size = sorted(others - {*BIG_FOUR}, key=lambda name: (-latest.get(name, 0), name))
    return [*BIG_FOUR, *by_size]


def row(name: str, numbers: list[float] | list[int | None]) -> str:
    cells = ("-" if number is None else f"{number:g}" for number in numbers)
    return f"| {name} | " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
