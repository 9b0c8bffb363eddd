"""The forms of the helper: its tests run with every form that this host can run."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.parts.host import ROOT, tool

FOLDER = ROOT / "agent" / "helper"
SANITIZED = [
    "-U_FORTIFY_SOURCE", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g",
]  # fmt: skip
ARM = "/usr/aarch64-linux-gnu"

# A folder of programs that were compiled elsewhere, for a host without a compiler.
BROUGHT = os.environ.get("SIXTYKEY_TEST_HELPERS")
PYTHONS = {"python": "/usr/bin/python3"}
if os.path.realpath(sys.executable) != os.path.realpath(PYTHONS["python"]):
    PYTHONS["suite's python"] = sys.executable
COMPILED = sorted(os.listdir(BROUGHT)) if BROUGHT else ["compiled", "sanitized", "arm64"]
KINDS = [*PYTHONS, *COMPILED]

# What a test changes of the source: where it logs (below the working directory, so that one program
# serves all tests), and how long it waits for a chained command.
_CHANGES = {
    ".py": {'\nSYSLOG = "/dev/log"\n': '\nSYSLOG = "log"\n', " = 10.0\n": " = 2.0\n"},
    ".c": {'#define SYSLOG "/dev/log"\n': '#define SYSLOG "log"\n', "_MS = 10000,": "_MS = 2000,"},
}


def changed(suffix: str) -> str:
    """The helper's source in Python or C, with the changes that tests need."""
    source = (FOLDER / f"authorized_keys{suffix}").read_text("utf-8")
    for before, after in _CHANGES[suffix].items():
        assert source.count(before) == 1, before
        source = source.replace(before, after)
    return source


@functools.cache
def folder() -> Path:
    """The folder for this process's builds, removed at its end."""
    made = Path(tempfile.mkdtemp(prefix="sixtykey-helpers-"))
    atexit.register(shutil.rmtree, made)
    # Root's sshd runs the helper as another user.
    made.chmod(0o755)
    return made


def compile_helper(
    program: Path, *flags: str, source: Path = FOLDER / "authorized_keys.c", cc: str = "gcc"
) -> Path:
    """Compile the helper as the packages do, with more flags. Raises MissingToolError."""
    environment: Mapping[str, str] = {**os.environ, "CC": tool(cc, cc), "SOURCE": str(source)}
    command = [str(FOLDER / "build"), str(program), *flags]
    subprocess.run(command, check=True, env=environment, timeout=120)
    return program


@functools.cache
def command_of(kind: str) -> tuple[str, ...]:
    """The command of a kind of the helper, without arguments. Raises MissingToolError."""
    if kind in PYTHONS:
        script = folder() / "authorized-keys.py"
        script.write_text(changed(".py"), "utf-8")
        return (PYTHONS[kind], "-I", "-S", str(script))
    if BROUGHT:
        return (f"{BROUGHT}/{kind}",)
    source = folder() / "authorized_keys.c"
    source.write_text(changed(".c"), "utf-8")
    program = folder() / kind
    if kind == "arm64":
        emulator = tool("qemu-aarch64-static", "qemu-user-static")
        compile_helper(program, source=source, cc="aarch64-linux-gnu-gcc")
        return (emulator, "-L", ARM, str(program))
    compile_helper(program, *(SANITIZED if kind == "sanitized" else []), source=source)
    return (str(program),)
