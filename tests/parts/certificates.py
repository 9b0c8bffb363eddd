"""Certificates for TLS, made by the test and valid for a day."""

from __future__ import annotations

import ipaddress
import ssl
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Optional, Union

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Key = Union[ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey]
A_DAY = timedelta(days=1)
_NAMES = x509.SubjectAlternativeName(
    [
        x509.DNSName("localhost"),
        # A name that nobody resolves, for what reaches the server through a proxy.
        x509.DNSName("keys.example"),
        *(x509.IPAddress(ipaddress.ip_address(f"127.0.0.{host}")) for host in range(1, 10)),
    ]
)


def _name(common: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example"),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )


class Authority:
    """A certificate authority whose files are in `directory`, with names that begin with `name`.

    `lifetime` is that of the authority's certificate.
    """

    def __init__(self, directory: Path, name: str = "ca", lifetime: timedelta = A_DAY) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        usage = x509.KeyUsage(
            digital_signature=True, content_commitment=False, key_encipherment=False,
            data_encipherment=False, key_agreement=False, key_cert_sign=True, crl_sign=True,
            encipher_only=False, decipher_only=False,
        )  # fmt: skip
        certificate = (
            self._builder(self._name, self._key, lifetime)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.file = directory / f"{name}.pem"
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def _builder(
        self, subject: x509.Name, key: Key, lifetime: timedelta = A_DAY
    ) -> x509.CertificateBuilder:
        now = datetime.now(timezone.utc)
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + min(lifetime, timedelta(0)) - timedelta(hours=1))
            .not_valid_after(now + lifetime)
            .add_extension(identifier, critical=False)
            .add_extension(issuer, critical=False)
        )

    def issue(
        self, name: str, *, key: Optional[Key] = None, lifetime: timedelta = A_DAY
    ) -> tuple[Path, Path]:
        """Issue a certificate and key for this common name, for servers and clients.

        A second call replaces the files. `lifetime` is counted from now, and may be negative.
        """
        key = key or ec.generate_private_key(ec.SECP256R1())
        both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        certificate = (
            self._builder(_name(name), key, lifetime)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_NAMES, critical=False)
            .add_extension(x509.ExtendedKeyUsage(both), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        files = self._directory / f"{name}.pem", self._directory / f"{name}.key"
        files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        files[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return files

    def trusting(self, shown: Optional[tuple[Path, Path]] = None) -> ssl.SSLContext:
        """A client's TLS context that trusts this authority, with a client certificate if given."""
        context = ssl.create_default_context(cafile=str(self.file))
        if shown is not None:
            context.load_cert_chain(*shown)
        return context
