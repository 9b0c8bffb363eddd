"""python -m agent (installed: sixtykeyd): the daemon in the foreground."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Optional

from agent import __version__
from agent.config.document import Problems
from agent.config.settings import DEFAULT_PATH
from agent.host import program

NAME = "sixtykeyd"
COMMAND = program.Command(
    NAME,
    __version__,
    DEFAULT_PATH,
    "Keeps pushed SSH public keys for sixty seconds, and gives them to sshd.\n"
    "Exit codes: 0 stopped by SIGTERM, 1 cannot run, 2 the configuration is wrong.\n"
    "SIGHUP makes it read the credentials and TLS files again.",
    (("--print-identity", "print instance id, zone and region of this host, and exit"),),
)


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the daemon until it is told to stop; returns the exit code."""
    program.begin(NAME)
    given = COMMAND.read(arguments)
    try:
        config, host = program.load(given.config)
        if "--print-identity" in given.switches:
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


if __name__ == "__main__":
    sys.exit(main())
