"""PAM's line for one-time keys: plan it, try it on a copy, write it, and remove it.

/etc/pam.d/sshd is a conffile of Debian's openssh-server: after an edit, each upgrade asks about it.
So on Debian the file is diverted, and a file of ours includes the package's. Elsewhere the line is
written into the file, which rpm keeps. docs/decisions/pam-line.md has the reasons.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Optional

from agent.sshd_files import command_lines
from agent.sshd_files.files import text_of
from agent.sshd_files.pam_file import (
    LINE,
    PROGRAM,
    SERVICE,
    SOCKET,
    PamLine,
    account_lines,
    first_account_line,
    line_faults,
    without_line,
)
from agent.sshd_setup import changes, pam_trial
from agent.sshd_setup.changes import Change
from agent.sshd_setup.diversion import Diversion
from agent.sshd_setup.sshd import SetupError, Sshd

_MARK = "# Written by sixtykey's sshd-setup, which also removes it: one login for a one-time key.\n"
_HEAD = """\
# This file is sixtykey's (sshd-setup enable --one-time), until sshd-setup disable. What the package
# openssh-server brings is in the file that is included here; changes belong there.
"""
_FOLDER = "etc/pam.d"


@dataclass(frozen=True)
class PamPlan:
    """The planned changes to PAM's file for sshd.

    Attributes:
        changes: files, in the order to write them. Empty: there is nothing to do.
        diversion: the file's diversion; `diverted`: whether it is active afterwards.
        message: what to print once all is done; may be empty.
    """

    diversion: Diversion
    diverted: bool = False
    changes: tuple[Change, ...] = ()
    message: str = ""


def plan_enable(sshd: Sshd) -> PamPlan:
    """Plan to add PAM's line.

    Raises:
        SetupError: sshd does not use PAM's file, or the line is wrong or cannot be added.
    """
    _require_pam(sshd)
    path, diversion = _path(sshd.root), Diversion(SERVICE, sshd.root)
    text = _read(path)
    present = _faults(path, sshd.root)
    if present is not None:
        if present:
            raise SetupError("\n".join([*present, "Fix that, or remove the line, first."]))
        # An interrupted run may have written the files already.
        diverted = diversion.is_ours() or _include(diversion) in text
        return PamPlan(diversion, diverted, (), f"{SERVICE} already has the line")
    if diversion.holder() and not diversion.is_ours():
        raise SetupError(f"{SERVICE} is diverted by {diversion.holder()}: dpkg-divert --list")
    if not diversion.is_wanted():
        changes: tuple[Change, ...] = (Change(path, _with_line(text)),)
    else:
        own = f"{_HEAD}{LINE}\n{_include(diversion)}"
        changes = (Change(_below(sshd.root, diversion.distributed), text, path), Change(path, own))
    _try(sshd.root, changes)
    return PamPlan(diversion, len(changes) > 1, changes, f"one-time keys are limited to one login "
                   f"({SERVICE})")  # fmt: skip


def plan_disable(root: str) -> PamPlan:
    """Plan to remove PAM's line. Raises OSError: the file cannot be read."""
    path, diversion = _path(root), Diversion(SERVICE, root)
    message = "PAM no longer asks sixtykey"
    text, include = text_of(path), _include(diversion)
    other = _below(root, diversion.distributed)
    # Keep what others have added to our file, around the included text. If openssh-server was
    # purged, the included text is empty.
    whole = _without_line(text).replace(_HEAD, "")
    if include in text:
        changes = [Change(path, whole.replace(include, text_of(other)) or None)]
        return PamPlan(diversion, False, (*changes, Change(other, None)), message)
    return PamPlan(diversion, False, (Change(path, whole),) if whole != text else (), message)


def find_other_lines(root: str) -> list[str]:
    """The places where a line that is not ours still runs pam-account."""
    try:
        return [line.where for line in account_lines(_path(root), root) if line.runs_pam_account]
    except (OSError, ValueError):
        return []


