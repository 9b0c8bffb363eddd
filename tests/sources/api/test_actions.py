"""agent/sources/api/actions.py: SendSSHPublicKey's parameters, from a JSON body to values."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from agent.config.settings import KEY_TYPES, Keys
from agent.leases.keys import KeyRejected
from agent.sources.api.actions import SendSSHPublicKey
from agent.sources.api.errors import (
    ApiError,
    InvalidArgsException,
    MissingParameter,
    ValidationError,
)
from agent.sources.api.translation import api_error
from tests.parts.daemon import INSTANCE_ID, ZONE
from tests.parts.leases import ed25519_line
from tests.parts.signed import members

PUBLISHED, CURRENT = "2021-03-05", "current"
NAMES = ("AvailabilityZone", "InstanceId", "InstanceOSUser", "SSHPublicKey")
ED25519 = f"{ed25519_line(7)} somebody@somewhere"


@pytest.fixture(scope="module")
def rsa_line() -> str:
    """A 2048-bit RSA public key."""
    public = rsa.generate_private_key(65537, 2048).public_key()
    return public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def parse(document: Any, reference: str = PUBLISHED) -> SendSSHPublicKey:
    """Parse a body that is this document as JSON."""
    return SendSSHPublicKey.parse(json.dumps(document).encode(), reference)


def check(reference: str = PUBLISHED, settings: Keys = Keys(), **changes: Any) -> str:  # noqa: B008
    """Check parameters that are correct except for `changes`; return the key's type."""
    return checked(parse(members(**changes), reference), reference, settings)


def checked(action: SendSSHPublicKey, reference: str, settings: Keys) -> str:
    """Run the checks that a door runs; return the key's type, or raise ApiError."""
    action.check(reference, settings.types)
    try:
        return action.public_key(settings).type
    except KeyRejected as error:
        raise api_error(error) from None


def check_one(name: str, value: str) -> str:
    """Check parameters of which one is `value`; return the key's type."""
    return checked(parse(members(**{name: value})), PUBLISHED, Keys())


def test_valid_parameters_are_read_unchanged() -> None:
    """All four parameters are read unchanged, and unknown members are ignored, as EC2 does."""
    got = parse(members(SSHPublicKey=ED25519, DryRun={"a": [1, None]}))
    assert got == SendSSHPublicKey(INSTANCE_ID, "ec2-user", ED25519, ZONE)


NOT_JSON = {
    "empty": b"", "white space": b" ", "not JSON": b"InstanceId=i-0", "cut": b'{"InstanceId": "i',
    "not UTF-8": b'{"InstanceId": "\xff"}', "UTF-16": '{"a": "b"}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"a": "b"}', "two values": b"{}{}", "NaN": b'{"a": NaN}',
    "infinity": b'{"a": -Infinity}', "nested too deeply": b'{"a": ' + b"[" * 16000,
    "a comment": b"{} // no", "single quotes": b"{'a': 1}", "a control character": b'{"a": "\n"}',
}  # fmt: skip


@pytest.mark.parametrize("body", NOT_JSON.values(), ids=list(NOT_JSON))
def test_a_body_that_is_not_json_is_refused(body: bytes) -> None:
    """A body that is not JSON is refused with ValidationError."""
    with pytest.raises(ValidationError, match="not JSON"):
        SendSSHPublicKey.parse(body, PUBLISHED)


@pytest.mark.parametrize("document", [None, True, 1, "text", [], [{}]])
def test_a_body_that_is_not_an_object_is_refused(document: Any) -> None:
    """A body that is JSON but not an object is refused with ValidationError."""
    with pytest.raises(ValidationError, match="object"):
        parse(document)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [True, 1, 1.5, [], ["a"], {}])
def test_a_member_of_the_wrong_type_is_refused(name: str, value: Any) -> None:
    """A member of the wrong type is refused with ValidationError before missing members are."""
    with pytest.raises(ValidationError, match=name):
        parse({name: value})


