"""agent/sources/api/credentials.py: access keys, their rights, and the credentials file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from agent.config import plain_yaml
from agent.config.document import Problems
from agent.sources.api import credentials
from agent.sources.api.credentials import Credential
from agent.sources.api.errors import (
    AccessDeniedException,
    AuthException,
    NotAuthorized,
)
from tests.parts.loaders import LOADERS

SECRET = "an-example-that-nobody-should-use"


@pytest.fixture(params=LOADERS, ids=lambda loader: loader.__name__, scope="module", autouse=True)
def loader(request: Any) -> Iterator[None]:
    """Run every test with each of PyYAML's two parsers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain_yaml, "LOADER", request.param)
        yield


def entry(**changes: Any) -> dict[str, Any]:
    """An entry of the file that is valid except for `changes`; None removes a key."""
    whole = {
        "access_key_id": "AKIAEXAMPLE",
        "secret_access_key": SECRET,
        "allow": {"os_users": ["ec2-user", "deploy-*"]},
        **changes,
    }
    return {key: value for key, value in whole.items() if value is not None}


def one(**changes: Any) -> Credential:
    """The credential from an entry with these changes."""
    (found,) = credentials.parse(yaml.safe_dump([entry(**changes)]), "x")
    return found


def problems(text: str) -> str:
    """All problems reported for a file's text."""
    with pytest.raises(Problems) as caught:
        credentials.parse(text, "file")
    assert all(words.startswith("file") for words in caught.value.problems)
    return str(caught.value)


def test_an_entry_is_read() -> None:
    """Every key of an entry is read, and absent keys have their defaults."""
    least = one()
    assert (least.secret_access_key, least.session_token) == (SECRET, None)
    assert (least.enabled, least.expires) == (True, None)
    assert (least.allow.instances, least.allow.sources) == (("*",), ())
    most = one(session_token="token", enabled=False, expires="2027-01-15T08:00:00Z")
    assert (most.session_token, most.enabled) == ("token", False)
    assert most.expires == 1_800_000_000


def test_a_secret_is_not_printed() -> None:
    """Neither the secret nor the token shows when a credential is printed."""
    shown = repr(one(secret_access_key="hush" * 8, session_token="whisper"))
    assert "hush" not in shown
    assert "whisper" not in shown


@pytest.mark.parametrize("text", ["", "---", "[]", "# nothing yet"])
def test_an_empty_file_has_no_keys(text: str) -> None:
    """An empty file is valid and contains no credentials."""
    assert len(credentials.parse(text, "file")) == 0


def test_an_unknown_access_key_id_is_not_found() -> None:
    """An unknown access key id is not found."""
    known = credentials.parse(yaml.safe_dump([entry()]), "file")
    assert len(known) == 1
    assert [credential.access_key_id for credential in known] == ["AKIAEXAMPLE"]
    assert known.find("AKIAOTHER") is None


WRONG: dict[str, tuple[Any, str]] = {
    "a mapping": ({}, "list of credentials"),
    "a text": ("text", "list of credentials"),
    "an entry that is a text": (["text"], r"\[0\]: must be a mapping"),
    "no id": ([entry(access_key_id=None)], r"\[0\].access_key_id: required"),
    "an odd id": ([entry(access_key_id="AKIA/..")], r"\[0\].access_key_id: must be 4 to 128"),
    "a number as id": ([entry(access_key_id=1234)], r"\[0\].access_key_id: must be a text"),
    "no secret": ([entry(secret_access_key=None)], r"\[0\].secret_access_key: required"),
    "no allow": ([entry(allow=None)], r"\[0\].allow.os_users: required"),
    "no users": ([entry(allow={"os_users": []})], r"os_users: must be a list with at least one"),
    "a range from high to low": (
        [entry(allow={"os_users": ["[z-a]"], "instances": ["[9-0]"], "tags": {"role": ["[z-a]"]}})],
        r"os_users\[0\]: .*low to high[^~]*instances\[0\]: [^~]*tags\.\(line 8\)\[0\]: ",
    ),
    "users as text": ([entry(allow={"os_users": "*"})], r"os_users: must be a list"),
    "a bad network": (
        [entry(allow={"os_users": ["*"], "sources": ["10.0.0.1/8"]})], r"sources\[0\]: .*host bits",
    ),
    "no networks": ([entry(allow={"os_users": ["*"], "sources": []})], r"sources: must be a list"),
    "a bad time": ([entry(expires="tomorrow")], r"expires: must be a UTC time"),
    "enabled as text": ([entry(enabled="yes")], r"enabled: must be true or false"),
    "an unknown key": ([entry(colour="red")], r"\[0\].\(line 6\): unknown key"),
    "an unknown right": (
        [entry(allow={"os_users": ["*"], "hosts": []})], r"\[0\].allow.\(line 3\): unknown key",
    ),
    "a short secret": (
        [entry(secret_access_key="x" * 31)], r"\[0\].secret_access_key: must have at least 32",
    ),
    "an entry that is nothing": ([None], r"\[0\]: has no value"),
    "the same id twice": ([entry(), entry()], r"\[1\].access_key_id: is repeated"),
}  # fmt: skip


@pytest.mark.parametrize(("document", "words"), WRONG.values(), ids=list(WRONG))
def test_every_error_is_named(document: Any, words: str) -> None:
    """An error names the entry's number and the path of the key."""
    text = yaml.safe_dump(document)
    with pytest.raises(Problems, match=words):
        credentials.parse(text, "file")


