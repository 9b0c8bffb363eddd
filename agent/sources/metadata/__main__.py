"""python -m agent.sources.metadata (installed: sixtykeyd-ec2): in the foreground."""

from __future__ import annotations

import asyncio
import sys
import warnings
from collections.abc import Sequence
from typing import Optional

from cryptography.utils import CryptographyDeprecationWarning

from agent import __version__
from agent.config.document import Problems
from agent.config.settings import DEFAULT_PATH, Ec2
from agent.host import program
from agent.host.clock import SystemClock
from agent.host.serving import serve
from agent.sources.metadata import roots
from agent.sources.metadata.http import Connection
from agent.sources.metadata.imds import Metadata
from agent.sources.metadata.process import Process
from agent.sources.metadata.source import Source

NAME = "sixtykeyd-ec2"
COMMAND = program.Command(
    NAME,
    __version__,
    DEFAULT_PATH,
    "Asks EC2's instance metadata for keys that were pushed through EC2's own API, verifies them,\n"
    "and offers them to sixtykeyd.\n"
    "Exit codes: 0 stopped by SIGTERM, 2 the configuration is wrong.\n"
    "The configuration is sixtykeyd's.",
)


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run until told to stop; returns the exit code."""
    program.begin(NAME)
    given = COMMAND.read(arguments)
    # The system's folder may hold a root with an old key or form. It is not ours to change.
    warnings.simplefilter("ignore", CryptographyDeprecationWarning)
    try:
        config, host = program.load(given.config)
    except Problems as problems:
        return program.report_wrong(NAME, *problems.problems)
    if config.ec2 is None:
        missing = f"{given.config}: there is no ec2 section, so there is nothing to do"
        return program.report_wrong(NAME, missing)
    asyncio.run(_run(config.ec2, config.source.socket, host.instance_id))
    return 0


async def _run(ec2: Ec2, socket: str, instance: str) -> None:
    """Serve until SIGTERM or SIGINT."""
    clock = SystemClock()
    metadata = Metadata(Connection(ec2.metadata), clock)
    source = Source(metadata, lambda: roots.load(ec2.roots), instance, clock)
    status = f"Asking {ec2.metadata} for keys of {instance}"
    await serve(Process(source, socket, clock).run(), status)


if __name__ == "__main__":
    sys.exit(main())
