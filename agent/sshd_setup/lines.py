"""Our lines of sshd_config(5), alone, or chained with the existing command."""

from __future__ import annotations

import os
import shlex

from agent.sshd_setup.slots import Slot
from agent.sshd_setup.sshd import SetupError

HELPER = "/usr/lib/sixtykey/authorized-keys"
HELPER_USER = "sixtykey-lookup"


def own_lines() -> str:
    """The lines for a free slot."""
    return _lines(f"{HELPER} %u %f", HELPER_USER)


def chained_lines(existing: Slot, user: str) -> str:
    """The lines that run our helper and the existing command. Raises SetupError: impossible."""
    try:
        path, *arguments = shlex.split(existing.command)
    except ValueError:
        raise SetupError(f"{existing.where}: cannot be read: {existing.command}") from None
    if os.path.basename(path) == "userdbctl":
        return _chained_by_userdbctl(existing, path, arguments, user)
    tokens = " %u"
    if arguments[-2:] == ["%u", "%f"]:
        arguments, tokens = arguments[:-2], " %u %f"
    elif arguments[-1:] == ["%u"]:
        arguments = arguments[:-1]
    command = " ".join([path, *arguments])
    if "%" in command or '"' in command or any(" " in word for word in (path, *arguments)):
        raise SetupError(
            f"{existing.where}: cannot be chained, for its arguments are not just %u, or %u %f, at "
            f"the end: {existing.command}\nPut both commands into a script of your own."
        )
    return _lines(f'{HELPER} --chain "{command}"{tokens}', user)


def _chained_by_userdbctl(existing: Slot, path: str, arguments: list[str], user: str) -> str:
    """userdbctl comes first: it takes no fingerprint, has its own --chain, and must run as root."""
    if [word for word in arguments if word != "%u"] != ["ssh-authorized-keys"]:
        raise SetupError(f"{existing.where}: chains already: {existing.command}")
    return _lines(f"{path} ssh-authorized-keys %u --chain {HELPER} %u %f", user)


def _lines(command: str, user: str) -> str:
    return f"AuthorizedKeysCommand {command}\nAuthorizedKeysCommandUser {user}\n"
