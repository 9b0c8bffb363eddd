"""The threat page is held to its word: each line names a test, and that test is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "threats.md"
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def lines() -> list[str]:
    """The page's lines about attempts: rows of three columns."""
    text = PAGE.read_text("utf-8").splitlines()
    rows = [line for line in text if line.count(" | ") == 2]
    return [row for row in rows if not row.startswith(("| attempt", "| ---"))]


def names_in(file: Path) -> set[str]:
    """The names of a file's tests."""
    tree = ast.parse(file.read_text("utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in tree.body if isinstance(node, functions)}


def test_every_line_names_a_test() -> None:
    """What is said without a test is a hope."""
    assert len(lines()) > 30
    assert [line for line in lines() if not NAMED.search(line)] == []


def test_every_test_that_is_named_is_there() -> None:
    """A test that was renamed or removed takes its line with it."""
    named = [match.groups() for line in lines() for match in NAMED.finditer(line)]
    assert [(file, name) for file, name in named if name not in names_in(ROOT / file)] == []
