"""Write what is planned, prove it by sshd itself, and put it back where the proof fails."""

from __future__ import annotations

import os

from agent.sshd_setup.changes import made
from agent.sshd_setup.lines import HELPER, HELPER_USER
from agent.sshd_setup.plan import Plan
from agent.sshd_setup.sshd import NotReloaded, SetupError, Sshd, run


def enable(sshd: Sshd, plan: Plan) -> None:
    """Carry a plan out on a valid configuration.

    Raises:
        SetupError: sshd does not take it, or not as it is meant; every file is as it was.
        NotReloaded: all is written and proven, and the sshd that runs does not know it yet.
    """
    if plan.changes and not os.path.isdir(os.path.dirname(sshd.drop_in)):
        raise SetupError(plan.advice)
    with made(plan.changes):
        _prove(sshd, plan)
        if plan.member:
            _admit(plan.member)
    if plan.changes:
        sshd.reload()


def disable(sshd: Sshd, plan: Plan) -> None:
    """Carry out the removal of our lines.

    A configuration that is in order stays so, or is put back. One that is not is no reason to keep
    them, for the next start of sshd is to find them gone; but then no sshd can be reloaded.

    Raises:
        SetupError: without our lines sshd does not take its files; they are as they were.
        NotReloaded: our lines are gone, and the sshd that runs does not know it yet.
    """
    if not plan.changes:
        return
    problem = _problem(sshd)
    with made(plan.changes):
        if problem is None:
            _prove(sshd, plan)
    if problem is not None and (problem := _problem(sshd)) is not None:
        raise NotReloaded(
            f"{sshd.drop_in} is removed, but sshd was not reloaded: the one that runs still asks "
            f"{HELPER}, and a new one does not start. The rest of its configuration is not valid, "
            f"and was not before:\n{problem}\nMend that, then: systemctl reload ssh (or sshd)"
        )
    sshd.reload()


def _problem(sshd: Sshd) -> SetupError | None:
    try:
        sshd.test()
    except SetupError as error:
        return error
    return None


def _admit(user: str) -> None:
    """Let an OS user reach the lookup socket. Raises SetupError."""
    done = run("usermod", "-a", "-G", HELPER_USER, user)
    if done.returncode:
        raise SetupError(f"{user} cannot become a member of {HELPER_USER}: {done.stderr.strip()}")


def _prove(sshd: Sshd, plan: Plan) -> None:
    """Raise SetupError unless sshd takes its files, and says of itself what is wanted."""
    sshd.test()
    if plan.wanted:
        effective = sshd.effective()
        if any(effective.get(keyword) != value for keyword, value in plan.wanted.items()):
            raise SetupError(plan.advice)
