"""The source keeps to the layers of CONTRIBUTING.md and the design."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.parts.host import ROOT
from tests.parts.project import python_files

# Each layer, and the layers that its modules may reach, directly or through others. A module is of
# the longest name that is its own or a folder above it; every module of agent/ is of one.
_CONFIG = {"agent.config", "agent.config.plain_yaml"}
_CORE = {*_CONFIG, "agent.sshd_files", "agent.host", "agent.leases", "agent.audit"}
_API = {*_CORE, "agent.sources", "agent.sources.api"}
_MESSAGES = {"agent.sources.feed.messages", "agent.sources.feed.members"}
_FEED = {"agent.sources.feed", *_MESSAGES, "agent.fleet", "agent.fleet.messages.refusals"}
_DAEMON = {
    *_API, *_FEED, "agent", "agent.lookup", "agent.operations", "agent.reloading",
}  # fmt: skip
_COMMANDS = {
    "agent.fleet.gateway.settings",
    *_API, "agent", "agent.fleet", "agent.sshd_setup", "agent.client",
}  # fmt: skip
LAYERS: dict[str, set[str]] = {
    # Only the YAML reader, which the client uses for its own file too.
    "agent.config.plain_yaml": set(),
    "agent.config": {"agent.config.plain_yaml"},
    # sshd's files, which sshd-setup, the daemon and the commands all read.
    "agent.sshd_files": set(),
    "agent.host": {*_CONFIG, "agent.sshd_files"},
    "agent.leases": {*_CONFIG, "agent.host"},
    "agent.audit": {*_CONFIG, "agent.host", "agent.leases"},
    "agent.lookup": _CORE,
    # What all sources share; no source imports another.
    "agent.sources": _CORE,
    "agent.sources.api": {*_CORE, "agent", "agent.sources"},
    # The daemon's side of the source socket, and the messages of both sides.
    "agent.sources.feed": {*_CORE, *_FEED, "agent.sources"},
    "agent.sources.feed.messages": {"agent.sources.feed.members"},
    "agent.sources.feed.members": set(),
    # sixtykeyd-ec2, a separate process that shares only the settings with the daemon.
    "agent.sources.metadata": {
        "agent", *_CONFIG, "agent.host", *_MESSAGES,
    },
    "agent.reloading": _API,
    "agent.operations": {*_API, "agent"},
    "agent.daemon": _DAEMON,
    "agent.__main__": {*_DAEMON, "agent.daemon"},
    "agent.fleet": {*_CONFIG, "agent.host"},
    # The intake's errors by name, for the daemon in a fleet and for gateways.
    "agent.fleet.messages.refusals": {*_CORE, "agent.sources", "agent.fleet"},
    # sixtykeyd-fleet, a separate process that forwards what others have signed.
    "agent.fleet.connector": {"agent", *_CONFIG, "agent.host", *_MESSAGES, "agent.fleet"},
    # Also read by the operator's commands.
    "agent.fleet.gateway.settings": {"agent.config", "agent.config.plain_yaml"},
    "agent.fleet.gateway": {
        *_API, "agent", "agent.fleet", "agent.fleet.messages.refusals",
        "agent.fleet.gateway.settings",
    },
    # The client, which imports nothing of the daemon.
    "agent.client": {"agent", "agent.config.plain_yaml"},
    "agent.commands": {*_COMMANDS},
    "agent.cli": {*_COMMANDS, "agent.commands"},
    "agent.helper": set(),
    "agent.sshd_setup": {"agent.sshd_files"},
    # The version.
    "agent": set(),
}  # fmt: skip

# The only importers of what keeps leases: a source offers to the intake, a lookup reads the table.
KEEPERS = {
    "agent.leases.store": {
        "agent.sources.intake", "agent.sources.readiness", "agent.lookup.admission",
        "agent.operations", "agent.daemon",
    },
    "agent.leases.table": {"agent.leases.store", "agent.lookup.answers"},
    "agent.leases.journal": {"agent.leases.store", "agent.daemon"},
}  # fmt: skip
# What is imported by name: the commands, from here on; the helper's hash, any of hashlib's.
BY_NAME = {
    "agent.cli": {"agent.commands."},
    "agent.commands.fleet.command": {"agent.commands.fleet."},
    "agent.helper.authorized_keys": {"*"},
}
# The Python programs beside agent/ and tests/, with what they import of this project.
PROGRAMS = {
    "packaging/launchers/sixtykey": {"agent.cli"},
    "packaging/launchers/sixtykeyd": {"agent.host.starts", "agent.__main__"},
    "packaging/launchers/sixtykeyd-ec2": {"agent.sources.metadata.__main__"},
    "packaging/launchers/sixtykeyd-fleet": {"agent.fleet.connector.__main__"},
    "packaging/launchers/sixtykey-gateway": {"agent.fleet.gateway.__main__"},
    "packaging/launchers/sshd-setup": {"agent.sshd_setup.command"},
}
# Cores have no I/O and no clock of their own: bytes in, value or exception out.
CORES = [
    "agent.leases.keys", "agent.leases.lease", "agent.leases.table", "agent.config.patterns",
    "agent.sources.api.sigv4", "agent.sources.api.actions", "agent.sources.api.network_door",
    "agent.sources.api.host_door",
    "agent.sources.api.errors", "agent.sources.api.local_door", "agent.sources.api.door",
    "agent.sources.api.translation", "agent.sources.api.claim", "agent.sources.api.allow",
    "agent.sources.api.failures", "agent.sources.api.operators", "agent.sources.readiness",
    "agent.sources.steps", "agent.sources.intake", "agent.sources.lifetime",
    "agent.sources.throttle", "agent.sources.replay",
    "agent.host.bucket", "agent.sources.feed.messages", "agent.sources.feed.breaker",
    "agent.sources.metadata.blocks", "agent.sources.metadata.certificates",
    "agent.sources.metadata.ocsp",
    "agent.sources.metadata.signer", "agent.sources.metadata.place",
    "agent.sources.metadata.sightings",
    "agent.fleet.messages.signing", "agent.fleet.messages.documents", "agent.fleet.messages.fields",
    "agent.fleet.messages.lease_exchange", "agent.fleet.messages.tokens",
    "agent.fleet.messages.certificates", "agent.fleet.messages.membership",
    "agent.fleet.messages.clocks", "agent.fleet.messages.description",
    "agent.fleet.bus.nkeys", "agent.fleet.bus.jwt", "agent.fleet.bus.roles",
    "agent.fleet.bus.servers", "agent.fleet.home.enrolment", "agent.fleet.home.authority",
    "agent.fleet.home.revocation", "agent.sources.feed.members",
]  # fmt: skip
IO_MODULES = {
    "asyncio", "os", "pathlib", "select", "socket", "sqlite3", "ssl", "subprocess", "time",
}  # fmt: skip
# In api/ only http has connections.
NETWORK_MODULES = {"asyncio", "select", "selectors", "socket", "ssl"}
NETWORK_PREFIX = "agent.sources.api.http"

PYTHON = python_files()


def name_of(path: Path) -> str:
    """The module's dotted name: agent/sources/api/http.py is agent.sources.api.http."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path, ours: set[str]) -> Iterator[str]:
    """Every module that a file imports anywhere, `from agent.leases import keys` included."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            submodules = {f"{node.module}.{alias.name}" for alias in node.names} & ours
            # `from agent import client` imports agent.client, and not the package agent.
            yield from submodules
            if len(submodules) < len(node.names):
                yield node.module


def loaded_by_name(path: Path) -> Iterator[str]:
    """What a file passes to `__import__`: a module's name or its beginning, or * for any name."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "__import__":
            named = node.args[0]
            begin = named.values[0] if isinstance(named, ast.JoinedStr) else named
            yield str(begin.value) if isinstance(begin, ast.Constant) else "*"


