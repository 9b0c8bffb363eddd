"""One user may have as many keys as fit in one answer that the helper reads."""

from __future__ import annotations

import base64
import struct

import pytest

from agent.config import file as config_file
from agent.config.document import Problems
from agent.config.key_policy import KEY_OPTIONS, longest_line, most_per_user
from agent.config.limits import LIMITS
from agent.config.settings import KEY_TYPES, Keys
from agent.helper import authorized_keys
from agent.leases.keys import PublicKey
from tests.parts.daemon import RunningDaemon
from tests.parts.helper import ask_helper
from tests.parts.host import work_directory
from tests.parts.keys import make_key
from tests.parts.raw import Raw
from tests.parts.signed import push

REQUEST_ID = "0" * 36


def largest_rsa_line(number: int) -> str:
    """The largest RSA key that is accepted: 8192 bits and the longest exponent that fits.

    Nobody can use such a key, but anybody may push it.
    """
    name, modulus = b"ssh-rsa", (1 << 8191) + 2 * number + 1
    exponent = (1 << 8 * 1003) + 1
    fields = [name, exponent.to_bytes(1004, "big"), modulus.to_bytes(1025, "big")]
    blob = b"".join(struct.pack(">I", len(field)) + field for field in fields)
    return f"ssh-rsa {base64.b64encode(blob).decode()}"


def test_an_rsa_key_can_be_as_long_as_is_reckoned_with() -> None:
    """The largest accepted RSA key makes a line of exactly the assumed longest length."""
    key = PublicKey.parse(largest_rsa_line(1), Keys(types=KEY_TYPES))
    assert len(key.blob) == LIMITS.key_blob_bytes
    options = LIMITS.key_options_bytes
    assert len(key.line(REQUEST_ID)) + options + 1 == longest_line(["ssh-rsa"])


@pytest.mark.parametrize(
    ("key_type", "size"),
    [("ed25519", None), ("ecdsa", 256), ("ecdsa", 384), ("ecdsa", 521)],
)
def test_other_keys_are_all_of_one_length(key_type: str, size: int) -> None:
    """A key of ssh-keygen of any other type makes a line of exactly the assumed length."""
    with work_directory() as folder:
        line = make_key(folder, key_type=key_type, bits=size).line
    key = PublicKey.parse(line, Keys(types=KEY_TYPES))
    options = LIMITS.key_options_bytes
    assert len(key.line(REQUEST_ID)) + options + 1 == longest_line([key.type])


def test_every_option_and_an_address_fit_before_a_key() -> None:
    """The longest `from=` and every option together fit within the assumed length."""
    address = 'from="{}/128"'.format(":".join(["ffff"] * 8))
    assert len(",".join([address, *KEY_OPTIONS])) <= LIMITS.key_options_bytes


@pytest.mark.parametrize("types", [(name,) for name in KEY_TYPES] + [KEY_TYPES, Keys.types])
def test_as_many_lines_and_the_end_mark_fit_one_answer(types: tuple[str, ...]) -> None:
    """The most keys of one user and the end mark just fit in one answer."""
    most, longest = most_per_user(types), longest_line(types)
    assert most * longest + 1 <= LIMITS.answer_bytes < (most + 1) * longest + 1
    assert LIMITS.answer_bytes < authorized_keys.MOST_BYTES


def test_more_than_fit_are_refused_with_the_bound() -> None:
    """More keys per user than fit are refused with the bound, and the default fits."""
    for name in KEY_TYPES:
        config_file.parse(f"keys: {{types: [{name}]}}", "c")
    for types, most in (("ssh-rsa", 345), ("ssh-ed25519", most_per_user(["ssh-ed25519"]))):
        text = f"keys: {{types: [{types}], per_user: "
        config_file.parse(f"{text}{most}}}", "c")
        for many in (most + 1, 9_000):
            with pytest.raises(Problems, match=f"^c: keys.per_user: must be at most {most} "):
                config_file.parse(f"{text}{many}}}", "c")


def test_the_helper_reads_as_many_of_the_largest_keys_as_one_user_can_have() -> None:
    """The helper prints all of the most and largest keys of one user; one more is throttled."""
    most = most_per_user(["ssh-rsa"])
    config = {"keys": {"per_user": most}, "push": {"rate": {"per_credential": 1000, "total": 1000}}}
    with work_directory() as folder, RunningDaemon(folder, config=config) as daemon:
        with Raw(daemon.push_socket) as raw:
            for number in range(most):
                assert (
                    raw.send(push(SSHPublicKey=largest_rsa_line(number)).raw()).answer().code == ""
                )
            more = push(SSHPublicKey=largest_rsa_line(most))
            assert raw.send(more.raw()).answer().code == "ThrottlingException"
        printed = ask_helper(daemon.lookup_socket, "ec2-user")
    assert {line.rsplit(" ", 1)[0] for line in printed} == {
        largest_rsa_line(number) for number in range(most)
    }
