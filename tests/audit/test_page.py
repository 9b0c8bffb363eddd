"""docs/audit.md agrees with the code on fields, events, kinds of floods and limits."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import get_args, get_type_hints

import pytest

from agent.audit.metrics import prometheus
from agent.audit.record import Record, Unwritten
from agent.audit.sampling import PACES
from agent.config.limits import LIMITS
from agent.sources.api.operators import EXPLAIN, HOSTS
from tests.audit.test_metrics import STATUS
from tests.parts.host import ROOT

PAGE = (ROOT / "docs" / "audit.md").read_text("utf-8")
TYPES = {str: "string", int: "number", bool: "true", Mapping[str, int]: "object"}


def table(heading: str) -> list[list[str]]:
    """The rows of the table with this heading."""
    rows = PAGE[PAGE.index(f"| {heading} |") :].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def code(cell: str) -> list[str]:
    """The parts of a cell that are set as code."""
    return re.findall(r"`([^`]+)`", cell)


def type_name(hint: object) -> str:
    """The page's name for a field's type."""
    (kind,) = [each for each in get_args(hint) or (hint,) if each is not type(None)]
    return TYPES[kind]


def test_the_page_has_every_field_with_its_type() -> None:
    """The page lists exactly the record's fields, each with its type and a description."""
    hints = {**get_type_hints(Record), **get_type_hints(Unwritten)}
    said = {code(row[0])[0]: row[1] for row in table("field")}
    always = {"time": "string", "run": "string", "seq": "number"}
    assert said == {**always, **{name: type_name(hint) for name, hint in hints.items()}}
    assert all(row[2] for row in table("field"))


def test_the_page_has_every_event() -> None:
    """The page lists every event that the code records, and no other."""
    events = [name for row in table("event") for name in code(row[0])]
    assert len(events) == len(set(events))
    actions = re.findall(r'"Sixtykey\.(\w+)"', (ROOT / "agent/operations.py").read_text("utf-8"))
    actions += [action.partition(".")[2] for action in (HOSTS, EXPLAIN)]
    enrolment = (ROOT / "agent/fleet/gateway/enrolment_door.py").read_text("utf-8")
    joining = {f"fleet-{kind}" for kind in re.findall(r'b"/fleet/\w+": "(\w+)"', enrolment)}
    own = {"push", "lookup", "admission", "operator", "start", "stop", "audit"}
    assert set(events) == own | joining | {action.lower() for action in actions}


def test_the_page_has_every_kind_of_flood() -> None:
    """The page lists every kind of record that is sampled, and no other."""
    text = "".join(path.read_text("utf-8") for path in (ROOT / "agent").rglob("*.py"))
    used = set(re.findall(r'ample\(record, \("([\w ]+)",', text))
    used |= set(re.findall(r'group = \("([\w ]+)",', text))
    assert {code(row[0])[0] for row in table("kind")} == used
    assert set(PACES) <= used


@pytest.mark.parametrize("row", table("limit"), ids=lambda row: row[2].strip("`"))
def test_the_page_has_the_current_limits(row: list[str]) -> None:
    """Each figure on the page is the value in LIMITS."""
    (name,) = code(row[2])
    assert getattr(LIMITS, name) == float(row[1])


def test_the_page_names_existing_metrics() -> None:
    """Each metric that the page names is one that the daemon gives."""
    named = re.findall(r"`(sixtykey_\w+)`", PAGE)
    assert len(named) == 2
    assert all(f"\n# TYPE {name} counter\n" in prometheus(STATUS) for name in named)
