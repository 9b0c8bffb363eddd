"""OCSP answers, made by openssl: signed, current, good, and about the certificate."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone
from typing import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp as x509_ocsp

from agent.sources.metadata import certificates, ocsp
from agent.sources.metadata.refusal import Refused
from tests.parts.ec2_signer import LEAF, NAME, RESPONDER, Ec2Signer

NOW = time.time() + 3600.0
DAY = 86400.0


def path(signer: Ec2Signer) -> list[x509.Certificate]:
    """The signer's chain to the root."""
    names = ("signer", "intermediate", "root")
    return [certificates.parse(signer.pem(name).read_bytes()) for name in names]


def upper(signer: Ec2Signer) -> bytes:
    """A valid answer about the intermediate."""
    return signer.answer("intermediate", "root")


def test_good_answers_are_good_until_the_first_of_them_ends(signer: Ec2Signer) -> None:
    """Answers for all but the root are valid until the first one ends, in any order."""
    answers = [upper(signer), signer.answer("signer", "intermediate", days=2)]
    until = ocsp.check(path(signer), answers, NOW)
    assert NOW + DAY < until < NOW + 2 * DAY
    assert ocsp.check(path(signer), [*answers[::-1], b"", b"junk"], NOW) == until


def test_an_answer_names_the_issuer_by_key_and_name(signer: Ec2Signer) -> None:
    """An answer for the cross-signed root is valid for the root, which has the same key."""
    answers = [signer.answer("signer", "intermediate"), signer.answer("intermediate", "cross")]
    assert ocsp.check(path(signer), answers, NOW) > NOW


def test_a_responder_may_be_named_by_its_key(signer: Ec2Signer) -> None:
    """A responder may be named by its key (RFC 6960 4.2.2.3)."""
    answers = [upper(signer), signer.answer("signer", "intermediate", options=["-resp_key_id"])]
    assert ocsp.check(path(signer), answers, NOW) > NOW


def delegate(signer: Ec2Signer, extensions: str = RESPONDER, issuer: str = "intermediate") -> bytes:
    """The signer's answer, by a responder with its own certificate."""
    signer.issue("responder", issuer, extensions, subject="/CN=Responder", days=3)
    return signer.answer("signer", "intermediate", by="responder")


@pytest.mark.parametrize("more", ["", "\nkeyUsage=critical,digitalSignature"])
def test_an_issuer_may_delegate(signer: Ec2Signer, more: str) -> None:
    """A responder that the issuer certified for OCSP is accepted until its certificate ends."""
    answers = [upper(signer), delegate(signer, RESPONDER + more)]
    until = ocsp.check(path(signer), answers, NOW)
    assert NOW + 2 * DAY < until < NOW + 3 * DAY
    with pytest.raises(Refused, match="'Responder' is not valid at this time"):
        ocsp.check(path(signer), answers, NOW + 4 * DAY)


@pytest.mark.parametrize("critical", [False, True])
def test_an_answer_with_an_unknown_condition_is_refused(signer: Ec2Signer, critical: bool) -> None:
    """A critical extension, which openssl does not make, is refused; another one is ignored."""
    leaf, issuer, _ = path(signer)
    day = timedelta(days=1)
    made = datetime.now(timezone.utc)
    builder = (
        x509_ocsp.OCSPResponseBuilder()
        .add_response(
            leaf,
            issuer,
            hashes.SHA256(),
            x509_ocsp.OCSPCertStatus.GOOD,
            made,
            made + day,
            None,
            None,
        )
        .responder_id(x509_ocsp.OCSPResponderEncoding.HASH, issuer)
        .add_extension(x509.OCSPNonce(b"0123456789abcdef"), critical)
    )
    text = (signer.folder / "intermediate.key").read_bytes()
    key = serialization.load_pem_private_key(text, None)
    assert isinstance(key, rsa.RSAPrivateKey)
    answers = [upper(signer), builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)]
    if not critical:
        assert ocsp.check(path(signer), answers, NOW) > NOW
        return
    with pytest.raises(Refused, match="has an extension that is not supported"):
        ocsp.check(path(signer), answers, NOW)


def foreign(signer: Ec2Signer) -> bytes:
    """An answer by a responder that the root certified, not the issuer."""
    return delegate(signer, issuer="root")


def not_for_ocsp(signer: Ec2Signer) -> bytes:
    """An answer by an ordinary certificate of the same issuer."""
    return delegate(signer, f"{LEAF}\nsubjectAltName=DNS:www.evil.example")


def not_for_signatures(signer: Ec2Signer) -> bytes:
    """An answer by a responder whose certificate is not for signatures."""
    return delegate(signer, RESPONDER + "\nkeyUsage=critical,keyEncipherment")


def for_anything(signer: Ec2Signer) -> bytes:
    """An answer by a responder for any purpose; RFC 6960 4.2.2.2 demands OCSP by name."""
    return delegate(signer, RESPONDER.replace("OCSPSigning", "anyExtendedKeyUsage"))


