"""python -m agent.fleet.connector (installed: sixtykeyd-fleet): in the foreground."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Optional

from agent import __version__
from agent.config import file as config_file
from agent.config import identity
from agent.config.document import Problems
from agent.config.fleet_limits import FLEET
from agent.config.limits import LIMITS
from agent.config.settings import DEFAULT_PATH, Fleet
from agent.fleet.access import Access
from agent.fleet.certificates import HostCertificate
from agent.fleet.connector.process import Names, Process
from agent.fleet.documents import ANYBODY, Rejected
from agent.host import files
from agent.host.clock import SystemClock
from agent.host.streams import open_standard_streams
from agent.host.systemd import Notifier

# What the administrator wrote has to be changed; as sixtykeyd has it.
WRONG_CONFIGURATION = 2


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run until told to stop; returns the exit code."""
    open_standard_streams()
    options = _parser().parse_args(arguments)
    form = "sixtykeyd-fleet: %(message)s"
    logging.basicConfig(level=logging.INFO, format=form, stream=sys.stderr)
    try:
        config = config_file.load(options.config)
        host = identity.resolve(config.instance)
    except Problems as problems:
        return _wrong(*problems.problems)
    except identity.IdentityError as error:
        return _wrong(str(error))
    if config.fleet is None:
        return _wrong(
            f"{options.config}: there is no fleet section; sixtykey fleet join writes one"
        )
    access = Access(config.fleet.servers, config.fleet.ca, config.fleet.identity)
    try:
        access.context()
        access.read()
        name = _name(config.fleet)
    except (OSError, ValueError, Rejected) as error:
        return _wrong(f"fleet: {error}")
    asyncio.run(_run(access, Names(host.instance_id, name), config.source.socket))
    return 0


def _name(fleet: Fleet) -> str:
    """The name in this host's certificate: whoever looks for it among all finds us sooner."""
    sealed = files.read(fleet.certificate, FLEET.document_bytes).strip().encode()
    return HostCertificate.open(sealed, ANYBODY).name


async def _run(access: Access, names: Names, socket: str) -> None:
    """Serve until SIGTERM or SIGINT. Whatever ends it otherwise is a defect, and raised."""
    notifier = Notifier(os.environ)
    working = asyncio.create_task(Process(access, socket, names, SystemClock()).run())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, working.cancel)
    beating = asyncio.create_task(_beat(notifier))
    notifier.ready(f"Carrying messages for {names.instance}")
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
        prog="sixtykeyd-fleet",
        description="Carries signed messages between a fleet's bus and sixtykeyd, which decides.",
        epilog="Exit codes: 0 stopped by SIGTERM, 2 the configuration is wrong.",
    )
    parser.add_argument(
        "--config",
        default=DEFAULT_PATH,
        metavar="FILE",
        help="configuration, the same as sixtykeyd's (default: %(default)s)",
    )
    parser.add_argument("--version", action="version", version=f"sixtykeyd-fleet {__version__}")
    return parser


def _wrong(*problems: str) -> int:
    for problem in problems:
        sys.stderr.write(f"sixtykeyd-fleet: {problem}\n")
    return WRONG_CONFIGURATION


if __name__ == "__main__":
    sys.exit(main())
