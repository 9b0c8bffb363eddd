"""OCSP answers, made by openssl: signed, current, good, and about the certificate."""

from __future__ import annotations

import time
from typing import Callable

import pytest
from cryptography import x509

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
    """The answer about the intermediate, with which nothing is wrong."""
    return signer.answer("intermediate", "root")


def test_good_answers_are_good_until_the_first_of_them_ends(signer: Ec2Signer) -> None:
    """Every certificate but the root has one; in whatever order, and among others."""
    answers = [upper(signer), signer.answer("signer", "intermediate", days=2)]
    until = ocsp.check(path(signer), answers, NOW)
    assert NOW + DAY < until < NOW + 2 * DAY
    assert ocsp.check(path(signer), [*answers[::-1], b"", b"junk"], NOW) == until


def test_an_answer_names_the_issuer_by_key_and_name(signer: Ec2Signer) -> None:
    """An answer made for the cross-signed root is good for the root, whose key is the same."""
    answers = [signer.answer("signer", "intermediate"), signer.answer("intermediate", "cross")]
    assert ocsp.check(path(signer), answers, NOW) > NOW


def test_a_responder_may_be_named_by_its_key(signer: Ec2Signer) -> None:
    """RFC 6960 4.2.2.3: byName or byKey."""
    answers = [upper(signer), signer.answer("signer", "intermediate", options=["-resp_key_id"])]
    assert ocsp.check(path(signer), answers, NOW) > NOW


def delegate(signer: Ec2Signer, extensions: str = RESPONDER, issuer: str = "intermediate") -> bytes:
    """The signer's answer, by a responder with a certificate of its own."""
    signer.issue("responder", issuer, extensions, subject="/CN=Responder", days=3)
    return signer.answer("signer", "intermediate", by="responder")


@pytest.mark.parametrize("more", ["", "\nkeyUsage=critical,digitalSignature"])
def test_an_issuer_may_delegate(signer: Ec2Signer, more: str) -> None:
    """To a responder whose certificate it has issued for OCSP, and until that one ends."""
    answers = [upper(signer), delegate(signer, RESPONDER + more)]
    until = ocsp.check(path(signer), answers, NOW)
    assert NOW + 2 * DAY < until < NOW + 3 * DAY
    with pytest.raises(Refused, match="'Responder' is not valid at this time"):
        ocsp.check(path(signer), answers, NOW + 4 * DAY)


def foreign(signer: Ec2Signer) -> bytes:
    """A responder that the root certified, not the issuer."""
    return delegate(signer, issuer="root")


def not_for_ocsp(signer: Ec2Signer) -> bytes:
    """Somebody with a certificate of the same issuer: every customer of the authority has one."""
    return delegate(signer, f"{LEAF}\nsubjectAltName=DNS:www.evil.example")


def not_for_signatures(signer: Ec2Signer) -> bytes:
    """A responder's certificate that is not for signatures."""
    return delegate(signer, RESPONDER + "\nkeyUsage=critical,keyEncipherment")


def for_anything(signer: Ec2Signer) -> bytes:
    """RFC 6960 4.2.2.2 wants the OCSP purpose by name."""
    return delegate(signer, RESPONDER.replace("OCSPSigning", "anyExtendedKeyUsage"))


def self_signed(signer: Ec2Signer) -> bytes:
    """Somebody's own authority, by the issuer's name: what a parser alone would take."""
    subject = "/CN=RSA 2048 M01"
    signer.issue("forger", "forger", RESPONDER, subject=subject)
    return signer.answer("signer", "intermediate", by="forger", options=["-resp_key_id"])


def same_name(signer: Ec2Signer) -> bytes:
    """The same, named as the issuer is: then the issuer's own key must have signed."""
    self_signed(signer)
    return signer.answer("signer", "intermediate", by="forger")


