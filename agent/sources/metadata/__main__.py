"""python -m agent.sources.metadata (installed: sixtykeyd-ec2): in the foreground."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from typing import Optional

from cryptography.utils import CryptographyDeprecationWarning

from agent import __version__
from agent.config import file as config_file
from agent.config import identity
from agent.config.document import Problems
from agent.config.limits import LIMITS
from agent.config.settings import DEFAULT_PATH, Ec2
from agent.host.clock import SystemClock
from agent.host.systemd import Notifier
from agent.sources.metadata import roots
from agent.sources.metadata.http import Connection
from agent.sources.metadata.imds import Metadata
from agent.sources.metadata.process import Process
from agent.sources.metadata.source import Source

# What the administrator wrote has to be changed; as sixtykeyd has it.
WRONG_CONFIGURATION = 2


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run until told to stop; returns the exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="sixtykeyd-ec2: %(message)s", stream=sys.stderr)
    # Of some root in the system's own folder: nothing that anybody here could mend.
    warnings.simplefilter("ignore", CryptographyDeprecationWarning)
    try:
        config = config_file.load(options.config)
        host = identity.resolve(config.instance)
    except Problems as problems:
        return _wrong(*problems.problems)
    except identity.IdentityError as error:
        return _wrong(str(error))
    if config.ec2 is None:
        return _wrong(f"{options.config}: there is no ec2 section, so there is nothing to ask")
    asyncio.run(_run(config.ec2, config.source.socket, host.instance_id))
    return 0


async def _run(ec2: Ec2, socket: str, instance: str) -> None:
    """Serve until SIGTERM or SIGINT."""
    clock, notifier = SystemClock(), Notifier(os.environ)
    metadata = Metadata(Connection(ec2.metadata), clock)
    source = Source(metadata, lambda: roots.load(ec2.roots), instance, clock)
    working = asyncio.create_task(Process(source, socket, clock).run())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, working.cancel)
    beating = asyncio.create_task(_beat(notifier))
    notifier.ready(f"Asking {ec2.metadata} for keys of {instance}")
    with suppress(asyncio.CancelledError):
        await working
    notifier.stopping()
    beating.cancel()


async def _beat(notifier: Notifier) -> None:
    """Tell the service manager that the event loop still turns."""
    while True:
        notifier.watchdog()
        await asyncio.sleep(notifier.watchdog_interval or LIMITS.tend_seconds)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sixtykeyd-ec2",
        description="Asks EC2's instance metadata for keys that were pushed through EC2's own API, "
        "verifies them, and offers them to sixtykeyd.",
        epilog="Exit codes: 0 stopped by SIGTERM, 2 the configuration is wrong.",
    )
    parser.add_argument(
        "--config",
        default=DEFAULT_PATH,
        metavar="FILE",
        help="configuration, the same as sixtykeyd's (default: %(default)s)",
    )
    parser.add_argument("--version", action="version", version=f"sixtykeyd-ec2 {__version__}")
    return parser


def _wrong(*problems: str) -> int:
    for problem in problems:
        sys.stderr.write(f"sixtykeyd-ec2: {problem}\n")
    return WRONG_CONFIGURATION


if __name__ == "__main__":
    sys.exit(main())
