"""python -m agent.fleet.gateway (installed: sixtykey-gateway): a gateway in the foreground."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Optional

from agent import __version__
from agent.config.document import Problems
from agent.fleet.gateway import settings
from agent.host import program

NAME = "sixtykey-gateway"
COMMAND = program.Command(
    NAME,
    __version__,
    settings.DEFAULT_PATH,
    "Takes pushes for the hosts of a fleet, and sends them there over its bus.\n"
    "Exit codes: 0 stopped by SIGTERM, 1 cannot run, 2 the configuration is wrong.\n"
    "SIGHUP makes it read credentials, TLS files and the fleet's files again.",
)


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the gateway until a signal stops it; returns the exit code."""
    program.begin(NAME)
    given = COMMAND.read(arguments)
    try:
        config = settings.load(given.config)
        # Imported late, so that --help and a wrong configuration are answered at once.
        from agent.fleet.gateway import process
        from agent.host.listeners import CannotListen

        try:
            process.run(config)
        except CannotListen as error:
            logging.getLogger("sixtykeyd").error("%s", error)
            return program.CANNOT_RUN
    except Problems as problems:
        return program.report_wrong(NAME, *problems.problems)
    return 0


if __name__ == "__main__":
    sys.exit(main())
