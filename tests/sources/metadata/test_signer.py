"""The check of the signer, and of the blocks that it signed."""

from __future__ import annotations

import time

import pytest

from agent.sources.metadata import certificates
from agent.sources.metadata.blocks import Block, read
from agent.sources.metadata.refusal import Refused
from agent.sources.metadata.signer import Signer
from tests.parts.daemon import INSTANCE_ID
from tests.parts.ec2_signer import LEAF, NAME, Ec2Signer, openssl, wrapped
from tests.parts.leases import ed25519_line

NOW = time.time() + 3600.0
DAY = 86400.0


@pytest.fixture(scope="module")
def checked(signer: Ec2Signer) -> Signer:
    """The signer, checked and accepted."""
    roots = [certificates.parse(signer.pem("root").read_bytes())]
    return Signer.check(signer.chain(), list(signer.answers().values()), roots, NAME, NOW)


def block(body: bytes) -> Block:
    """The only block of a body."""
    (found,) = read(body)
    assert isinstance(found, Block)
    return found


def test_a_checked_signer_is_used_for_a_time(checked: Signer) -> None:
    """A check holds until the first answer or certificate ends, and not for an earlier time."""
    assert checked.is_current(NOW)
    assert checked.is_current(NOW + 6 * DAY)
    assert not checked.is_current(NOW + 7 * DAY)
    assert not checked.is_current(NOW - 1)


def test_a_block_that_it_signed_verifies(signer: Ec2Signer, checked: Signer) -> None:
    """A block that openssl signed as EC2 does verifies."""
    checked.verify(block(signer.block(ed25519_line(1))))
    checked.verify(block(signer.block(ed25519_line(1), caller=None, request=None)))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"#Timestamp=1", b"#Timestamp=2"), (INSTANCE_ID.encode(), b"i-0f1e2d3c4b5a69789"),
        (b"somebody", b"nobody00"), (b"0d8f4a1e", b"0d8f4a1f"), (b"AAAAB", b"AAAAC"),
        (b"#Caller=", b"#Caller= "), (b"\nssh-", b"\n#x\nssh-"), (b"#Req", b"#Later=1\n#Req"),
    ],
)  # fmt: skip
def test_any_change_to_what_is_signed_is_found(
    signer: Ec2Signer, checked: Signer, old: bytes, new: bytes
) -> None:
    """A block with any signed part changed does not verify."""
    good = signer.block(ed25519_line(1))
    assert old in good
    with pytest.raises(Refused, match="signature does not verify"):
        checked.verify(block(good.replace(old, new, 1)))


@pytest.mark.parametrize("salt", ["max", "0", "20", "31", "33", "64"])
def test_the_salt_has_thirty_two_bytes(signer: Ec2Signer, checked: Signer, salt: str) -> None:
    """Only a salt of 32 bytes is accepted, as in AWS's scripts."""
    content = signer.block(ed25519_line(1)).partition(b"\nssh")[0]
    content += f"\n{ed25519_line(1)}\n".encode()
    body = content + wrapped(signer.sign(content, salt=salt)) + b"\n"
    with pytest.raises(Refused, match="signature does not verify"):
        checked.verify(block(body))


def test_another_padding_or_key_does_not_verify(signer: Ec2Signer, checked: Signer) -> None:
    """A signature with PKCS #1 v1.5 padding or another key does not verify."""
    content = signer.block(ed25519_line(1)).partition(b"\nssh")[0]
    content += f"\n{ed25519_line(1)}\n".encode()
    key = str(signer.folder / "signer.key")
    older = openssl("dgst", "-sha256", "-sign", key, given=content)
    for signature in (older, signer.sign(content, key="intermediate"), b"x"):
        with pytest.raises(Refused, match="signature does not verify"):
            checked.verify(block(content + wrapped(signature) + b"\n"))


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (["genrsa", "-out", "KEY", "1024"], "key in the certificate of .* is not accepted"),
        (["ecparam", "-genkey", "-name", "prime256v1", "-out", "KEY"], "not RSA"),
    ],
)
def test_a_signer_has_an_rsa_key_of_today(
    signer: Ec2Signer, command: list[str], reason: str
) -> None:
    """A signer with a short RSA key, or one that is not RSA, is refused."""
    openssl(*(str(signer.folder / "short.key") if each == "KEY" else each for each in command))
    extensions = f"{LEAF}\nsubjectAltName=DNS:{NAME}"
    signer.issue("short", "intermediate", extensions, subject=f"/CN={NAME}", key="short")
    roots = [certificates.parse(signer.pem("root").read_bytes())]
    answers = [signer.answer("intermediate", "root"), signer.answer("short", "intermediate")]
    with pytest.raises(Refused, match=reason):
        Signer.check(signer.chain("short", "intermediate"), answers, roots, NAME, NOW)
