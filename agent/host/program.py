"""The common start of our daemons: streams, log, command line, configuration and exit codes."""

from __future__ import annotations

import argparse
import logging
import sys

from agent.config import file as config_file
from agent.config import identity
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


def parser(
    name: str, version: str, config: str, *, description: str, epilog: str
) -> argparse.ArgumentParser:
    """A command line with --config and --version. `config` is the default path."""
    made = argparse.ArgumentParser(prog=name, description=description, epilog=epilog)
    made.add_argument(
        "--config", default=config, metavar="FILE", help="configuration (default: %(default)s)"
    )
    made.add_argument("--version", action="version", version=f"{name} {version}")
    return made


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
