"""The files of the project are those that git tracks; other files in a checkout do not count."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.parts.project import project_files, python_files


def git(folder: Path, *words: str) -> None:
    """Run git in this folder."""
    subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True)


def fill(folder: Path) -> None:
    """Two files of the project, and a script without a suffix."""
    (folder / "tests").mkdir()
    (folder / "tests" / "module.py").write_text("")
    (folder / "README.md").write_text("")
    (folder / "launcher").write_text("#!/usr/bin/python3 -I\n")


def names(folder: Path, paths: list[Path]) -> set[str]:
    """The paths relative to the folder."""
    return {str(path.relative_to(folder)) for path in paths}


def test_untracked_files_are_not_part_of_the_project(tmp_path: Path) -> None:
    """Only files that are added to git and not deleted belong to the project."""
    fill(tmp_path)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    (tmp_path / "scratch.py").write_text("print(")
    (tmp_path / "README.md").unlink()
    assert names(tmp_path, project_files(tmp_path)) == {"tests/module.py", "launcher"}


def test_python_is_known_by_its_first_line_too(tmp_path: Path) -> None:
    """A script without a suffix counts as Python by its first line."""
    fill(tmp_path)
    (tmp_path / "script").write_text("#!/bin/sh\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    assert names(tmp_path, python_files(tmp_path)) == {"tests/module.py", "launcher"}


def test_without_git_what_tools_leave_is_left_out(tmp_path: Path) -> None:
    """Without a repository, every file belongs to the project except what tools generate."""
    fill(tmp_path)
    for name in (".venv/lib/x.py", "build/x.py", "tests/__pycache__/x.pyc", ".coverage", ".ci/x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    kept = {"tests/module.py", "README.md", "launcher", ".ci/x"}
    assert names(tmp_path, project_files(tmp_path)) == kept
