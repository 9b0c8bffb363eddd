"""The project's files, which git tracks. Run as a program, it prints the Python files."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.parts.host import ROOT

_SHEBANG = re.compile(rb"#!\s*\S*(?:/|/env\s+)python3?[\d.]*(?:\s|$)")
# Without git: what tools leave in a work tree.
_LEFT_BY_TOOLS = re.compile(
    r"build|dist|node_modules|__pycache__|\.git|\.venv|\.\w+_cache|\.hypothesis|\.coverage.*|.*\.egg-info"
)


def project_files(root: Path = ROOT) -> list[Path]:
    """Return the files that git tracks; without git, all but what tools leave.

    Untracked files of a checkout are not part of the project.
    """
    command = ["git", "-c", f"safe.directory={root}", "ls-files", "-z", "--cached"]
    try:
        listed = subprocess.run(command, cwd=root, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return sorted(_found(root))
    names = listed.stdout.decode().split("\0")
    return [root / name for name in names if name and (root / name).is_file()]


def python_files(root: Path = ROOT) -> list[Path]:
    """Return the Python files, by name or by first line."""
    return [path for path in project_files(root) if path.suffix == ".py" or _is_script(path)]


def _found(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if _LEFT_BY_TOOLS.fullmatch(path.name):
            continue
        if path.is_dir():
            yield from _found(path)
        elif path.is_file():
            yield path


def _is_script(path: Path) -> bool:
    if path.suffix:
        return False
    with path.open("rb") as file:
        return _SHEBANG.match(file.readline()) is not None


if __name__ == "__main__":
    sys.stdout.writelines(f"{path.relative_to(ROOT)}\n" for path in python_files())
