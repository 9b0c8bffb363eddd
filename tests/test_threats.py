"""Every line of the threat page names a test that exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "threats.md"
# The name of a test, or of a step on booted hosts.
NAMED = re.compile(r"`(tests/(?:[\w/]+\.py::test_|e2e/hosts/\w+\.py::)\w+)`")
HOSTS = ROOT / "tests" / "e2e" / "hosts"


def lines() -> list[str]:
    """The rows of the page's tables of attempts, with three columns each."""
    text = PAGE.read_text("utf-8").splitlines()
    rows = [line for line in text if line.count(" | ") == 2]
    return [row for row in rows if not row.startswith(("| attempt", "| ---"))]


def is_there(named: str) -> bool:
    """Whether a file has that test, or that step and some host that runs it."""
    file, _, name = named.partition("::")
    tree = ast.parse((ROOT / file).read_text("utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    found = [node for node in tree.body if isinstance(node, functions) and node.name == name]
    if not file.startswith("tests/e2e/hosts/"):
        return found != []
    steps = "report.step" in "".join(ast.unparse(node) for node in found)
    call = f"{Path(file).stem}.{name}(host"
    return steps and any(call in path.read_text("utf-8") for path in HOSTS.glob("*.py"))


def test_every_line_names_a_test() -> None:
    """Every line of the threat page names a test or a step."""
    assert len(lines()) > 30
    assert [line for line in lines() if not NAMED.search(line)] == []


def test_every_test_that_is_named_is_there() -> None:
    """Every test that the threat page names exists."""
    named = [match[1] for line in lines() for match in NAMED.finditer(line)]
    assert [name for name in named if not is_there(name)] == []


def test_a_step_that_no_host_takes_is_not_there() -> None:
    """A function without a step, or one that no host calls, does not count as a test."""
    assert is_there("tests/e2e/hosts/installing.py::sandbox")
    assert not is_there("tests/e2e/hosts/installing.py::install")
    assert not is_there("tests/e2e/hosts/installing.py::no_such_step")
