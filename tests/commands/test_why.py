"""sixtykey why explains each of the common mistakes, which the tests really make."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.parts.command import run, run_as
from tests.parts.daemon import CREDENTIAL, RunningDaemon
from tests.parts.helper import ask_helper
from tests.parts.host import IS_ROOT, helper_group, work_directory
from tests.parts.keys import KeyPair, make_key
from tests.parts.pushers import Pushed, Target, push_with_boto3

LIMITED = {
    **CREDENTIAL,
    "access_key_id": "LIMITED0000000000000",
    "allow": {"os_users": ["deploy"], "instances": ["i-0f*"], "sources": ["127.0.0.1/32"]},
}


@pytest.fixture(scope="module")
def host() -> Iterator[RunningDaemon]:
    """A daemon with a low rate, and with one narrow credential."""
    config = {"push": {"rate": {"per_credential": 5, "total": 200}}}
    with (
        work_directory() as folder,
        RunningDaemon(folder, config=config, credentials=[CREDENTIAL, LIMITED]) as running,
    ):
        yield running


@pytest.fixture(scope="module")
def other(directory: Path) -> KeyPair:
    """Another key pair."""
    return make_key(directory, "other_key")


def why(host: RunningDaemon, os_user: str, *more: str) -> str:
    """The output for a user, without the lines about the account."""
    done = run("why", os_user, *more, "--socket", host.push_socket)
    assert done.code == 0, done
    lines = done.out.splitlines()
    while lines and lines[0].startswith(("! this host", "    -> log in as an existing user")):
        lines = lines[1:]
    return "\n".join(lines)


def push(host: RunningDaemon, os_user: str, key: KeyPair, **changes: Any) -> Pushed:
    """Push with boto3, with some members changed."""
    target = Target(**{**Target.of(host).__dict__, **changes})
    return push_with_boto3(target, os_user, key.line)


def test_an_unknown_user_says_how_long_decisions_are_kept(host: RunningDaemon) -> None:
    """For a user without any decision, the output says so and the exit code is 1."""
    done = run("why", "root", "--socket", host.push_socket)
    assert (done.code, done.err) == (1, "")
    assert "no push for root and no lookup by sshd" in done.out


def test_why_reports_that_sshd_has_not_asked(host: RunningDaemon, key: KeyPair) -> None:
    """When sshd has not asked since the push, the output says so and names `sixtykey check`."""
    push(host, "unasked", key)
    done = run("why", "unasked", "--socket", host.push_socket)
    assert "! sshd has not asked for a key of this user since then" in done.out
    assert "sixtykey check unasked" in done.out
    ask_helper(host.lookup_socket, "unasked", key.fingerprint())
    done = run("why", "unasked", "--socket", host.push_socket)
    assert "has not asked for a key" not in done.out


def test_why_shows_a_push_and_its_lookup(host: RunningDaemon, key: KeyPair) -> None:
    """The output shows newest first that a key was given to sshd, and who pushed it."""
    pushed = push(host, "good", key)
    ask_helper(host.lookup_socket, "good", key.fingerprint())
    ask_helper(host.lookup_socket, "good", key.fingerprint())
    text = why(host, "good")
    live, given, _, first, *_ = text.splitlines()
    assert live.startswith(f"live now: {key.fingerprint()} (ssh-ed25519), pushed by AKIAIOSFODNN7")
    assert re.match(r"\d\d:\d\d:\d\d  \d+ s ago, 2 times: ", given)
    assert given.endswith(f"asked for {key.fingerprint()}: given (request {pushed.request_id})")
    assert f"key {key.fingerprint()} pushed by AKIAIOSFODNN7EXAMPLE from 127.0.0.1 (Boto3" in first
    assert first.endswith(f"accepted (request {pushed.request_id})")


def test_the_wrong_key_is_shown_beside_the_right_one(
    host: RunningDaemon, key: KeyPair, other: KeyPair
) -> None:
    """A login with the wrong key shows both fingerprints and how to use the right key."""
    push(host, "wrongkey", key)
    ask_helper(host.lookup_socket, "wrongkey", other.fingerprint())
    text = why(host, "wrongkey")
    assert f"sshd asked for {other.fingerprint()}, but the key pushed" in text
    assert f" for this user was {key.fingerprint()} " in text
    assert "-> log in with the key that was pushed (ssh -i FILE -o IdentitiesOnly=yes)" in text


def test_a_wrong_key_before_the_right_one_gives_no_advice(
    host: RunningDaemon, key: KeyPair, other: KeyPair
) -> None:
    """A wrong key followed by the right one gives no advice."""
    push(host, "several", key)
    ask_helper(host.lookup_socket, "several", other.fingerprint())
    ask_helper(host.lookup_socket, "several", key.fingerprint())
    assert "IdentitiesOnly" not in why(host, "several")


def test_a_login_after_the_end_says_how_late_it_was(key: KeyPair) -> None:
    """A login after the key's end shows how late it was and advises a new push."""
    with (
        work_directory() as folder,
        RunningDaemon(folder, config={"keys": {"lifetime": 1}}) as quick,
    ):
        push(quick, "late", key)
        time.sleep(1)
        while run("list", "late", "--json", "--socket", quick.push_socket).json["Leases"]:
            time.sleep(0.1)
        ask_helper(quick.lookup_socket, "late", key.fingerprint())
        text = why(quick, "late")
    fingerprint = re.escape(key.fingerprint())
    assert re.search(rf"asked for {fingerprint}, too late: that key had expired \d+ s ago", text)
    assert "-> push it again, and log in before it expires" in text


