"""sixtykey ssh-config: the lines for ssh's configuration, printed, put in place, taken away."""

from __future__ import annotations

import os

from agent.client import platform
from agent.client.trouble import DONE, plain
from agent.commands.options import CLIENT, Usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.commands.options import Options

USAGE = "sixtykey ssh-config [--install | --remove] [PATTERN...]"
HELP = """\
Prints the block of ~/.ssh/config with which ssh, scp, sftp, rsync, git, Ansible and editors push a
key to the hosts that match a PATTERN (* and ?; without one: those of `hosts` in client.yaml) and
log in there.
--install writes it to ~/.ssh/sixtykey and includes that file at the top of ~/.ssh/config; a later
run replaces it. --remove removes both.

example:
  sixtykey ssh-config --install 'web-*' 'db-*'"""
OPTIONS = {
    "--install": ("", "write it to ~/.ssh/sixtykey, and include that in ~/.ssh/config"),
    "--remove": ("", "remove that file and its Include line"),
    **CLIENT,
}


def run(options: Options, words: Sequence[str]) -> int:
    """Print, install or remove."""
    platform.check()
    from agent.client import settings, ssh_config

    environ = os.environ
    if options.on("--remove"):
        if words or options.on("--install"):
            raise Usage("--remove takes no other words")
        print("removed" if ssh_config.remove(environ) else "there was nothing to remove")
        return DONE
    patterns = list(words) or settings.load(environ, options.given()).patterns
    if not patterns:
        raise Usage("give a PATTERN, such as 'web-*', or name hosts in client.yaml")
    if not options.on("--install"):
        print(ssh_config.block(environ, patterns), end="")
        return DONE
    path, new = ssh_config.install(environ, patterns)
    print(f"{'written' if new else 'replaced'}  {plain(path)}, for {plain(' '.join(patterns))}")
    return DONE
