"""What an interactive zsh makes of a line when the user presses Tab."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from tests.parts.host import ROOT, tool

_RC = """\
fpath=({functions} $fpath)
autoload -Uz compinit
compinit -u -D
# Write down the line as it is, and end.
show() {{ print -r -- "$BUFFER" >{there}/new; mv {there}/new {there}/line; exit }}
zle -N show
bindkey '^X' show
unsetopt zle_bracketed_paste
PS1='READY '
"""
_SECONDS = 120


def complete(line: str, folder: Path, environ: Mapping[str, str]) -> str:
    """The line after Tab, in an interactive zsh on a terminal; `folder` is for its files."""
    there = folder / "zsh"
    there.mkdir(exist_ok=True)
    functions = ROOT / "packaging" / "completion" / "zsh"
    (there / ".zshrc").write_text(_RC.format(functions=functions, there=there))
    master, terminal = pty.openpty()
    words = [tool("zsh", "zsh"), "--no-globalrcs", "-i"]
    of_it = {**environ, "ZDOTDIR": str(there), "TERM": "dumb", "COLUMNS": "500"}
    with subprocess.Popen(
        words, stdin=terminal, stdout=terminal, stderr=terminal, env=of_it, cwd=folder,
        start_new_session=True,
    ) as shell:  # fmt: skip
        os.close(terminal)
        try:
            _read_until(master, b"READY ")
            os.write(master, f"{line}\t\x18".encode())
            said = _read_until(master, b"")
        finally:
            shell.kill()
            os.close(master)
    found = there / "line"
    assert found.exists(), said
    text = found.read_text().rstrip("\n")
    found.unlink()
    return text


def _read_until(terminal: int, mark: bytes) -> bytes:
    """Read until the mark; an empty one: until zsh ends."""
    said, end = b"", time.monotonic() + _SECONDS
    while not mark or mark not in said:
        assert select.select([terminal], [], [], end - time.monotonic())[0], said
        try:
            said += os.read(terminal, 4096)
        except OSError:  # EIO: it has ended
            break
    return said
