"""python -m agent (installed: sixtykeyd): the daemon in the foreground."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from typing import Optional

from agent import __version__
from agent.config import file as config_file
from agent.config import identity
from agent.config.document import Problems
from agent.config.settings import DEFAULT_PATH
from agent.host.streams import open_standard_streams

# Exit codes: 1, it cannot run here and now; 2, what the administrator wrote has to be changed.
CANNOT_RUN, WRONG_CONFIGURATION = 1, 2


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the daemon until it is told to stop; returns the exit code."""
    open_standard_streams()
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="sixtykeyd: %(message)s", stream=sys.stderr)
    try:
        config = config_file.load(options.config)
        host = identity.resolve(config.instance)
    except Problems as problems:
        return _wrong(*problems.problems)
    except identity.IdentityError as error:
        return _wrong(str(error))
    if options.print_identity:
        sys.stdout.write(f"{host.instance_id} {host.availability_zone} {host.region}\n")
        return 0
    # Imported late: --help and a wrong configuration need not wait for paramiko.
    from agent import daemon
    from agent.host import listeners

    try:
        daemon.run(config, host)
    except Problems as problems:
        return _wrong(*problems.problems)
    except listeners.CannotListen as error:
        logging.getLogger("sixtykeyd").error("%s", error)
        return CANNOT_RUN
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sixtykeyd",
        description="Keeps pushed SSH public keys for sixty seconds, and gives them to sshd.",
        epilog="Exit codes: 0 stopped by SIGTERM, 1 cannot run, 2 the configuration is wrong. "
        "SIGHUP reads the credentials and TLS files anew.",
    )
    parser.add_argument(
        "--config",
        default=DEFAULT_PATH,
        metavar="FILE",
        help="configuration (default: %(default)s)",
    )
    parser.add_argument(
        "--print-identity",
        action="store_true",
        help="print instance id, Availability Zone and region of this host, and exit",
    )
    parser.add_argument("--version", action="version", version=f"sixtykeyd {__version__}")
    return parser


def _wrong(*problems: str) -> int:
    for problem in problems:
        sys.stderr.write(f"sixtykeyd: {problem}\n")
    return WRONG_CONFIGURATION


if __name__ == "__main__":
    sys.exit(main())
