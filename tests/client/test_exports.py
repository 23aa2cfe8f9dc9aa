"""What is promised to be there, under which name, and what is not loaded for it."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import gqlwire
from gqlwire import errors
from gqlwire.transport import exceptions

GQLS_EXCEPTIONS = [
    "TransportAlreadyConnected",
    "TransportClosed",
    "TransportConnectionFailed",
    "TransportError",
    "TransportProtocolError",
    "TransportQueryError",
    "TransportServerError",
]

PUBLIC = [
    "AsyncClientSession",
    "Attempt",
    "Batches",
    "Buffer",
    "Change",
    "Checkpoint",
    "Client",
    "Connected",
    "ConnectionHealth",
    "Counters",
    "Disconnected",
    "ExecutionResult",
    "Failure",
    "FileCheckpoint",
    "GraphQLRequest",
    "Health",
    "Hooks",
    "Merged",
    "Overflow",
    "Reconnected",
    "RetryPolicy",
    "Scalar",
    "Subscription",
    "SubscriptionHealth",
    "connect",
    "gql",
    "merge",
]


# Each is documented, or what gql calls it.
MODULES = {
    "gqlwire.client": ["Client"],
    "gqlwire.errors": exceptions.__all__,
    "gqlwire.retry": [
        "BEFORE_ACK",
        "CLOSE_CODES",
        "STATUSES",
        "Action",
        "Attempt",
        "RetryPolicy",
    ],
    "gqlwire.transport": ["Transport"],
    "gqlwire.transport.exceptions": exceptions.__all__,
    "gqlwire.transport.websockets": ["WebsocketsTransport"],
}


def loaded_by(statement: str) -> set[str]:
    """Run a statement in a Python of its own; return the packages that it loads."""
    script = f"import sys\n{statement}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    run = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    return set(run.stdout.split())


# --- Names -----------------------------------------------------------------------------------


def test_the_public_names_are_these() -> None:
    """A name more is a promise more."""
    assert PUBLIC == gqlwire.__all__


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_there_and_explained(name: str) -> None:
    """With a docstring."""
    assert inspect.getdoc(getattr(gqlwire, name))


@pytest.mark.parametrize("path", MODULES)
def test_the_public_names_of_a_module_are_these(path: str) -> None:
    """Listed in the module itself."""
    assert MODULES[path] == importlib.import_module(path).__all__


def test_other_modules_are_private_or_those_of_commands() -> None:
    """What completion of `gqlwire.` shows is public."""
    shown = {module.name for module in pkgutil.iter_modules(gqlwire.__path__)}
    public = {path.split(".")[1] for path in MODULES}

    assert public | {"cli", "demo"} == {name for name in shown if not name.startswith("_")}


def test_the_exceptions_of_gqls_path_are_the_tree() -> None:
    """All of it, and the phases that they carry."""
    tree = {
        name
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if kind.__module__ == errors.__name__ and not name.startswith("_")
    }

    assert tree == set(exceptions.__all__)
    assert sorted(exceptions.__all__) == exceptions.__all__
    for name in exceptions.__all__:
        assert getattr(errors, name) is getattr(exceptions, name)


@pytest.mark.parametrize("name", GQLS_EXCEPTIONS)
def test_every_exception_of_gql_is_there(name: str) -> None:
    """Only the name of the package changes."""
    assert name in exceptions.__all__
    assert issubclass(getattr(exceptions, name), exceptions.TransportError)


def test_the_paths_of_gql_are_there() -> None:
    """`from gql… import` with the package's name changed."""
    from gqlwire.transport.websockets import WebsocketsTransport

    assert "graphql-ws" == WebsocketsTransport.APOLLO_SUBPROTOCOL
    assert "graphql-transport-ws" == WebsocketsTransport.GRAPHQLWS_SUBPROTOCOL


@pytest.mark.parametrize(
    "name",
    [
        module.name
        for module in pkgutil.walk_packages(gqlwire.__path__, "gqlwire.")
        if not module.name.endswith("__main__")
    ],
)
def test_every_module_says_what_it_is_about(name: str) -> None:
    """And what it lists is there."""
    tree = ast.parse(Path(importlib.util.find_spec(name).origin).read_text("utf-8"))
    assert ast.get_docstring(tree)

    lists = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    ]
    for listed in lists:
        module = importlib.import_module(name)
        assert [] == [it for it in listed if not hasattr(module, it)]


def test_the_package_is_typed() -> None:
    """Type checkers of users are told so (PEP 561)."""
    assert (Path(gqlwire.__path__[0]) / "py.typed").is_file()


# --- What is loaded --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "import gqlwire",
        "from gqlwire import *",
        "import gqlwire.transport.exceptions",
        "from gqlwire.transport.exceptions import TransportError",
        "import gqlwire._protocols",
    ],
)
def test_importing_loads_neither_picows_nor_graphql_core(statement: str) -> None:
    """Each is loaded when it is first needed; an error handler needs neither."""
    loaded = loaded_by(statement)

    assert "gqlwire" in loaded
    others = {"websockets", "strawberry", "python_socks", "pydantic", "attr"}
    assert set() == loaded & {"picows", "graphql", *others}


def test_importing_the_package_loads_one_other_module() -> None:
    """The version. Each other name loads its module when it is first used."""
    script = "import sys\nimport gqlwire\nprint(*(m for m in sys.modules if 'gqlwire' in m))"
    run = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)

    assert {"gqlwire", "gqlwire._version"} == {
        name for name in run.stdout.split() if not name.startswith("__editable__")
    }


def test_the_transport_loads_picows_and_not_graphql_core() -> None:
    """A document has not been seen yet."""
    loaded = loaded_by("import gqlwire.transport.websockets")

    assert "picows" in loaded
    assert "graphql" not in loaded


def test_the_short_door_loads_the_transport_when_it_is_used() -> None:
    """`gqlwire.connect`, by itself, is only a name."""
    loaded = loaded_by("import gqlwire\ngqlwire.connect('ws://127.0.0.1/graphql')")

    assert "picows" in loaded
    assert "graphql" not in loaded
