"""python -m agent.fleet.connector (installed: sixtykeyd-fleet): in the foreground."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Optional

from agent import __version__
from agent.config.document import Problems
from agent.config.fleet_limits import FLEET
from agent.config.settings import DEFAULT_PATH, Fleet
from agent.fleet.bus.access import Access
from agent.fleet.connector.process import Names, Process
from agent.fleet.messages.certificates import HostCertificate
from agent.fleet.messages.documents import ANYBODY, Rejected
from agent.host import files, program
from agent.host.clock import SystemClock
from agent.host.serving import serve

NAME = "sixtykeyd-fleet"
COMMAND = program.Command(
    NAME,
    __version__,
    DEFAULT_PATH,
    "Carries signed messages between a fleet's bus and sixtykeyd, which decides.\n"
    "Exit codes: 0 stopped by SIGTERM, 2 the configuration is wrong.\n"
    "The configuration is sixtykeyd's.",
)


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run until a signal stops it; returns the exit code."""
    program.begin(NAME)
    given = COMMAND.read(arguments)
    try:
        config, host = program.load(given.config)
    except Problems as problems:
        return program.report_wrong(NAME, *problems.problems)
    if config.fleet is None:
        missing = f"{given.config}: there is no fleet section; sixtykey fleet join writes one"
        return program.report_wrong(NAME, missing)
    access = Access(config.fleet.servers, config.fleet.ca, config.fleet.identity)
    try:
        access.context()
        access.read()
        name = _name(config.fleet)
    except (OSError, ValueError, Rejected) as error:
        return program.report_wrong(NAME, f"fleet: {error}")
    process = Process(access, config.source.socket, Names(host.instance_id, name), SystemClock())
    asyncio.run(serve(process.run(), f"Carrying messages for {host.instance_id}"))
    return 0


def _name(fleet: Fleet) -> str:
    """The name in this host's certificate; the bus's servers list connections by it."""
    sealed = files.read(fleet.certificate, FLEET.document_bytes).strip().encode()
    return HostCertificate.open(sealed, ANYBODY).name


if __name__ == "__main__":
    sys.exit(main())
