"""Write what is planned, prove it by sshd itself, and put it back where the proof fails."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from agent.sshd_setup.changes import made
from agent.sshd_setup.lines import HELPER, HELPER_USER
from agent.sshd_setup.plan import Plan
from agent.sshd_setup.slots import listed, slots
from agent.sshd_setup.sshd import NotReloaded, SetupError, Sshd, run


def enable(sshd: Sshd, plan: Plan) -> None:
    """Carry a plan out on a valid configuration.

    Raises:
        SetupError: sshd does not take it, or not as it is meant; every file is as it was.
        NotReloaded: all is written and proven, and the sshd that runs does not know it yet.
    """
    running = sshd.running(plan.units)
    with _restarted(sshd, plan, running), made(plan.changes):
        _prove(sshd, plan)
        if plan.member:
            _admit(plan.member)
        _start_anew(sshd, plan, running)
    if plan.changes and not plan.units:
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
    problem, running = _problem(sshd), sshd.running(plan.units)
    with _restarted(sshd, plan, running), made(plan.changes):
        if problem is None:
            _prove(sshd, plan)
            _start_anew(sshd, plan, running)
    if problem is not None and (problem := _problem(sshd)) is not None:
        raise NotReloaded(
            f"{plan.said} once it is reloaded, but it was not reloaded: the one that runs still "
            f"asks {HELPER}, and a new one does not start. The rest of its configuration is not "
            f"valid, and was not before:\n{problem}\nMend that, then reload ssh (or sshd)"
        )
    if not plan.units:
        sshd.reload()


@contextmanager
def _restarted(sshd: Sshd, plan: Plan, running: Sequence[str]) -> Iterator[None]:
    """Where the body fails, and has put the files back, start sshd by these again."""
    try:
        yield
    except BaseException as error:
        try:
            if plan.units:
                sshd.start_anew(running)
        except SetupError as second:
            raise SetupError(f"{error}\nAnd with everything put back: {second}") from error
        raise


def _start_anew(sshd: Sshd, plan: Plan, running: Sequence[str]) -> None:
    """Start sshd as its units say now; no command may be given by them. Raises SetupError."""
    if not plan.units:
        return
    sshd.start_anew(running)
    left = [slot for slot in slots(sshd) if slot.is_option and HELPER not in slot.command]
    if left and plan.wanted:
        raise SetupError(f"sshd is still given a command by -o:\n{listed(left)}")


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
        other = [k for k, value in plan.wanted.items() if effective.get(k) != value]
        if other:
            said = "".join(f"  {keyword} {effective.get(keyword)}\n" for keyword in other)
            raise SetupError(f"sshd -T says:\n{said}{plan.advice}")
