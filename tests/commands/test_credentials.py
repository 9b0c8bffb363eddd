"""sixtykey credentials: new keys work at once, and the file stays safe."""

from __future__ import annotations

import configparser
import grp
import json
import os
import re
import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.sources.api import credentials
from tests.parts.command import Done, run, run_as
from tests.parts.daemon import CREDENTIAL, RunningDaemon
from tests.parts.host import IS_ROOT, helper_group, tool, work_directory
from tests.parts.keys import KeyPair
from tests.parts.pushers import Target, push_with_boto3


@pytest.fixture
def host() -> Iterator[RunningDaemon]:
    """A daemon with its own credentials file."""
    with work_directory() as folder, RunningDaemon(folder) as running:
        yield running


def change(host: RunningDaemon, *words: str) -> Done:
    """Run `sixtykey credentials` with the daemon's configuration."""
    return run("credentials", *words, "--config", str(host.config_file))


def test_a_new_key_works_at_once_with_the_real_cli(host: RunningDaemon, key: KeyPair) -> None:
    """The printed profile lets the AWS CLI push for the allowed user, and for no other."""
    done = change(host, "add", "--user", "deploy", "--profile", "mine")
    assert (done.code, done.err) == (0, "")
    home = host.directory / "home"
    (home / ".aws").mkdir(parents=True)
    (home / ".aws" / "config").write_text(done.out)
    command = [
        tool("aws", "awscli"), "--profile", "mine", "ec2-instance-connect", "send-ssh-public-key",
        "--instance-id", host.instance_id, "--availability-zone", host.availability_zone,
        "--ssh-public-key", f"file://{key.public}", "--instance-os-user",
    ]  # fmt: skip
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "LC_ALL": "C.UTF-8"}
    outcomes = [
        subprocess.run(
            [*command, name],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        for name in ("deploy", "root")
    ]
    assert outcomes[0].returncode == 0, outcomes
    assert "AccessDeniedException" in outcomes[1].stderr


def test_the_secret_is_shown_once_and_is_random(host: RunningDaemon) -> None:
    """Key ids and secrets are random, and only `add` ever shows a secret."""
    made = [change(host, "add", "--user", "a", "--json").json for _ in range(2)]
    for each in made:
        assert re.fullmatch(r"S60K[A-Z2-7]{16}", each["AccessKeyId"])
        assert re.fullmatch(r"[A-Za-z0-9]{40}", each["SecretAccessKey"])
        assert (each["Endpoint"], each["Reloaded"]) == (host.endpoint, True)
    assert made[0]["SecretAccessKey"] != made[1]["SecretAccessKey"]
    listed = change(host, "list").out + change(host, "list", "--json").out
    assert all(each["AccessKeyId"] in listed for each in made)
    assert not any(each["SecretAccessKey"] in listed + host.log() for each in made)
    assert not any(each["SecretAccessKey"] in str(host.audit()) for each in made)


def test_allow_has_the_given_rules(host: RunningDaemon) -> None:
    """The file has every --user, --instance and --source that was given."""
    words = ["--user", "deploy", "--user", "web-*", "--instance", "i-0f*", "--source", "10.0.0.0/8"]
    done = change(host, "add", *words, "--source", "::1/128", "--expires", "2099-01-01T00:00:00Z")
    assert done.code == 0, done
    *_, made = credentials.load(str(host.credentials_file))
    assert made.allow.os_users == ("deploy", "web-*")
    assert made.allow.instances == ("i-0f*",)
    assert [str(network) for network in made.allow.sources] == ["10.0.0.0/8", "::1/128"]
    row = change(host, "list").out.splitlines()[-1]
    assert "until 2099-01-01T00:00:00Z" in row
    assert "deploy, web-*" in row


def test_list_shows_the_rules_for_keys_and_tags(host: RunningDaemon) -> None:
    """`list` shows each credential's tags and key rules, in the table and in JSON."""
    keys = {"lifetime": 30, "uses": "once", "pin_source": True, "options": ["pty", "restrict"]}
    allow = {"os_users": ["deploy"], "tags": {"role": ["web", "db"]}}
    host.write_credentials(
        [CREDENTIAL, {**CREDENTIAL, "access_key_id": "AKIA2", "allow": allow, "keys": keys}]
    )
    first, second = change(host, "list", "--json").json["Credentials"]
    none: dict[str, Any] = {"Lifetime": None, "Uses": None, "PinSource": False, "Options": []}
    assert (first["Tags"], first["Keys"]) == ({}, none)
    assert second["Tags"] == {"role": ["web", "db"]}
    assert second["Keys"] == {
        "Lifetime": 30, "Uses": "once", "PinSource": True, "Options": ["restrict", "pty"],
    }  # fmt: skip
    rows = change(host, "list").out.splitlines()
    assert rows[1].endswith("as the host's")
    assert "*, role=web|db" in rows[2]
    assert rows[2].endswith("30 s, once, only from the pusher's address, restrict, pty")


def test_a_rule_wider_than_the_hosts_is_reported(host: RunningDaemon) -> None:
    """A credential whose lifetime exceeds the host's is an error for every command."""
    config = json.loads(json.dumps(host.defaults()))
    config["keys"] = {"lifetime": 30}
    host.config_file.write_text(json.dumps(config))
    host.write_credentials([{**CREDENTIAL, "keys": {"lifetime": 31}}])
    for words in (["list"], ["add", "--user", "a"], ["remove", CREDENTIAL["access_key_id"]]):
        done = change(host, *words)
        assert (done.code, done.out) == (1, "")
        assert "[0].keys.lifetime: must be a whole number from 1 to 30" in done.err


def test_removed_is_refused_at_once(host: RunningDaemon, key: KeyPair) -> None:
    """A removed credential is refused by the next push."""
    target = Target.of(host)
    assert push_with_boto3(target, "alice", key.line).ok
    done = change(host, "remove", CREDENTIAL["access_key_id"])
    assert (done.code, done.err) == (0, "")
    assert push_with_boto3(target, "alice", key.line).code == "InvalidClientTokenId"
    assert host.await_audit(event="reload", outcome="allowed")["principal"].startswith("uid:")
    assert change(host, "list").out.startswith("there is no access key")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["add"], 2, "--user NAME"),
        (["add", "alice"], 2, "--user A --user B"),
        (["add", "--user", "a", "--source", "here"], 1, "sources[0]"),
        (["add", "--user", "a", "--expires", "soon"], 1, "expires"),
        (["remove"], 2, "ACCESS_KEY_ID is missing"),
        (["remove", "S60KNOBODY"], 1, "there is no access key S60KNOBODY"),
    ],
)
def test_mistakes_leave_the_file_as_it_was(
    host: RunningDaemon, words: list[str], code: int, said: str
) -> None:
    """A mistake is reported, and the file is not changed."""
    before = host.credentials_file.read_bytes(), host.credentials_file.stat().st_ino
    done = change(host, *words)
    assert (done.code, done.out) == (code, "")
    assert said in done.err
    after = host.credentials_file.read_bytes(), host.credentials_file.stat().st_ino
    assert after == before


