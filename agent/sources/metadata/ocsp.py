"""Checks the OCSP answers: each certificate except the root needs one that says good.

Source: RFC 6960. An answer counts only when the certificate's issuer signed it, or a responder that
this same issuer certified for OCSP. Parsing alone would accept an answer by anybody.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from agent.config.limits import LIMITS
from agent.sources.metadata import certificates
from agent.sources.metadata.refusal import Refused

# The attributes that are read below. The names of the dates depend on cryptography's version.
_LATE = (
    *("serial_number", "hash_algorithm", "issuer_name_hash", "issuer_key_hash"),
    *("certificate_status", "responder_name", "responder_key_hash"),
    *("signature", "signature_algorithm_oid", "tbs_response_bytes"),
)


def check(path: Sequence[x509.Certificate], answers: Sequence[bytes], now: float) -> float:
    """Raise Refused unless the issuers say that none of these certificates is revoked.

    Args:
        path: from the signer's certificate to the root's, each issued by the next.
        answers: OCSP responses in DER, in any order; extra ones are ignored.
        now: seconds since the Unix epoch.
    Returns:
        Until when this holds, in seconds since the Unix epoch.
    Raises:
        Refused: a certificate has no answer, or its answer is not good or not genuine.
    """
    parsed = [answer for raw in answers for answer in _parse(raw)]
    return min(_check(pair[0], pair[1], parsed, now) for pair in zip(path, path[1:]))


def _parse(raw: bytes) -> Iterator[ocsp.OCSPResponse]:
    """Yield the answer if it is well-formed and about a single certificate."""
    try:
        answer = ocsp.load_der_ocsp_response(raw)
        if answer.response_status is ocsp.OCSPResponseStatus.SUCCESSFUL:
            # cryptography parses these lazily: read them now, so that its errors are caught here.
            for name in _LATE:
                getattr(answer, name)
            list(answer.extensions), list(answer.single_extensions)
            for each in answer.certificates:
                certificates.parse_late(each)
            # Accept only the canonical DER, as for a certificate, including the unsigned part.
            if answer.public_bytes(Encoding.DER) == raw and _is_plain(answer, raw):
                yield answer
    except Exception:  # noqa: BLE001 - cryptography raises half a dozen types here
        return


def _is_plain(answer: ocsp.OCSPResponse, raw: bytes) -> bool:
    """Whether the algorithm's parameters are absent or NULL, and the signature is whole bytes.

    Source: RFC 4055 section 5, RFC 5758 section 3.2.
    """
    rest = raw.partition(answer.tbs_response_bytes)[2]
    algorithm = rest[2 : 2 + rest[1]]
    parameters = algorithm[2 + algorithm[1] :]
    return parameters in {b"", b"\5\0"} and b"\0" + answer.signature in rest


def _check(
    certificate: x509.Certificate,
    issuer: x509.Certificate,
    answers: Sequence[ocsp.OCSPResponse],
    now: float,
) -> float:
    who = certificates.common_name(certificate)
    about = [answer for answer in answers if _is_about(answer, certificate, issuer)]
    if not about:
        raise Refused(f"no OCSP answer is about the certificate of {who}")
    return min(_check_answer(answer, issuer, who, now) for answer in about)


def _is_about(
    answer: ocsp.OCSPResponse, certificate: x509.Certificate, issuer: x509.Certificate
) -> bool:
    """Whether its CertID is the certificate's: issuer's name, issuer's key, and serial number."""
    try:
        builder = ocsp.OCSPRequestBuilder()
        asked = builder.add_certificate(certificate, issuer, answer.hash_algorithm).build()
    except Exception:  # noqa: BLE001 - a hash that cryptography does not know
        return False
    return (asked.issuer_name_hash, asked.issuer_key_hash, asked.serial_number) == (
        answer.issuer_name_hash,
        answer.issuer_key_hash,
        answer.serial_number,
    )


def _check_answer(
    answer: ocsp.OCSPResponse, issuer: x509.Certificate, who: str, now: float
) -> float:
    """Check that the answer is genuine, current and good; return until when. Raises Refused."""
    until = _check_genuine(answer, issuer, who, now)
    if any(each.critical for each in [*answer.extensions, *answer.single_extensions]):
        raise Refused(f"the OCSP answer about {who} has an extension that is not supported")
    begins = certificates.moment(answer, "this_update") - LIMITS.ocsp_skew_seconds
    ends = certificates.moment(answer, "next_update")
    if not begins <= now < ends:
        raise Refused(f"the OCSP answer about {who} is not current")
    if answer.certificate_status is ocsp.OCSPCertStatus.REVOKED:
        raise Refused(f"the certificate of {who} is revoked")
    if answer.certificate_status is not ocsp.OCSPCertStatus.GOOD:
        raise Refused(f"the OCSP answer about {who} does not have the status good")
    return min(until, ends)


def _check_genuine(
    answer: ocsp.OCSPResponse, issuer: x509.Certificate, who: str, now: float
) -> float:
    """Check that the issuer or its delegate signed it; return when the delegate's right ends.

    Source: RFC 6960 4.2.2.2.
    """
    signer, until = issuer, float("inf")
    if not _names(answer, issuer):
        delegates = [each for each in answer.certificates if _names(answer, each)]
        if not delegates:
            raise Refused(f"the OCSP answer about {who} is signed by an unknown responder")
        signer = delegates[0]
        _check_delegate(signer, issuer, who, now)
        until = certificates.moment(signer, "not_valid_after")
    certificates.check_signature(
        signer,
        answer.signature,
        answer.tbs_response_bytes,
        answer.signature_algorithm_oid,
        f"the signature in the OCSP answer about {who}",
    )
    return until


def _names(answer: ocsp.OCSPResponse, certificate: x509.Certificate) -> bool:
    """Whether the answer names this certificate's holder as its responder."""
    if answer.responder_key_hash is not None:
        key = x509.SubjectKeyIdentifier.from_public_key(certificates.public_key(certificate))
        return answer.responder_key_hash == key.digest
    name = answer.responder_name
    return name is not None and name == certificate.subject


def _check_delegate(
    delegate: x509.Certificate, issuer: x509.Certificate, who: str, now: float
) -> None:
    """Raise Refused unless the issuer itself certified the delegate for OCSP."""
    certificates.check_issued(delegate, issuer)
    purposes = certificates.extension(delegate, x509.ExtendedKeyUsage)
    if purposes is None or ExtendedKeyUsageOID.OCSP_SIGNING not in purposes:
        raise Refused(f"the OCSP answer about {who} is signed by a responder that may not sign it")
    usage = certificates.extension(delegate, x509.KeyUsage)
    if usage is not None and not usage.digital_signature:
        raise Refused(f"the OCSP answer about {who} is signed by a responder that may not sign it")
    certificates.check_known(delegate)
    certificates.check_current(delegate, now)
