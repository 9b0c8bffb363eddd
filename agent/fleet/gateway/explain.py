"""Sixtykey.Explain at a gateway: the host itself explains a principal's pushes."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any, Callable

from agent.config import patterns
from agent.fleet.bus.caller import Caller, NoAnswer, NobodyThere
from agent.fleet.directory.trust import CertificateBook, Issuers
from agent.fleet.messages import documents, lease_exchange, refusals
from agent.fleet.messages.documents import UNKNOWN_KIND, Rejected
from agent.fleet.messages.explanation import EXPLANATION, Explanation, Question
from agent.fleet.messages.lease_exchange import NONCE_BYTES, Refusal
from agent.host.clock import Clock
from agent.sources.api.errors import InvalidAction, InvalidArgsException, MissingParameter
from agent.sources.api.message import read_members
from agent.sources.intake import NotThisHost
from agent.sources.readiness import NotReady


@dataclass(frozen=True)
class ExplainRequest:
    """A request for an explanation: which host, and about which OS user."""

    instance: str
    os_user: str

    @classmethod
    def parse(cls, body: bytes) -> ExplainRequest:
        """Read the body of Sixtykey.Explain. Raises the API's errors."""
        members = read_members(body, "InstanceId", "OSUser")
        for name, check in (
            ("InstanceId", patterns.instance_id),
            ("OSUser", patterns.os_user_current),
        ):
            value = members.get(name)
            if not isinstance(value, str):
                raise MissingParameter(f"{name} is a required parameter: a text.")
            try:
                check(value)
            except ValueError as error:
                raise InvalidArgsException(f"{name}: {error}.") from None
        return cls(members["InstanceId"], members["OSUser"])


def unanswered(wanted: ExplainRequest, why: str) -> dict[str, Any]:
    """The same members as `Explainer.ask` returns, when the host could not be asked."""
    return {
        "Decisions": [],
        "Complete": False,
        "Unanswered": why,
        "InstanceId": wanted.instance,
        "AvailabilityZone": None,
    }


class Explainer:
    """Asks hosts over the bus, and verifies that an explanation is the host's own."""

    def __init__(
        self,
        caller: Caller,
        issuers: Callable[[], Issuers],
        certificates: CertificateBook,
        clock: Clock,
    ) -> None:
        self._caller = caller
        self._issuers = issuers
        self._certificates = certificates
        self._clock = clock

    async def ask(self, wanted: ExplainRequest, principal: str) -> dict[str, Any]:
        """The answer's members: the host's explanation of the principal's own pushes.

        Raises:
            NotThisHost: no such host is connected.
            NotReady: it did not answer in time, not genuinely, or it refuses for its clock.
            InvalidAction: it is of a version that does not know the question.
        """
        issuers, now = self._issuers(), self._clock.wall()
        nonce = secrets.token_bytes(NONCE_BYTES)
        question = Question(wanted.instance, wanted.os_user, principal, int(now * 1000), nonce)
        sealed = question.seal(issuers.signer)
        try:
            reply = await self._caller.ask(lease_exchange.SUBJECT + wanted.instance, sealed)
            found = self._read(reply, question, lease_exchange.digest(sealed), issuers)
        except NobodyThere:
            raise NotThisHost(f"The instance {wanted.instance} is not connected.") from None
        except NoAnswer as error:
            raise NotReady(f"The instance {wanted.instance} did not answer: {error}.") from None
        except Rejected as error:
            words = f"The answer of {wanted.instance} is not valid: {error}."
            raise NotReady(words) from None
        return {
            "Decisions": [dict(each) for each in found.decisions],
            "Complete": found.complete,
            "InstanceId": wanted.instance,
            "AvailabilityZone": found.zone,
        }

    def _read(
        self, reply: bytes, question: Question, digest: bytes, issuers: Issuers
    ) -> Explanation:
        """Verify the answer. Raises Rejected, or what the host's refusal means."""
        answer, shown = lease_exchange.open_reply(reply)
        certificate = self._certificates.open(shown, question.host, issuers, self._clock.wall())
        if documents.read(answer).get("kind") == EXPLANATION:
            return Explanation.open(answer, certificate.key, question, digest)
        refusal = lease_exchange.open_answer(answer, question.host, certificate.key, digest)
        if not isinstance(refusal, Refusal):
            raise Rejected("it acknowledges something that is not a lease")
        if UNKNOWN_KIND in refusal.words:
            raise InvalidAction(
                f"The instance {question.host} cannot tell why: its sixtykey is older than this "
                "gateway's. Its administrator can: sixtykey why USER."
            )
        raise refusals.reason(refusal)
