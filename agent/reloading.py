"""The files that are read again while the daemon runs: credentials and TLS."""

from __future__ import annotations

import asyncio
import ssl
from typing import Optional

from agent.config.settings import Config, Push
from agent.host import tls
from agent.sources.api import credentials
from agent.sources.api.credentials import Credentials
from agent.sources.api.http_server import HttpServer
from agent.sources.api.principal import Authenticator


class Reloader:
    """Reloads credentials and TLS files while the daemon runs."""

    def __init__(self, config: Config, authenticator: Authenticator, network: HttpServer) -> None:
        self._config = config
        self._authenticator = authenticator
        self._network = network
        self._turn = asyncio.Lock()

    async def reload(self) -> None:
        """Read the files and use them. Raises Problems; then nothing changes.

        The files are read in a thread, so that lookups go on. Reloads run one after the other, so
        that the latest file wins.
        """
        async with self._turn:
            loop = asyncio.get_running_loop()
            known, context = await loop.run_in_executor(None, self._read)
            self._authenticator.replace(known)
            if context is not None:
                self._network.renew_tls(context)

    def _read(self) -> tuple[Credentials, Optional[ssl.SSLContext]]:
        return load_credentials(self._config), load_tls(self._config.push)


def load_credentials(config: Config) -> Credentials:
    """The credentials; none without a network listener.

    Raises Problems: also if a credential's keys are one-time, and this host cannot enforce that.
    """
    known = Credentials(())
    if config.push.http is not None:
        known = credentials.load(config.push.credentials, config.keys)
    if config.keys.uses == "once" or any(each.keys.uses == "once" for each in known):
        # Imported late: most hosts have no one-time keys, and this reads sshd's and PAM's files.
        from agent.host.pam import check_one_time

        check_one_time(socket=config.lookup.socket)
    return known


def load_tls(push: Push) -> Optional[ssl.SSLContext]:
    """The TLS context; None if no TLS is configured. Raises Problems."""
    return None if push.http is None or push.http.tls is None else tls.context(push.http.tls)
