"""Fuzz targets of the sources: EC2's blocks, certificates, OCSP answers, the source socket."""

from __future__ import annotations

import base64
import datetime as dt
from typing import Callable

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp as answers
from cryptography.x509.oid import NameOID

from agent.sources.feed.members import MAX_BYTES, Violation
from agent.sources.feed.messages import encode, from_daemon, from_source
from agent.sources.metadata import blocks as texts
from agent.sources.metadata import certificates, ocsp
from agent.sources.metadata.refusal import Refused

NAME = "managed-ssh-signer.us-east-2.amazonaws.com"
_BEGIN = dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc)
_NOW = _BEGIN.timestamp() + 86400.0
_KEY = ec.derive_private_key(7, ec.SECP256R1())
_BLOCK = (
    b"#Timestamp=1800000060\n#Instance=i-0f1e2d3c4b5a69788\n#Caller=arn:aws:iam::1:user/a\n"
    b"#Request=0d8f4a1e-9b5c-4a57-8f3a-1c2d3e4f5a6b\nssh-ed25519 AAAA comment\nQUJD\nQUJD\n\n"
)


def _certificate() -> x509.Certificate:
    """A self-signed certificate."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).serial_number(1)
    builder = builder.public_key(_KEY.public_key()).not_valid_before(_BEGIN)
    builder = builder.not_valid_after(_BEGIN + dt.timedelta(days=99))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
    return builder.sign(_KEY, hashes.SHA256())


_ROOT = _certificate()


def _answer() -> bytes:
    """An OCSP answer about it."""
    builder = answers.OCSPResponseBuilder().add_response(
        _ROOT, _ROOT, hashes.SHA256(), answers.OCSPCertStatus.GOOD, _BEGIN,
        _BEGIN + dt.timedelta(days=9), None, None,
    )  # fmt: skip
    builder = builder.responder_id(answers.OCSPResponderEncoding.NAME, _ROOT)
    return builder.sign(_KEY, hashes.SHA256()).public_bytes(Encoding.DER)


def blocks(data: bytes) -> None:
    """The text of EC2's blocks: each parsed block is contained in it byte for byte."""
    for complete in (True, False):
        for each in texts.read(data, complete):
            assert len(each.digest) == 64
            if isinstance(each, texts.Block):
                assert each.signed in data
                assert each.signed.endswith(b"\n")
                assert each.key.count(" ") == 1
                assert 0 < each.expires < 1 << 53
            else:
                assert each.reason.isprintable()


def certificate(data: bytes) -> None:
    """A DER certificate, as the signer's and as a root: only the original bytes are accepted."""
    pem = b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(data) + b"-----END CERTIFICATE-----"
    try:
        found = certificates.load(pem)
        assert found[0].public_bytes(Encoding.DER) == data
        certificates.path(found, [_ROOT, *found], NAME, _NOW)
    except Refused as refused:
        assert str(refused).isprintable()
    else:
        raise AssertionError("an authority's certificate is no signer's")


_GOOD_ANSWER = _answer()
_SIGNED = answers.load_der_ocsp_response(_GOOD_ANSWER).tbs_response_bytes


def ocsp_answer(data: bytes) -> None:
    """A DER OCSP answer: without the issuer's key no other one is accepted."""
    try:
        ocsp.check([_ROOT, _ROOT], [data], _NOW)
    except Refused as refused:
        assert str(refused).isprintable()
    else:
        assert _SIGNED in data


def source_line(data: bytes) -> None:
    """A line on the source socket, from either side: an accepted one is written back the same."""
    for parse in (from_source, from_daemon):
        try:
            message = parse(data + b"\n")
        except Violation:
            continue
        try:
            line = encode(message)
        except Violation:
            continue  # spelled in full it is too long a line
        assert len(line) <= MAX_BYTES
        assert parse(line) == message


SOURCES: dict[str, tuple[Callable[[bytes], None], list[bytes]]] = {
    "blocks": (blocks, [_BLOCK, _BLOCK * 2, _BLOCK.replace(b"\n", b"\r\n"), _BLOCK.rstrip()]),
    "certificate": (certificate, [_ROOT.public_bytes(Encoding.DER)]),
    "ocsp": (ocsp_answer, [_GOOD_ANSWER]),
    "source": (
        source_line,
        [
            b'{"hello":"ec2","version":1}', b'{"health":"away","reason":"x"}',
            b'{"addresses":["192.0.2.1"]}', b'{"ask":1,"os_user":"alice","fingerprint":null}',
            b'{"reply":1,"message":"QUJD"}',
            b'{"answer":1,"offers":[{"os_user":"a","instance":"i-0","key":"k","left":1,"digest":"'
            + b"0" * 64 + b'","dated":1}],"refusals":[{"reason":"r"}],"failed":"f"}',
        ],
    ),
}  # fmt: skip