def test_a_revoked_key_says_by_whom(host: RunningDaemon, key: KeyPair) -> None:
    """A login with a revoked key shows that it was revoked, and by whom."""
    push(host, "ended", key)
    run("revoke", "ended", "--socket", host.push_socket)
    ask_helper(host.lookup_socket, "ended", key.fingerprint())
    asked, _, revoked, *_ = why(host, "ended").splitlines()
    assert f"sshd asked for {key.fingerprint()}: that key had been revoked " in asked
    assert re.search(r": revoked by \S+ \(uid:\d+\): 1 key$", revoked)


def test_a_wrong_user_is_reported_with_the_right_one(host: RunningDaemon, other: KeyPair) -> None:
    """A login as the wrong user names the user for whom the key was pushed."""
    push(host, "meant", other)
    ask_helper(host.lookup_socket, "taken", other.fingerprint())
    text = why(host, "taken")
    assert f"sshd asked for {other.fingerprint()}, and no key had been pushed for taken" in text
    assert "this key was pushed for meant" in text
    assert "-> log in as meant, or push it for taken" in text


MISTAKES = {
    "wrong secret": (
        {"secret_access_key": "wrong" * 8},
        "AuthException",
        r"the secret access key that the client signs with is not the one .* AKIAIOSFODNN7EXAMPLE",
    ),
    "unknown access key": (
        {"access_key_id": "AKIANOBODY0000000000"},
        "InvalidClientTokenId",
        r"the client uses an access key that this host does not know",
    ),
    "wrong instance": (
        {"instance_id": "i-00000000000000001"},
        "EC2InstanceNotFoundException",
        r"asked for i-00000000000000001; this host is i-0f1e2d3c4b5a69788 in us-east-2b",
    ),
    "wrong zone": (
        {"availability_zone": "us-east-2c"},
        "EC2InstanceNotFoundException",
        r"-> this host is i-0f1e2d3c4b5a69788 in us-east-2b",
    ),
    "wrong region": (
        {"region": "eu-west-1"},
        "IncompleteSignature",
        r"the client has to sign for region us-east-2",
    ),
    "not allowed for the user": (
        {"access_key_id": "LIMITED0000000000000"},
        "AccessDeniedException",
        r"allow\.os_users, or keys\.deny_users .* sixtykey credentials list",
    ),
    "not allowed for the instance": (
        {"access_key_id": "LIMITED0000000000000", "instance_id": "i-00000000000000001"},
        "AuthException",
        r"allow\.instances: sixtykey credentials list",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_refused_push_is_explained(host: RunningDaemon, key: KeyPair, mistake: str) -> None:
    """A refused push is shown for the user it named, with the error and what to do."""
    changes, code, hint = MISTAKES[mistake]
    os_user = re.sub(r"\W", "", mistake)
    pushed = push(host, os_user, key, **changes)
    assert pushed.code == code, pushed
    text = why(host, os_user)
    assert f": refused, {code}: " in text
    assert re.search(hint, text), text
    (record,) = run("why", os_user, "--json", "--socket", host.push_socket).json["Decisions"]
    assert record["outcome"] == code
    assert record["words"] in text


def test_a_throttled_push_names_the_settings(key: KeyPair) -> None:
    """A throttled push is shown with the setting that limits the rate."""
    config = {"push": {"rate": {"per_credential": 1, "total": 200}}}
    with work_directory() as folder, RunningDaemon(folder, config=config) as slow:
        words = ("push", "eager", str(key.public), "--socket", slow.push_socket)
        with ThreadPoolExecutor(8) as pool:
            while all(done.code == 0 for done in pool.map(lambda _: run(*words), range(8))):
                pass  # A slow machine may need another round to exceed the rate.
        text = why(slow, "eager")
    assert "refused, ThrottlingException: " in text
    assert "-> wait, or raise push.rate" in text


def test_a_named_key_leaves_others_out(host: RunningDaemon, key: KeyPair, other: KeyPair) -> None:
    """With a key given, decisions about other keys are left out."""
    push(host, "both", key)
    push(host, "both", other)
    text = why(host, "both", str(other.public))
    decisions = "\n".join(line for line in text.splitlines() if not line.startswith("live now"))
    assert other.fingerprint() in decisions
    assert key.fingerprint() not in decisions


def test_a_user_unknown_to_the_host_is_reported(host: RunningDaemon) -> None:
    """A user unknown to the host is reported by the command itself."""
    done = run("why", "no-such-user", "--socket", host.push_socket)
    assert done.out.startswith("! this host has no user no-such-user: sshd asks for no key")
    (finding,) = run("why", "no-such-user", "--json", "--socket", host.push_socket).json["Findings"]
    assert finding["Name"] == "user-unknown"


@pytest.mark.skipif(not IS_ROOT, reason="only root can become somebody else")
def test_only_the_group_may_ask_why(host: RunningDaemon, user: str) -> None:
    """A member of the group may ask, other users may not, and the question is recorded."""
    assert run_as(user, "why", "good", "--socket", host.push_socket, group=helper_group()).code == 0
    assert run_as(user, "why", "good", "--socket", host.push_socket).code == 4
    assert host.await_audit(event="why", outcome="allowed", os_user="good")
