"""What would change on this host, decided before anything does."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.sshd_setup import lines
from agent.sshd_setup.changes import Change
from agent.sshd_setup.slots import Slot, listed, slots, text_of
from agent.sshd_setup.sshd import SetupError, Sshd

MARK = "# Written by sixtykey's sshd-setup, which also removes it.\n"
PROGRAM = "/usr/lib/sixtykey/sshd-setup"


class LeftAlone(Exception):
    """Somebody else's decision stands in the way; the words say which, and what to do."""


@dataclass(frozen=True)
class Plan:
    """Changes that belong together, and what proves them.

    Attributes:
        changes: files, in the order that they are written in. None of them: nothing is to do.
        wanted: what `sshd -T` must say afterwards, by lower-case keyword.
        member: an OS user that has to be in the helper's group, or empty.
        advice: what to do by hand where sshd does not say what is wanted.
        said: what is true when all of it is done, for people.
    """

    said: str
    changes: tuple[Change, ...] = ()
    wanted: Mapping[str, str] = field(default_factory=dict)
    member: str = ""
    advice: str = ""


def enabling(sshd: Sshd, chain: bool) -> Plan:
    """Take the slot if it is free or `chain` is asked for.

    Raises:
        LeftAlone: it is taken, and shall not be chained.
        SetupError: it cannot be done.
    """
    found = slots(sshd)
    if any(lines.HELPER in slot.command for slot in found):
        return Plan(f"sshd runs {lines.HELPER} already")
    if not found:
        return _with(sshd, lines.alone())
    if not chain:
        raise LeftAlone(_TAKEN % listed(found))
    user = sshd.effective().get("authorizedkeyscommanduser", "root")
    content = lines.chained(_only(found), user)
    return _with(sshd, content, member="" if user in {"root", lines.HELPER_USER} else user)


def disabling(sshd: Sshd) -> Plan:
    """Give the slot back, where a drop-in of ours holds it."""
    if not text_of(sshd.drop_in).startswith(MARK):
        return Plan("")
    return Plan("sshd no longer asks it for keys", (Change(sshd.drop_in, None),))


def _only(found: list[Slot]) -> Slot:
    """The one command that can be chained. Raises SetupError: there is none, or not only one."""
    if found[0].command.lower() == "none":
        raise SetupError(f"it is told to have no command at all:\n{listed(found)}")
    if len(found) > 1 or found[0].match or "-o" in found[0].command:
        raise SetupError(f"only one command, for all users, can be chained:\n{listed(found)}")
    return found[0]


def _with(sshd: Sshd, content: str, member: str = "") -> Plan:
    if os.path.lexists(sshd.drop_in) and not text_of(sshd.drop_in).startswith(MARK):
        raise SetupError(f"{sshd.drop_in} is somebody else's: give it another name first")
    wanted = (line.partition(" ") for line in content.splitlines())
    return Plan(
        f"sshd asks it for keys ({sshd.drop_in})",
        (Change(sshd.drop_in, MARK + content),),
        {keyword.lower(): value for keyword, _, value in wanted},
        member,
        f"{sshd.config} does not include {sshd.drop_in}, or sets the command or its user before "
        "it does.\nAdd these lines at its top yourself, then `sshd -t` and reload sshd:\n\n"
        + content,
    )


_TAKEN = f"""\
sshd has an AuthorizedKeysCommand already, and it was left as it is:
%sNo key that is pushed will be accepted until sshd runs both. Either let this be done:
  {PROGRAM} enable --chain
or write it yourself, at the place above:
  AuthorizedKeysCommand {lines.HELPER} --chain "COMMAND" %%u %%f
(for userdbctl: userdbctl ssh-authorized-keys %%u --chain {lines.HELPER} %%u %%f).
What it runs as must be root, {lines.HELPER_USER} or a member of the group {lines.HELPER_USER}."""