@contextmanager
def apply(plan: PamPlan) -> Iterator[None]:
    """Carry a plan out, then run the body. If it raises, everything is restored.

    Raises:
        SetupError, OSError: the plan failed; everything is restored.
    """
    with changes.apply(plan.changes), plan.diversion.switch(plan.diverted):
        yield


def _require_pam(sshd: Sshd) -> None:
    effective = sshd.effective()
    if effective.get("usepam") != "yes":
        raise SetupError(
            f"sshd does not use PAM (UsePAM no in {sshd.config}), so that nothing could hold a "
            "login to a one-time key. Set UsePAM yes, reload sshd, then run this again"
        )
    service = effective.get("pamservicename", "sshd")
    if service != "sshd":
        raise SetupError(f"sshd uses PAM's service {service} (PAMServiceName), not sshd")
    for _, words in command_lines.pam_faults(command_lines.known(sshd.root, sshd.config)):
        raise SetupError(f"{words}. Remove that option, restart sshd, then run this again")
    program = _below(sshd.root, PROGRAM)
    if not os.access(program, os.X_OK):
        raise SetupError(f"{PROGRAM} is missing: install the package sixtykey again")


def _faults(path: str, root: str) -> Optional[list[str]]:
    """What is wrong with the existing line; None when there is no line."""
    lines = _lines(path, root)
    if not any(line.runs_pam_account for line in lines):
        return None
    ours = next(line for line in lines if line.runs_pam_account)
    # Accept any socket here: `sixtykey check` compares it with the configuration.
    socket = ours.arguments[-1] if "--socket" in ours.arguments else SOCKET
    return [fault.what for fault in line_faults(lines, socket)]


def _lines(path: str, root: str) -> list[PamLine]:
    try:
        return list(account_lines(path, root))
    except ValueError as error:
        raise SetupError(str(error)) from None


def _try(root: str, changes: tuple[Change, ...]) -> None:
    """Make the changes to a copy of PAM's files, and try it with libpam. Raises SetupError."""
    with tempfile.TemporaryDirectory(prefix="sixtykey-pam-") as there:
        folder = os.path.join(there, _FOLDER)
        shutil.copytree(os.path.join(root, _FOLDER), folder)
        before = pam_trial.outcome(folder)
        for change in changes:
            _write(os.path.join(folder, os.path.basename(change.path)), change.content or "")
        service = os.path.join(folder, "sshd")
        if faults := _faults(service, there):
            raise SetupError("\n".join(faults))
        program = _below(root, PROGRAM)
        _write(service, _read(service).replace(PROGRAM, program))
        after = pam_trial.outcome(folder)
        _write(service, f"{LINE}\n".replace(PROGRAM, program))
        alone = pam_trial.outcome(folder)
    if (after, alone) != (before, pam_trial.SUCCESS):
        raise SetupError(
            "a dry run on a copy of PAM's files does not end as it does without the line "
            "(pam_acct_mgmt(3) "
            f"for root: {before} before, {after} with it, {alone} with nothing else)"
        )


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        file.write(text)


def _with_line(text: str) -> str:
    """Insert our line before the account phase. Raises SetupError: there is no such phase."""
    number = first_account_line(text)
    if number is None:
        raise SetupError(f"{SERVICE} has no account phase: add `{LINE}` there yourself")
    lines = text.split("\n")
    lines[number - 1 : number - 1] = [_MARK.rstrip(), LINE]
    return "\n".join(lines)


def _include(diversion: Diversion) -> str:
    """The line of our file that includes the distribution's."""
    return f"@include {os.path.basename(diversion.distributed)}\n"


def _without_line(text: str) -> str:
    return without_line(text.replace(_MARK, ""))


def _read(path: str) -> str:
    if os.path.islink(path):
        raise SetupError(f"{path} is a link: write `{LINE}` yourself, where it leads to")
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        return file.read()


def _path(root: str) -> str:
    return _below(root, SERVICE)


def _below(root: str, path: str) -> str:
    return os.path.join(root, path.lstrip("/"))
