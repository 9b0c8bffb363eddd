"""An attacker controls the bus and its operator: nobody gets access, and no 200 is false."""

from __future__ import annotations

import threading
from typing import Any, Callable

import pytest

from agent.fleet.messages import lease_exchange
from agent.fleet.messages.lease_exchange import SUBJECT, LeaseMessage
from agent.fleet.messages.signing import PrivateKey
from tests.fleet.attacked import OTHER, Attacked
from tests.parts import signed
from tests.parts.daemon import INSTANCE_ID
from tests.parts.forged_envelopes import with_body, with_signature
from tests.parts.whole_fleet import push_locally, served


def test_a_stolen_bus_hears_no_secret(attacked: Attacked) -> None:
    """No message on the bus contains a private key or the signature of a push."""
    asked, answer = attacked.capture("ann")
    heard = asked.data + answer.data
    home, member = attacked.fleet.home, attacked.fleet.member
    secrets = [home.file("issuer.key").strip(), signed.Signer().secret]
    secrets.append((member.folder / "host.key").read_text().strip())
    assert all(len(each) > 30 and each.encode() not in heard for each in secrets)
    assert b"signature=" not in heard.lower()


def test_a_captured_lease_sent_again_extends_nothing(attacked: Attacked) -> None:
    """A lease sent again is answered with its request id, and its key lives no longer."""
    asked, _ = attacked.capture("bea")
    lines, left = served(attacked.fleet.member, "bea"), attacked.left()
    for _ in range(5):
        said = attacked.ask(asked.data)
        assert (said["ends_at"], said["request_id"]) == (None, lines.split()[-1])
    assert served(attacked.fleet.member, "bea") == lines
    attacked.check_nothing_new(left)


def test_leases_in_another_order_are_the_same_leases(attacked: Attacked) -> None:
    """Leases sent again in another order, and twice, add no key and extend none."""
    captured = [attacked.capture("cleo")[0] for _ in range(4)]
    lines, left = served(attacked.fleet.member, "cleo"), attacked.left()
    assert lines.count("\n") == 4
    for each in [*reversed(captured), *captured]:
        attacked.ask(each.data)
    assert served(attacked.fleet.member, "cleo") == lines
    attacked.check_nothing_new(left)


def _own_key(lease: LeaseMessage) -> bytes:
    """A lease signed by the thief's key, which claims to be an issuer."""
    own = PrivateKey.generate()
    return LeaseMessage(**{**vars(lease), "issuer": own.public, "os_user": "mallory"}).seal(own)


FORGED: list[Callable[[bytes, LeaseMessage, bytes], bytes]] = [
    lambda sealed, _, __: with_body(sealed, os_user="mallory"),
    lambda sealed, _, __: with_body(sealed, os_user="mallory", nonce="0" * 32, mark=None),
    lambda sealed, lease, _: with_body(sealed, os_user="mallory", ends_at=lease.ends_at + 10**6),
    lambda sealed, _, __: with_signature(with_body(sealed, os_user="mallory")),
    lambda sealed, _, __: sealed.replace(b'"kind":"lease"', b'"kind":"inquiry"'),
    lambda _, lease, __: _own_key(lease),
    lambda _, lease, __: lease.seal(PrivateKey.generate()),
    lambda _, __, reply: lease_exchange.open_reply(reply)[0],
    lambda _, __, reply: lease_exchange.open_reply(reply)[1],
    lambda _, __, reply: lease_exchange.open_reply(reply)[0].replace(b"acknowledgement", b"lease"),
]


@pytest.mark.parametrize("forge", FORGED)
def test_a_forged_lease_is_refused(attacked: Attacked, forge: Any) -> None:
    """A lease that was altered, signed by another key or made of another document is refused."""
    asked, answer = attacked.capture("dana")
    lease = LeaseMessage.open(asked.data, set(attacked.fleet.home.facts.issuers))
    before = attacked.left()
    said = attacked.ask(forge(asked.data, lease, answer.data))
    assert "code" in said
    attacked.check_nothing_new(before)
    assert served(attacked.fleet.member, "mallory") == ""


def test_a_lease_for_another_host_is_refused(attacked: Attacked) -> None:
    """A host refuses a lease that names another host."""
    asked, _ = attacked.capture("eve", OTHER)
    said = attacked.ask(asked.data)
    assert said["code"] == "NotThisHost"
    assert served(attacked.fleet.member, "eve") == ""


@pytest.mark.parametrize("junk", [b"", b"{}", b"\0" * 9000, b"[" * 9000, b'{"body":"{}"}', b"x"])
def test_an_invalid_document_changes_nothing(attacked: Attacked, junk: bytes) -> None:
    """Messages that are not documents change nothing, and the next push is accepted."""
    before = attacked.left()
    attacked.thief.say(SUBJECT + INSTANCE_ID, junk, "_INBOX.thief")
    fay = attacked.push("fay")
    assert fay.code == ""
    attacked.check_nothing_new({**before, fay.request_id: 60.0})
    assert fay.request_id in served(attacked.fleet.member, "fay")


def test_a_flooded_host_serves_lookups_and_local_pushes(attacked: Attacked) -> None:
    """A host flooded with 12,000 messages that want an answer serves lookups and local pushes."""
    asked, _ = attacked.capture("lea")
    lines = served(attacked.fleet.member, "lea")
    forged = with_body(asked.data, os_user="mallory")
    question = attacked.capture_question("lea").data

    def flood() -> None:
        for message in (asked.data, forged, question, b"junk"):
            attacked.thief.say_many(SUBJECT + INSTANCE_ID, message, 3_000, "thief.flood")

    thread = threading.Thread(target=flood)
    thread.start()
    number = 0
    while thread.is_alive() or number < 3:
        assert served(attacked.fleet.member, "lea") == lines
        local = push_locally(attacked.fleet.member, f"local{number}")
        assert local in served(attacked.fleet.member, f"local{number}")
        number += 1
    thread.join()
    assert served(attacked.fleet.member, "mallory") == ""
    # The rest of the flood is handled first; clients try again meanwhile.
    attacked.push_until_taken("lea2")


def test_a_host_removed_by_the_thief_keeps_its_keys(attacked: Attacked) -> None:
    """A host that is cut off from the bus still serves its keys and takes local pushes."""
    attacked.capture("moe")
    lines = served(attacked.fleet.member, "moe")
    attacked.fleet.member.connector.kill()
    try:
        assert served(attacked.fleet.member, "moe") == lines
        assert push_locally(attacked.fleet.member, "moe2")
    finally:
        attacked.fleet.member.connector.begin()
