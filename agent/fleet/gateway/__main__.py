"""python -m agent.fleet.gateway (installed: sixtykey-gateway): a gateway in the foreground."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from typing import Optional

from agent import __version__
from agent.config.document import Problems
from agent.fleet.gateway import settings
from agent.host.streams import open_standard_streams

# Exit codes: 1, it cannot run here and now; 2, what the administrator wrote has to be changed.
CANNOT_RUN, WRONG_CONFIGURATION = 1, 2


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the gateway until it is told to stop; returns the exit code."""
    open_standard_streams()
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="sixtykey-gateway: %(message)s")
    try:
        config = settings.load(options.config)
        # Imported late: --help and a wrong configuration need not wait for it.
        from agent.fleet.gateway import process
        from agent.host.listeners import CannotListen

        try:
            process.run(config)
        except CannotListen as error:
            logging.getLogger("sixtykeyd").error("%s", error)
            return CANNOT_RUN
    except Problems as problems:
        for problem in problems.problems:
            sys.stderr.write(f"sixtykey-gateway: {problem}\n")
        return WRONG_CONFIGURATION
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sixtykey-gateway",
        description="Takes pushes for the hosts of a fleet, and sends them there over its bus.",
        epilog="Exit codes: 0 stopped by SIGTERM, 1 cannot run, 2 the configuration is wrong. "
        "SIGHUP reads credentials, TLS files and the fleet's files anew.",
    )
    parser.add_argument(
        "--config",
        default=settings.DEFAULT_PATH,
        metavar="FILE",
        help="configuration (default: %(default)s)",
    )
    parser.add_argument("--version", action="version", version=f"sixtykey-gateway {__version__}")
    return parser


if __name__ == "__main__":
    sys.exit(main())
