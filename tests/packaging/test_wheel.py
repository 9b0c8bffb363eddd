"""What pip installs: the wheel that it builds from the project's files."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.parts.host import ROOT
from tests.parts.project import project_files


def test_users_of_pip_get_the_manual_and_completion(tmp_path: Path) -> None:
    """The wheel has sixtykey(1) and the completions, where man and both shells look for them."""
    source = tmp_path / "source"
    for path in project_files():
        copy = source / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir"]
    subprocess.run([*command, str(tmp_path), str(source)], check=True, timeout=110)
    (wheel,) = tmp_path.glob("sixtykey-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    shared = {name.partition(".data/data/")[2] for name in names if ".data/data/" in name}
    assert shared == {
        "share/man/man1/sixtykey.1",
        "share/bash-completion/completions/sixtykey",
        "share/zsh/site-functions/_sixtykey",
    }
    assert {"agent/cli.py", "agent/helper/authorized_keys.py"} <= set(names)
    assert not any(name.startswith("tests/") for name in names)
