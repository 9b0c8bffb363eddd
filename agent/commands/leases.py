"""sixtykey list: the keys that are live now, once or with the seconds running down."""

from __future__ import annotations

import sys
import time

from agent.client.trouble import DONE, Trouble
from agent.commands.client import Daemon
from agent.commands.explanations import limits_of
from agent.commands.options import DAEMON, JSON, refuse_more
from agent.commands.terminal import Screen, bar, table, who

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from agent.commands.options import Options

USAGE = "sixtykey list [--watch] [--json] [USER]"
HELP = """\
Prints the keys that sshd would accept now: the user, the key, who pushed it, and the remaining
seconds; for restricted keys also their restrictions. With USER, only that user's keys. With
--watch, a terminal is updated until ^C.

example:
  sudo sixtykey list --watch"""
OPTIONS = {"--watch": ("", "keep updating the screen"), **JSON, **DAEMON}

HEADING = ("USER", "TYPE", "FINGERPRINT", "PUSHED BY", "FROM", "LEFT")
# Between two drawings, and between two questions to the daemon (s).
DRAW, ASK = 0.25, 1.0


def run(options: Options, words: Sequence[str]) -> int:
    """Print the live leases."""
    refuse_more(words, 1)
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
    limits = [limits_of(lease) for lease in leases]
    # A column for limits only if a key has any.
    limited = any(limits)
    rows: list[Sequence[str]] = [(*HEADING[:-1], *(["ONLY"] if limited else []), HEADING[-1])]
    for lease, seconds, only in zip(leases, left, limits):
        # Local pushes come over the socket, and have no address.
        source = "this host" if lease["Source"] == "unix" else lease["Source"]
        pusher = who(lease["Principal"])
        row = (lease["OSUser"], lease["Type"], lease["Fingerprint"], pusher, source)
        rows.append((*row, *([only or "-"] if limited else []), seconds))
    return table(rows)


def _watch(daemon: Daemon, body: dict[str, Any]) -> int:
    """Redraw until ^C; when the daemon goes away, say so and wait for it."""
    leases, asked = daemon.ask("Sixtykey.List", body)["Leases"], _boottime()
    trouble = ""
    try:
        with Screen(sys.stdout) as screen:
            while True:
                elapsed = _boottime() - asked
                if elapsed >= ASK:
                    try:
                        leases, asked = daemon.ask("Sixtykey.List", body)["Leases"], _boottime()
                        elapsed, trouble = 0.0, ""
                    except Trouble as away:
                        trouble = away.words
                screen.draw(_watch_lines(leases, elapsed) + ([trouble] if trouble else []))
                time.sleep(DRAW)
    except KeyboardInterrupt:
        return DONE


def _watch_lines(leases: list[dict[str, Any]], elapsed: float) -> list[str]:
    live = [lease for lease in leases if lease["SecondsLeft"] > elapsed]
    return _lines(live, [bar(e["SecondsLeft"] - elapsed, e["Lifetime"]) for e in live])


def _boottime() -> float:
    """Seconds since boot, the clock of keys' lifetimes (clock_gettime(2))."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
