"""The threat page is held to its word: each line names a test, and that test is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "threats.md"
# A test, or a step on booted hosts.
NAMED = re.compile(r"`(tests/(?:[\w/]+\.py::test_|e2e/hosts/\w+\.py::)\w+)`")
HOSTS = ROOT / "tests" / "e2e" / "hosts"


def lines() -> list[str]:
    """The page's lines about attempts: rows of three columns."""
    text = PAGE.read_text("utf-8").splitlines()
    rows = [line for line in text if line.count(" | ") == 2]
    return [row for row in rows if not row.startswith(("| attempt", "| ---"))]


def is_there(named: str) -> bool:
    """Whether a file has that test; a step has to be taken on some host, too."""
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
    """What is said without a test is a hope."""
    assert len(lines()) > 30
    assert [line for line in lines() if not NAMED.search(line)] == []


def test_every_test_that_is_named_is_there() -> None:
    """A test that was renamed or removed takes its line with it."""
    named = [match[1] for line in lines() for match in NAMED.finditer(line)]
    assert [name for name in named if not is_there(name)] == []


def test_a_step_that_no_host_takes_is_not_there() -> None:
    """A function that is called by nobody tries nothing, and one without a step proves nothing."""
    assert is_there("tests/e2e/hosts/installing.py::sandbox")
    assert not is_there("tests/e2e/hosts/installing.py::install")
    assert not is_there("tests/e2e/hosts/installing.py::no_such_step")