def without_certificate(signer: Ec2Signer) -> bytes:
    """Signed by a delegate whose certificate is not sent along."""
    delegate(signer)
    return signer.answer("signer", "intermediate", by="responder", options=["-resp_no_certs"])


def for_another(signer: Ec2Signer) -> bytes:
    """A genuine answer about another certificate of the same issuer."""
    signer.issue_signer("other", NAME)
    return signer.answer("other", "intermediate")


def changed(signer: Ec2Signer) -> bytes:
    """A bit of the signature is flipped."""
    good = bytearray(signer.answer("signer", "intermediate", options=["-resp_no_certs"]))
    good[-5] ^= 1
    return bytes(good)


def old_algorithm(signer: Ec2Signer) -> bytes:
    """Signed over SHA-1."""
    return signer.answer("signer", "intermediate", options=["-rmd", "sha1"])


def stale(signer: Ec2Signer) -> bytes:
    """An answer that was valid for a minute, an hour ago."""
    return signer.answer("signer", "intermediate", days=None, options=["-nmin", "1"])


BAD: dict[str, tuple[Callable[[Ec2Signer], bytes], str]] = {
    "missing": (lambda _: b"", "no OCSP answer is about"),
    "junk": (lambda _: b"\x30\x03\x0a\x01\x06", "no OCSP answer is about"),
    "for another certificate": (for_another, "no OCSP answer is about"),
    "revoked": (lambda s: s.answer("signer", "intermediate", status="R"), "is revoked"),
    "unknown": (lambda s: s.answer("signer", "intermediate", status=""), "not say that it is good"),
    "stale": (stale, "not of this time"),
    "without an end": (lambda s: s.answer("signer", "intermediate", days=None), "until when"),
    "changed": (changed, "does not verify"),
    "by another issuer's responder": (foreign, "not its issuer's"),
    "by a customer of the authority": (not_for_ocsp, "who may not"),
    "by a key that is not for signatures": (not_for_signatures, "who may not"),
    "by a key that is for anything": (for_anything, "who may not"),
    "by an authority of one's own": (self_signed, "not its issuer's"),
    "by one of the same name": (same_name, "does not verify"),
    "by nobody knows whom": (without_certificate, "somebody unknown"),
    "SHA-1": (old_algorithm, "algorithm"),
}


@pytest.mark.parametrize("what", BAD)
def test_an_answer_that_proves_nothing_is_refused(signer: Ec2Signer, what: str) -> None:
    """The other certificate's answer is as it should be; a good one beside it does not help."""
    make, reason = BAD[what]
    bad = make(signer)
    with pytest.raises(Refused, match=reason):
        ocsp.check(path(signer), [upper(signer), bad], NOW)
    if "no OCSP answer" not in reason:
        good = signer.answer("signer", "intermediate")
        with pytest.raises(Refused, match=reason):
            ocsp.check(path(signer), [upper(signer), good, bad], NOW)


def test_every_certificate_but_the_root_needs_one(signer: Ec2Signer) -> None:
    """The signer's alone is not enough, and neither is the intermediate's."""
    own = signer.answer("signer", "intermediate")
    for answers, who in (([own], "RSA 2048 M01"), ([upper(signer)], NAME), ([], NAME)):
        with pytest.raises(Refused, match=f"no OCSP answer is about the certificate of '{who}'"):
            ocsp.check(path(signer), answers, NOW)


def test_an_answer_of_the_future_is_refused(signer: Ec2Signer) -> None:
    """A minute is what two clocks may differ by."""
    answers = [upper(signer), signer.answer("signer", "intermediate")]
    made = time.time()
    assert ocsp.check(path(signer), answers, made - 30)
    with pytest.raises(Refused, match="not of this time"):
        ocsp.check(path(signer), answers, made - 90)


def test_a_change_of_any_byte_is_refused(signer: Ec2Signer) -> None:
    """No byte of an answer can be changed, signed or not; whatever it breaks is a refusal."""
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
