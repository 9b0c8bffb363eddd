"""The signer's certificates, made by openssl: their names, issuers and permissions."""

from __future__ import annotations

import ssl
import subprocess
import time
from pathlib import Path
from typing import Any, Callable

import pytest
from cryptography import x509

from agent.config.settings import Ec2
from agent.sources.metadata import certificates
from agent.sources.metadata.refusal import Refused
from agent.sources.metadata.roots import load as load_roots
from tests.parts.ec2_signer import AUTHORITY, LEAF, NAME, Ec2Signer, openssl
from tests.parts.host import tool

# Certificates are made while the tests run; in an hour all of them are valid.
NOW = time.time() + 3600.0
DAY = 86400.0


def parsed(signer: Ec2Signer, *names: str) -> list[x509.Certificate]:
    """The certificates of these names."""
    return [certificates.parse(signer.pem(name).read_bytes()) for name in names]


def path(
    signer: Ec2Signer, *names: str, roots: tuple[str, ...] = ("root",), now: float = NOW
) -> list[x509.Certificate]:
    """The path that is found for the chain of these certificates."""
    chain = certificates.load(signer.chain(*names))
    return certificates.path(chain, parsed(signer, *roots), NAME, now)


def openssl_takes(signer: Ec2Signer, *names: str, roots: tuple[str, ...] = ("root",)) -> bool:
    """Whether `openssl verify`, in its strictest mode, accepts the same chain."""
    trusted, sent = signer.folder / "trusted.pem", signer.folder / "sent.pem"
    trusted.write_bytes(signer.chain(*roots))
    sent.write_bytes(signer.chain(*(names or ("signer", "intermediate", "cross", "old-root"))))
    leaf = signer.pem(names[0] if names else "signer")
    done = subprocess.run(
        [
            tool("openssl", "openssl"), "verify", "-x509_strict", "-purpose", "sslserver",
            "-verify_hostname", NAME, "-no-CApath", "-no-CAstore", "-CAfile", str(trusted),
            "-untrusted", str(sent), str(leaf),
        ],
        capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    return done.returncode == 0


def test_the_path_ends_at_the_first_configured_root(signer: Ec2Signer) -> None:
    """The path ends at the first configured root, the new one or the old one that signed it."""
    assert path(signer) == parsed(signer, "signer", "intermediate", "root")
    old = path(signer, roots=("old-root",))
    assert old == parsed(signer, "signer", "intermediate", "cross", "old-root")
    assert path(signer, roots=("old-root", "root")) == path(signer)
    assert path(signer, "signer", "intermediate") == path(signer)


def test_a_chain_to_another_root_is_refused(signer: Ec2Signer) -> None:
    """Without the right root a chain is refused, also with another root of the same name."""
    signer.issue("impostor", "impostor", AUTHORITY, subject="/CN=Root 1")
    for roots in ((), ("impostor",), ("signer",)):
        with pytest.raises(Refused, match="no configured root"):
            path(signer, roots=roots)
    assert path(signer, roots=("impostor", "root")) == path(signer)


def test_an_administrator_may_trust_less(signer: Ec2Signer) -> None:
    """The intermediate may be configured in place of the root."""
    assert path(signer, roots=("intermediate",)) == parsed(signer, "signer", "intermediate")


def test_certificates_come_in_the_order_of_their_issuers(signer: Ec2Signer) -> None:
    """A chain with a missing or misplaced certificate, or another name's, is refused."""
    signer.issue("renamed", "root", AUTHORITY, subject="/CN=Another", key="intermediate")
    wrong = (("signer", "cross", "intermediate"), ("signer", "root"), ("signer", "signer"))
    for names in (*wrong, ("signer", "renamed")):
        with pytest.raises(Refused, match="not its issuer's"):
            path(signer, *names)
    with pytest.raises(Refused, match="is for 'RSA 2048 M01'"):
        path(signer, "intermediate", "cross")


def test_validity_is_that_of_the_moment(signer: Ec2Signer) -> None:
    """Each certificate in the path, including the root, must be valid at the given time."""
    for now in (NOW - DAY, NOW + 31 * DAY):
        with pytest.raises(Refused, match="not valid at this time"):
            path(signer, now=now)
    signer.issue("brief", "brief", AUTHORITY, subject="/CN=Root 1", key="root", days=1)
    assert path(signer, roots=("brief",))
    with pytest.raises(Refused, match="'Root 1' is not valid at this time"):
        path(signer, roots=("brief",), now=NOW + 2 * DAY)


def other_name(signer: Ec2Signer) -> None:
    """A certificate for the signer of another region."""
    signer.issue_signer("leaf", NAME.replace("us-east-2", "us-east-1"))


def other_domain(signer: Ec2Signer) -> None:
    """A certificate for the right name in another domain, as in the attack published in 2020."""
    signer.issue_signer("leaf", NAME + ".evil.example")


def other_san(signer: Ec2Signer) -> None:
    """A certificate with the right common name and another alternative name."""
    signer.issue_signer("leaf", NAME, "www.evil.example")


def wildcard(signer: Ec2Signer) -> None:
    """A certificate with a wildcard name."""
    signer.issue_signer("leaf", NAME, "*." + NAME.partition(".")[2])


def two_names(signer: Ec2Signer) -> None:
    """A certificate with two common names, of which one is right."""
    signer.issue(
        "leaf", "intermediate", f"{LEAF}\nsubjectAltName=DNS:{NAME}",
        subject=f"/CN=evil.example/CN={NAME}", key="signer",
    )  # fmt: skip


def changed_leaf(old: str, new: str) -> Callable[[Ec2Signer], None]:
    """Make a certificate of the signer with this change in its extensions."""

    def make(signer: Ec2Signer) -> None:
        extensions = f"{LEAF}\nsubjectAltName=DNS:{NAME}".replace(old, new)
        signer.issue("leaf", "intermediate", extensions, subject=f"/CN={NAME}", key="signer")

    return make


def old_algorithm(signer: Ec2Signer) -> None:
    """A certificate that is signed with SHA-1."""
    signer.issue(
        "leaf", "intermediate", f"{LEAF}\nsubjectAltName=DNS:{NAME}", subject=f"/CN={NAME}",
        key="signer", options=["-sha1"],
    )  # fmt: skip


LEAVES = {
    "another name": (other_name, "is for"),
    "another domain": (other_domain, "is for"),
    "another SAN": (other_san, "alternative name"),
    "a wildcard": (wildcard, "alternative name"),
    "two common names": (two_names, "is for"),
    "an authority's": (changed_leaf("CA:false", "CA:true"), "an authority's"),
    "not for signatures": (changed_leaf("digitalSignature,", ""), "not for signatures"),
    "a client's": (changed_leaf("serverAuth,", ""), "not a TLS server's"),
    "for no purpose": (changed_leaf("extendedKeyUsage=serverAuth,clientAuth", ""), "TLS server's"),
    "something critical": (
        changed_leaf("subjectAltName", "1.2.3.4=critical,ASN1:NULL\nsubjectAltName"),
        "1.2.3.4, which is not supported",
    ),
    "a policy's limit": (
        changed_leaf("subjectAltName", "policyConstraints=requireExplicitPolicy:0\nsubjectAltName"),
        "2.5.29.36, which is not supported",
    ),
    "SHA-1": (old_algorithm, "algorithm"),
}


@pytest.mark.parametrize("what", LEAVES)
def test_a_certificate_that_is_not_the_signers_is_refused(signer: Ec2Signer, what: str) -> None:
    """A signer's certificate with a single fault is refused."""
    make, reason = LEAVES[what]
    make(signer)
    with pytest.raises(Refused, match=reason):
        path(signer, "leaf", "intermediate")


AUTHORITIES = {
    "no authority": AUTHORITY.replace("CA:true", "CA:false").replace("keyCertSign,", ""),
    "not said to be one": "keyUsage=critical,keyCertSign",
    "not critically": AUTHORITY.replace("basicConstraints=critical,", "basicConstraints="),
    "not for certificates": AUTHORITY.replace("keyCertSign,", ""),
    "not for servers": AUTHORITY + "\nextendedKeyUsage=emailProtection",
    "limited to names": AUTHORITY + "\nnameConstraints=critical,permitted;DNS:amazonaws.com",
}


@pytest.mark.parametrize("what", AUTHORITIES)
def test_an_authority_must_be_allowed_to_issue(signer: Ec2Signer, what: str) -> None:
    """An intermediate that may not issue, or has constraints not supported here, is refused."""
    signer.issue("middle", "root", AUTHORITIES[what], subject="/CN=Middle", key="intermediate")
    signer.issue_signer("leaf", NAME, issuer="middle")
    with pytest.raises(Refused, match="'Middle'"):
        path(signer, "leaf", "middle")


WEAK: dict[str, tuple[dict[str, Any], str]] = {
    "SHA-1": ({"options": ["-sha1"]}, "no configured root"),
    "a short key": ({"key": "short"}, "key in the certificate of 'Middle'"),
    "no time left": ({"days": 0}, "'Middle' is not valid at this time"),
}


@pytest.mark.parametrize("what", WEAK)
def test_an_authority_is_held_to_what_the_signer_is(signer: Ec2Signer, what: str) -> None:
    """An intermediate with SHA-1, a short key or no validity left is refused."""
    openssl("genrsa", "-out", str(signer.folder / "short.key"), "1024")
    how, reason = WEAK[what]
    more = {"key": "intermediate", **how}
    signer.issue("middle", "root", AUTHORITY, subject="/CN=Middle", **more)
    signer.issue_signer("leaf", NAME, issuer="middle")
    with pytest.raises(Refused, match=reason):
        path(signer, "leaf", "middle")


def test_a_chain_may_be_limited_in_length(signer: Ec2Signer) -> None:
    """An authority below one whose path length allows none is refused."""
    signer.issue("deeper", "intermediate", AUTHORITY, subject="/CN=Deeper", key="old-root")
    signer.issue_signer("leaf", NAME, issuer="deeper")
    with pytest.raises(Refused, match="longer than"):
        path(signer, "leaf", "deeper", "intermediate")
    signer.issue("deeper", "cross", AUTHORITY, subject="/CN=Deeper", key="old-root")
    signer.issue_signer("leaf", NAME, issuer="deeper")
    assert len(path(signer, "leaf", "deeper")) == 3


def test_a_chain_is_not_longer_than_any_real_one(signer: Ec2Signer) -> None:
    """A chain of more than 8 certificates is refused."""
    with pytest.raises(Refused, match="more than 8"):
        certificates.load(signer.chain(*["signer"] * 9))


BEGIN = b"-----BEGIN CERTIFICATE-----"


@pytest.mark.parametrize("pem", [b"", b"no certificate", BEGIN + b"\n", BEGIN + b"\n" * 300_000])
def test_without_certificates_there_is_no_signer(pem: bytes) -> None:
    """An answer without a certificate is refused, and one of empty lines is read in one pass."""
    with pytest.raises(Refused, match="no signer's certificate"):
        certificates.load(pem)


@pytest.mark.filterwarnings("ignore:.*serial number")
@pytest.mark.parametrize("name", ["signer", "intermediate"])
def test_a_change_of_any_byte_is_found(signer: Ec2Signer, name: str) -> None:
    """A chain in which any byte of a certificate was changed is refused."""
    der = ssl.PEM_cert_to_DER_cert(signer.pem(name).read_text("ascii"))
    roots, files = parsed(signer, "root"), {"signer": b"", "intermediate": b""}
    for position in range(len(der)):
        changed = bytearray(der)
        changed[position] ^= 1 << position % 8
        for each in files:
            files[each] = signer.chain(each)
        files[name] = ssl.DER_cert_to_PEM_cert(bytes(changed)).encode()
        try:
            certificates.path(certificates.load(b"".join(files.values())), roots, NAME, NOW)
        except Refused:
            continue
        around = slice(max(position - 20, 0), position + 20)
        pytest.fail(f"byte {position} of {len(der)}: {der[around].hex()} {changed[around].hex()}")


def test_openssl_takes_whatever_is_taken_here(signer: Ec2Signer) -> None:
    """Every chain accepted here is accepted by openssl too, in all the cases above."""
    assert openssl_takes(signer)
    for make, _ in LEAVES.values():
        make(signer)
        for roots in (("root",), ("old-root",)):
            try:
                path(signer, "leaf", "intermediate", "cross", roots=roots)
            except Refused:
                continue
            assert openssl_takes(signer, "leaf", "intermediate", "cross", roots=roots)
    for extensions in AUTHORITIES.values():
        signer.issue("middle", "root", extensions, subject="/CN=Middle", key="intermediate")
        signer.issue_signer("leaf", NAME, issuer="middle")
        try:
            path(signer, "leaf", "middle")
        except Refused:
            continue
        assert openssl_takes(signer, "leaf", "middle")


def test_the_systems_own_roots_are_read() -> None:
    """The roots at which EC2's real chain ends are read from the default path."""
    if not Path("/etc/ssl/certs/ca-certificates.crt").exists():
        pytest.skip("this host has no roots: install ca-certificates")
    names = {certificates.common_name(each) for each in load_roots(Ec2().roots)}
    assert {"'Amazon Root CA 1'", "'Starfield Services Root Certificate Authority - G2'"} <= names