def is_below(name: str, package: str) -> bool:
    """Whether a module is that package or in it."""
    return name == package or name.startswith(package + ".")


@functools.cache
def graph() -> dict[str, set[str]]:
    """Each module of the agent, with all modules that it imports, by a statement or by name."""
    ours = (path for path in PYTHON if path.is_relative_to(ROOT / "agent"))
    modules = {name_of(path): path for path in ours}
    late = {name: tuple(loaded_by_name(path)) for name, path in modules.items()}
    return {
        name: {*imports_of(path, set(modules)), *(m for m in modules if m.startswith(late[name]))}
        for name, path in modules.items()
    }


def layer_of(name: str) -> str:
    """The layer of a module. Raises ValueError if it has none."""
    found = [layer for layer in LAYERS if layer != "agent" and is_below(name, layer)]
    return "agent" if name == "agent" else max(found, key=len)


def reach(name: str, edges: dict[str, set[str]]) -> set[str]:
    """The agent's modules that a module imports, directly or through others."""
    found: set[str] = set()
    left = [name]
    while left:
        new = {module for module in edges[left.pop()] if module in edges} - found
        found |= new
        left += new
    return found


def test_every_module_has_a_layer() -> None:
    """Every module of the agent belongs to a layer."""
    for name in graph():
        assert layer_of(name) in LAYERS


