"""Requests to a real daemon: which are retried, and what an error tells the user."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.client import https, settings
from agent.client.api import PUSH, Api, url_of
from agent.client.sigv4 import Credential
from agent.client.trouble import AWAY, FORBIDDEN, REFUSED, Trouble
from tests.parts.daemon import CREDENTIAL, INSTANCE_ID, REGION, ZONE, RunningDaemon
from tests.parts.host import free_port, work_directory
from tests.parts.signed import fresh_key

RIGHT = Credential(
    CREDENTIAL["access_key_id"], CREDENTIAL["secret_access_key"], origin="test"
)  # fmt: skip


@pytest.fixture(scope="module")
def daemon() -> Iterator[RunningDaemon]:
    """A host that accepts one push a second, and none for root."""
    config = {
        "push": {"rate": {"per_credential": 1, "total": 100}},
        "keys": {"deny_users": ["root"]},
    }
    expired = {**CREDENTIAL, "access_key_id": "AKIAEXPIRED", "expires": "2020-01-01T00:00:00Z"}
    with work_directory() as folder:
        known = [CREDENTIAL, expired]
        with RunningDaemon(folder, config=config, credentials=known) as running:
            yield running


def api(endpoint: str, credential: Credential = RIGHT, **given: str) -> Api:
    """An endpoint, asked with a credential."""
    chosen = settings.load({"HOME": "/nonexistent"}, {"endpoint": endpoint, **given})
    return Api(chosen, credential, REGION)


def push(asked: Api, **changes: Any) -> dict[str, Any]:
    """Push a fresh key."""
    members = {
        "InstanceId": INSTANCE_ID, "AvailabilityZone": ZONE, "InstanceOSUser": "ec2-user",
        "SSHPublicKey": fresh_key(), **changes,
    }  # fmt: skip
    return asked.ask(PUSH, members)


def test_throttled_pushes_are_tried_again(daemon: RunningDaemon) -> None:
    """A throttled push is signed again and retried after the time that the host states."""
    asked = api(daemon.endpoint)
    for _ in range(3):
        assert push(asked)["Success"] is True
    assert len(daemon.audit(outcome="ThrottlingException")) >= 1


def test_the_same_push_twice_in_a_second_is_two(daemon: RunningDaemon) -> None:
    """Two equal pushes in one second are two requests, since each has its own signature."""
    asked, key = api(daemon.endpoint), fresh_key()
    ids = {push(asked, SSHPublicKey=key)["RequestId"] for _ in range(2)}
    assert len(ids) == 2


@pytest.mark.parametrize(
    ("credential", "changes", "exit_code", "code", "hint"),
    [
        (Credential("AKIANOBODY", "x" * 40), {}, FORBIDDEN, "InvalidClientTokenId", "profile"),
        (Credential("AKIAEXPIRED", RIGHT.secret_access_key), {}, FORBIDDEN, "OptInRequired",
         "disabled or expired"),
        (Credential(RIGHT.access_key_id, "x" * 40), {}, FORBIDDEN, "AuthException", "secret"),
        (RIGHT, {"InstanceOSUser": "root"}, FORBIDDEN, "AccessDeniedException", "allow.os_users"),
        (RIGHT, {"InstanceId": "i-00000000000000000"}, REFUSED, "EC2InstanceNotFoundException",
         "sixtykey hosts"),
        (RIGHT, {"SSHPublicKey": "ssh-ed25519 " + "A" * 70}, REFUSED, "InvalidArgsException",
         "keys.types"),
    ],
)  # fmt: skip
def test_an_error_says_what_to_do(
    daemon: RunningDaemon,
    credential: Credential,
    changes: dict[str, str],
    exit_code: int,
    code: str,
    hint: str,
) -> None:
    """An error has an exit code, a code, a message and a hint, and never contains the secret."""
    with pytest.raises(Trouble) as refused:
        push(api(daemon.endpoint, credential), **changes)
    trouble = refused.value
    assert (trouble.exit_code, trouble.code) == (exit_code, code)
    assert f"the push was refused, {code}: " in trouble.words
    assert hint in trouble.hint
    assert f"asked: {daemon.endpoint} as {credential.access_key_id}" in trouble.hint
    assert credential.secret_access_key not in trouble.words + trouble.hint


def test_a_host_that_takes_no_ed25519_is_reported() -> None:
    """A refusal by a host that accepts only RSA keys has a hint that names keys.types."""
    config = {"keys": {"types": ["ssh-rsa"]}}
    with (
        work_directory() as folder,
        RunningDaemon(folder, config=config) as strict,
        pytest.raises(Trouble) as refused,
    ):
        push(api(strict.endpoint))
    assert refused.value.code == "InvalidArgsException"
    assert "keys.types" in refused.value.hint


def test_a_clock_difference_is_reported(
    daemon: RunningDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An expired request's error says how far the clocks are apart, and how to set them."""
    now = time.time
    for shift, side in ((3600, "ahead of"), (-7200, "behind")):
        monkeypatch.setattr(time, "time", lambda shift=shift: now() + shift)
        with pytest.raises(Trouble) as refused:
            push(api(daemon.endpoint))
        assert refused.value.code == "RequestExpired"
        told = re.search(rf"(\d+) s {side} this host's clock", refused.value.words)
        assert told is not None
        assert int(told[1]) == pytest.approx(abs(shift), abs=60)
        assert "timedatectl" in refused.value.hint


def test_an_endpoint_that_lists_no_hosts_is_reported(daemon: RunningDaemon) -> None:
    """An endpoint without the requested action is an error that points to client.yaml."""
    with pytest.raises(Trouble) as refused:
        api(daemon.endpoint).ask("Sixtykey.Other", {})
    assert "set instance, zone and address" in refused.value.hint


def test_an_absent_endpoint_is_reported(daemon: RunningDaemon) -> None:
    """A closed port, or TLS to a port without TLS, is reported as an endpoint that is away."""
    with pytest.raises(Trouble, match="Connection refused") as refused:
        push(api(f"http://127.0.0.1:{free_port()}"))
    assert refused.value.exit_code == AWAY
    with pytest.raises(Trouble) as refused:
        push(api(f"https://127.0.0.1:{daemon.http_port}"))
    assert refused.value.exit_code == AWAY


def test_a_request_is_never_sent_in_clear_over_a_network() -> None:
    """Plain http is refused for any address but loopback, before anything is sent."""
    with pytest.raises(Trouble, match="could be read and changed"):
        api("http://keys.example:8060")
    api("http://[::1]:8060")


@pytest.mark.parametrize(
    "url", ["", "x", "ftp://a", "http://", "https://a:b", "https://u:p@a/", "https://:1"]
)
def test_an_invalid_url_is_refused(url: str) -> None:
    """An endpoint that is not a URL is refused, with an example of one."""
    with pytest.raises(Trouble, match="is not a URL such as"):
        https.Address(url)


def test_aws_has_an_endpoint_in_each_region(tmp_path: Path) -> None:
    """The default endpoint is that of EC2 Instance Connect in the region, China included."""
    chosen = settings.load({"HOME": str(tmp_path)}, {})
    assert url_of(chosen, "eu-west-1") == "https://ec2-instance-connect.eu-west-1.amazonaws.com"
    assert url_of(chosen, "cn-north-1").endswith(".cn-north-1.amazonaws.com.cn")
    other = settings.load({"HOME": str(tmp_path), "AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, {})
    assert url_of(other, "eu-west-1") == "http://127.0.0.1:1"
