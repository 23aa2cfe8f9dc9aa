"""docs/health.md: what it shows is what the client says."""

import json
import re
import runpy
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from gqlwire import Counters, Health

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "health.md").read_text("utf-8")
STATES = ["connect", "init", "open", "waiting", "idle", "closed"]


@pytest.fixture(scope="module")
def tool() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "tools" / "health_states.py"))


@pytest.fixture(scope="module")
def found(tool: dict[str, Any]) -> dict[str, Health]:
    health: dict[str, Health] = tool["taken"]()
    return health


def undated(value: Any) -> Any:
    """Without the dates and the id, which are of the run."""
    if isinstance(value, list):
        return [undated(each) for each in value]
    if isinstance(value, dict):
        dated = {"at", "since", "id"}
        return {name: undated(each) for name, each in value.items() if name not in dated}
    return value


def test_the_table_of_states_is_what_the_tool_prints(
    tool: dict[str, Any], found: dict[str, Health]
) -> None:
    """In each state that a session has."""
    assert STATES == [*found]
    assert tool["table"](found) in PAGE


def test_the_json_of_the_page_is_what_a_session_says(found: dict[str, Health]) -> None:
    """But for dates; and each state goes through JSON."""
    (shown,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)

    assert undated(json.loads(shown)) == undated(found["waiting"].to_dict())
    for health in found.values():
        assert health.to_dict() == json.loads(json.dumps(health.to_dict(), allow_nan=False))
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", health.to_dict()["at"])


def test_each_counter_is_in_the_table() -> None:
    """In the order of the code."""
    text = PAGE.partition("| counter |")[2].partition("\n\n")[0]
    names = re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)))

    assert [field.name for field in fields(Counters)] == names
