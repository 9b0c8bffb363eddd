"""Keys pushed through EC2's own API, through sixtykeyd-ec2 and sixtykeyd to a real sshd."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Callable

import pytest

from tests.parts.daemon import PATIENCE
from tests.parts.ec2_process import RunningEc2, find, lookup
from tests.parts.ec2_signer import CALLER, REQUEST, Ec2Signer
from tests.parts.host import login_user
from tests.parts.keys import KeyPair, make_key
from tests.parts.leases import ed25519_line
from tests.parts.pushers import Target, push_with_boto3
from tests.parts.sshd import RunningSshd
from tests.sources.metadata.whole import Host, complete, host


@pytest.fixture
def whole(signer: Ec2Signer) -> Iterator[Host]:
    """A running host with all its processes."""
    with complete(signer) as made:
        yield made


def logs_in(at: Host, sshd: RunningSshd, user: str, key: KeyPair) -> bool:
    """Whether sshd accepts the key; fails unless it was accepted or refused."""
    login = sshd.login(user, key)
    assert login.accepted or login.refused, f"{login.message}\n{sshd.log()}\n{at.daemon.log()}"
    return login.accepted


def gets_in(at: Host, sshd: RunningSshd, user: str, key: KeyPair) -> None:
    """Log in; again if refused, as a user would whose key came later than sshd's helper waits."""
    deadline = time.monotonic() + PATIENCE
    while not logs_in(at, sshd, user, key):
        assert time.monotonic() < deadline, f"{sshd.log()}\n{at.daemon.log()}"


def await_why(at: Host, user: str, words: str) -> None:
    """Wait until `sixtykey why` says so: an answer may come after its lookup has ended."""
    deadline = time.monotonic() + PATIENCE
    while words not in (said := at.why(user)):
        assert time.monotonic() < deadline, said


def test_a_pushed_key_logs_in_and_is_a_lease_like_any_other(whole: Host) -> None:
    """A key pushed through EC2's API logs in, is listed and traced, and stays revoked."""
    key, other = make_key(whole.folder, "key"), make_key(whole.folder, "other")
    sshd_folder = whole.folder / "sshd"
    sshd_folder.mkdir(mode=0o755)
    with login_user() as user, RunningSshd(sshd_folder, whole.daemon.lookup_socket) as sshd:
        assert not logs_in(whole, sshd, user, key)
        whole.data.set_keys(user, whole.signer.block(key.line))
        assert not logs_in(whole, sshd, user, other)
        gets_in(whole, sshd, user, key)
        assert logs_in(whole, sshd, user, key)
        pushed = whole.daemon.await_audit(event="push", outcome="allowed")
        assert (pushed["principal"], pushed["upstream_id"]) == (CALLER, REQUEST)
        given = whole.daemon.await_audit(event="lookup", outcome="given")
        assert given["request_id"] == pushed["request_id"]
        assert key.fingerprint() in whole.command("list")
        assert f"pushed by {CALLER} through EC2's own API: accepted" in whole.why(user)
        whole.command("revoke", user)
        assert not logs_in(whole, sshd, user, key)
        assert len(whole.daemon.audit(event="push")) == 1
        assert "revoked" in whole.why(user)


def show_another_name(at: Host) -> None:
    """Show the signer of another region in the metadata."""
    at.signer.issue_signer("wrong", "managed-ssh-signer.us-east-1.amazonaws.com")
    at.data.set_signer(at.signer, "wrong", "intermediate")


def show_a_revocation(at: Host) -> None:
    """Show in the metadata that the signer's certificate is revoked."""
    revoked = at.signer.answer("signer", "intermediate", status="R")
    at.data.set_signer(at.signer, answers={**at.signer.answers(), "signer": revoked})


BAD_SIGNERS: dict[str, Callable[[Host], None]] = {
    "CN": show_another_name,
    "chain": lambda at: at.data.set_signer(at.signer, "signer", "old-root"),
    "OCSP": show_a_revocation,
}


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("signature", "signature does not verify"), ("instance", "not for this instance"),
        ("time", "it expired at"), ("CN", "is for"), ("chain", "not its issuer's"),
        ("OCSP", "is revoked"), ("CRLF", "carriage returns"), ("cut", "no line feed"),
    ],
)  # fmt: skip
def test_a_corrupted_block_lets_nobody_in_and_why_says_so(
    signer: Ec2Signer, what: str, reason: str
) -> None:
    """A corrupted block gives no login, `sixtykey why` says why, and other keys log in."""
    with host(signer) as at, login_user() as user:
        bad, good = make_key(at.folder, "bad"), make_key(at.folder, "good")
        block = signer.block(bad.line)
        changed = {
            "signature": block.replace(b"#Caller=arn", b"#Caller=Arn"),
            "instance": signer.block(bad.line, instance="i-00000000000000001"),
            "time": signer.block(bad.line, expires=time.time() - 1),
            "CRLF": block.replace(b"\n", b"\r\n"),
            "cut": block.rstrip(b"\n"),
        }
        if what in BAD_SIGNERS:
            BAD_SIGNERS[what](at)
        at.data.set_keys(user, signer.block(good.line), changed.get(what, block))
        folder = at.folder / "sshd"
        folder.mkdir(mode=0o755)
        with RunningEc2(at.daemon), RunningSshd(folder, at.daemon.lookup_socket) as sshd:
            assert not logs_in(at, sshd, user, bad)
            await_why(at, user, reason)
            if what in changed:
                gets_in(at, sshd, user, good)
            else:
                assert not logs_in(at, sshd, user, good)
            assert not logs_in(at, sshd, user, bad)


