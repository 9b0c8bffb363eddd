"""A single host describes itself only to those who may push to it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from agent.commands.keyfile import fingerprint_of
from tests.parts.daemon import CREDENTIAL, INSTANCE_ID, ZONE, RunningDaemon
from tests.parts.helper import ask_helper
from tests.parts.host import work_directory
from tests.parts.raw import Answer, Raw, ask
from tests.parts.signed import Call, Signer, fresh_key, push, sign
from tests.sources.api.front import Front

CREDENTIALS = [
    CREDENTIAL,
    {**CREDENTIAL, "access_key_id": "AKIATIGHT", "keys": {"lifetime": 20, "uses": "once"}},
    {**CREDENTIAL, "access_key_id": "AKIAOTHERS",
     "allow": {"os_users": ["*"], "instances": ["i-0000*"]}},
    {**CREDENTIAL, "access_key_id": "AKIATAGS",
     "allow": {"os_users": ["*"], "tags": {"role": ["web"]}}},
    {**CREDENTIAL, "access_key_id": "AKIAELSEWHERE",
     "allow": {"os_users": ["*"], "sources": ["192.0.2.0/24"]}},
]  # fmt: skip


@pytest.fixture(scope="module")
def daemon() -> Iterator[RunningDaemon]:
    """A host whose keys live for 50 s."""
    with work_directory() as folder:
        config = {"keys": {"lifetime": 50}}
        with RunningDaemon(folder, config=config, credentials=CREDENTIALS[:1]) as running:
            yield running


@pytest.fixture(scope="module")
def strict(daemon: RunningDaemon) -> RunningDaemon:
    """The same host, with narrower credentials added."""
    tight = {**CREDENTIALS[1], "keys": {"lifetime": 20}}
    daemon.write_credentials([CREDENTIALS[0], tight, *CREDENTIALS[2:]])
    daemon.reload()
    return daemon


def hosts(daemon: RunningDaemon, key: str = CREDENTIAL["access_key_id"], **body: Any) -> Answer:
    """The answer to Sixtykey.Hosts."""
    call = Call(body=json.dumps(body).encode()).having("X-Amz-Target", "Sixtykey.Hosts")
    signed = sign(call, replace(Signer(), key=key))
    return ask(("127.0.0.1", daemon.http_port), signed.raw())


def test_a_principal_gets_what_a_push_must_name(daemon: RunningDaemon) -> None:
    """A credential that may push gets the host's instance, zone, lifetime and uses."""
    answer = hosts(daemon, Names=["whatever"])
    assert answer.status == 200
    (host,) = answer.body["Hosts"]
    assert (host["InstanceId"], host["AvailabilityZone"]) == (INSTANCE_ID, ZONE)
    assert (host["Lifetime"], host["Uses"]) == (50, "unlimited")
    assert answer.body["Single"] is True
    record = daemon.await_audit(event="hosts", outcome="allowed")
    assert record["principal"] == CREDENTIAL["access_key_id"]


def test_a_credentials_own_rules_are_listed(strict: RunningDaemon) -> None:
    """A credential with a shorter lifetime or one-time keys is told those rules."""
    (host,) = hosts(strict, "AKIATIGHT").body["Hosts"]
    assert host["Lifetime"] == 20
    # One-time keys need PAM, which the daemon checks at its start and its door does not.
    front = Front(known=CREDENTIALS)
    call = front.signed(Call().having("X-Amz-Target", "Sixtykey.Hosts"), key="AKIATIGHT")
    body = asyncio.run(front.answer(call)).body
    assert (body["Hosts"][0]["Lifetime"], body["Hosts"][0]["Uses"]) == (20, "once")


@pytest.mark.parametrize("key", ["AKIAOTHERS", "AKIATAGS"])
def test_a_principal_that_may_not_push_learns_nothing(strict: RunningDaemon, key: str) -> None:
    """A credential that may not push to this host gets an empty list."""
    answer = hosts(strict, key)
    assert (answer.status, answer.body["Hosts"]) == (200, [])
    assert INSTANCE_ID not in json.dumps(answer.body)


def test_strangers_are_refused(strict: RunningDaemon) -> None:
    """A request without a valid signature, or from a source not allowed, is refused."""
    assert hosts(strict, "AKIANOBODY").code == "InvalidClientTokenId"
    assert hosts(strict, "AKIAELSEWHERE").code == "NotAuthorized"
    bare = Call().having("X-Amz-Target", "Sixtykey.Hosts")
    answer = ask(("127.0.0.1", strict.http_port), bare.raw())
    assert answer.code == "MissingAuthenticationToken"


def test_both_actions_answer_a_principal_that_may_push() -> None:
    """Both actions work for a principal that may push here, and the list is empty for others."""
    front = Front(known=CREDENTIALS)

    def send(action: str, key: str = CREDENTIAL["access_key_id"], **body: Any) -> Any:
        call = Call(body=json.dumps(body).encode()).having("X-Amz-Target", f"Sixtykey.{action}")
        return asyncio.run(front.answer(front.signed(call, key=key))).body

    pushed = asyncio.run(front.answer(front.signed(push(InstanceOSUser="alice")))).body
    why = send("Explain", OSUser="alice", InstanceId=INSTANCE_ID)
    assert [each["request_id"] for each in why["Decisions"]] == [pushed["RequestId"]]
    assert why["InstanceId"] == INSTANCE_ID
    other = send("Explain", OSUser="alice", InstanceId="i-0123456789abcdef0")
    assert other["__type"] == "EC2InstanceNotFoundException"
    assert send("Explain")["__type"] == "MissingParameter"
    assert send("Hosts", "AKIAOTHERS")["Hosts"] == []