def test_without_a_daemon_the_file_is_written_all_the_same(host: RunningDaemon) -> None:
    """With the daemon away, the file is written and the message says when it is read."""
    host.stop()
    done = change(host, "add", "--user", "a")
    assert done.code == 0
    assert "it will read the file when it starts" in done.err
    assert "aws_secret_access_key = " in done.out


def test_owner_and_mode_stay(host: RunningDaemon) -> None:
    """The replaced file keeps owner, group and mode, and no temporary file is left."""
    path = host.credentials_file
    group = grp.getgrnam(helper_group()).gr_gid
    os.chown(path, -1, group)
    path.chmod(0o640)
    before, number = path.stat(), path.stat().st_ino
    assert change(host, "add", "--user", "a").code == 0
    after = path.stat()
    assert (after.st_uid, after.st_gid, after.st_mode) == (
        before.st_uid, group, before.st_mode,
    )  # fmt: skip
    assert after.st_ino != number, "it is replaced in one step, not written in place"
    assert list(path.parent.glob("credentials.yaml?*")) == []


def test_a_new_file_is_for_nobody_else(host: RunningDaemon) -> None:
    """A new file has mode 0640 for the group sixtykey if root makes it and the group exists.

    Otherwise its mode is 0600.
    """
    host.credentials_file.unlink()
    assert change(host, "add", "--user", "a").code == 0
    status = host.credentials_file.stat()
    names = {group.gr_name for group in grp.getgrall()}
    expected = 0o640 if IS_ROOT and "sixtykey" in names else 0o600
    assert stat.S_IMODE(status.st_mode) == expected


def test_ten_at_once_are_all_there(host: RunningDaemon) -> None:
    """Ten simultaneous additions are all in the file."""
    threads = [
        threading.Thread(target=change, args=(host, "add", "--user", f"user{number}"))
        for number in range(10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    users = {each.allow.os_users[0] for each in credentials.load(str(host.credentials_file))}
    assert {f"user{number}" for number in range(10)} <= users


def test_without_a_network_listener_it_says_what_is_missing(directory: Path) -> None:
    """On a host without push.http, the key is made and the missing setting is named."""
    path = directory / "fresh.yaml"
    path.write_text(f"push: {{credentials: {directory}/new.yaml, socket: {directory}/no.sock}}\n")
    done = run("credentials", "add", "--user", "deploy", "--config", str(path))
    assert done.code == 0
    assert "push.http is not in the configuration" in done.err
    assert "endpoint_url = http://127.0.0.1:8060" in done.out
    parsed = configparser.ConfigParser()
    parsed.read_string(done.out)
    assert list(parsed["profile sixtykey"])[:2] == ["region", "endpoint_url"]


@pytest.mark.skipif(not IS_ROOT, reason="only root can become somebody else")
def test_only_root_may_change_credentials(host: RunningDaemon, user: str) -> None:
    """An ordinary user is refused and told to use root, and the file is not changed."""
    before = host.credentials_file.read_bytes()
    for words in (["list"], ["add", "--user", "a"], ["remove", CREDENTIAL["access_key_id"]]):
        done = run_as(user, "credentials", *words, "--config", str(host.config_file))
        assert (done.code, done.out) == (4, "")
        assert "sudo sixtykey" in done.err
    assert host.credentials_file.read_bytes() == before
