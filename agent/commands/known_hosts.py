"""sixtykey known-hosts: host keys that a gateway certifies, in the format of known_hosts."""

from __future__ import annotations

import os

from agent.client import known_hosts, platform
from agent.client.trouble import DONE
from agent.commands.options import CLIENT, one_word

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.commands.options import Options

USAGE = "sixtykey known-hosts HOST"
HELP = """\
Prints the known_hosts lines for HOST ([HOST]:PORT for another port than 22) that the fleet's
gateway provided over its verified connection. It is not an error if there are none. With the block
of ssh-config, ssh reads the same file directly, since it would start this command twice for each
connection.

example:
  sixtykey known-hosts '[web-1]:2222'"""
OPTIONS = {**CLIENT}


def run(options: Options, words: Sequence[str]) -> int:
    """Print them."""
    _ = options
    name = one_word(words, "HOST")
    platform.check()
    for line in known_hosts.find_lines(os.environ, name):
        print(line)
    return DONE
