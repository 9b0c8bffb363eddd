"""sixtykey ssh: ssh with the options that `sixtykey ssh-config` would give it."""

from __future__ import annotations

import os
import shlex

from agent.client import platform
from agent.client.trouble import DONE, REFUSED, Trouble
from agent.commands.options import CLIENT, HOST, Usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.commands.options import Options

USAGE = "sixtykey ssh [--print-command] [SSH-OPTION...] [USER@]HOST [COMMAND...]"
HELP = """\
Runs ssh, with all of its options and its exit code, for a host that ~/.ssh/config does not cover
(`sixtykey ssh-config` adds it permanently). The first word that is not an option below, and
everything after it, goes to ssh.

example:
  sixtykey ssh -L 8080:localhost:80 ec2-user@web-1"""
OPTIONS = {
    "--print-command": ("", "print the command for a shell, and do not run it"),
    **HOST,
    **CLIENT,
}
# The words after our own options are ssh's.
WORDS_END_OPTIONS = True


def run(options: Options, words: Sequence[str]) -> int:
    """Become ssh."""
    if not words:
        raise Usage("give a HOST")
    platform.check()
    from agent.client import known_hosts, private_agent, session_key, settings, ssh_config

    ssh_config.check_names(words)
    # Pass our options on to the proxy that ssh runs.
    told = {f"SIXTYKEY_{name.upper()}": str(value) for name, value in options.given().items()}
    if "SIXTYKEY_CONFIG" in told:
        told["SIXTYKEY_CONFIG"] = os.path.abspath(told["SIXTYKEY_CONFIG"])
    if options.on("--debug"):
        told["SIXTYKEY_DEBUG"] = "1"
    environ = {**os.environ, **told}
    found = settings.load(environ, options.given())
    lifetime = found.key_seconds
    key = session_key.ensure(
        environ, lifetime, found.key_confirm, session_key.margin(lifetime)
    )  # fmt: skip
    known_hosts.create(environ)
    command = ["ssh", *ssh_config.options(environ)]
    if key.agent.path == private_agent.socket_path(environ):
        command.append(f"-oIdentityAgent={key.agent.path}")
    command += words
    if options.on("--print-command"):
        before = ["env", *(f"{name}={value}" for name, value in told.items())] if told else []
        print(shlex.join(before + command))
        return DONE
    try:
        os.execvpe(command[0], command, environ)  # noqa: S606 - a list, and no shell
    except OSError as error:
        raise Trouble(
            REFUSED, "NoSsh", f"ssh: {error.strerror}", "install OpenSSH's client"
        ) from None