def test_a_malformed_body_is_refused(daemon: RunningDaemon) -> None:
    """A body that is not a JSON object with known members is refused."""
    for body in (b"{", b"[]", b'{"Instance": 1}', b"[" * 3000):
        call = Call(body=body).having("X-Amz-Target", "Sixtykey.Hosts")
        answer = ask(("127.0.0.1", daemon.http_port), sign(call).raw())
        assert answer.code == "ValidationError"


def test_a_signature_for_the_list_is_not_valid_for_a_push(daemon: RunningDaemon) -> None:
    """A request signed for the list of hosts is refused as a push."""
    call = sign(Call().having("X-Amz-Target", "Sixtykey.Hosts"))
    forged = call.having("X-Amz-Target", "AWSEC2InstanceConnectService.SendSSHPublicKey")
    assert ask(("127.0.0.1", daemon.http_port), forged.raw()).code == "AuthException"


def why(daemon: RunningDaemon, key: str, **body: Any) -> Answer:
    """The answer to Sixtykey.Explain."""
    call = Call(body=json.dumps(body).encode()).having("X-Amz-Target", "Sixtykey.Explain")
    return ask(("127.0.0.1", daemon.http_port), sign(call, replace(Signer(), key=key)).raw())


def test_a_principal_sees_only_its_own_pushes(strict: RunningDaemon) -> None:
    """Of two credentials that push for one user, each sees only its own pushes and lookups."""
    keys = {name: fresh_key() for name in (CREDENTIAL["access_key_id"], "AKIATIGHT")}
    prints = {}
    for name, key in keys.items():
        call = push(InstanceOSUser="shared", SSHPublicKey=key)
        signed = sign(call, replace(Signer(), key=name))
        assert ask(("127.0.0.1", strict.http_port), signed.raw()).status == 200
        prints[name] = fingerprint_of(key)
        ask_helper(strict.lookup_socket, "shared", prints[name])
    nobodys = fingerprint_of(fresh_key())
    ask_helper(strict.lookup_socket, "shared", nobodys)
    for name, other in zip(keys, reversed(list(keys))):
        answer = why(strict, name, OSUser="shared")
        told = [(each["event"], each["fingerprint"]) for each in answer.body["Decisions"]]
        assert told == [("lookup", prints[name]), ("push", prints[name])]
        text = json.dumps(answer.body)
        assert other not in text
        assert prints[other] not in text
        assert nobodys not in text


def test_pushing_somebodys_public_key_reveals_nothing_of_its_owner(
    strict: RunningDaemon,
) -> None:
    """A refused push of somebody else's public key reveals none of the owner's logins."""
    key, owner = fresh_key(), CREDENTIAL["access_key_id"]
    about = fingerprint_of(key)

    def send(name: str, **changes: str) -> Answer:
        call = push(InstanceOSUser="known", SSHPublicKey=key, **changes)
        return ask(("127.0.0.1", strict.http_port), sign(call, replace(Signer(), key=name)).raw())

    assert send("AKIATIGHT", AvailabilityZone="us-east-1a").code == "EC2InstanceNotFoundException"
    mine = send(owner).request_id
    ask_helper(strict.lookup_socket, "known", about)
    revoke = Call(body=json.dumps({"OSUser": "known"}).encode())
    with Raw(strict.push_socket) as raw:
        raw.send(revoke.having("X-Amz-Target", "Sixtykey.Revoke").raw()).answer()
    ask_helper(strict.lookup_socket, "known", about)
    told = why(strict, owner, OSUser="known").body["Decisions"]
    reasons = [each.get("reason", "") for each in told if each["event"] == "lookup"]
    assert any(reason.startswith("revoked") for reason in reasons)
    seen = why(strict, "AKIATIGHT", OSUser="known").body["Decisions"]
    assert [each["event"] for each in seen] == ["push"]
    assert mine not in json.dumps(seen)


def test_why_answers_only_for_users_that_one_may_push_for(strict: RunningDaemon) -> None:
    """An explanation is refused to a credential that may not push, or without a user."""
    assert why(strict, "AKIAOTHERS", OSUser="shared").code == "AuthException"
    assert why(strict, "AKIAELSEWHERE", OSUser="shared").code == "NotAuthorized"
    assert why(strict, "AKIANOBODY", OSUser="shared").code == "InvalidClientTokenId"
    assert why(strict, CREDENTIAL["access_key_id"]).code == "MissingParameter"
    assert why(strict, CREDENTIAL["access_key_id"], OSUser=1).code == "MissingParameter"
    assert why(strict, CREDENTIAL["access_key_id"], All=True).code == "ValidationError"
