"""From a question to offers: fetch the user's blocks, verify each, and tell of those that fail."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Callable, Optional, Union

from cryptography import x509

from agent.config.limits import LIMITS
from agent.host.clock import Clock
from agent.sources.feed.messages import Offered, Refusal
from agent.sources.metadata import blocks
from agent.sources.metadata.blocks import Block, Rejected
from agent.sources.metadata.imds import Metadata
from agent.sources.metadata.refusal import Refused, shown
from agent.sources.metadata.sightings import Ended, Sightings
from agent.sources.metadata.signer import Signer

Found = tuple[list[Offered], list[Refusal]]


class Source:
    """EC2's metadata as a source of offers. Made within the running event loop.

    Args:
        instance: this host's id, as the daemon has it: what the metadata says it is must be equal.
        roots: reads the trusted roots; raises Refused.
    """

    def __init__(
        self,
        metadata: Metadata,
        roots: Callable[[], Iterable[x509.Certificate]],
        instance: str,
        clock: Clock,
    ) -> None:
        self._metadata = metadata
        self._roots = roots
        self._instance = instance
        self._clock = clock
        self._sightings = Sightings(clock)
        self._signer: Optional[Signer] = None
        # Why there is no signer, and when the last attempt to have one was (boot clock, s).
        self._problem: Optional[str] = None
        self._tried = float("-inf")
        self._checking = asyncio.Lock()
        self._told: set[tuple[str, str]] = set()

    async def probe(self) -> None:
        """Ask whose metadata it is. Raises Away; Refused when it is not that of this host."""
        await self._check_place(anew=True)

    async def _check_place(self, anew: bool = False) -> None:
        place = await self._metadata.place(anew)
        if place.instance != self._instance:
            raise Refused(
                f"the metadata is that of {shown(place.instance)}, and this host is "
                f"{self._instance} (instance.id)"
            )

    async def answer(self, os_user: str, fingerprint: Optional[str]) -> Found:
        """The keys that were pushed for a user, those with this fingerprint first.

        Returns:
            Offers; and what was refused, each block once for each reason.
        Raises:
            Away: the metadata could not be asked.
            Refused: it is that of another host.
        """
        await self._check_place()
        text = await self._metadata.keys(os_user)
        if text is None:
            return [], []
        found = list(blocks.read(text.body, text.complete))
        unsigned = await self._unsigned([each for each in found if isinstance(each, Block)])
        offers: list[tuple[bool, Offered]] = []
        refusals = []
        for each in found:
            verdict = self._judge(each, unsigned, os_user)
            if isinstance(verdict, Offered):
                offers.append((each.fingerprint != fingerprint, verdict))
            elif verdict is not None and self._is_news(each.digest, verdict.reason):
                refusals.append(verdict)
        offers.sort(key=lambda pair: pair[0])
        return [offer for _, offer in offers], refusals

    async def prepare(self, before: float) -> None:
        """Have token and signer ready, also if they end within `before` seconds.

        Raises Away; Refused for a signer that is not to be trusted.
        """
        await self._metadata.renew_token(before)
        now = self._clock.wall()
        if self._signer is None or not self._signer.is_current(now + before):
            async with self._checking:
                await self._check()

    def forget_told(self) -> None:
        """Tell of every refused block again: whoever was told may have forgotten it."""
        self._told.clear()

    def _judge(
        self, each: Union[Block, Rejected], unsigned: Mapping[int, str], os_user: str
    ) -> Union[Offered, Refusal, None]:
        if isinstance(each, Rejected):
            return Refusal(each.reason)
        if id(each) in unsigned:
            # Nothing in it was verified, so nothing of it is told but which key it was.
            return Refusal(unsigned[id(each)], fingerprint=each.fingerprint)
        try:
            if each.instance != self._instance:
                raise Refused(f"the block is for {shown(each.instance)}, not for this instance")
            left = self._sightings.left(each)
        except Refused as refused:
            if isinstance(refused, Ended) and refused.served:
                return None
            return Refusal(str(refused), each.request, each.caller, each.fingerprint)
        dated = each.expires - LIMITS.metadata_key_seconds
        key, digest = each.key, each.digest
        return Offered(os_user, each.instance, key, left, digest, dated, each.caller, each.request)

    async def _unsigned(self, found: Sequence[Block]) -> Mapping[int, str]:
        """The blocks (by id()) that nobody has signed who may, and why each is refused."""
        if not found:
            return {}
        try:
            signer = await self._current_signer()
        except Refused as refused:
            return {id(block): str(refused) for block in found}
        unsigned = _unverified(signer, found)
        if unsigned:
            renewed = await self._renewed(signer)
            if renewed is not signer:
                return _unverified(renewed, found)
        return unsigned

    async def _current_signer(self) -> Signer:
        """Whom blocks may be signed by now. Raises Away, Refused."""
        async with self._checking:
            signer = self._signer
            if signer is not None and signer.is_current(self._clock.wall()):
                return signer
            if self._problem is not None and not self._may_try():
                raise Refused(self._problem)
            return await self._check()

    async def _renewed(self, signer: Signer) -> Signer:
        """The signer anew, if EC2 has another certificate by now; else the one that there is."""
        async with self._checking:
            if self._signer is not signer or not self._may_try():
                return self._signer or signer
            self._tried = self._clock.boottime()
            if await self._metadata.chain() == signer.chain:
                return signer
            try:
                return await self._check()
            except Refused:
                return signer

    def _may_try(self) -> bool:
        return self._clock.boottime() >= self._tried + LIMITS.signer_retry_seconds

    async def _check(self) -> Signer:
        """Fetch and check all there is of the signer. Raises Away, Refused."""
        self._tried = self._clock.boottime()
        place = await self._metadata.place()
        chain = await self._metadata.chain()
        answers = await self._metadata.ocsp_answers()
        try:
            roots = self._roots()
            signer = Signer.check(chain, answers, roots, place.signer, self._clock.wall())
        except Refused as refused:
            self._problem = str(refused)
            raise
        self._signer, self._problem = signer, None
        return signer

    def _is_news(self, digest: str, reason: str) -> bool:
        """Whether this has not been told yet; then it has been from now on."""
        if (digest, reason) in self._told:
            return False
        if len(self._told) >= LIMITS.metadata_seen:
            self._told.clear()
        self._told.add((digest, reason))
        return True


def _unverified(signer: Signer, found: Iterable[Block]) -> dict[int, str]:
    """Which blocks the signer has not signed."""
    unsigned = {}
    for block in found:
        try:
            signer.verify(block)
        except Refused as refused:
            unsigned[id(block)] = str(refused)
    return unsigned
