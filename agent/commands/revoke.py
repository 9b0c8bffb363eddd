"""sixtykey revoke: ends keys before their time."""

from __future__ import annotations

import json

from agent.client.trouble import DONE, FORBIDDEN, REFUSED, Trouble, plain
from agent.commands.client import Daemon
from agent.commands.keyfile import named_fingerprint
from agent.commands.options import DAEMON, JSON, Usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from agent.commands.options import Options

USAGE = "sixtykey revoke [--json] USER [FINGERPRINT|KEYFILE]\n       sixtykey revoke --all"
HELP = """\
Ends the live keys of USER, or that one key, or with --all every key of the host. The next login
cannot use them, even after a restart of the daemon. Open sessions stay open, and the pusher may
push again: `sixtykey credentials remove` prevents that. Needs root.

example:
  sudo sixtykey revoke deploy"""
OPTIONS = {"--all": ("", "every live key of this host"), **JSON, **DAEMON}


def run(options: Options, words: Sequence[str]) -> int:
    """Revoke, and print the keys that ended."""
    body: dict[str, Any]
    if options.on("--all"):
        if words:
            raise Usage("give --all or a USER, not both")
        body = {"All": True}
    elif not words or len(words) > 2:
        raise Usage("give a USER, and optionally a FINGERPRINT; or --all")
    else:
        body = {"OSUser": words[0]}
        if len(words) > 1:
            body["Fingerprint"] = named_fingerprint(words[1])
    gone = _revoke(options, body)["Revoked"]
    if options.on("--json"):
        print(json.dumps({"Revoked": gone}, indent=2))
    elif not gone:
        print("nothing to revoke: there is no such live key")
    for lease in [] if options.on("--json") else gone:
        left = f"{lease['SecondsLeft']:.0f} s before its end"
        print(f"revoked  {plain(lease['OSUser'])}  {lease['Fingerprint']}  {left}")
    return DONE if gone else REFUSED


def _revoke(options: Options, body: dict[str, Any]) -> dict[str, Any]:
    try:
        return Daemon(options).ask("Sixtykey.Revoke", body)
    except Trouble as trouble:
        if trouble.code == "AccessDeniedException":
            raise Trouble(
                FORBIDDEN, "Forbidden", "only root may revoke", "run it as root: sudo sixtykey ..."
            ) from None
        raise
