"""From a question to offers: fetch the user's blocks, verify each, and report those that fail."""

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
from agent.sources.metadata.http import Away
from agent.sources.metadata.imds import Metadata
from agent.sources.metadata.refusal import Refused, shown
from agent.sources.metadata.sightings import Ended, Sightings
from agent.sources.metadata.signer import Signer

Found = tuple[list[Offered], list[Refusal]]


class Source:
    """EC2's metadata as a source of offers. Made within the running event loop.

    Args:
        instance: this host's id according to the daemon; the metadata must say the same.
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
        # Why there is no signer, and when the last attempt to check one was (boot clock, s).
        self._problem: Optional[str] = None
        self._tried = float("-inf")
        self._checking = asyncio.Lock()
        self._reported: set[tuple[str, str]] = set()

    async def probe(self) -> None:
        """Ask whose metadata it is. Raises Away; Refused when it is another host's."""
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
            The offers, and the refusals: each block once for each reason.
        Raises:
            Away: the metadata service is unreachable.
            Refused: the metadata is another host's.
        """
        await self._check_place()
        text = await self._metadata.keys(os_user)
        if text is None:
            return [], []
        found = list(blocks.read(text.body, text.complete))
        unsigned = await self._find_unsigned([each for each in found if isinstance(each, Block)])
        offers: list[Offered] = []
        refusals: list[Refusal] = []
        # The answer may not hold all of them: the key that sshd asks for comes first.
        for each in sorted(found, key=lambda each: each.fingerprint != fingerprint):
            verdict = self._judge(each, unsigned, os_user)
            if isinstance(verdict, Offered):
                offers.append(verdict)
            elif verdict is None or len(refusals) >= LIMITS.metadata_refusals:
                continue  # the next answer reports it
            elif self._is_new(each.digest, verdict.reason):
                refusals.append(verdict)
        return offers, refusals

    async def prepare(self, before: float) -> None:
        """Renew token and signer if they end within `before` seconds.

        A signer that was checked long ago is checked again: it may be revoked or replaced.
        Raises Away; Refused for a signer that is not trustworthy.
        """
        await self._metadata.renew_token(before)
        async with self._checking:
            signer, now = self._signer, self._clock.wall()
            fresh = signer is not None and now < signer.since + LIMITS.signer_recheck_seconds
            if signer is not None and fresh and signer.is_current(now + before):
                return
            if chain := await self._metadata.chain():
                await self._check(chain)

    def forget_reported(self) -> None:
        """Report every refused block again: a restarted daemon does not know the old reports."""
        self._reported.clear()

    def _judge(
        self, each: Union[Block, Rejected], unsigned: Mapping[int, str], os_user: str
    ) -> Union[Offered, Refusal, None]:
        if isinstance(each, Rejected):
            return Refusal(each.reason)
        if id(each) in unsigned:
            # Nothing in it is verified, so the report names only the key's fingerprint.
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

    async def _find_unsigned(self, found: Sequence[Block]) -> Mapping[int, str]:
        """The blocks (by id()) without a valid signature, and why each is refused."""
        if not found:
            return {}
        try:
            signer = await self._current_signer()
            unsigned = _find_unverified(signer, found)
            renewed = await self._renew_signer(signer) if unsigned else signer
        except Refused as refused:
            return {id(block): str(refused) for block in found}
        except Away as away:
            return {id(block): f"its signer cannot be fetched: {away}" for block in found}
        return unsigned if renewed is signer else _find_unverified(renewed, found)

    async def _current_signer(self) -> Signer:
        """The signer that is valid now. Raises Away, Refused."""
        if (signer := self._known()) is not None:
            return signer
        async with self._checking:
            if (signer := self._known()) is not None:
                return signer
            if self._problem is not None and not self._may_try():
                raise Refused(self._problem)
            return await self._check(await self._metadata.chain())

    def _known(self) -> Optional[Signer]:
        """The last verified signer, if it is still current."""
        signer = self._signer
        return signer if signer is not None and signer.is_current(self._clock.wall()) else None

    async def _renew_signer(self, signer: Signer) -> Signer:
        """The new signer, if EC2 has replaced the certificate; else the present one.

        Raises Refused: the new certificate is not trustworthy. The present signer then ends too.
        """
        async with self._checking:
            if self._signer is None:
                raise Refused(self._problem or "the signer is not known")
            if self._signer is not signer or not self._may_try():
                return self._signer
            self._tried = self._clock.boottime()
            try:
                chain = await self._metadata.chain()
                return signer if chain in {b"", signer.chain} else await self._check(chain)
            except Away:
                return signer  # still valid: only the look for a successor failed

    def _may_try(self) -> bool:
        return self._clock.boottime() >= self._tried + LIMITS.signer_retry_seconds

    async def _check(self, chain: bytes) -> Signer:
        """Verify the signer with this certificate chain. Raises Away, Refused."""
        self._tried = self._clock.boottime()
        place = await self._metadata.place()
        answers = await self._metadata.ocsp_answers()
        try:
            roots = self._roots()
            signer = Signer.check(chain, answers, roots, place.signer, self._clock.wall())
        except Refused as refused:
            self._signer, self._problem = None, str(refused)
            raise
        self._signer, self._problem = signer, None
        return signer

    def _is_new(self, digest: str, reason: str) -> bool:
        """Whether this was not reported before; records it as reported."""
        if (digest, reason) in self._reported:
            return False
        if len(self._reported) >= LIMITS.metadata_seen:
            self._reported.clear()
        self._reported.add((digest, reason))
        return True


def _find_unverified(signer: Signer, found: Iterable[Block]) -> dict[int, str]:
    """The blocks (by id()) whose signature does not verify, and why."""
    unsigned = {}
    for block in found:
        try:
            signer.verify(block)
        except Refused as refused:
            unsigned[id(block)] = str(refused)
    return unsigned
