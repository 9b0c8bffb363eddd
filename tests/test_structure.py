"""The promises of CONTRIBUTING.md and the design about the shape of the source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.parts.host import ROOT, project_files

MAX_FILE = 300
MAX_FUNCTION = 40

# A module (or a package) and what it must not import, itself or below. "agent" means all of ours.
FORBIDDEN = [
    ("agent.authorized_keys", ["agent"]),
    ("agent.clock", ["agent"]),
    ("agent.config", ["agent"]),
    ("agent.api.errors", ["agent"]),
    ("agent.keys", ["agent.leases", "agent.api", "agent.lookup", "agent.journal", "agent.daemon"]),
    ("agent.leases", ["agent.api", "agent.lookup", "agent.journal", "agent.daemon"]),
    ("agent.journal", ["agent.api", "agent.lookup", "agent.daemon"]),
    ("agent.lookup", ["agent.api", "agent.daemon"]),
    ("agent.api", ["agent.journal", "agent.lookup", "agent.daemon"]),
]

# Cores have no I/O and no clock of their own: bytes in, value or exception out.
CORES = [
    "agent.keys", "agent.leases", "agent.patterns", "agent.api.sigv4", "agent.api.actions",
    "agent.api.service", "agent.api.errors", "agent.api.throttle",
]  # fmt: skip
IO_MODULES = {
    "asyncio", "os", "pathlib", "select", "socket", "sqlite3", "ssl", "subprocess", "time",
}  # fmt: skip
# In api/ the connections are http's alone.
NETWORK_MODULES = {"asyncio", "select", "selectors", "socket", "ssl"}
NETWORK_PREFIX = "agent.api.http"

NOT_FOR_THE_WORLD = {
    "a path of one machine": re.compile(
        r"(?<![\w.-])/(?:(?:work|farm)/\w|opt/(?:pypi|wheels)|root/\.pyenv)"
    ),
    "a host of a package registry": re.compile(
        r"\b(?:registry\.npmjs|pypi\.org|pythonhosted\.org|(?:deb|security|snapshot)\.debian\.org"
        r"|archive\.ubuntu\.com|proxy\.golang)"
    ),
}


def sources(*folders: str) -> list[Path]:
    """All Python files below these folders of the project."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def name_of(path: Path) -> str:
    """The module's dotted name: agent/api/http.py is agent.api.http."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path, ours: set[str]) -> Iterator[str]:
    """Every module that a file imports anywhere in it, `from agent import keys` as agent.keys."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            submodules = {f"{node.module}.{alias.name}" for alias in node.names} & ours
            # `from agent import keys` is about agent.keys, not about the empty agent.
            yield from submodules
            if len(submodules) < len(node.names):
                yield node.module


def is_below(name: str, package: str) -> bool:
    """Whether a module is that package or in it."""
    return name == package or name.startswith(package + ".")


def graph() -> dict[str, set[str]]:
    """The agent's modules, each with all that it imports."""
    modules = {name_of(path): path for path in sources("agent")}
    return {name: set(imports_of(path, set(modules))) for name, path in modules.items()}


@pytest.mark.parametrize("path", sources("agent", "tests"), ids=name_of)
def test_files_and_functions_stay_short(path: Path) -> None:
    """A file has at most 300 lines and a function at most 40."""
    text = path.read_text("utf-8")
    assert len(text.splitlines()) <= MAX_FILE
    long = [
        f"{node.name}: {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and node.end_lineno is not None
        and node.end_lineno - node.lineno >= MAX_FUNCTION
    ]
    assert long == []


@pytest.mark.parametrize(("importer", "forbidden"), FORBIDDEN, ids=[rule[0] for rule in FORBIDDEN])
def test_imports_go_one_way(importer: str, forbidden: list[str]) -> None:
    """What stands lower in the design does not import what stands higher."""
    edges = graph()
    assert any(is_below(name, importer) for name in edges), f"{importer} is not there"
    wrong = [
        f"{name} imports {imported}"
        for name, imports in edges.items()
        for imported in imports
        if is_below(name, importer) and any(is_below(imported, package) for package in forbidden)
    ]
    assert wrong == []


def test_imports_make_no_circle() -> None:
    """No module of the agent imports itself by way of others."""
    edges = graph()
    while edges:
        leaves = {name for name, imports in edges.items() if not (imports - {name}) & set(edges)}
        assert leaves, f"these import each other in a circle: {sorted(edges)}"
        edges = {name: imports for name, imports in edges.items() if name not in leaves}


def test_only_the_main_modules_know_the_daemon() -> None:
    """Only the command imports the daemon, which wires all together; nothing imports tests."""
    edges = graph()
    above = {name for name, imports in edges.items() if "agent.daemon" in imports}
    assert above <= {"agent.__main__"}
    assert [name for name in edges if any(is_below(i, "tests") for i in edges[name])] == []


def test_cores_do_no_io_and_have_no_clock() -> None:
    """The modules that decide import nothing that could read, write, wait or tell the time."""
    edges = graph()
    assert set(CORES) <= set(edges)
    assert {name: edges[name] & IO_MODULES for name in CORES if edges[name] & IO_MODULES} == {}


def test_only_the_http_shell_has_sockets() -> None:
    """In api/ no other module imports anything to do with the network."""
    edges = graph()
    shells = {name for name in edges if name.startswith(NETWORK_PREFIX)}
    assert shells
    others = {name: edges[name] & NETWORK_MODULES for name in edges if is_below(name, "agent.api")}
    assert {name: found for name, found in others.items() if found and name not in shells} == {}


def test_the_helper_needs_the_interpreters_own_modules_only() -> None:
    """The helper runs as `python3 -I -S`, and each import costs a login: these, no others."""
    own = {"_signal", "_socket", "binascii", "posix", "select", "sys", "time"}
    assert graph()["agent.authorized_keys"] == own


@pytest.mark.parametrize("what", NOT_FOR_THE_WORLD)
def test_nothing_of_one_machine_is_committed(what: str) -> None:
    """No tracked file names a path of a developer's machine or the host of a package registry."""
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in project_files()
        for match in NOT_FOR_THE_WORLD[what].finditer(path.read_text("utf-8", errors="replace"))
    ]
    assert found == []
