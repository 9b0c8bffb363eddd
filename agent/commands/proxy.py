"""sixtykey proxy: ssh's ProxyCommand. Pushes the session's key, connects, hands the socket over."""

from __future__ import annotations

import os
import sys

from agent.client import platform
from agent.client.trouble import DONE
from agent.commands.options import CLIENT, HOST, Usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.commands.options import Options

USAGE = "sixtykey proxy [--push-only] USER HOST PORT"
HELP = """\
Finds the instance that HOST names, pushes the session's key for its OS user USER, waits until the
host has it, and connects. ssh gets the connected socket (ProxyUseFdpass), or the relayed bytes.
`sixtykey ssh-config` prints the lines for ssh's configuration. stdout carries only the connection.

HOST is a name, an instance id, an address, or a tag KEY=VALUE of one host.

example:
  ssh -o ProxyCommand="sixtykey proxy '%r' '%h' '%p'" ec2-user@web-1"""
OPTIONS = {
    "--push-only": ("", "push, and do not connect: for ssh -J, which connects itself"),
    **HOST,
    **CLIENT,
}


def run(options: Options, words: Sequence[str]) -> int:
    """Push, connect, hand over."""
    if len(words) != 3:
        raise Usage("give USER, HOST and PORT")
    if not words[2].isdigit() or not 0 < int(words[2]) < 65536:
        raise Usage(f"{words[2]!r} is not a port")
    platform.check()
    from agent.client.progress import Progress
    from agent.client.proxy import Connection

    progress = Progress(options.on("--debug") or bool(os.environ.get("SIXTYKEY_DEBUG")))
    names = (words[0], words[1], int(words[2]))
    connection = Connection(os.environ, options.given(), names, progress)
    key = connection.key()
    connection.push(key)
    connection.record_host_keys()
    if not options.on("--push-only"):
        connection.hand_over()
    connection.renew(key)
    # ssh waits for the end of this process; nothing is left to tidy up.
    sys.stderr.flush()
    os._exit(DONE)
