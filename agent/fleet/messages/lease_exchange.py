"""The messages between a gateway and a host: a lease, and the answer to it.

docs/fleet.md specifies the exact form, with test vectors. Times are milliseconds of the wall clock
since the Unix epoch. A lifetime runs on the host's boot clock, and ends no later than `ends_at`.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any, Optional, Union

from agent.config import checks, patterns
from agent.config.fleet_limits import FLEET
from agent.config.key_policy import KEY_OPTIONS, KeyPolicy, order_options
from agent.config.settings import USES
from agent.fleet.messages import documents
from agent.fleet.messages.clocks import NotNow, check_clocks
from agent.fleet.messages.documents import Document, Rejected
from agent.fleet.messages.fields import Fields
from agent.fleet.messages.signing import PrivateKey, PublicKey

LEASE, ACKNOWLEDGEMENT, REFUSAL = "lease", "acknowledgement", "refusal"
SUBJECT = "sk.host."
NONCE_BYTES, DIGEST_BYTES = 16, 32


@dataclass(frozen=True)
class Mark:
    """Identifies the pusher's signed request, to detect a replay: a digest, and its date (ms)."""

    digest: bytes
    dated: int


@dataclass(frozen=True)
class LeaseMessage:
    """One key for one OS user of one host; a gateway signs it.

    `key` is "TYPE BASE64". `source` is the pusher's IP address, `principal` its name. `zone` is
    None when the push named none. `mark` is None when the push had no signature to replay.
    `conditions` are the credential's; their lifetime (s) is never None.
    """

    host: str
    os_user: str
    key: str
    issued_at: int
    ends_at: int
    nonce: bytes
    issuer: PublicKey
    request_id: str
    principal: str
    source: str
    conditions: KeyPolicy
    zone: Optional[str] = None
    mark: Optional[Mark] = None

    @property
    def lifetime(self) -> int:
        """The key's lifetime in seconds, which every lease states."""
        return self.conditions.lifetime or 0

    def seal(self, key: PrivateKey) -> bytes:
        """The envelope, signed by the issuer's key."""
        return self.seal_and_digest(key)[0]

    def seal_and_digest(self, key: PrivateKey) -> tuple[bytes, bytes]:
        """The envelope, and the digest that its answer must name."""
        body = documents.canonical(self.content())
        return documents.seal_body(LEASE, body, key), hashlib.sha256(body).digest()

    def content(self) -> Mapping[str, Any]:
        """The body's members."""
        conditions = self.conditions
        return {
            "conditions": {
                "lifetime": conditions.lifetime,
                "options": list(conditions.options),
                "pin_source": conditions.pin_source,
                "uses": conditions.uses,
            },
            "ends_at": self.ends_at,
            "host": self.host,
            "issued_at": self.issued_at,
            "issuer": str(self.issuer),
            "key": self.key,
            "mark": None
            if self.mark is None
            else {"dated": self.mark.dated, "digest": self.mark.digest.hex()},
            "nonce": self.nonce.hex(),
            "os_user": self.os_user,
            "principal": self.principal,
            "request_id": self.request_id,
            "source": self.source,
            "zone": self.zone,
        }

    @classmethod
    def open(cls, envelope: bytes, issuers: Container[PublicKey]) -> LeaseMessage:
        """Verify that one of the issuers signed it, and parse it. Raises Rejected."""
        document = documents.unseal(envelope, {LEASE}, issuers)
        fields = Fields(document.content, LEASE)
        lease = cls(
            host=fields.text("host", patterns.instance_id),
            os_user=fields.text("os_user", patterns.os_user_current),
            key=fields.text("key", _key, FLEET.key_characters),
            issued_at=fields.time("issued_at"),
            ends_at=fields.time("ends_at"),
            nonce=fields.bytes("nonce", NONCE_BYTES),
            issuer=fields.key("issuer"),
            request_id=fields.text("request_id", _uuid),
            principal=fields.text("principal"),
            source=fields.text("source", checks.address),
            conditions=_conditions(fields.object("conditions")),
            zone=fields.optional(
                "zone", lambda name: fields.text(name, patterns.availability_zone)
            ),
            mark=fields.optional("mark", lambda name: _mark(fields.object(name))),
        )
        fields.end()
        if lease.issuer != document.key:
            raise Rejected("the lease names another issuer than its envelope")
        if not 0 < lease.ends_at - lease.issued_at <= lease.lifetime * 1000:
            raise Rejected("the lease ends before it begins, or after its lifetime")
        return lease

    def check(self, host: str, now: float) -> None:
        """Raise NotForThisHost or NotNow; `now` is this host's wall clock in seconds."""
        check_clocks(self.host, self.issued_at, host, now)
        if now >= self.ends_at / 1000:
            raise NotNow(
                f"by this host's clock the lease ended {now - self.ends_at / 1000:.1f} s ago: the "
                "gateway's clock and this host's differ by more than its lifetime"
            )