def test_all_problems_are_reported_at_once() -> None:
    """All problems of a file are reported at once."""
    said = problems(yaml.safe_dump([entry(enabled=1, expires="x"), entry(access_key_id=None)]))
    assert all(words in said for words in ("[0].enabled", "[0].expires", "[1].access_key_id"))


def test_a_secret_that_cannot_sign_is_refused() -> None:
    """A secret with a lone surrogate, which HMAC cannot encode, is refused with either parser."""
    text = '[{access_key_id: AKIA, secret_access_key: "\\ud800", allow: {os_users: ["*"]}}]'
    assert problems(text)


def test_a_secret_has_32_characters_and_it_is_said_how_to_make_one() -> None:
    """A secret of less than 32 characters is refused.

    The error says how to make a good one, and does not contain the secret.
    """
    assert one(secret_access_key="x" * 32).secret_access_key == "x" * 32
    said = problems(yaml.safe_dump([entry(secret_access_key="hunter2")]))
    assert "openssl rand -hex 20" in said
    assert "hunter2" not in said


@pytest.mark.parametrize("name", ["sources", "instances", "os_users", "tags"])
def test_a_restriction_whose_items_are_commented_out_allows_nothing(name: str) -> None:
    """A restriction without a value, such as `sources:` alone, is refused, not read as no limit."""
    text = (
        f"- access_key_id: AKIA\n  secret_access_key: {SECRET}\n  allow:\n"
        + ("" if name == "os_users" else "    os_users: [deploy]\n")
        + f"    {name}:\n    # - 10.0.0.0/8\n"
    )
    assert problems(text) == (
        f"file: [0].allow.{name}: has no value: give it one, or leave the key out"
    )


ALLOW = {
    "os_users": ["ec2-user", "deploy-*", "ci?"],
    "instances": ["i-0f*"],
    "sources": ["10.0.0.0/8", "2001:db8::/32"],
}


@pytest.mark.parametrize("source", ["10.0.0.1", "10.255.0.1", "2001:db8::1", "::ffff:10.0.0.1"])
@pytest.mark.parametrize("os_user", ["ec2-user", "deploy-", "deploy-web", "ci1"])
def test_allowed_sources_and_users_pass(source: str, os_user: str) -> None:
    """Sources in an allowed network and OS users that match a pattern pass."""
    one(allow=ALLOW).allow.check(source, "i-0f1e2d3c", os_user, {})


@pytest.mark.parametrize("source", ["127.0.0.1", "11.0.0.1", "2001:db9::1", "::ffff:11.0.0.1"])
def test_a_source_that_is_not_allowed_is_refused(source: str) -> None:
    """A source that is not allowed is refused with NotAuthorized before any other check."""
    with pytest.raises(NotAuthorized):
        one(allow=ALLOW).allow.check(source, "i-ffffffff", "root", {})


def test_the_instance_is_checked_before_the_user() -> None:
    """The instance is checked before the OS user, and OS users are case-sensitive."""
    with pytest.raises(AuthException):
        one(allow=ALLOW).allow.check("10.0.0.1", "i-ffffffff", "root", {})
    for os_user in ("root", "EC2-user", "xdeploy-", "ci", "ec2-user\n"):
        with pytest.raises(AccessDeniedException):
            one(allow=ALLOW).allow.check("10.0.0.1", "i-0f1e2d3c", os_user, {})


def test_without_sources_every_source_will_do() -> None:
    """A credential without `sources` may be used from every source."""
    one().allow.check("203.0.113.9", "i-0f1e2d3c", "ec2-user", {})


def test_a_file_that_others_cannot_read_is_loaded(tmp_path: Path) -> None:
    """A file that only owner and group can read is loaded."""
    path = tmp_path / "credentials.yaml"
    path.write_text(yaml.safe_dump([entry()]))
    for mode in (0o400, 0o600, 0o640):
        path.chmod(mode)
        assert len(credentials.load(str(path))) == 1


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o620, 0o601])
def test_a_file_that_others_may_read_or_change(tmp_path: Path, mode: int) -> None:
    """A file that others can read or change is refused with the chmod command that repairs it."""
    path = tmp_path / "credentials.yaml"
    path.write_text(yaml.safe_dump([entry()]))
    path.chmod(mode)
    with pytest.raises(Problems, match="chmod 0640"):
        credentials.load(str(path))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    """A file owned by another user is refused with the chown command that repairs it."""
    path = tmp_path / "credentials.yaml"
    path.write_text(yaml.safe_dump([entry()]))
    path.chmod(0o600)
    os.chown(path, 65534, -1)
    with pytest.raises(Problems, match="chown root"):
        credentials.load(str(path))


def test_an_unreadable_credentials_file_says_why(tmp_path: Path) -> None:
    """An error about an absent file or a directory says why it cannot be read."""
    with pytest.raises(Problems, match="No such file"):
        credentials.load(str(tmp_path / "absent"))
    with pytest.raises(Problems, match="Is a directory"):
        credentials.load(str(tmp_path))


def test_a_device_is_refused_as_a_credentials_file() -> None:
    """A device is refused as a credentials file."""
    with pytest.raises(Problems):
        credentials.load(os.devnull)


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_any_text_is_read_or_refused(text: Any) -> None:
    """Any text yields credentials or a list of problems."""
    try:
        credentials.parse(text, "file")
    except Problems as error:
        assert error.problems
