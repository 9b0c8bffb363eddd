"""The time of a helper that finds a key, compared with the bare interpreter's."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.benchmarks.figures import Figure, figure
from tests.benchmarks.pairs import compare, process
from tests.parts.daemon import RunningDaemon
from tests.parts.host import work_directory
from tests.parts.keys import make_key
from tests.parts.pushers import Target, push_with_boto3
from tests.parts.sshd import HELPER, install_helper

PAIRS = 200
SYSTEM_PYTHON = "/usr/bin/python3"
USER = "ec2-user"


def against_interpreter(name: str, python: str, installed: bool = True) -> Figure:
    """Ask the real daemon for a key by fingerprint, against a start of `python` that does nothing.

    Both with -I -S; the daemon is otherwise idle. `installed`: with byte code, as the package has
    it; else the source file is compiled in each run.
    """
    with work_directory() as directory, RunningDaemon(directory) as daemon:
        key = make_key(directory)
        pushed = push_with_boto3(Target.of(daemon), USER, key.line)
        if not pushed.ok:
            raise RuntimeError(pushed.message)
        line = f"{key.type} {key.base64} {pushed.request_id}\n"
        bare = [python, "-I", "-S"]
        script = install_helper(directory / "installed", python) if installed else HELPER
        words = [str(script), "--socket", daemon.lookup_socket, USER, key.fingerprint()]
        pairs = compare(
            process([*bare, *words], line.encode()), process([*bare, "-c", "pass"], b""), PAIRS
        )
    detail = {"python": os.path.realpath(python), **pairs.detail()}
    return Figure(name, pairs.ratio, "ratio", f"{Path(python).name} -I -S -c pass", detail)


@figure
def helper_vs_interpreter() -> Figure:
    """With the interpreter that the installed helper names in its first line, if it is here."""
    python = SYSTEM_PYTHON if Path(SYSTEM_PYTHON).exists() else sys.executable
    return against_interpreter("helper_vs_interpreter", python)


@figure
def helper_source_vs_interpreter() -> Figure:
    """The same from the source file, as the tests of an ordinary user run it."""
    python = SYSTEM_PYTHON if Path(SYSTEM_PYTHON).exists() else sys.executable
    return against_interpreter("helper_source_vs_interpreter", python, installed=False)
