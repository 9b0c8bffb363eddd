"""Credentials come from the environment, from AWS's plain files, or else from botocore."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

import botocore.session
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.client import credentials, folders, settings
from agent.client.sigv4 import Credential
from agent.client.trouble import Trouble
from tests.parts.user import MEMORY

KEYS = "aws_access_key_id = AKIA{0}\naws_secret_access_key = secret-{0}\n"
# The files config and credentials, the profile, and whether the files are plain.
CASES: dict[str, tuple[str, str, Optional[str], bool]] = {
    "shared, default": ("", "[default]\n" + KEYS.format("A"), None, True),
    "shared, chosen": ("", f"[default]\n{KEYS.format('A')}[b]\n{KEYS.format('B')}", "b", True),
    "config": ("[profile c]\nregion = x-1\n" + KEYS.format("C"), "", "c", True),
    "config, quoted": ('[profile "c"]\n' + KEYS.format("C"), "", "c", True),
    "config, default": ("[default]\n" + KEYS.format("D"), "", None, True),
    "shared first": (f"[profile e]\n{KEYS.format('X')}", f"[e]\n{KEYS.format('E')}", "e", True),
    "a token": ("", f"[default]\n{KEYS.format('F')}aws_session_token = token=\n", None, True),
    "spaces and capitals": ("", "[default]\nAWS_Access_Key_ID=AKIAG\n"
                            "aws_secret_access_key   =  secret-G  \n", None, True),
    "a comment between": ("", f"[default]\n# no\n{KEYS.format('H')}", None, True),
    "nested settings": (f"[profile i]\ns3 =\n  aws_access_key_id = no\n{KEYS.format('I')}", "",
                        "i", True),
    "a process, and plain in shared": (
        "[profile j]\ncredential_process = /bin/false\n", f"[j]\n{KEYS.format('J')}", "j", True),
    "a process": ("[profile k]\ncredential_process = printf '{\"Version\": 1, \"AccessKeyId\": "
                  "\"AKIAK\", \"SecretAccessKey\": \"secret-K\"}'\n" + KEYS.format("L"), "", "k",
                  False),
}  # fmt: skip


def environ(folder: Path, config: str, shared: str) -> dict[str, str]:
    """A home with AWS's two files."""
    (folder / "config").write_text(config)
    (folder / "credentials").write_text(shared)
    return {
        "HOME": str(folder),
        "AWS_CONFIG_FILE": str(folder / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(folder / "credentials"),
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def make_settings(environment: dict[str, str], profile: Optional[str]) -> settings.Settings:
    """The settings with this profile."""
    return settings.load(environment, {"profile": profile})


def as_triple(found: Optional[Credential]) -> Optional[tuple[str, str, str]]:
    """Key, secret and token."""
    return None if found is None else (found.access_key_id, found.secret_access_key, found.token)


@pytest.mark.parametrize("case", CASES)
def test_plain_keys_are_those_that_botocore_takes(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A credential read from plain files is the one botocore finds; others are left to it."""
    config, shared, profile, plain = CASES[case]
    environment = environ(tmp_path, config, shared)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    theirs = botocore.session.Session(profile=profile).get_credentials()
    expected = (theirs.access_key, theirs.secret_key, theirs.token or "")
    chosen = make_settings(environment, profile)
    assert as_triple(credentials._plain_key(chosen)) == (expected if plain else None)
    assert as_triple(credentials.find(chosen, 0.0)) == expected


@pytest.mark.parametrize(
    "other",
    ["role_arn = arn", "sso_session = s", "sso_start_url = u", "web_identity_token_file = f"],
)
def test_a_profile_that_asks_for_another_way_is_botocores(other: str, tmp_path: Path) -> None:
    """A profile with a role or SSO is left to botocore, even with keys beside it."""
    for config, shared in (
        (f"[profile p]\n{other}\n", f"[p]\n{KEYS.format('P')}"),
        ("", f"[p]\n{other}\n{KEYS.format('P')}"),
    ):
        assert credentials._plain_key(make_settings(environ(tmp_path, config, shared), "p")) is None


def test_the_environment_comes_before_files_but_not_before_a_profile(tmp_path: Path) -> None:
    """Keys in the environment win over AWS_PROFILE, and --profile wins over them."""
    environment = environ(tmp_path, "", f"[b]\n{KEYS.format('B')}")
    environment.update(AWS_ACCESS_KEY_ID="AKIAENV", AWS_SECRET_ACCESS_KEY="s")
    assert credentials.find(make_settings(environment, None), 0.0).access_key_id == "AKIAENV"
    assert credentials.find(make_settings(environment, "b"), 0.0).access_key_id == "AKIAB"
    environment["AWS_PROFILE"] = "b"
    assert credentials.find(make_settings(environment, None), 0.0).access_key_id == "AKIAENV"


def test_without_credentials_the_error_says_what_to_do(tmp_path: Path) -> None:
    """Without a credential, or with an unknown profile, the error says what to do."""
    for profile in (None, "absent"):
        with pytest.raises(Trouble) as refused:
            credentials.find(make_settings(environ(tmp_path, "", ""), profile), 0.0)
        assert refused.value.code == "NoCredentials"
        assert "aws sso login" in refused.value.hint


def test_sso_that_has_ended_says_how_to_begin_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An SSO profile without a live token is an error that names `aws sso login`."""
    config = (
        "[profile s]\nsso_start_url = https://example.awsapps.com/start\nsso_region = us-east-1\n"
        "sso_account_id = 123456789012\nsso_role_name = work\n"
    )
    environment = environ(tmp_path, config, "")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(Trouble) as refused:
        credentials.find(make_settings(environment, "s"), 0.0)
    assert "SSO" in refused.value.words
    assert "aws sso login" in refused.value.hint


def test_the_region_comes_from_awss_files_too(tmp_path: Path) -> None:
    """The region is read from AWS's files when not configured, and required otherwise."""
    environment = environ(tmp_path, "[profile c]\nregion = eu-1\n", "")
    chosen = make_settings(environment, "c")
    assert credentials.region(chosen) == "eu-1"
    with pytest.raises(Trouble, match="no region is set"):
        credentials.region(make_settings(environment, None))


Keeping = tuple[settings.Settings, Path]


@pytest.fixture
def keeping(tmp_path: Path) -> Iterator[Keeping]:
    """Settings with a session folder in memory, and the path where credentials are cached."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as run:
        environment = {**environ(tmp_path, "", ""), "XDG_RUNTIME_DIR": run}
        yield make_settings(environment, None), Path(run) / "sixtykey"


@pytest.mark.parametrize("place", [MEMORY, "/var/tmp", "/tmp"])
def test_a_credential_is_not_kept_on_a_disk(tmp_path: Path, place: str) -> None:
    """A session folder keeps credentials only if it is in memory, as stat(1) says."""
    kind = subprocess.run(["stat", "-f", "-c", "%T", place], capture_output=True, check=True).stdout
    assert place != MEMORY or kind == b"tmpfs\n"
    with tempfile.TemporaryDirectory(dir=place) as run:
        chosen = make_settings({**environ(tmp_path, "", ""), "XDG_RUNTIME_DIR": run}, None)
        credentials._write_cache(chosen, Credential("AKIA", "s", "t", 10_000.0, "role"), 5_000.0)
        kept = [path for path in Path(run).rglob("*") if path.is_file()]
        assert bool(kept) is (kind == b"tmpfs\n")
        assert bool(credentials._read_cache(chosen, 5_001.0)) is bool(kept)


MOUNTS = """\
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
22 21 0:19 / /run/user/1000 rw,nosuid shared:7 master:2 - tmpfs tmpfs rw,size=1k
23 21 0:20 / /tmp/tmpfs\\040- rw - ext4 tmpfs rw
24 21 0:21 / /both rw - tmpfs none rw
25 21 0:21 / /twice rw - ext4 none rw
26 21 0:22 / /a\fb\x1cc\rd\u2028e rw - fuse none rw
"""


@pytest.mark.parametrize(
    ("device", "memory"),
    [((8, 1), False), ((0, 19), True), ((0, 20), False), ((0, 21), False), ((0, 1), False)],
)
def test_only_a_tmpfs_is_memory(device: tuple[int, int], memory: bool) -> None:
    """A device is in memory if all of its mounts are a tmpfs, and it has any."""
    assert folders.is_memory(MOUNTS, os.makedev(*device)) is memory


def test_a_credential_is_kept_until_shortly_before_its_end(keeping: Keeping) -> None:
    """A temporary credential is cached until shortly before its end, for an hour at most.

    It is not used after the clock was set back; one without an end is not cached.
    """
    chosen, folder = keeping
    credentials._write_cache(chosen, Credential("AKIA", "s", "t", 10_000.0, "role"), 5_000.0)
    assert as_triple(credentials._read_cache(chosen, 5_001.0)) == ("AKIA", "s", "t")
    assert credentials._read_cache(chosen, 4_999.0) is None
    assert credentials._read_cache(chosen, 5_000.0 + 3_600) is None
    credentials._write_cache(chosen, Credential("AKIA", "s", "t", 6_000.0, "role"), 5_000.0)
    assert credentials._read_cache(chosen, 5_879.0) is not None
    assert credentials._read_cache(chosen, 5_880.0) is None
    credentials.forget(chosen)
    credentials._write_cache(chosen, Credential("AKIA", "s", "t", None, "static"), 5_000.0)
    assert list(folder.glob("credential-*")) == []


def test_the_cache_belongs_to_one_profile(keeping: Keeping) -> None:
    """A cached credential is not used for another profile."""
    chosen, _ = keeping
    credentials._write_cache(chosen, Credential("AKIA", "s", "t", 10_000.0, "role"), 5_000.0)
    other = make_settings({**chosen.environ}, "other")
    assert credentials._read_cache(other, 5_001.0) is None


@given(st.text(), st.sampled_from(["default", "profile x"]))
def test_no_text_makes_reading_fail(text: str, heading: str) -> None:
    """Reading a section from any text raises no error."""
    found = credentials.section_of(f"[{heading}]\n{text}", heading)
    assert all(name == name.strip() and "\n" not in found[name] for name in found)


@pytest.mark.parametrize("changed", ["a variable", "the file"])
def test_the_cache_is_used_for_the_same_environment_and_files_only(
    keeping: Keeping, tmp_path: Path, changed: str
) -> None:
    """A cached credential is not used after AWS's variables or files have changed."""
    chosen, _ = keeping
    credentials._write_cache(chosen, Credential("AKIA", "s", "t", 10_000.0, "role"), 5_000.0)
    assert credentials._read_cache(make_settings({**chosen.environ}, None), 5_001.0) is not None
    if changed == "the file":
        (tmp_path / "config").write_text("[default]\nrole_arn = arn:aws:iam::1:role/other\n")
        other = chosen
    else:
        other = make_settings({**chosen.environ, "AWS_ROLE_ARN": "arn:aws:iam::1:role/other"}, None)
    assert credentials._read_cache(other, 5_001.0) is None