@dataclass(frozen=True)
class Acknowledgement:
    """The host states that the lease is durable there, and served until `ends_at` (ms).

    `lease` is the SHA-256 of the lease's body. For a repeated push, `request_id` is that of the
    first one, and `ends_at` is None: the first lease's end does not change, and may be past.
    """

    lease: bytes
    host: str
    request_id: str
    ends_at: Optional[int]

    def seal(self, key: PrivateKey) -> bytes:
        """The envelope, signed by the host's key."""
        content = {
            "ends_at": self.ends_at,
            "host": self.host,
            "lease": self.lease.hex(),
            "request_id": self.request_id,
        }
        return documents.seal(ACKNOWLEDGEMENT, content, key)


@dataclass(frozen=True)
class Refusal:
    """The host states that it refused the lease: the error's code, and a text for people.

    `wait` is how long to wait before another attempt, in milliseconds; 0 when none is given.
    """

    lease: bytes
    host: str
    code: str
    words: str
    wait: int = 0

    def seal(self, key: PrivateKey) -> bytes:
        """The envelope, signed by the host's key."""
        content = {
            "code": self.code,
            "host": self.host,
            "lease": self.lease.hex(),
            "wait": self.wait,
            "words": self.words,
        }
        return documents.seal(REFUSAL, content, key)


Answer = Union[Acknowledgement, Refusal]


def open_answer(envelope: bytes, host: str, key: PublicKey, lease: bytes) -> Answer:
    """Verify and parse the answer of this host and key to this lease. Raises Rejected."""
    document = documents.unseal(envelope, {ACKNOWLEDGEMENT, REFUSAL}, {key})
    answer = _acknowledgement(document) if document.kind == ACKNOWLEDGEMENT else _refusal(document)
    if answer.host != host or answer.lease != lease:
        raise Rejected("the answer is from another host, or to another lease")
    return answer


def seal_reply(answer: bytes, certificate: bytes) -> bytes:
    """The reply on the bus: an answer, and the certificate of the key that signed it."""
    return documents.canonical(
        {"answer": answer.decode("ascii"), "certificate": certificate.decode("ascii")}
    )


def open_reply(text: bytes) -> tuple[bytes, bytes]:
    """The answer and the certificate, both still sealed. Raises Rejected."""
    if not text:
        raise Rejected("it is empty, as when a host is asked too often")
    most = FLEET.document_bytes
    fields = Fields(documents.read(text, 2 * most), "the reply")
    answer, certificate = fields.text("answer", most=most), fields.text("certificate", most=most)
    fields.end()
    return answer.encode(), certificate.encode()


def digest(envelope: bytes) -> bytes:
    """The SHA-256 of the exact bytes that the envelope's signature covers. Raises Rejected."""
    return digest_of(documents.read(envelope))


def digest_of(members: Mapping[str, Any]) -> bytes:
    """The same for an envelope that is parsed already. Raises Rejected."""
    body = members.get("body")
    if not isinstance(body, str):
        raise Rejected("an envelope has a body")
    return hashlib.sha256(body.encode("ascii", "backslashreplace")).digest()


def _conditions(fields: Fields) -> KeyPolicy:
    conditions = KeyPolicy(
        lifetime=fields.whole("lifetime", 1, 60),
        uses=fields.optional("uses", lambda at: fields.choice(at, *USES)),
        pin_source=fields.boolean("pin_source"),
        options=fields.texts("options", _option),
    )
    fields.end()
    try:
        ordered = order_options(conditions.options)
    except ValueError as error:
        raise Rejected(f"the lease {error}") from None
    if ordered != conditions.options or len(set(ordered)) < len(ordered):
        raise Rejected("the lease's options are not in their order, each once")
    return conditions


def _mark(fields: Fields) -> Mark:
    mark = Mark(fields.bytes("digest", DIGEST_BYTES), fields.time("dated"))
    fields.end()
    return mark


def _acknowledgement(document: Document) -> Acknowledgement:
    fields = Fields(document.content, document.kind)
    answer = Acknowledgement(
        lease=fields.bytes("lease", DIGEST_BYTES),
        host=fields.text("host", patterns.instance_id),
        request_id=fields.text("request_id"),
        ends_at=fields.optional("ends_at", fields.time),
    )
    fields.end()
    return answer


def _refusal(document: Document) -> Refusal:
    fields = Fields(document.content, document.kind)
    answer = Refusal(
        lease=fields.bytes("lease", DIGEST_BYTES),
        host=fields.text("host", patterns.instance_id),
        code=fields.text("code", most=64),
        words=fields.text("words"),
        wait=fields.whole("wait", 0, FLEET.wait_ms),
    )
    fields.end()
    return answer


def _uuid(value: str) -> None:
    """Accept a UUID in its usual spelling only: it becomes the comment of sshd's key line."""
    if str(uuid.UUID(value)) != value:
        raise ValueError("is not a UUID in lower case")


def _option(value: str) -> None:
    if value not in KEY_OPTIONS:
        raise ValueError("is not an option that a credential may give")


def _key(value: str) -> None:
    """Check that there are two words. The host's intake parses the key itself."""
    if value.count(" ") != 1:
        raise ValueError("is not a key's type and its base64")
