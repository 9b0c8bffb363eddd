"""What would change on this host, decided before anything does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.sshd_setup import lines, placing, units
from agent.sshd_setup.changes import Change
from agent.sshd_setup.placing import Taking
from agent.sshd_setup.slots import Slot, listed, slots
from agent.sshd_setup.sshd import SetupError, Sshd

PROGRAM = "/usr/lib/sixtykey/sshd-setup"


class LeftAlone(Exception):
    """Somebody else's decision stands in the way; the words say which, and what to do."""


@dataclass(frozen=True)
class Consent:
    """What the administrator has agreed to.

    Attributes:
        main_file: that sshd_config itself may be changed (a package's script may not do that).
        chain: that the command which is there runs after ours.
        replace: that ours takes the place of the command which is there.
    """

    main_file: bool = True
    chain: bool = False
    replace: bool = False


@dataclass(frozen=True)
class Plan:
    """Changes that belong together, and what proves them.

    Attributes:
        said: what is true when all of it is done, for people.
        changes: files, in the order that they are written in. None of them: nothing is to do.
        wanted: what `sshd -T` must say afterwards, by lower-case keyword.
        units: systemd's units that are started in another way, so that sshd has to start anew.
        member: an OS user that has to be in the helper's group, or empty.
        advice: what to do by hand where sshd does not say what is wanted.
        steps: what the changes are, one by one, for people.
    """

    said: str
    changes: tuple[Change, ...] = ()
    wanted: Mapping[str, str] = field(default_factory=dict)
    units: tuple[str, ...] = ()
    member: str = ""
    advice: str = ""
    steps: tuple[str, ...] = ()


def enabling(sshd: Sshd, consent: Consent) -> Plan:
    """Take the slot if it is free, or as far as there is consent.

    Raises:
        LeftAlone: it is taken, and nobody agreed to what that needs.
        SetupError: it cannot be done.
    """
    found = slots(sshd)
    others = [slot for slot in found if lines.HELPER not in slot.command]
    # An option wins over every file.
    if len(others) < len(found) and not any(slot.is_option for slot in others):
        return Plan(f"sshd runs {lines.HELPER} already")
    if not found:
        return _free(sshd, consent)
    if consent.replace:
        return _planned(sshd, placing.replacing(sshd, others))
    if consent.chain:
        return _planned(sshd, placing.chaining(sshd, others))
    raise LeftAlone(_TAKEN % listed(found) + _would(sshd, others))


def disabling(sshd: Sshd) -> Plan:
    """Give the slot back, wherever it was taken."""
    changes = placing.giving_back(sshd)
    if not changes:
        return Plan("")
    overridden = tuple(unit for unit, _ in units.overrides(sshd.root))
    return Plan("sshd no longer asks it for keys", tuple(changes), units=overridden)


def _free(sshd: Sshd, consent: Consent) -> Plan:
    taking = placing.free(sshd)
    if sshd.main not in {change.path for change in taking.changes} or consent.main_file:
        return _planned(sshd, taking)
    raise LeftAlone(
        f"{sshd.config} does not include {sshd.drop_in}, so sshd was left as it is. To have our "
        f"lines written into {sshd.config} itself, at its head, and taken out again by disable:\n"
        f"  {PROGRAM} enable"
    )


def _planned(sshd: Sshd, taking: Taking) -> Plan:
    wanted = (line.partition(" ") for line in taking.lines.splitlines())
    place = next(c.path for c in taking.changes if c.path in {sshd.drop_in, sshd.main})
    return Plan(
        f"sshd asks it for keys ({place})",
        taking.changes,
        {keyword.lower(): value for keyword, _, value in wanted},
        taking.units,
        taking.member,
        f"something that sshd reads before {place} sets the command or its user, or that file is "
        f"not read.\nAdd these lines at the top of {sshd.config} yourself, then `sshd -t` and "
        "reload sshd:\n\n" + taking.lines,
        taking.steps,
    )


def _would(sshd: Sshd, others: list[Slot]) -> str:
    """What `--replace` would do here, or why it cannot."""
    try:
        steps = placing.replacing(sshd, others).steps
    except SetupError as error:
        return f"\n(Ours cannot take its place: {error})"
    listing = "".join(f"  - {step}\n" for step in steps)
    return (
        f"\nOr ours takes its place:\n  {PROGRAM} enable --replace\nThat would\n{listing}"
        "prove by sshd itself that ours runs, and put all of it back if it does not, or by disable."
    )


_TAKEN = f"""\
sshd has an AuthorizedKeysCommand already, and it was left as it is:
%sNo key that is pushed will be accepted until sshd runs both. Either let this be done:
  {PROGRAM} enable --chain
or write it yourself, at the place above:
  AuthorizedKeysCommand {lines.HELPER} --chain "COMMAND" %%u %%f
(for userdbctl: userdbctl ssh-authorized-keys %%u --chain {lines.HELPER} %%u %%f).
What it runs as must be root, {lines.HELPER_USER} or a member of the group {lines.HELPER_USER}."""
