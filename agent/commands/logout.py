"""sixtykey logout: the agents forget the session's key, and what was kept for a while goes too."""

from __future__ import annotations

import os

from agent.client import credentials, leases, platform, session_key, settings, targets
from agent.commands.options import CLIENT, Usage
from agent.commands.trouble import DONE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.commands.options import Options

USAGE = "sixtykey logout"
HELP = """\
Has ssh-agent forget the session's key, ends an agent that was started for it, and removes the
public key and the credentials, host names and pushes that were remembered. What stays is
client.yaml, and ssh's own files. Keys that were pushed live on hosts for their minute.

example:
  sixtykey logout"""
OPTIONS = {**CLIENT}


def run(options: Options, words: Sequence[str]) -> int:
    """Forget everything, and say what."""
    if words:
        raise Usage(f"too much: {' '.join(words)}")
    platform.check()
    gone = session_key.forget(os.environ)
    found = settings.load(os.environ, options.given())
    credentials.forget(found)
    leases.forget_all(os.environ)
    targets.forget_all(found)
    for key in gone:
        print(f"forgotten   {key.fingerprint}")
    if not gone:
        print("there was no key")
    return DONE
