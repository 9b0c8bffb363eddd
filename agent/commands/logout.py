"""sixtykey logout: removes the session's key from the agents, and deletes the caches."""

from __future__ import annotations

import os

from agent.client import credentials, leases, platform, session_key, settings, targets
from agent.client.trouble import DONE
from agent.commands.options import CLIENT, refuse_more

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.commands.options import Options

USAGE = "sixtykey logout"
HELP = """\
Removes the session's key from ssh-agent, stops an agent that was started for it, and removes the
public key and the cached credentials, host names and pushes. client.yaml and ssh's own files stay.
Pushed keys remain live on hosts until they expire.

example:
  sixtykey logout"""
OPTIONS = {**CLIENT}


def run(options: Options, words: Sequence[str]) -> int:
    """Forget everything, and say what."""
    refuse_more(words, 0)
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