@pytest.mark.parametrize("body", [b'{"a": 1, "a": 1}', b'{"b": {"a": 1, "a": 2}}'])
def test_a_repeated_member_is_refused(body: bytes) -> None:
    """A repeated member is refused at any depth, so no two parsers can read different requests."""
    with pytest.raises(ValidationError, match="'a' is given twice"):
        SendSSHPublicKey.parse(body, PUBLISHED)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("null", [False, True])
def test_an_absent_member_is_refused(name: str, null: bool) -> None:
    """An absent or null member is refused with MissingParameter.

    The reference `current` does not require the zone.
    """
    document = members(**{name: None}) if null else members()
    if not null:
        del document[name]
    with pytest.raises(MissingParameter, match=name):
        parse(document)
    if name == "AvailabilityZone":
        assert checked(parse(document, CURRENT), CURRENT, Keys()) == "ssh-ed25519"
    else:
        with pytest.raises(MissingParameter, match=name):
            parse(document, CURRENT)


def test_all_that_is_missing_is_named_at_once() -> None:
    """One MissingParameter error names all missing members."""
    with pytest.raises(MissingParameter, match=", ".join(NAMES)):
        parse({})


def short_ids(values: list[tuple[str, str]]) -> list[str]:
    """Short test names: a whole key is too long to be part of one."""
    return [f"{name}-{value[:20]!a}-{number}" for number, (name, value) in enumerate(values)]


BAD_VALUES = [
    ("InstanceId", ""), ("InstanceId", "i-1234567"), ("InstanceId", "i-" + "a" * 31),
    ("InstanceId", "i-0F1E2D3C"), ("InstanceId", "i-0f1e2d3g"), ("InstanceId", "x-0f1e2d3c"),
    ("InstanceId", "i-0f1e2d3c\n"), ("InstanceId", "mi-0f1e2d3c"),
    ("AvailabilityZone", ""), ("AvailabilityZone", "a-b-1"), ("AvailabilityZone", "us-east-2"),
    ("AvailabilityZone", "us-east-2b\n"), ("AvailabilityZone", "us-" + "e" * 27 + "-2b"),
    ("AvailabilityZone", "us east-2b"), ("AvailabilityZone", "\u00fcs-east-2b"),
    ("InstanceOSUser", ""), ("InstanceOSUser", "a" * 33), ("InstanceOSUser", "1user"),
    ("InstanceOSUser", "-user"), ("InstanceOSUser", ".user"), ("InstanceOSUser", "us er"),
    ("InstanceOSUser", "user\n"), ("InstanceOSUser", "us$er"), ("InstanceOSUser", "../../etc"),
    ("InstanceOSUser", "us\u00e9r"), ("InstanceOSUser", "user\ud800"),
    ("InstanceOSUser", "\u0661user"),
    ("SSHPublicKey", ""), ("SSHPublicKey", "x" * 79), ("SSHPublicKey", "x" * 4097),
    ("SSHPublicKey", "x" * 300), ("SSHPublicKey", ED25519 + "\n" + ED25519),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), BAD_VALUES, ids=short_ids(BAD_VALUES))
def test_a_value_of_wrong_length_or_pattern_is_refused(name: str, value: str) -> None:
    """A value of the wrong length or pattern is refused with an error that names the member."""
    with pytest.raises(InvalidArgsException, match=name):
        check_one(name, value)


GOOD_VALUES = [
    ("InstanceId", "i-12345678"), ("InstanceId", "i-" + "f" * 30),
    ("AvailabilityZone", "a-b-1c"), ("AvailabilityZone", "us-gov-west-1a"),
    ("AvailabilityZone", "us-west-2-lax-1a"[:9] + "-1a"), ("AvailabilityZone", "on-prem-1a"),
    ("InstanceOSUser", "a"), ("InstanceOSUser", "ec2-user"), ("InstanceOSUser", "_a"),
    ("InstanceOSUser", "Admin.x@y"), ("InstanceOSUser", "machine$"), ("InstanceOSUser", "a" * 32),
    ("InstanceOSUser", "a."),
    ("SSHPublicKey", ED25519 + "\n"), ("SSHPublicKey", ED25519 + " \n"),
]  # fmt: skip