# The last one answers properly, but for another host.
MISBEHAVIOUR: list[dict[str, Any]] = [
    {"delay": 3}, {"drop": True}, {"status": 500}, {"status": 302}, {"raw": "SSH-2.0-x\r\n"},
    {"raw": "HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n#Timestamp=1\n"}, {},
]  # fmt: skip


def test_the_metadata_keeps_nobody_out_who_has_an_ordinary_key(whole: Host) -> None:
    """A misbehaving metadata service stops neither local pushes nor authorized_keys."""
    pushed, filed = make_key(whole.folder, "pushed"), make_key(whole.folder, "filed")
    keys_file = whole.folder / "authorized_keys"
    keys_file.write_text(filed.line + "\n")
    settings = [f"AuthorizedKeysFile {keys_file}", "StrictModes no"]
    sshd_folder = whole.folder / "sshd"
    sshd_folder.mkdir(mode=0o755)
    with (
        login_user() as user,
        RunningSshd(sshd_folder, whole.daemon.lookup_socket, settings=settings) as sshd,
    ):
        for how in MISBEHAVIOUR:
            whole.data.behave(**how)
            if not how:
                whole.data.write("instance-id", "i-00000000000000001")
            assert push_with_boto3(Target.of(whole.daemon), user, pushed.line).ok
            assert logs_in(whole, sshd, user, pushed)
            assert logs_in(whole, sshd, user, filed)
        status = whole.status()["Sources"]["ec2"]
        assert status["Attached"]
    assert whole.daemon.process is not None
    assert whole.daemon.process.poll() is None


# The second is reported in words of more than 64 KiB, if they quote it.
@pytest.mark.parametrize("how", [{"drop": True}, {"raw": "\x01" * 16_000 + "\r\n\r\n"}])
def test_an_absent_metadata_service_is_reported_and_not_waited_for(
    whole: Host, how: dict[str, Any]
) -> None:
    """A failing metadata service is reported in log, status and metrics until it recovers."""
    whole.data.behave(**how)
    assert lookup(whole.daemon, "alice\n").strip() == b""
    deadline = time.monotonic() + 30
    while whole.status()["Sources"]["ec2"]["Problem"] is None:
        assert time.monotonic() < deadline
    assert 'sixtykey_source_usable{source="ec2"} 0' in whole.command("status", "--metrics")
    assert "NOT ASKED" in whole.command("status")
    assert "keys that EC2's own API pushes do not arrive: it" in whole.why("alice")
    assert "source ec2: not usable" in whole.daemon.log()
    whole.data.set_keys("alice", whole.signer.block(ed25519_line(1)))
    whole.data.behave()
    while whole.status()["Sources"]["ec2"]["Problem"] is not None:
        assert time.monotonic() < deadline
    assert "do not arrive" not in whole.why("alice")
    find(whole.daemon, "alice", ed25519_line(1))
    assert 'sixtykey_source_usable{source="ec2"} 1' in whole.command("status", "--metrics")


def test_a_daemon_that_is_started_anew_is_found_again(whole: Host) -> None:
    """sixtykeyd-ec2 reconnects to a restarted daemon; old leases live on, revoked ones do not."""
    whole.data.set_keys("alice", whole.signer.block(ed25519_line(1)))
    whole.data.set_keys("bob", whole.signer.block(ed25519_line(2)))
    before = find(whole.daemon, "alice", ed25519_line(1))
    find(whole.daemon, "bob", ed25519_line(2))
    whole.command("revoke", "bob")
    whole.daemon.kill()
    whole.daemon.start()
    deadline = time.monotonic() + 30
    while whole.daemon.log().count("source ec2: lookups wait") < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert lookup(whole.daemon, "alice\n") == before  # from the table, which asks nobody
    assert lookup(whole.daemon, "bob\n").strip() == b""
    assert len(whole.daemon.audit(event="push", outcome="allowed")) == 2


def test_a_source_that_was_killed_costs_a_lookup_nothing(signer: Ec2Signer) -> None:
    """After a source was killed lookups do not wait, and a new one takes its place."""
    with host(signer) as made:
        made.data.set_keys("alice", signer.block(ed25519_line(1)))
        with RunningEc2(made.daemon) as source:
            assert source.process is not None
            source.process.kill()
            source.process.wait()
            deadline = time.monotonic() + 30
            while made.status()["Sources"]["ec2"]["Attached"]:
                assert time.monotonic() < deadline
            assert lookup(made.daemon, "alice\n").strip() == b""
        with RunningEc2(made.daemon):
            find(made.daemon, "alice", ed25519_line(1))


def test_a_second_source_takes_the_place_of_the_first(whole: Host) -> None:
    """A second source replaces the first, as at an upgrade."""
    whole.data.set_keys("alice", whole.signer.block(ed25519_line(1)))
    with RunningEc2(whole.daemon):
        find(whole.daemon, "alice", ed25519_line(1))
        assert "another connection has replaced it" in whole.daemon.log()
