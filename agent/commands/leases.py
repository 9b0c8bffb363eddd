"""sixtykey list: the keys that are live now, once or with the seconds running down."""

from __future__ import annotations

import sys
import time

from agent.commands.client import Daemon
from agent.commands.options import DAEMON, JSON, Usage
from agent.commands.terminal import Screen, bar, boottime, table, who
from agent.commands.trouble import DONE, Trouble

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from agent.commands.options import Options

USAGE = "sixtykey list [--watch] [--json] [USER]"
HELP = """\
Prints the keys that sshd would accept now: for whom, which key, who pushed it, and how many seconds
are left. With USER, that user's alone. A terminal with --watch keeps showing them, until ^C.

example:
  sudo sixtykey list --watch"""
OPTIONS = {"--watch": ("", "keep it on the screen"), **JSON, **DAEMON}

HEADING = ("USER", "TYPE", "FINGERPRINT", "PUSHED BY", "FROM", "LEFT")
# Between two drawings, and between two questions to the daemon (s).
DRAW, ASK = 0.25, 1.0


def run(options: Options, words: Sequence[str]) -> int:
    """Print the live leases."""
    if len(words) > 1:
        raise Usage(f"too much: {' '.join(words[1:])}")
    body = {"OSUser": words[0]} if words else {}
    daemon = Daemon(options)
    if options.on("--watch") and not options.on("--json") and sys.stdout.isatty():
        return _watch(daemon, body)
    answer = daemon.ask("Sixtykey.List", body)
    if options.on("--json"):
        import json

        print(json.dumps(answer, indent=2))
    else:
        left = [f"{lease['SecondsLeft']:.0f} s" for lease in answer["Leases"]]
        print("\n".join(_lines(answer["Leases"], left)))
    return DONE


def _lines(leases: list[dict[str, Any]], left: list[str]) -> list[str]:
    if not leases:
        return ["no key is live"]
    rows: list[Sequence[str]] = [HEADING]
    for lease, seconds in zip(leases, left):
        # Local pushes come over the socket, and have no address.
        source = "this host" if lease["Source"] == "unix" else lease["Source"]
        pusher = who(lease["Principal"])
        rows.append((lease["OSUser"], lease["Type"], lease["Fingerprint"], pusher, source, seconds))
    return table(rows)


def _watch(daemon: Daemon, body: dict[str, Any]) -> int:
    """Until ^C; a daemon that goes away is said, and waited for."""
    leases, asked = daemon.ask("Sixtykey.List", body)["Leases"], boottime()
    trouble = ""
    try:
        with Screen(sys.stdout) as screen:
            while True:
                elapsed = boottime() - asked
                if elapsed >= ASK:
                    try:
                        leases, asked = daemon.ask("Sixtykey.List", body)["Leases"], boottime()
                        elapsed, trouble = 0.0, ""
                    except Trouble as away:
                        trouble = away.words
                screen.draw(_drawn(leases, elapsed) + ([trouble] if trouble else []))
                time.sleep(DRAW)
    except KeyboardInterrupt:
        return DONE


def _drawn(leases: list[dict[str, Any]], elapsed: float) -> list[str]:
    live = [lease for lease in leases if lease["SecondsLeft"] > elapsed]
    return _lines(live, [bar(e["SecondsLeft"] - elapsed, e["Lifetime"]) for e in live])