# Test ids use a prefix: keys differ in every process, and pytest-xdist compares the ids.
@pytest.mark.parametrize(("name", "value"), GOOD_VALUES, ids=lambda value: value[:16])
def test_a_value_at_its_limits_is_taken(name: str, value: str) -> None:
    """The shortest, the longest and the most unusual values that the reference allows are taken."""
    assert check_one(name, value) == "ssh-ed25519"


@pytest.mark.parametrize("os_user", ["1user", "1234567a", "9" * 31 + "a", "1a$", "0-"])
def test_users_that_begin_with_digits_need_the_current_reference(os_user: str) -> None:
    """An OS user that begins with a digit is taken only with `push.reference: current`."""
    assert check(CURRENT, InstanceOSUser=os_user) == "ssh-ed25519"
    with pytest.raises(InvalidArgsException):
        check(PUBLISHED, InstanceOSUser=os_user)


@pytest.mark.parametrize("os_user", ["", "1", "123", "9" * 33, "1 a", "-1a", "1a\n"])
def test_malformed_users_are_refused(os_user: str) -> None:
    """An OS user of digits alone, or malformed in another way, is refused with `current` too."""
    with pytest.raises(InvalidArgsException):
        check(CURRENT, InstanceOSUser=os_user)


def test_key_lengths_depend_on_the_type(rsa_line: str) -> None:
    """RSA keys need 256 characters and others 80; if only RSA is configured, all need 256."""
    assert check(SSHPublicKey=rsa_line) == "ssh-rsa"
    with pytest.raises(InvalidArgsException, match="256 to 4096"):
        check(settings=Keys(types=("ssh-rsa",)), SSHPublicKey=ED25519)
    with pytest.raises(InvalidArgsException, match="80 to 4096"):
        check(SSHPublicKey="ssh-ed25519 AAAA")
    assert check(SSHPublicKey=rsa_line.ljust(4096)) == "ssh-rsa"
    with pytest.raises(InvalidArgsException, match="not 4097"):
        check(SSHPublicKey=rsa_line.ljust(4097))


def test_a_short_rsa_key_is_refused() -> None:
    """An RSA line of less than 256 characters is refused whatever rsa_min_bits is."""
    public = rsa.generate_private_key(65537, 1024).public_key()  # noqa: S505 - too short on purpose
    line = public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    with pytest.raises(InvalidArgsException, match="too short for an ssh-rsa"):
        check(settings=Keys(rsa_min_bits=1024), SSHPublicKey=line)


def test_a_key_type_that_is_not_configured_is_refused() -> None:
    """A valid key of a type that is not configured is refused with InvalidArgsException."""
    with pytest.raises(InvalidArgsException, match="must begin with one of ecdsa"):
        check(settings=Keys(types=("ecdsa-sha2-nistp256",)), SSHPublicKey=ED25519)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=5), below),
    max_leaves=6,
)
_BODIES = st.one_of(
    st.binary(max_size=80),
    _JSON.map(lambda value: json.dumps(value).encode()),
    st.dictionaries(st.sampled_from(NAMES), _JSON | st.just(ED25519)).map(
        lambda value: json.dumps({**members(), **value}).encode()
    ),
)


@given(_BODIES, st.sampled_from([PUBLISHED, CURRENT]))
def test_any_body_is_read_or_refused(body: bytes, reference: str) -> None:
    """Any body yields parameters and a key, or an error of the reference with status 400."""
    try:
        action = SendSSHPublicKey.parse(body, reference)
        assert checked(action, reference, Keys(types=KEY_TYPES)) in KEY_TYPES
    except ApiError as error:
        assert error.status == 400