def self_signed(signer: Ec2Signer) -> bytes:
    """An answer by a self-signed authority with the issuer's name."""
    subject = "/CN=RSA 2048 M01"
    signer.issue("forger", "forger", RESPONDER, subject=subject)
    return signer.answer("signer", "intermediate", by="forger", options=["-resp_key_id"])


def same_name(signer: Ec2Signer) -> bytes:
    """An answer by the forger that names its responder as the issuer."""
    self_signed(signer)
    return signer.answer("signer", "intermediate", by="forger")


def without_certificate(signer: Ec2Signer) -> bytes:
    """An answer by a delegate without its certificate."""
    delegate(signer)
    return signer.answer("signer", "intermediate", by="responder", options=["-resp_no_certs"])


def for_another(signer: Ec2Signer) -> bytes:
    """A valid answer about another certificate of the same issuer."""
    signer.issue_signer("other", NAME)
    return signer.answer("other", "intermediate")


def changed(signer: Ec2Signer) -> bytes:
    """An answer with one bit of its signature flipped."""
    good = bytearray(signer.answer("signer", "intermediate", options=["-resp_no_certs"]))
    good[-5] ^= 1
    return bytes(good)


def old_algorithm(signer: Ec2Signer) -> bytes:
    """An answer that is signed over SHA-1."""
    return signer.answer("signer", "intermediate", options=["-rmd", "sha1"])


def stale(signer: Ec2Signer) -> bytes:
    """An answer that was valid for a minute, an hour ago."""
    return signer.answer("signer", "intermediate", days=None, options=["-nmin", "1"])


BAD: dict[str, tuple[Callable[[Ec2Signer], bytes], str]] = {
    "missing": (lambda _: b"", "no OCSP answer is about"),
    "junk": (lambda _: b"\x30\x03\x0a\x01\x06", "no OCSP answer is about"),
    "for another certificate": (for_another, "no OCSP answer is about"),
    "revoked": (lambda s: s.answer("signer", "intermediate", status="R"), "is revoked"),
    "unknown": (
        lambda s: s.answer("signer", "intermediate", status=""),
        "does not have the status good",
    ),
    "stale": (stale, "is not current"),
    "without an end": (
        lambda s: s.answer("signer", "intermediate", days=None),
        "has no expiry time",
    ),
    "changed": (changed, "does not verify"),
    "by another issuer's responder": (foreign, "not its issuer's"),
    "by a customer of the authority": (not_for_ocsp, "that may not sign it"),
    "by a key that is not for signatures": (not_for_signatures, "that may not sign it"),
    "by a key that is for anything": (for_anything, "that may not sign it"),
    "by an authority of one's own": (self_signed, "not its issuer's"),
    "by one of the same name": (same_name, "does not verify"),
    "by nobody knows whom": (without_certificate, "an unknown responder"),
    "SHA-1": (old_algorithm, "algorithm"),
}


@pytest.mark.parametrize("what", BAD)
def test_an_answer_that_proves_nothing_is_refused(signer: Ec2Signer, what: str) -> None:
    """A bad answer is refused, even if there is a good one beside it."""
    make, reason = BAD[what]
    bad = make(signer)
    with pytest.raises(Refused, match=reason):
        ocsp.check(path(signer), [upper(signer), bad], NOW)
    if "no OCSP answer" not in reason:
        good = signer.answer("signer", "intermediate")
        with pytest.raises(Refused, match=reason):
            ocsp.check(path(signer), [upper(signer), good, bad], NOW)


def test_every_certificate_but_the_root_needs_one(signer: Ec2Signer) -> None:
    """A path is refused unless every certificate except the root has an answer."""
    own = signer.answer("signer", "intermediate")
    for answers, who in (([own], "RSA 2048 M01"), ([upper(signer)], NAME), ([], NAME)):
        with pytest.raises(Refused, match=f"no OCSP answer is about the certificate of '{who}'"):
            ocsp.check(path(signer), answers, NOW)


def test_an_answer_of_the_future_is_refused(signer: Ec2Signer) -> None:
    """An answer may be at most a minute in the future."""
    answers = [upper(signer), signer.answer("signer", "intermediate")]
    made = time.time()
    assert ocsp.check(path(signer), answers, made - 30)
    with pytest.raises(Refused, match="is not current"):
        ocsp.check(path(signer), answers, made - 90)


def test_a_change_of_any_byte_is_refused(signer: Ec2Signer) -> None:
    """An answer with any byte changed is refused."""
    good, other = (
        signer.answer("signer", "intermediate", options=["-resp_no_certs"]),
        upper(signer),
    )
    found = path(signer)
    assert ocsp.check(found, [other, good], NOW) > NOW
    for position in range(len(good)):
        changed = bytearray(good)
        changed[position] ^= 1 << position % 8
        with pytest.raises(Refused):
            ocsp.check(found, [other, bytes(changed)], NOW)
