"""How the tests get at a tool, which is a script and no package."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

    import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"


def load(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Import a tool by its name. It finds the other tools beside it, as when it runs."""
    monkeypatch.syspath_prepend(TOOLS)
    monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module(name)
