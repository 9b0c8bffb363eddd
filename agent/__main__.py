"""python -m agent (installed: sixtykeyd): the daemon in the foreground."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from typing import Optional

from agent import __version__
from agent.config.document import Problems
from agent.config.settings import DEFAULT_PATH
from agent.host import program

NAME = "sixtykeyd"


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the daemon until it is told to stop; returns the exit code."""
    program.begin(NAME)
    options = _parser().parse_args(arguments)
    try:
        config, host = program.load(options.config)
        if options.print_identity:
            sys.stdout.write(f"{host.instance_id} {host.availability_zone} {host.region}\n")
            return 0
        # Imported late: --help and a wrong configuration need not wait for paramiko.
        from agent import daemon
        from agent.host.listeners import CannotListen

        try:
            daemon.run(config, host)
        except CannotListen as error:
            logging.getLogger(NAME).error("%s", error)
            return program.CANNOT_RUN
    except Problems as problems:
        return program.report_wrong(NAME, *problems.problems)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = program.parser(
        NAME,
        __version__,
        DEFAULT_PATH,
        description="Keeps pushed SSH public keys for sixty seconds, and gives them to sshd.",
        epilog="Exit codes: 0 stopped by SIGTERM, 1 cannot run, 2 the configuration is wrong. "
        "SIGHUP reads the credentials and TLS files anew.",
    )
    parser.add_argument(
        "--print-identity",
        action="store_true",
        help="print instance id, Availability Zone and region of this host, and exit",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
