"""Checks the TLS files: loadable, not about to expire, and cheap to serve."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator

from agent.commands.checks.finding import Finding, fault, note, unknown
from agent.config.settings import Config, Tls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cryptography.x509 import Certificate

# Report a certificate this long (s) before its expiry: 90-day certificates are renewed when 30 days
# are left, so something has stopped renewing it.
_SOON = 30 * 86400
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_RENEW = "renew it, and then: systemctl reload sixtykeyd"
_ECDSA = (
    "with an ECDSA key a handshake costs a tenth or less: "
    "openssl ecparam -name prime256v1 -genkey -noout -out KEY.pem"
)


def certificates(config: Config) -> list[Finding]:
    """Check the TLS files as the daemon would load them, and each certificate in them."""
    from agent.config.document import Problems
    from agent.host import tls

    http = config.push.http
    if http is None or http.tls is None:
        return []
    paths = (http.tls.certificate, http.tls.private_key)
    if os.geteuid() and not all(os.access(path, os.R_OK) for path in paths):
        return [unknown("tls-unreadable", "you may not read the files of push.http.tls")]
    try:
        tls.context(http.tls)
    except Problems as problems:
        remedy = "the daemon does not start with these: fix push.http.tls or the files it names"
        return [fault("tls-wrong", what, remedy) for what in problems.problems]
    return list(_examine(http.tls, time.time()))


def _examine(tls: Tls, now: float) -> Iterator[Finding]:
    """Findings at `now` (wall clock, s) about files that can be loaded."""
    try:
        shown = _read(tls.certificate)
        trusted = [] if tls.client_ca is None else _read(tls.client_ca)
    except (OSError, ValueError) as error:
        yield unknown("tls-unreadable", f"a file of push.http.tls: {error}", "check it yourself")
        return
    for certificate in shown:
        yield from _expiring(certificate, tls.certificate, now, "clients refuse it")
    for certificate in trusted:
        yield from _expiring(
            certificate, str(tls.client_ca), now, "client certificates that it signed are refused"
        )
    yield from _costly(shown[0], tls.certificate)


def _read(path: str) -> list[Certificate]:
    """Every certificate in a PEM file. Raises OSError, and ValueError where one is not readable."""
    from cryptography.x509 import load_pem_x509_certificate

    with open(path, "rb") as file:
        return [load_pem_x509_certificate(pem) for pem in _PEM.findall(file.read())]


def _expiring(certificate: Certificate, path: str, now: float, so: str) -> Iterator[Finding]:
    from datetime import timezone

    # cryptography 42 deprecates the one without a time zone.
    end = getattr(certificate, "not_valid_after_utc", None)
    if end is None:
        end = certificate.not_valid_after.replace(tzinfo=timezone.utc)
    name = f"{path}: the certificate of {certificate.subject.rfc4514_string()}"
    if end.timestamp() <= now:
        what = f"{name} expired on {end:%Y-%m-%d}: {so}"
        yield fault("tls-expired", what, _RENEW)
    elif end.timestamp() <= now + _SOON:
        yield note("tls-expires-soon", f"{name} expires on {end:%Y-%m-%d}", _RENEW)


def _costly(certificate: Certificate, path: str) -> Iterator[Finding]:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    key = certificate.public_key()
    if isinstance(key, RSAPublicKey):
        what = (
            f"{path} has an RSA key of {key.key_size} bits: an unauthenticated client can "
            "make it sign, which is expensive"
        )
        yield note("tls-rsa", what, _ECDSA)
