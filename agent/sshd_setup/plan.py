"""Plans all changes to this host before any of them is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.sshd_setup import lines, placing, units
from agent.sshd_setup.changes import Change
from agent.sshd_setup.placing import Placement
from agent.sshd_setup.slots import Slot, describe, slots
from agent.sshd_setup.sshd import SetupError, Sshd

PROGRAM = "/usr/lib/sixtykey/sshd-setup"


class LeftAlone(Exception):
    """Another configuration is in the way; the text says which, and what to do."""


@dataclass(frozen=True)
class Consent:
    """What the administrator has agreed to.

    Attributes:
        main_file: sshd_config itself may be changed (a package's script may not do that).
        chain: the existing command may run after ours.
        replace: our command may replace the existing one.
    """

    main_file: bool = True
    chain: bool = False
    replace: bool = False


@dataclass(frozen=True)
class Plan:
    """Changes that belong together, and how to verify them.

    Attributes:
        message: what to print once all is done.
        changes: files, in the order to write them. Empty: there is nothing to do.
        wanted: what `sshd -T` must print afterwards, by lower-case keyword.
        units: systemd units whose command line changes, so that sshd must restart.
        member: an OS user to add to the helper's group; may be empty.
        advice: what to do by hand when `sshd -T` prints something else.
        steps: the changes, described one by one for people.
    """

    message: str
    changes: tuple[Change, ...] = ()
    wanted: Mapping[str, str] = field(default_factory=dict)
    units: tuple[str, ...] = ()
    member: str = ""
    advice: str = ""
    steps: tuple[str, ...] = ()


def plan_enable(sshd: Sshd, consent: Consent) -> Plan:
    """Plan to configure our command, if none is configured or the consent covers the change.

    Raises:
        LeftAlone: another command is configured, and the consent does not cover the change.
        SetupError: our command cannot be configured.
    """
    found = slots(sshd)
    others = [slot for slot in found if lines.HELPER not in slot.command]
    # An option on the command line wins over every file, and in files the first command counts.
    first = next((slot for slot in found if not slot.match and not slot.is_option), None)
    is_ours = first is not None and first not in others
    if is_ours and not any(slot.is_option for slot in others):
        return Plan(f"sshd runs {lines.HELPER} already")
    if not found:
        return _plan_free_slot(sshd, consent)
    if consent.replace:
        return _plan_placement(sshd, placing.replace_commands(sshd, others))
    if consent.chain:
        return _plan_placement(sshd, placing.chain_command(sshd, others))
    raise LeftAlone(_SLOT_TAKEN % describe(found) + _describe_replace(sshd, others))


def plan_disable(sshd: Sshd) -> Plan:
    """Plan to give the slot back, wherever it was taken."""
    changes = placing.restore_lines(sshd)
    if not changes:
        return Plan("")
    overridden = tuple(unit for unit, _ in units.overrides(sshd.root))
    return Plan("sshd no longer asks it for keys", tuple(changes), units=overridden)


def _plan_free_slot(sshd: Sshd, consent: Consent) -> Plan:
    placement = placing.use_free_slot(sshd)
    if sshd.main not in {change.path for change in placement.changes} or consent.main_file:
        return _plan_placement(sshd, placement)
    raise LeftAlone(
        f"{sshd.config} does not include {sshd.drop_in}, so sshd was not changed. To write our "
        f"lines into {sshd.config} itself, at its top (disable removes them):\n"
        f"  {PROGRAM} enable"
    )


def _plan_placement(sshd: Sshd, placement: Placement) -> Plan:
    wanted = (line.partition(" ") for line in placement.lines.splitlines())
    place = next(c.path for c in placement.changes if c.path in {sshd.drop_in, sshd.main})
    return Plan(
        f"sshd asks it for keys ({place})",
        placement.changes,
        {keyword.lower(): value for keyword, _, value in wanted},
        placement.units,
        placement.member,
        f"something that sshd reads before {place} sets the command or its user, or that file is "
        f"not read.\nAdd these lines at the top of {sshd.config} yourself, then `sshd -t` and "
        "reload sshd:\n\n" + placement.lines,
        placement.steps,
    )


def _describe_replace(sshd: Sshd, others: list[Slot]) -> str:
    """Describe what `--replace` would do here, or why it cannot."""
    try:
        steps = placing.replace_commands(sshd, others).steps
    except SetupError as error:
        return f"\n(Ours cannot replace it: {error})"
    listing = "".join(f"  - {step}\n" for step in steps)
    return (
        f"\nOr replace it by ours:\n  {PROGRAM} enable --replace\nThis would\n{listing}"
        "check with sshd that ours runs, and restore everything if it does not. disable "
        "restores it too."
    )


_SLOT_TAKEN = f"""\
sshd already has an AuthorizedKeysCommand, which was not changed:
%sNo key that is pushed will be accepted until sshd runs both. Either run:
  {PROGRAM} enable --chain
or write this yourself, at the place above:
  AuthorizedKeysCommand {lines.HELPER} --chain "COMMAND" %%u %%f
(for userdbctl: userdbctl ssh-authorized-keys %%u --chain {lines.HELPER} %%u %%f).
What it runs as must be root, {lines.HELPER_USER} or a member of the group {lines.HELPER_USER}."""
