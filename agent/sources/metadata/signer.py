"""Who signs the blocks: a verified key, and until when it may be trusted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from agent.sources.metadata import certificates, ocsp
from agent.sources.metadata.blocks import Block
from agent.sources.metadata.refusal import Refused

_PADDING = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)


@dataclass(frozen=True)
class Signer:
    """A key whose certificates were checked at `since`; `chain` is their PEM text.

    `since` and `until` are in seconds since the Unix epoch. Use `Signer.check` to make one.
    """

    key: rsa.RSAPublicKey
    chain: bytes
    since: float
    until: float

    @classmethod
    def check(
        cls,
        chain: bytes,
        answers: Sequence[bytes],
        roots: Iterable[x509.Certificate],
        name: str,
        now: float,
    ) -> Signer:
        """Check the signer's certificates and their revocation.

        Args:
            chain: certificates in PEM, the signer's first.
            answers: OCSP responses in DER.
            name: the name that the signer must have.
            now: seconds since the Unix epoch.
        Raises:
            Refused: it is not trustworthy; says why.
        """
        path = certificates.path(certificates.load(chain), roots, name, now)
        until = ocsp.check(path, answers, now)
        key = certificates.public_key(path[0])
        if not isinstance(key, rsa.RSAPublicKey):
            raise Refused("the signer's key is not RSA, with which alone EC2 signs")
        ends = [certificates.moment(each, "not_valid_after") for each in path]
        return cls(key, chain, now, min([until, *ends]))

    def is_current(self, now: float) -> bool:
        """Whether the checks still hold. False when the clock was set back before `since`."""
        return self.since <= now < self.until

    def verify(self, block: Block) -> None:
        """Raise Refused unless this signer signed the block.

        RSASSA-PSS with SHA-256, MGF1 of the same, and a salt of exactly 32 bytes (RFC 8017 8.1).
        """
        try:
            self.key.verify(block.signature, block.signed, _PADDING, hashes.SHA256())
        except InvalidSignature:
            raise Refused("the block's signature does not verify") from None
