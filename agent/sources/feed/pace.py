"""Limits what a flood of the bus's messages costs a host. No I/O; the time is an argument.

Who has the bus or the connector can invent messages, and send captured ones again and again. Each
kind of cost has a token bucket, and worthless messages must not use up what honest ones need:

- Verifying a signature (0.1 to 0.3 ms, by the message's length). A message takes a token first,
  and gets it back when an issuer signed it for this host and now. So honest messages, however many,
  use up nothing, and all others together are verified `FLEET.verified_per_second` times at most: a
  seventh of a processor. Receiving and decoding them costs more, and is not limited here. Below
  that rate, a flood costs no honest message its token. Above it, an honest message gets one with
  the probability (rate of the bucket / rate of the flood); its client tries again. More is not
  possible: before verification nothing tells honest from forged, and who can send so much on this
  host's subject has the bus or the connector, and can drop every message without a flood.
- A message that was answered before is recognised by its digest, before it is verified.
- Inquiries and questions are counted after verification, once each. So only issuers use up these.
- A signed refusal (0.05 ms). One bucket is for what no issuer signed for this host, which anybody
  can invent. What an issuer signed, but not now, has another one: an honest gateway whose clock is
  wrong gets to know it during a flood of the former.

The buckets belong to the role, not to a connection: a connector that connects again gets no new
ones. New leases have no limit of their own: each that an issuer signed
is due.
"""

from __future__ import annotations

import cachetools

from agent.config.fleet_limits import FLEET
from agent.fleet.messages.clocks import NotNow
from agent.fleet.messages.description import INQUIRY
from agent.fleet.messages.documents import Rejected
from agent.fleet.messages.explanation import QUESTION
from agent.host.bucket import Bucket

_REPEATED, _FORGED, _LATE = "repeated", "forged", "late"


class MessagePace:
    """A token bucket for each kind of cost. `now`: CLOCK_BOOTTIME, s."""

    def __init__(self, now: float) -> None:
        rate, burst = FLEET.asked_per_second, FLEET.asked
        kinds = (INQUIRY, QUESTION, _REPEATED, _FORGED, _LATE)
        self._buckets = {kind: Bucket.full(rate, burst, now) for kind in kinds}
        self._unproven = Bucket.full(FLEET.verified_per_second, FLEET.verified, now)
        self._answered: cachetools.LRUCache[bytes, None] = cachetools.LRUCache(FLEET.taken)

    def admits(self, digest: bytes, now: float) -> bool:
        """Whether a message may be verified. Who signed it is not known yet."""
        if digest in self._answered:
            return _take(self._buckets[_REPEATED], now)
        return _take(self._unproven, now)

    def note_genuine(self, digest: bytes) -> None:
        """Recognise a message that an issuer signed for this host and now, if it comes again."""
        if digest not in self._answered:
            self._unproven.put_back()
            self._answered[digest] = None

    def admits_answer(self, kind: str, digest: bytes, now: float) -> bool:
        """Whether to answer an inquiry or question that is verified, and note it as genuine."""
        repeated = digest in self._answered
        self.note_genuine(digest)
        return repeated or _take(self._buckets[kind], now)

    def admits_refusal(self, error: Exception, digest: bytes, now: float) -> bool:
        """Whether to sign the refusal of a message, for one of refusals.REFUSALS."""
        if not isinstance(error, Rejected):
            self.note_genuine(digest)
            return True
        return _take(self._buckets[_LATE if isinstance(error, NotNow) else _FORGED], now)


def _take(bucket: Bucket, now: float) -> bool:
    if bucket.wait(now) > 0.0:
        return False
    bucket.take()
    return True
