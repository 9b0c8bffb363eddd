"""nkeys: keys in the encoding of NATS; anything else is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import VerifyKey

from agent.fleet.bus import jwt, nkeys
from agent.fleet.bus.jwt import BadToken, Claims, Times
from agent.fleet.bus.nkeys import KeyPair

# The key pair in the documentation of NATS (running a NATS server: NKeys).
SEED = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY"
PUBLIC = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4"
ROLES = [nkeys.ACCOUNT, nkeys.OPERATOR, nkeys.USER]


def test_the_documented_pair_is_read_and_written_back() -> None:
    """The documented seed gives its public key, and is written back unchanged."""
    pair = KeyPair.parse(SEED, nkeys.USER)
    assert (pair.public, pair.dump()) == (PUBLIC, SEED)


@pytest.mark.parametrize("role", ROLES)
def test_a_new_pair_comes_back_and_signs(role: str) -> None:
    """A new key pair is read back, names its role, and makes signatures that verify."""
    pair = KeyPair.generate(role)
    assert pair.public[0] == role
    assert pair.dump()[:2] == f"S{role}"
    assert KeyPair.parse(pair.dump() + "\n", role) == pair
    VerifyKey(nkeys.public_bytes(pair.public, role)).verify(b"x", pair.sign(b"x"))
    assert pair.seed.hex() not in repr(pair)


@pytest.mark.parametrize("role", ROLES)
def test_a_key_of_another_role_is_refused(role: str) -> None:
    """A seed or public key of another role is refused."""
    pair = KeyPair.generate(role)
    for other in set(ROLES) - {role}:
        with pytest.raises(ValueError, match="role"):
            KeyPair.parse(pair.dump(), other)
        with pytest.raises(ValueError, match="role"):
            nkeys.public_bytes(pair.public, other)
    with pytest.raises(ValueError, match="nkey"):
        nkeys.public_bytes(pair.dump(), role)


@given(st.integers(0, len(PUBLIC) - 1), st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567a1=é"))
def test_a_key_with_a_changed_letter_is_refused(place: int, letter: str) -> None:
    """A public key with any letter changed is refused."""
    other = PUBLIC[:place] + letter + PUBLIC[place + 1 :]
    if other != PUBLIC:
        with pytest.raises(ValueError, match=r"nkey|role"):
            nkeys.public_bytes(other, nkeys.USER)


@pytest.mark.parametrize("text", ["", "U", PUBLIC[:-1], PUBLIC + "A", PUBLIC.lower(), PUBLIC + "="])
def test_another_length_is_refused(text: str) -> None:
    """A public key that is too short, too long, padded or in lower case is refused."""
    with pytest.raises(ValueError, match="nkey"):
        nkeys.public_bytes(text, nkeys.USER)


ISSUER = KeyPair.generate(nkeys.ACCOUNT)
CLAIMS = Claims(PUBLIC, "i-0123456789", Times(1_800_000_000, 1_800_000_060), {"pub": {}})


def test_a_token_comes_back_as_it_was() -> None:
    """A token is read back with its subject, name, times and claims."""
    found = jwt.decode(jwt.encode(CLAIMS, ISSUER, "user"), ISSUER.public, "user")
    assert (found.subject, found.name, found.times) == (PUBLIC, "i-0123456789", CLAIMS.times)
    assert found.nats == {"pub": {}, "type": "user", "version": 2}


def test_a_token_of_another_issuer_kind_or_content_is_refused() -> None:
    """A token of another issuer or kind, or with altered content, is refused."""
    token = jwt.encode(CLAIMS, ISSUER, "user")
    with pytest.raises(BadToken):
        jwt.decode(token, KeyPair.generate(nkeys.ACCOUNT).public, "user")
    with pytest.raises(BadToken):
        jwt.decode(token, ISSUER.public, "account")
    header, body, signature = token.split(".")
    other = jwt.encode(CLAIMS, KeyPair.generate(nkeys.ACCOUNT), "user").split(".")
    for changed in (
        f"{header}.{other[1]}.{signature}",
        f"{header}.{body}.{other[2]}",
        f"{header}.{body}.",
        f"{header}.{body}",
        f"eyJ0eXAiOiJKV1QiLCJhbGciOiJub25lIn0.{body}.{signature}",
        f"{token}=",
        f" {token}",
        "",
        "é.é.é",
    ):
        with pytest.raises(BadToken):
            jwt.decode(changed, ISSUER.public, "user")


@given(st.text(max_size=50))
def test_no_token_is_refused(text: str) -> None:
    """Any text that is no token raises BadToken."""
    with pytest.raises(BadToken):
        jwt.decode(text, ISSUER.public, "user")


def test_credentials_come_back_as_they_were() -> None:
    """Token and seed are read back from a .creds file; a malformed file is refused."""
    pair = KeyPair.parse(SEED, nkeys.USER)
    assert jwt.read_creds(jwt.creds("a.b.c", pair)) == ("a.b.c", pair)
    for text in ("", "-----BEGIN NATS USER JWT-----\nx\n", jwt.creds("a", pair).replace(SEED, "S")):
        with pytest.raises(ValueError, match=r"nkey|creds"):
            jwt.read_creds(text)
