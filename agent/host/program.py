"""The common start of our daemons: streams, log, command line, configuration and exit codes."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import NamedTuple, Optional

from agent.config import file as config_file
from agent.config import identity
from agent.config.command_line import Usage, help_text, parse
from agent.config.document import Problems
from agent.config.identity import Identity
from agent.config.settings import Config
from agent.host.streams import open_standard_streams

# Exit codes: 1, it cannot run here and now; 2, the administrator has to change a file.
CANNOT_RUN, WRONG_CONFIGURATION = 1, 2


def begin(name: str) -> None:
    """Open the standard streams, and log to stderr under this name."""
    open_standard_streams()
    logging.basicConfig(level=logging.INFO, format=f"{name}: %(message)s", stream=sys.stderr)


class Given(NamedTuple):
    """What a daemon's command line says: the configuration's path, and the switches."""

    config: str
    switches: frozenset[str]


class Command(NamedTuple):
    """One of our daemons: its name and version, the default of --config, and what --help says.

    `switches` are options beside --config, --help and --version, each with its help.
    """

    name: str
    version: str
    config: str
    text: str
    switches: tuple[tuple[str, str], ...] = ()

    def read(self, arguments: Optional[Sequence[str]] = None) -> Given:
        """Read the command line; by default, this process's.

        Raises SystemExit: it asks for --help or --version, or is wrong; the answer is printed.
        """
        words = sys.argv[1:] if arguments is None else arguments
        table = {
            "--config": ("FILE", f"configuration (default: {self.config})"),
            **{name: ("", what) for name, what in self.switches},
            "--help": ("", "print this, and exit"),
            "--version": ("", "print the version, and exit"),
        }
        try:
            options, rest = parse(["--help" if word == "-h" else word for word in words], table)
            if rest:
                raise Usage(f"unexpected: {' '.join(rest)}")
        except Usage as wrong:
            sys.stderr.write(f"{self.name}: {wrong}\nTry: {self.name} --help\n")
            raise SystemExit(WRONG_CONFIGURATION) from None
        if options.on("--help"):
            sys.stdout.write(help_text(f"{self.name} [OPTION...]", self.text, table) + "\n")
            raise SystemExit(0)
        if options.on("--version"):
            sys.stdout.write(f"{self.name} {self.version}\n")
            raise SystemExit(0)
        given = frozenset(name for name, _ in self.switches if options.on(name))
        return Given(options.value("--config") or self.config, given)


def load(path: str) -> tuple[Config, Identity]:
    """Read the daemon's configuration, and find out which instance this is. Raises Problems."""
    config = config_file.load(path)
    try:
        return config, identity.resolve(config.instance)
    except identity.IdentityError as error:
        raise Problems([str(error)]) from None


def report_wrong(name: str, *problems: str) -> int:
    """Print each problem on stderr; returns the exit code."""
    for problem in problems:
        sys.stderr.write(f"{name}: {problem}\n")
    return WRONG_CONFIGURATION
