"""Verifies the signer's certificate: its chain to a configured root, its name, and its key.

EC2 sends a straight chain: each certificate is issued by the next. The path ends at the first one
that a configured root issued (RFC 5280 section 6.1). Policies and name constraints are not
implemented: a certificate that has them is refused, and so is one with an unknown critical
extension. Revocation is checked in ocsp.py. docs/decisions/ec2-verification.md says why OpenSSL's
program does not do this.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from datetime import timezone
from typing import Any, Optional, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.oid import SignatureAlgorithmOID as Algorithm

from agent.config.limits import LIMITS
from agent.sources.metadata.refusal import Refused, shown

# One repetition only: with two that match the same bytes, 64 KiB of them would take minutes.
PEM = re.compile(rb"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")
_SHA2 = (hashes.SHA256(), hashes.SHA384(), hashes.SHA512())
_RSA = (Algorithm.RSA_WITH_SHA256, Algorithm.RSA_WITH_SHA384, Algorithm.RSA_WITH_SHA512)
_ECDSA = (Algorithm.ECDSA_WITH_SHA256, Algorithm.ECDSA_WITH_SHA384, Algorithm.ECDSA_WITH_SHA512)
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
# Extensions that are checked below, and may therefore be critical.
_KNOWN = (x509.BasicConstraints, x509.KeyUsage, x509.ExtendedKeyUsage, x509.SubjectAlternativeName)
_CONSTRAINING = (x509.NameConstraints, x509.PolicyConstraints, x509.InhibitAnyPolicy)
Extension = TypeVar("Extension", bound=x509.ExtensionType)


def load(pem: bytes) -> list[x509.Certificate]:
    """Parse every certificate of a PEM text, in order. Raises Refused."""
    found = []
    for number, match in enumerate(PEM.finditer(pem), 1):
        if number > LIMITS.certificates:
            raise Refused(f"the signer's chain has more than {LIMITS.certificates} certificates")
        try:
            found.append(parse(match[0]))
        except Exception:  # noqa: BLE001 - cryptography raises half a dozen types here
            raise Refused("a certificate of the signer's chain is damaged") from None
    if not found:
        raise Refused("the metadata has no signer's certificate")
    return found


def parse(pem: bytes) -> x509.Certificate:
    """Parse one PEM certificate completely. Raises any of cryptography's errors."""
    der = base64.b64decode(b"".join(pem.split(b"-----")[2].split()), validate=True)
    found = x509.load_der_x509_certificate(der)
    parse_late(found)
    # Accept only the canonical DER: some versions of cryptography verify a re-encoded certificate.
    # The unsigned part must add nothing: its algorithm equals the signed one (RFC 5280 4.1.1.2),
    # and the signature is a whole number of bytes.
    signed = found.tbs_certificate_bytes
    rest = der.partition(signed)[2]
    outside = rest[: 2 + rest[1]] not in signed or not rest.endswith(b"\0" + found.signature)
    if outside or found.public_bytes(Encoding.DER) != der:
        raise ValueError("spelled in another way, or with something outside of what is signed")
    return found


def parse_late(found: x509.Certificate) -> None:
    """Parse now what cryptography parses lazily, so that its errors are raised here."""
    list(found.subject), list(found.issuer), list(found.extensions), found.public_key()
    for name in ("not_valid_before", "not_valid_after"):
        moment(found, name)


def path(
    chain: Sequence[x509.Certificate], roots: Iterable[x509.Certificate], name: str, now: float
) -> list[x509.Certificate]:
    """Verify the path from the signer's certificate to a configured root, and return it.

    Args:
        chain: the signer's certificate, then the others that EC2 sent, in order.
        name: the signer's name, which CN and SAN must equal.
        now: seconds since the Unix epoch.
    Raises:
        Refused: they do not form a valid path.
    """
    check_leaf(chain[0], name)
    found = _up_to_root(chain, roots)
    for below, authority in enumerate(found[1:]):
        check_authority(authority, below)
    for certificate in found:
        check_known(certificate)
        check_current(certificate, now)
    return found


def _up_to_root(
    chain: Sequence[x509.Certificate], roots: Iterable[x509.Certificate]
) -> list[x509.Certificate]:
    """The needed part of the chain, each certificate issued by the next, then the root."""
    by_name: dict[x509.Name, list[x509.Certificate]] = {}
    for root in roots:
        by_name.setdefault(root.subject, []).append(root)
    found: list[x509.Certificate] = []
    for sent in chain:
        if found:
            check_issued(found[-1], sent)
        found.append(sent)
        for root in by_name.get(sent.issuer, []):
            if _is_issued(sent, root):
                return [*found, root]
    raise Refused(
        f"no configured root (ec2.roots) issued the certificate of {common_name(found[-1])}, the "
        "last in the signer's chain"
    )


