"""Credentials and settings of a running daemon: tokens, reload, both references, base paths."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.parts.daemon import CREDENTIAL, RunningDaemon
from tests.parts.raw import Raw
from tests.parts.signed import Signer, fresh_key, push, sign
from tests.sources.api.plan import CREDENTIALS, Plan, valid_push
from tests.sources.api.test_table import daemon_with, expect, send


@pytest.fixture
def daemon() -> Iterator[RunningDaemon]:
    """A daemon with the plan's credentials."""
    yield from daemon_with()


@pytest.fixture(scope="module")
def shared() -> Iterator[RunningDaemon]:
    """A daemon for tests that do not change it."""
    yield from daemon_with()


TOKEN = Signer("AKIATOKEN", token="to/k+en==")


@pytest.mark.parametrize("how", ["header", "query"])
@pytest.mark.parametrize("path", ["/", "/base/", "/a/../b//"])
@pytest.mark.parametrize("signer", [Signer(), TOKEN], ids=["lasting", "temporary"])
def test_header_and_query_signatures_verify(
    shared: RunningDaemon, how: str, path: str, signer: Signer
) -> None:
    """Header and query signing work with and without a session token, at any base path."""
    assert send(shared, Plan(how=how, path=path, signer=signer).call().raw()).code == ""


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:80", "[::1]:8060", "example.com.", "127.0.0.1:8060"]
)
def test_odd_hosts_verify_as_sent(shared: RunningDaemon, host: str) -> None:
    """The Host header is verified as it was sent, whatever its value is."""
    assert send(shared, sign(push().having("Host", host)).raw()).code == ""


def test_repeated_headers_and_folded_spaces_verify(shared: RunningDaemon) -> None:
    """A signature verifies over repeated headers, folded spaces and unknown X-Amz headers."""
    plan = Plan(headers=[("X-Repeated", "a  b"), ("X-Amz-User-Agent", "aws-sdk-js/3")])
    plan.headers.append(("X-Repeated", "  c\td  "))
    assert send(shared, plan.call().raw()).code == ""


@pytest.mark.parametrize(
    ("asked", "target"),
    [
        ("Action=SendSSHPublicKey", None),
        ("Action=SendSSHPublicKey&Version=2018-04-02", None),
        ("Version=2018%2D04%2d02", "AWSEC2InstanceConnectService.SendSSHPublicKey"),
        ("%41ction=Send%53SHPublicKey", "AWSEC2InstanceConnectService.SendSSHPublicKey"),
    ],
)
def test_the_action_in_the_query_verifies_as_sent(
    shared: RunningDaemon, asked: str, target: Any
) -> None:
    """Action and Version in the query string verify in the spelling in which they were sent."""
    assert send(shared, Plan(query=[asked], target=target).call().raw()).code == ""


def test_a_revoked_credential_stops_at_once(daemon: RunningDaemon) -> None:
    """After a reload a removed credential is unknown, also on open connections and in replays."""
    data = valid_push()
    with Raw(("127.0.0.1", daemon.http_port)) as raw:
        assert raw.send(data).answer().code == ""
        daemon.write_credentials(CREDENTIALS[1:])
        daemon.reload()
        expect(raw.send(valid_push()).answer(), "InvalidClientTokenId")
        expect(raw.send(data).answer(), "InvalidClientTokenId")
        assert raw.send(Plan(signer=TOKEN).call().raw()).answer().code == ""


def test_a_credential_is_disabled_and_enabled(daemon: RunningDaemon) -> None:
    """A reload disables a credential, and another one enables it again."""
    for enabled, code in ((False, "OptInRequired"), (True, "")):
        daemon.write_credentials([{**CREDENTIAL, "enabled": enabled}])
        daemon.reload()
        assert send(daemon, valid_push()).code == code


def break_mode(daemon: RunningDaemon) -> None:
    """Make the file readable by others."""
    daemon.credentials_file.chmod(0o644)


def break_text(daemon: RunningDaemon) -> None:
    """Write a file that is not YAML."""
    daemon.credentials_file.write_text("- {access_key_id: [\n")


def break_entry(daemon: RunningDaemon) -> None:
    """Write an entry with an unknown key, which might have been meant as a restriction."""
    daemon.write_credentials([{**CREDENTIAL, "disabled": True}])


def remove(daemon: RunningDaemon) -> None:
    """Remove the file."""
    os.unlink(daemon.credentials_file)


@pytest.mark.parametrize("breaking", [break_mode, break_text, break_entry, remove])
def test_a_bad_file_is_reported_and_the_old_one_stays(daemon: RunningDaemon, breaking: Any) -> None:
    """A reload of a bad file is refused on stderr and in the audit; the old credentials stay."""
    breaking(daemon)
    daemon.reload()
    record = daemon.await_audit(event="reload")
    assert record["outcome"] == "refused"
    assert str(daemon.credentials_file) in record["reason"]
    assert "not reloaded" in daemon.log()
    assert send(daemon, valid_push()).code == ""
    expect(send(daemon, Plan(signer=Signer("AKIANOBODY")).call().raw()), "InvalidClientTokenId")


def test_reference_current_needs_no_zone_and_takes_digits_first() -> None:
    """With `push.reference: current` the zone is optional but checked if given.

    OS users may begin with a digit, but not consist of digits.
    """
    for daemon in daemon_with(push={"reference": "current"}):
        plan = Plan()
        del plan.members["AvailabilityZone"]
        plan.members.update(InstanceOSUser="1user", SSHPublicKey=fresh_key())
        assert send(daemon, plan.call().raw()).code == ""
        expect(
            send(daemon, valid_push(AvailabilityZone="us-east-2c")), "EC2InstanceNotFoundException"
        )
        expect(send(daemon, valid_push(InstanceOSUser="12345")), "InvalidArgsException")
