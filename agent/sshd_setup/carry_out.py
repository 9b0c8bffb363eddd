"""Writes the planned changes, verifies them with sshd itself, and rolls back on failure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from agent.sshd_setup.changes import apply
from agent.sshd_setup.lines import HELPER, HELPER_USER
from agent.sshd_setup.plan import Plan
from agent.sshd_setup.slots import describe, slots
from agent.sshd_setup.sshd import NotReloaded, SetupError, Sshd, run


def enable(sshd: Sshd, plan: Plan) -> None:
    """Carry a plan out on a valid configuration.

    Raises:
        SetupError: sshd does not accept it, or reads it differently; every file is restored.
        NotReloaded: all is written and verified, but the running sshd has not reloaded it.
    """
    running = sshd.running(plan.units)
    with _restart_on_failure(sshd, plan, running), apply(plan.changes):
        _verify(sshd, plan)
        if plan.member:
            _add_to_group(plan.member)
        _restart_units(sshd, plan, running)
    if plan.changes and not plan.units:
        sshd.reload()


def disable(sshd: Sshd, plan: Plan) -> None:
    """Carry out the removal of our lines.

    A valid configuration stays valid, or is restored. If it is invalid already, our lines are
    removed anyway, so that the next start of sshd does not see them. sshd cannot be reloaded
    then.

    Raises:
        SetupError: without our lines sshd does not accept its files; they are restored.
        NotReloaded: our lines are gone, but the running sshd has not reloaded its files.
    """
    if not plan.changes:
        return
    problem, running = _problem(sshd), sshd.running(plan.units)
    with _restart_on_failure(sshd, plan, running), apply(plan.changes):
        if problem is None:
            _verify(sshd, plan)
            _restart_units(sshd, plan, running)
    if problem is not None and (problem := _problem(sshd)) is not None:
        raise NotReloaded(
            f"{plan.message} once it is reloaded, but it could not be reloaded: the one that "
            "runs still "
            f"asks {HELPER}, and a new one does not start. The rest of its configuration is not "
            f"valid, and was not before:\n{problem}\nMend that, then reload ssh (or sshd)"
        )
    if not plan.units:
        sshd.reload()


@contextmanager
def _restart_on_failure(sshd: Sshd, plan: Plan, running: Sequence[str]) -> Iterator[None]:
    """When the body fails, its files are restored: restart sshd with them."""
    try:
        yield
    except BaseException as error:
        try:
            if plan.units:
                sshd.restart_units(running)
        except SetupError as second:
            raise SetupError(f"{error}\nAnd after restoring the files: {second}") from error
        raise


def _restart_units(sshd: Sshd, plan: Plan, running: Sequence[str]) -> None:
    """Restart sshd by its units, none of which may pass a command. Raises SetupError."""
    if not plan.units:
        return
    sshd.restart_units(running)
    left = [slot for slot in slots(sshd) if slot.is_option and HELPER not in slot.command]
    if left and plan.wanted:
        raise SetupError(f"sshd still gets a command by -o:\n{describe(left)}")


def _problem(sshd: Sshd) -> SetupError | None:
    try:
        sshd.test()
    except SetupError as error:
        return error
    return None


def _add_to_group(user: str) -> None:
    """Let an OS user reach the lookup socket. Raises SetupError."""
    done = run("usermod", "-a", "-G", HELPER_USER, user)
    if done.returncode:
        raise SetupError(f"{user} cannot become a member of {HELPER_USER}: {done.stderr.strip()}")


def _verify(sshd: Sshd, plan: Plan) -> None:
    """Raise SetupError unless sshd accepts its files, and `sshd -T` shows the wanted values."""
    sshd.test()
    if plan.wanted:
        effective = sshd.effective()
        other = [k for k, value in plan.wanted.items() if effective.get(k) != value]
        if other:
            said = "".join(f"  {keyword} {effective.get(keyword)}\n" for keyword in other)
            raise SetupError(f"sshd -T says:\n{said}{plan.advice}")