def _is_issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether this root, of several with the same name, issued the certificate."""
    try:
        check_issued(certificate, issuer)
    except Refused:
        return False
    return True


def check_leaf(certificate: x509.Certificate, name: str) -> None:
    """Raise Refused unless this is a TLS server's certificate of exactly this name."""
    found = [
        str(each.value) for each in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    ]
    if found != [name]:
        raise Refused(f"the signer's certificate is for {shown(', '.join(found))}, not for {name}")
    names = extension(certificate, x509.SubjectAlternativeName)
    if names is None or name not in names.get_values_for_type(x509.DNSName):
        raise Refused(f"the signer's certificate does not have {name} as alternative name")
    basic = extension(certificate, x509.BasicConstraints)
    if basic is not None and basic.ca:
        raise Refused("the signer's certificate is an authority's")
    usage = extension(certificate, x509.KeyUsage)
    if usage is not None and not usage.digital_signature:
        raise Refused("the signer's certificate is not for signatures")
    purposes = extension(certificate, x509.ExtendedKeyUsage)
    if purposes is None or ExtendedKeyUsageOID.SERVER_AUTH not in purposes:
        raise Refused("the signer's certificate is not a TLS server's")


def check_authority(certificate: x509.Certificate, below: int) -> None:
    """Raise Refused unless it may issue with `below` authorities beneath it.

    Source: RFC 5280, 4.2.1.3, 4.2.1.9, 4.2.1.12, and 6.1.4 (k) to (n).
    """
    who = common_name(certificate)
    try:
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except x509.ExtensionNotFound:
        raise Refused(f"the certificate of {who} is not an authority's") from None
    if not basic.value.ca or not basic.critical:
        raise Refused(f"the certificate of {who} is not an authority's")
    if basic.value.path_length is not None and below > basic.value.path_length:
        raise Refused(f"the signer's chain is longer than the certificate of {who} allows")
    usage = extension(certificate, x509.KeyUsage)
    if usage is None or not usage.key_cert_sign:
        raise Refused(f"the certificate of {who} may not issue certificates")
    purposes = extension(certificate, x509.ExtendedKeyUsage)
    allowed = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
    if purposes is not None and allowed.isdisjoint(purposes):
        raise Refused(f"the certificate of {who} may not issue TLS servers' certificates")


def check_known(certificate: x509.Certificate) -> None:
    """Raise Refused for an unknown critical extension, or one that constrains what is below."""
    for each in certificate.extensions:
        constrains = isinstance(each.value, _CONSTRAINING)
        if constrains or (each.critical and not isinstance(each.value, _KNOWN)):
            raise Refused(
                f"the certificate of {common_name(certificate)} has extension "
                f"{each.oid.dotted_string}, which is not supported"
            )


def check_current(certificate: x509.Certificate, now: float) -> None:
    """Raise Refused unless it is valid at `now` (s since the Unix epoch)."""
    if not moment(certificate, "not_valid_before") <= now <= moment(certificate, "not_valid_after"):
        raise Refused(f"the certificate of {common_name(certificate)} is not valid at this time")


def check_issued(certificate: x509.Certificate, issuer: x509.Certificate) -> None:
    """Raise Refused unless `issuer` issued it, by name, key identifier and signature."""
    who = common_name(certificate)
    other = Refused(f"the certificate after that of {who} is not its issuer's")
    if (
        not issuer.subject.rdns
        or certificate.issuer.public_bytes() != issuer.subject.public_bytes()
    ):
        raise other
    named = extension(certificate, x509.AuthorityKeyIdentifier)
    own = extension(issuer, x509.SubjectKeyIdentifier)
    wanted = None if named is None else named.key_identifier
    if wanted is not None and own is not None and wanted != own.digest:
        raise other
    check_signature(
        issuer,
        certificate.signature,
        certificate.tbs_certificate_bytes,
        certificate.signature_algorithm_oid,
        f"the signature in the certificate of {who}",
    )


def check_signature(
    signer: x509.Certificate,
    signature: bytes,
    content: bytes,
    algorithm: x509.ObjectIdentifier,
    what: str,
) -> None:
    """Raise Refused unless the certificate's key made this signature, by a strong algorithm."""
    key = public_key(signer)
    try:
        if isinstance(key, rsa.RSAPublicKey) and algorithm in _RSA:
            key.verify(signature, content, padding.PKCS1v15(), _SHA2[_RSA.index(algorithm)])
        elif isinstance(key, ec.EllipticCurvePublicKey) and algorithm in _ECDSA:
            key.verify(signature, content, ec.ECDSA(_SHA2[_ECDSA.index(algorithm)]))
        else:
            raise Refused(f"{what} has an algorithm that is not accepted")
    except InvalidSignature:
        raise Refused(f"{what} does not verify") from None


def public_key(certificate: x509.Certificate) -> Any:
    """Its public key: RSA of 2048 to 8192 bits, or ECDSA on one of three curves. Raises Refused."""
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey) and 2048 <= key.key_size <= LIMITS.rsa_max_bits:
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, _CURVES):
        return key
    raise Refused(f"the key in the certificate of {common_name(certificate)} is not accepted")


def extension(certificate: x509.Certificate, kind: type[Extension]) -> Optional[Extension]:
    """The value of an extension, or None."""
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def common_name(certificate: x509.Certificate) -> str:
    """Its CN, or the whole subject, for messages."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return shown(names[0].value if names else certificate.subject.rfc4514_string())


def moment(holder: object, name: str) -> float:
    """A time of a certificate or an OCSP answer, in seconds since the Unix epoch.

    Older versions of cryptography (before 42 and 43) have it only without a time zone; newer ones
    warn about that form. Raises Refused when it is absent.
    """
    aware = hasattr(type(holder), f"{name}_utc")
    value = getattr(holder, f"{name}_utc" if aware else name)
    if value is None:
        raise Refused("an OCSP answer has no expiry time")
    return float(value.replace(tzinfo=timezone.utc).timestamp())
