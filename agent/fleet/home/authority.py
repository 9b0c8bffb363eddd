"""X.509 for the fleet's TLS: an authority, and certificates of servers, with ECDSA P-256 keys.

ECDSA keeps the handshakes cheap when all hosts reconnect at once. Every TLS library supports P-256.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

# An authority outlives what it signs: to replace it, every host needs the new certificate.
AUTHORITY_DAYS, SERVER_DAYS = 3650, 825


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key, as PEM."""

    certificate: str
    private_key: str = field(repr=False)


class Authority:
    """Signs certificates of servers. It signs no other authority."""

    def __init__(self, pem: Certificate) -> None:
        """Load it from PEM. Raises ValueError."""
        self.pem = pem
        self._certificate = x509.load_pem_x509_certificate(pem.certificate.encode())
        key = serialization.load_pem_private_key(pem.private_key.encode(), password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError("the authority's key is not an ECDSA key")
        self._key = key

    @classmethod
    def create(cls, name: str, now: float) -> Authority:
        """Make a new authority; `now` is the wall clock in seconds."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _name(name)
        usage = x509.KeyUsage(
            digital_signature=False, content_commitment=False, key_encipherment=False,
            data_encipherment=False, key_agreement=False, key_cert_sign=True, crl_sign=True,
            encipher_only=False, decipher_only=False,
        )  # fmt: skip
        certificate = (
            _builder(subject, subject, key, key, now, AUTHORITY_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .sign(key, hashes.SHA256())
        )
        return cls(_pem(certificate, key))

    def issue(self, names: Sequence[str], now: float, *, peers: bool = False) -> Certificate:
        """Issue a server's certificate for these DNS names and IP addresses.

        With `peers` it is valid for a client too: servers of a cluster connect to each other.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        usages = [ExtendedKeyUsageOID.SERVER_AUTH]
        if peers:
            usages.append(ExtendedKeyUsageOID.CLIENT_AUTH)
        certificate = (
            _builder(_name(names[0]), self._certificate.subject, key, self._key, now, SERVER_DAYS)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(list(map(_san, names))), critical=False)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return _pem(certificate, key)


def fingerprint(certificate: str) -> bytes:
    """The SHA-256 of a PEM certificate's DER form. Raises ValueError."""
    loaded = x509.load_pem_x509_certificate(certificate.encode())
    return hashlib.sha256(loaded.public_bytes(serialization.Encoding.DER)).digest()


def ends_at(certificate: str) -> float:
    """When a PEM certificate ends, in seconds since the Unix epoch. Raises ValueError."""
    loaded = x509.load_pem_x509_certificate(certificate.encode())
    return loaded.not_valid_after.replace(tzinfo=timezone.utc).timestamp()


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer_key: ec.EllipticCurvePrivateKey,
    now: float,
    days: int,
) -> x509.CertificateBuilder:
    begin = datetime.fromtimestamp(now, timezone.utc) - timedelta(hours=1)
    own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    its = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=days))
        .add_extension(own, critical=False)
        .add_extension(its, critical=False)
    )


def _name(common: str) -> x509.Name:
    # A common name has 64 characters at most (RFC 5280, appendix A.1); names are in the SAN.
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "sixtykey fleet"),
            x509.NameAttribute(NameOID.COMMON_NAME, common[:64]),
        ]
    )


def _san(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Certificate:
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = certificate.public_bytes(serialization.Encoding.PEM)
    return Certificate(public.decode("ascii"), private.decode("ascii"))
