"""Follows removals of hosts that other gateways of the fleet know.

`sixtykey fleet remove` writes the account's token at the home. The servers of the bus get it at
once; the other gateways ask each other for it, and keep the newest that the operator's key signed.
So an impostor of a gateway can withhold a removal, but cannot undo one.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Callable

from agent.config.document import Problems
from agent.config.fleet_limits import FLEET
from agent.fleet.bus.jwt import BadToken
from agent.fleet.gateway.files import FleetFiles
from agent.fleet.home.home import gateway_name
from agent.fleet.host import joining
from agent.fleet.host.joining import NoGateway

log = logging.getLogger("sixtykeyd")


class Peers:
    """Asks the other gateways, again and again.

    `name` is this gateway's own, `learned` is called after a newer token was found.
    """

    def __init__(self, files: FleetFiles, name: str, learned: Callable[[], None]) -> None:
        self._files = files
        self._name = name
        self._learned = learned
        self._hurry = asyncio.Event()
        self._said: dict[str, str] = {}

    def hurry(self) -> None:
        """Ask now."""
        self._hurry.set()

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            self._hurry.clear()
            await self.ask()
            pause = random.uniform(0.5, 1.0) * FLEET.peers_seconds  # noqa: S311
            try:
                await asyncio.wait_for(self._hurry.wait(), pause)
            except asyncio.TimeoutError:
                pass

    async def ask(self) -> None:
        """Ask each of the other gateways once."""
        try:
            urls, ca = self._files.facts.gateways, self._files.authority
        except Problems:
            return  # the gateway reports its files' problems elsewhere
        others = [url for url in urls if gateway_name(url) != self._name]
        # All at once, so that a slow one delays no other.
        await asyncio.gather(*(self._ask(url, ca) for url in others))

    async def _ask(self, url: str, ca: str) -> None:
        loop = asyncio.get_running_loop()
        try:
            state = await loop.run_in_executor(None, joining.fetch_state, url, ca)
            if self._files.learn(state.account):
                log.warning("removals of hosts: learned from %s", url)
                self._learned()
            self._say(url, "")
        except (NoGateway, BadToken, Problems, OSError) as error:
            self._say(url, f"the gateway {url} tells of no removals: {error}")

    def _say(self, url: str, words: str) -> None:
        """Log a message unless it was the last one."""
        if words and words != self._said.get(url):
            log.warning("%s", words)
        self._said[url] = words
