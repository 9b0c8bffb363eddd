"""Public keys: what ssh-keygen makes is taken as it is, and everything else is refused by name."""

from __future__ import annotations

import base64
import struct
import unicodedata

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from agent.config.limits import LIMITS
from agent.config.settings import KEY_TYPES, Keys
from agent.leases.keys import KeyRejected, PublicKey
from tests.parts.keys import KeyPair, _ssh_keygen, make_key

KINDS = {
    "ed25519": ("ed25519", None, 256),
    "rsa 2048": ("rsa", 2048, 2048),
    "rsa 4096": ("rsa", 4096, 4096),
    **{f"nistp{bits}": ("ecdsa", bits, bits) for bits in (256, 384, 521)},
}


def parse(text: str, *types: str) -> PublicKey:
    """Parse with every type allowed, unless some are named."""
    return PublicKey.parse(text, Keys(types=types or KEY_TYPES))


def reject(text: str, *types: str) -> str:
    """The error text with which it is refused."""
    with pytest.raises(KeyRejected) as caught:
        parse(text, *types)
    return str(caught.value)


def string(data: bytes) -> bytes:
    """A string as RFC 4251 section 5 encodes it."""
    return struct.pack(">I", len(data)) + data


def mpint(number: int, padding: int = 0) -> bytes:
    """A positive mpint of RFC 4251, with `padding` superfluous zero bytes before it."""
    return string(bytes(padding) + number.to_bytes(number.bit_length() // 8 + 1, "big"))


def line(name: str, blob: bytes) -> str:
    """An authorized_keys line."""
    return f"{name} {base64.b64encode(blob).decode()}"


def rsa(bits: int, exponent: int = 65537, padding: int = 0) -> str:
    """An RSA line with an odd modulus of this many bits, to which no private key is known."""
    modulus = (1 << (bits - 1)) | 1
    blob = string(b"ssh-rsa") + mpint(exponent) + mpint(modulus, padding)
    return line("ssh-rsa", blob)


@pytest.fixture(name="pairs", scope="module")
def _pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, KeyPair]:
    folder = tmp_path_factory.mktemp("keys")
    return {
        name: make_key(folder, name.replace(" ", "-"), kind, bits=bits)
        for name, (kind, bits, _) in KINDS.items()
    }


@pytest.mark.parametrize("kind", KINDS)
def test_keys_of_ssh_keygen_are_accepted(kind: str, pairs: dict[str, KeyPair]) -> None:
    """A key from ssh-keygen is accepted, with its type, size and both fingerprints."""
    pair = pairs[kind]
    key = parse(pair.line + "\n")
    assert (key.type, key.blob, key.bits) == (pair.type, pair.blob, KINDS[kind][2])
    assert key.fingerprint == pair.fingerprint("sha256")
    assert key.md5_fingerprint == pair.fingerprint("md5")
    assert key.line("a-request") == f"{pair.type} {pair.base64} a-request\n"


@pytest.mark.parametrize(
    "end", ["", "\n", " \n", "\r\n", " \t \r\n\n", " me@home", "\twith more  words "]
)
def test_a_comment_and_white_space_at_the_ends_go_nowhere(
    end: str, pairs: dict[str, KeyPair]
) -> None:
    """A comment and white space at either end are dropped from the key."""
    plain = f"{pairs['ed25519'].type} {pairs['ed25519'].base64}"
    assert parse(" \t" + plain + end) == parse(plain)
    assert parse(plain.replace(" ", " \t ") + end) == parse(plain)


@pytest.mark.parametrize(
    ("before", "words"),
    [
        ('command="/bin/sh" ', "options"),
        ("no-pty,from=10.0.0.1\t", "options"),
        ("restrict ", "options"),
        ("cert-authority ", "options"),
    ],
)
def test_options_are_refused(before: str, words: str, pairs: dict[str, KeyPair]) -> None:
    """A key line with options is refused, and its options are not dropped silently."""
    assert words in reject(before + pairs["ed25519"].line)


@pytest.mark.parametrize("place", ["type", "middle", "comment"])
@pytest.mark.parametrize(
    "character", ["\n", "\r", "\r\n", "\0", "\x0b", "\x0c", "\x1b", "\x1c", "\x7f"]
)
def test_control_characters_inside_are_refused(
    character: str, place: str, pairs: dict[str, KeyPair]
) -> None:
    """A key with a line break or another control character inside is refused."""
    name, encoded, comment = pairs["ed25519"].line.split(" ")
    text = {
        "type": f"{name}{character} {encoded} {comment}",
        "middle": f"{name} {encoded[:20]}{character}{encoded[20:]} {comment}",
        "comment": f"{name} {encoded} {comment}{character}{pairs['rsa 2048'].line}",
    }[place]
    assert "single line" in reject(text)


SPACES = [
    chr(c) for c in range(0x80, 0x3100) if chr(c).isspace() or unicodedata.category(chr(c)) == "Cf"
]


@pytest.mark.parametrize("space", SPACES, ids=[f"U+{ord(space):04X}" for space in SPACES])
def test_unicode_white_space_is_no_separator(space: str, pairs: dict[str, KeyPair]) -> None:
    """Only space and tab separate fields, as in sshd; other white space is refused."""
    name, encoded, _ = pairs["ed25519"].line.split(" ")
    reject(f"{name}{space}{encoded}")
    reject(f"{space}{name} {encoded}")
    reject(f"{name} {encoded}{space}")


def test_private_keys_and_certificates_are_refused_by_name(pairs: dict[str, KeyPair]) -> None:
    """A private key, a certificate or an incomplete line is refused with its own message."""
    pair = pairs["ed25519"]
    assert "private key" in reject(pair.private.read_text("utf-8"))
    _ssh_keygen("-q", "-s", str(pairs["rsa 2048"].private), "-I", "me", str(pair.public))
    certificate = pair.private.with_name("ed25519-cert.pub").read_text("utf-8")
    assert "certificate" in reject(certificate)
    assert "type base64" in reject("")
    assert "type base64" in reject("ssh-ed25519")
    assert "must begin with one of" in reject("ssh-dss AAAAB3NzaC1kc3MAAACBAA==")


def test_only_the_types_that_are_configured_are_taken(pairs: dict[str, KeyPair]) -> None:
    """A key of a type that is not configured is refused, and the error names those that are."""
    assert "ssh-rsa" in reject(pairs["ed25519"].line, "ssh-rsa")
    assert parse(pairs["rsa 2048"].line, "ssh-rsa").type == "ssh-rsa"


def test_a_type_that_is_not_the_blobs_is_refused(pairs: dict[str, KeyPair]) -> None:
    """A key whose type differs from the type inside its blob is refused."""
    for one in pairs.values():
        for other in pairs.values():
            if one.type != other.type:
                assert "damaged" in reject(f"{one.type} {other.base64}")


@pytest.mark.parametrize("kind", KINDS)
def test_a_blob_that_is_longer_or_shorter_is_refused(kind: str, pairs: dict[str, KeyPair]) -> None:
    """A blob with trailing or missing bytes is refused; paramiko alone would accept it."""
    pair = pairs[kind]
    assert "damaged" in reject(line(pair.type, pair.blob + b"\0"))
    assert "damaged" in reject(line(pair.type, pair.blob + pair.blob))
    for missing in (1, 2, 16, 31, len(pair.blob) - 1):
        assert "damaged" in reject(line(pair.type, pair.blob[:-missing]))
    assert "damaged" in reject(line(pair.type, b"\xff\xff\xff\xff" + pair.blob[4:]))


@pytest.mark.parametrize(
    ("bits", "words"), [(1024, "1024 bits"), (2047, "2047 bits"), (8193, "8193 bits")]
)
def test_rsa_sizes_have_bounds(bits: int, words: str) -> None:
    """An RSA key outside the bounds is refused; the error names its size and the bounds."""
    assert words in reject(rsa(bits))
    assert "2048 to 8192" in reject(rsa(bits))


@pytest.mark.parametrize("bits", [2048, 8192])
def test_rsa_bounds_are_taken(bits: int) -> None:
    """RSA keys of the smallest and the largest allowed size are accepted."""
    assert parse(rsa(bits)).bits == bits


def test_a_blob_over_the_limit_is_refused_before_it_is_parsed() -> None:
    """A blob over the size limit is refused before it is parsed."""
    assert f"the maximum is {LIMITS.key_blob_bytes}" in reject(rsa(16_384))


def test_rsa_must_be_spelled_canonically() -> None:
    """An RSA modulus with leading zeros is refused."""
    assert "damaged" in reject(rsa(2048, padding=1))
    assert "damaged" in reject(rsa(2048, padding=7))


@pytest.mark.parametrize("exponent", [0, 1, 2, 65536])
def test_an_rsa_exponent_that_verifies_nothing_is_refused(exponent: int) -> None:
    """An RSA exponent of 0, 1 or an even number is refused."""
    assert "damaged" in reject(rsa(2048, exponent))


def test_base64_has_one_spelling(pairs: dict[str, KeyPair]) -> None:
    """Base64 with stray bits, wrong padding or foreign characters is refused."""
    name, encoded = pairs["nistp521"].type, pairs["nistp521"].base64
    assert encoded.endswith("=")
    last = encoded.rstrip("=")[-1]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    stray = encoded.rstrip("=")[:-1] + alphabet[alphabet.index(last) + 1] + "=" * encoded.count("=")
    assert base64.b64decode(stray) == base64.b64decode(encoded)
    for other in (
        stray,
        encoded.rstrip("="),
        encoded + "=",
        encoded + "!",
        "=" + encoded,
        "é" * 80,
    ):
        assert "base64 is damaged" in reject(f"{name} {other}")


def _point(curve: ec.EllipticCurve, form: PublicFormat) -> bytes:
    key = ec.generate_private_key(curve).public_key()
    return key.public_bytes(Encoding.X962, form)


@pytest.mark.parametrize("form", [PublicFormat.UncompressedPoint, PublicFormat.CompressedPoint])
def test_a_compressed_point_is_refused(form: PublicFormat) -> None:
    """A compressed ECDSA point is refused, as sshd refuses it."""
    name = b"ecdsa-sha2-nistp256"
    blob = string(name) + string(b"nistp256") + string(_point(ec.SECP256R1(), form))
    if form is PublicFormat.UncompressedPoint:
        assert parse(line(name.decode(), blob)).bits == 256
    else:
        assert "damaged" in reject(line(name.decode(), blob))


@pytest.mark.parametrize("curve", [b"nistp384", b"nistp521", b"", b"nistp256\0"])
def test_a_curve_that_is_not_the_types_is_refused(curve: bytes) -> None:
    """An ECDSA key whose curve differs from its type is refused."""
    name = b"ecdsa-sha2-nistp256"
    point = _point(ec.SECP256R1(), PublicFormat.UncompressedPoint)
    assert "damaged" in reject(line(name.decode(), string(name) + string(curve) + string(point)))


def test_a_point_off_its_curve_is_refused() -> None:
    """An ECDSA point that is not on its curve is refused."""
    name = b"ecdsa-sha2-nistp256"
    point = b"\x04" + bytes(31) + b"\x01" + bytes(31) + b"\x01"
    blob = string(name) + string(b"nistp256") + string(point)
    assert "damaged" in reject(line(name.decode(), blob))