def test_only_commands_are_imported_by_name() -> None:
    """Nothing hides an import: by name, only commands are loaded, and the helper's hash."""
    hidden = {
        name_of(path): {each for each in loaded_by_name(path) if each.startswith(("agent", "*"))}
        for path in PYTHON
        if path.is_relative_to(ROOT / "agent")
    }
    assert {name: found for name, found in hidden.items() if found} == BY_NAME
    loaders = {"importlib", "runpy", "pkgutil"}
    assert {
        name for name, found in graph().items() if loaders & {i.split(".")[0] for i in found}
    } == set()


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_reaches_only_what_it_may(layer: str) -> None:
    """No module imports, directly or through others, a layer that is not allowed to its own."""
    edges = graph()
    mine = [name for name in edges if layer_of(name) == layer]
    assert mine, f"{layer} is not there"
    allowed = {layer, *LAYERS[layer]}
    wrong = [
        f"{name} reaches {other}"
        for name in mine
        for other in sorted(reach(name, edges))
        if layer_of(other) not in allowed
    ]
    assert wrong == []


@pytest.mark.parametrize("keeper", KEEPERS)
def test_only_the_intake_and_lookups_reach_what_keeps_leases(keeper: str) -> None:
    """No source passes the intake by: exactly these modules import the store, table and journal."""
    assert {name for name, imports in graph().items() if keeper in imports} == KEEPERS[keeper]


def test_other_programs_import_one_main_module() -> None:
    """A launcher imports the program that it starts; other programs import nothing of ours."""
    ours = set(graph())
    found = {
        str(path.relative_to(ROOT)): {
            each
            for each in imports_of(path, ours)
            if is_below(each, "agent") or is_below(each, "tests")
        }
        for path in PYTHON
        if path.relative_to(ROOT).parts[0] not in {"agent", "tests"}
    }
    assert {name: imports for name, imports in found.items() if imports} == PROGRAMS


def test_parts_of_tests_import_no_test() -> None:
    """What tests share, in tests/parts, imports nothing of the tests that use it."""
    parts = [path for path in PYTHON if path.is_relative_to(ROOT / "tests" / "parts")]
    ours = {name_of(path) for path in PYTHON if path.is_relative_to(ROOT / "tests")}
    imports = {each for path in parts for each in imports_of(path, ours) if is_below(each, "tests")}
    assert {each for each in imports if not is_below(each, "tests.parts")} == set()


def test_imports_make_no_circle() -> None:
    """The agent's modules do not import each other in a circle."""
    edges = graph()
    while edges:
        leaves = {name for name, imports in edges.items() if not (imports - {name}) & set(edges)}
        assert leaves, f"these import each other in a circle: {sorted(edges)}"
        edges = {name: imports for name, imports in edges.items() if name not in leaves}


def test_only_the_main_modules_know_the_daemon() -> None:
    """Only agent.__main__ imports the daemon, and no module imports tests."""
    edges = graph()
    above = {name for name, imports in edges.items() if "agent.daemon" in imports}
    assert above <= {"agent.__main__"}
    assert [name for name in edges if any(is_below(i, "tests") for i in edges[name])] == []


def test_cores_do_no_io_and_have_no_clock() -> None:
    """The core modules import nothing for I/O, waiting or the time."""
    edges = graph()
    assert set(CORES) <= set(edges)
    assert {name: edges[name] & IO_MODULES for name in CORES if edges[name] & IO_MODULES} == {}


def test_only_the_http_shell_has_sockets() -> None:
    """In api/ only the http modules import anything for the network."""
    edges = graph()
    shells = {name for name in edges if name.startswith(NETWORK_PREFIX)}
    assert shells
    others = {
        name: edges[name] & NETWORK_MODULES for name in edges if is_below(name, "agent.sources.api")
    }
    assert {name: found for name, found in others.items() if found and name not in shells} == {}


def test_the_helper_needs_the_interpreters_own_modules_only() -> None:
    """The helper imports exactly these built-in modules, since each import delays a login."""
    own = {"_signal", "_socket", "binascii", "posix", "select", "sys", "time"}
    assert graph()["agent.helper.authorized_keys"] == own
