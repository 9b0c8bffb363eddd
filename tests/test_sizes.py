"""Files and functions stay short, and modules stand in the folder that they belong to."""

from __future__ import annotations

import ast
import re
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.parts.host import ROOT
from tests.parts.project import project_files, python_files

MAX_FILE = 300
MAX_C_FILE = 400
MAX_FUNCTION = 40
MEDIAN_FUNCTION = 8
MAX_ARGUMENTS = 6

C_FUNCTION = re.compile(r"^\w[^;{}]*?(\w+)\([^;{}]*\)\s*\{\n.*?^\}$", re.MULTILINE | re.DOTALL)

PYTHON = python_files()
C = [path for path in project_files() if path.suffix in {".c", ".h"}]
SCRIPTS = [
    path for path in project_files() if path not in PYTHON and path.read_bytes()[:2] == b"#!"
]

# What may stand beside folders: the process itself, and what all sources share. Everything else
# belongs into one of the folders, or into a new one.
FLAT = {
    "agent": {"__init__", "__main__", "cli", "daemon", "operations", "reloading"},
    "agent/fleet": {"__init__"},
    "agent/sources": {
        "__init__", "context", "intake", "lifetime", "readiness", "replay", "request_id", "steps",
        "throttle",
    },
}  # fmt: skip


def shown(path: Path) -> str:
    """The path within the project."""
    return str(path.relative_to(ROOT))


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Each function of a Python file, with its lines."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.end_lineno is not None
            yield node.name, node.end_lineno - node.lineno + 1


def c_functions(path: Path) -> Iterator[tuple[str, int]]:
    """Each function of a C file in this project's style: its last brace stands in column 0."""
    for match in C_FUNCTION.finditer(path.read_text("utf-8")):
        yield match[1], match[0].count("\n") + 1


def test_files_of_packaging_and_ci_are_checked_too() -> None:
    """The files that are measured include the launchers, which have no suffix, and the scripts."""
    names = {shown(path) for path in PYTHON}
    assert {"packaging/launchers/sixtykey", "packaging/vendor/__main__.py"} <= names
    assert {shown(path) for path in C} >= {"agent/helper/authorized_keys.c"}
    assert {shown(path) for path in SCRIPTS} >= {".ci/run", "packaging/debian/rules"}


@pytest.mark.parametrize("path", PYTHON, ids=shown)
def test_python_files_and_functions_stay_short(path: Path) -> None:
    """A Python file has at most 300 lines and a function at most 40."""
    assert len(path.read_text("utf-8").splitlines()) <= MAX_FILE
    assert [each for each in functions(path) if each[1] > MAX_FUNCTION] == []


def test_no_constructor_takes_seven_arguments() -> None:
    """What a class needs is made up of few values: a constructor takes at most six arguments."""
    wrong = [
        shown(path)
        for path in PYTHON
        if not path.is_relative_to(ROOT / "tests")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name == "__init__"
        if len([*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]) - 1 > MAX_ARGUMENTS
    ]
    assert wrong == []


@pytest.mark.parametrize("path", SCRIPTS, ids=shown)
def test_scripts_stay_short(path: Path) -> None:
    """A script in the shell or in make has at most 300 lines."""
    assert len(path.read_text("utf-8").splitlines()) <= MAX_FILE


@pytest.mark.parametrize("path", C, ids=shown)
def test_c_files_and_functions_stay_short(path: Path) -> None:
    """A C file has at most 400 lines and a function at most 40."""
    assert len(path.read_text("utf-8").splitlines()) <= MAX_C_FILE
    found = list(c_functions(path))
    assert found
    assert [each for each in found if each[1] > MAX_FUNCTION] == []


@pytest.mark.parametrize("folder", ["agent/", "tests/", ""], ids=["agent", "tests", "all"])
def test_half_of_the_functions_have_at_most_eight_lines(folder: str) -> None:
    """The median function of agent/, of tests/, and of all files has at most 8 lines."""
    sizes = [
        lines for path in PYTHON if shown(path).startswith(folder) for _, lines in functions(path)
    ]
    assert statistics.median(sizes) <= MEDIAN_FUNCTION


@pytest.mark.parametrize("folder", FLAT)
def test_no_module_lies_flat_that_belongs_into_a_folder(folder: str) -> None:
    """Beside the folders there are only the modules of the list, and each of them exists."""
    assert {path.stem for path in PYTHON if path.parent == ROOT / folder} == FLAT[folder]
