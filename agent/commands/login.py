"""sixtykey login: the session's key, made in memory and given to ssh-agent for a time."""

from __future__ import annotations

import os
import sys
import time

from agent.client import known_hosts, platform, session_key, settings
from agent.client.trouble import DONE, REFUSED, Trouble, plain
from agent.commands.options import CLIENT, refuse_more

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.commands.options import Options

USAGE = "sixtykey login [--confirm] [--quiet]"
HELP = """\
Makes the key of this session ahead of time: an Ed25519 key, generated in memory and given to
ssh-agent, which removes it after an hour (key.lifetime in client.yaml). Only its public half is on
disk. Without an ssh-agent, one is started. With the block of `sixtykey ssh-config`, ssh does this
automatically.

A key that the agent already holds is kept, unless it expires soon. The command also looks for
credentials, so that you notice expired ones now.

example:
  aws sso login && sixtykey login"""
OPTIONS = {
    "--confirm": ("", "have the agent ask at each use of the key"),
    "--quiet": ("", "print nothing on success, and do not look for credentials"),
    **CLIENT,
}


def run(options: Options, words: Sequence[str]) -> int:
    """Have a key in the agent, and say until when."""
    refuse_more(words, 0)
    platform.check()
    environ = os.environ
    found = settings.load(environ, options.given())
    if options.on("--debug"):
        print("\n".join(f"sixtykey: {line}" for line in found.describe()), file=sys.stderr)
    lifetime, confirm = found.key_seconds, found.key_confirm or options.on("--confirm")
    if options.on("--confirm"):
        session_key.forget(environ)
    key = session_key.ensure(environ, lifetime, confirm, session_key.margin(lifetime))
    # A connection without a proxy (ssh -J) has ssh read it too.
    known_hosts.create(environ)
    if options.on("--quiet"):
        return DONE
    minutes = max(1, round(key.seconds_left(time.time()) / 60))
    print(f"key         {key.fingerprint}, in the ssh-agent at {plain(key.agent.path)}")
    print(f"for         {minutes} min")
    print(f"public key  {plain(session_key.public_file(environ))}")
    return _credentials(found)


def _credentials(found: settings.Settings) -> int:
    from agent.client import credentials

    try:
        credential = credentials.find(found, time.time())
    except Trouble as trouble:
        print("credentials none")
        trouble.report(as_json=False)
        return REFUSED
    ends = (
        "" if credential.ends is None else f", for {(credential.ends - time.time()) / 60:.0f} min"
    )
    print(f"credentials {plain(credential.access_key_id)} ({plain(credential.origin)}){ends}")
    return DONE
