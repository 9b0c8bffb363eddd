"""sixtykey: the operator's command, and the user's.

Each command is a module of agent/commands/, imported late.
`sixtykey list` has to start about as fast as the interpreter itself, so this path imports neither
argparse, asyncio, json, socket nor typing.
"""

from __future__ import annotations

import sys

from agent import __version__
from agent.client.trouble import USAGE, Trouble
from agent.commands.options import Options, Usage, help_text, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Optional

COMMANDS = {
    "push": ("push", "push a public key for an OS user of this host"),
    "list": ("leases", "the keys that are live now"),
    "why": ("why", "recent decisions about a user, explained"),
    "revoke": ("revoke", "revoke keys"),
    "status": ("status", "the state of the daemon, and its counters"),
    "check": ("check", "would a login work on this host?"),
    "credentials": ("credentials", "access keys for pushes over the network"),
    "fleet": ("fleet.command", "many hosts behind one endpoint"),
    "login": ("login", "make your key ahead of time"),
    "logout": ("logout", "remove your key"),
    "ssh": ("ssh", "ssh to a host that takes pushed keys"),
    "ssh-config": ("ssh_config", "lines for ~/.ssh/config, so that plain ssh works"),
    "hosts": ("hosts", "the hosts that you may push to"),
    "proxy": ("proxy", "what those lines run: push, connect"),
    "known-hosts": ("known_hosts", "host keys that the fleet provides"),
}
_HELP = """\
usage: sixtykey COMMAND [OPTION...] [WORD...]

An SSH key that lives sixty seconds.

commands:
{commands}

`sixtykey COMMAND --help` describes each, with an example.
Exit codes: 0 done, 1 refused, nothing found, or findings, 2 wrong command line or could not look,
3 the daemon or the host does not answer, 4 not permitted."""


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run one command; returns its exit code."""
    # Like cat and grep: end without a traceback when the reader closes the pipe.
    # (The module `signal` would bring enum, which takes long.)
    signal: Any = __import__("_signal")
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _run(words)
    except Usage as wrong:
        print(f"sixtykey: {wrong}\nTry: sixtykey --help", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        return 130


def _run(words: list[str]) -> int:
    if not words or words[0] in {"--help", "-h", "help"}:
        listed = "\n".join(f"  {name:13}{what}" for name, (_, what) in COMMANDS.items())
        print(_HELP.format(commands=listed), file=sys.stdout if words else sys.stderr)
        return 0 if words else USAGE
    if words[0] == "--version":
        print(f"sixtykey {__version__}")
        return 0
    if words[0] not in COMMANDS:
        raise Usage(f"there is no command {words[0]!r}")
    name = words[0]
    command: Any = __import__(f"agent.commands.{COMMANDS[name][0]}", fromlist=["run"])
    ends = getattr(command, "WORDS_END_OPTIONS", False)
    if words[1:2] == ["--help"] or (not ends and ("--help" in words or "-h" in words)):
        print(help_text(command.USAGE, command.HELP, command.OPTIONS))
        return 0
    options = Options()
    try:
        options, rest = parse(words[1:], command.OPTIONS, words_end_options=ends)
        return int(command.run(options, rest))
    except Usage as wrong:
        print(f"sixtykey {name}: {wrong}\nTry: sixtykey {name} --help", file=sys.stderr)
        return USAGE
    except Trouble as trouble:
        return trouble.report(options.on("--json"))


if __name__ == "__main__":
    sys.exit(main())
