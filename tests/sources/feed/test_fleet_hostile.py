"""A hostile connector or bus cannot do more than the daemon's rules allow."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.config.document import Problems
from agent.config.fleet_limits import FLEET
from agent.config.key_policy import KeyPolicy
from agent.config.settings import Fleet
from agent.fleet.host.signer import HostSigner
from agent.fleet.messages import lease_exchange
from agent.fleet.messages.description import Description, Inquiry
from agent.fleet.messages.documents import Rejected
from agent.fleet.messages.lease_exchange import Acknowledgement, LeaseMessage, Mark
from agent.sources.feed.messages import Addresses, Deliver, Hello, encode
from tests.fleet.sample_messages import HOST, ISSUER, LEASE, NOW, lease
from tests.parts.daemon import INSTANCE_ID, ZONE
from tests.parts.keys import make_key
from tests.sources.feed.fleet_house import STRANGER, FleetHouse, at_fleet
from tests.sources.feed.house import Peer

OLD = lease(issued_at=int(NOW * 1000) - 60_000, ends_at=int(NOW * 1000))


def test_an_issuer_gets_the_hosts_description(tmp_path: Path) -> None:
    """An inquiry gets a signed description of the host: version, zone, addresses, host keys."""
    key = make_key(tmp_path, "ssh_host_ed25519_key")
    (tmp_path / "ssh_host_bad_key.pub").write_text("ssh-rsa AAAA\n")

    async def course(_: FleetHouse, peer: Peer) -> None:
        inquiry = Inquiry(INSTANCE_ID, int(NOW * 1000), bytes(16)).seal(ISSUER)
        peer.say(Addresses(["192.0.2.9", "2001:db8::1"]), Deliver(1, inquiry))
        heard = await peer.hear()
        answer = lease_exchange.open_reply(base64.b64decode(heard["message"]))[0]
        digest = lease_exchange.digest(inquiry)
        found = Description.open(answer, INSTANCE_ID, HOST.public, digest)
        assert found == Description(
            digest, INSTANCE_ID, "1.2.3", ZONE, ("192.0.2.9", "2001:db8::1"),
            (f"{key.type} {key.base64}",), 60, "unlimited",
        )  # fmt: skip

    at_fleet(tmp_path, course)


@pytest.mark.parametrize("wrong", [["localhost"], ["192.0.2.1%eth0"], ["192.0.2.1 "], ["::01"]])
def test_a_malformed_address_ends_the_connection(tmp_path: Path, wrong: list[str]) -> None:
    """A malformed address from the connector ends the connection."""

    async def course(_: FleetHouse, peer: Peer) -> None:
        peer.say(Addresses(wrong))
        assert await peer.is_closed()

    at_fleet(tmp_path, course)


def test_an_invalid_document_gets_an_empty_reply(tmp_path: Path) -> None:
    """A message that is no document gets an empty reply, and the next message is handled."""

    async def course(at: FleetHouse, peer: Peer) -> None:
        for garbage in (b"{}", b"[]", b"\xff", b"x" * 20_000, b"{" * 10_000):
            peer.say(Deliver(1, garbage))
            assert await peer.hear() == {"reply": 1, "message": ""}
        assert isinstance(await at.tell(peer, LEASE.seal(ISSUER)), Acknowledgement)
        assert at.pushes()[0]["outcome"] == "allowed"

    at_fleet(tmp_path, course)


@pytest.mark.parametrize(
    "sealed",
    [LEASE.seal(ISSUER), LEASE.seal(STRANGER), OLD.seal(ISSUER)],
    ids=["repeated", "forged", "old"],
)
def test_a_flood_of_leases_gets_empty_replies(tmp_path: Path, sealed: bytes) -> None:
    """Above the limit, repeated and worthless leases get empty replies; a new lease is taken."""
    burst = int(FLEET.asked)

    async def course(at: FleetHouse, peer: Peer) -> None:
        peer.say(*[Deliver(1, sealed)] * (burst + 10))
        answers = [bool((await peer.hear())["message"]) for _ in range(burst + 10)]
        assert all(answers[:burst])
        assert not any(answers[burst + 1 :])
        mark = Mark(b"\2" * 32, int(NOW * 1000))
        fresh = await at.tell(peer, lease(mark=mark, os_user="other").seal(ISSUER))
        assert isinstance(fresh, Acknowledgement)
        at.clock.advance(1 / FLEET.asked_per_second)
        peer.say(*[Deliver(1, sealed)] * 2)
        assert [bool((await peer.hear())["message"]) for _ in range(2)] == [True, False]

    at_fleet(tmp_path, course)


def test_a_flood_of_a_refused_lease_gets_empty_replies(tmp_path: Path) -> None:
    """A captured lease that the host refuses costs no more than a repeated one when sent again."""
    burst = int(FLEET.asked)
    refused = lease(conditions=KeyPolicy(60, "once")).seal(ISSUER)

    async def course(_: FleetHouse, peer: Peer) -> None:
        peer.say(*[Deliver(1, refused)] * (burst + 10))
        answers = [bool((await peer.hear())["message"]) for _ in range(burst + 10)]
        assert all(answers[:burst])
        assert not any(answers[burst + 1 :])

    at_fleet(tmp_path, course)


def test_a_renewed_certificate_is_shown_from_then_on(tmp_path: Path) -> None:
    """A renewed certificate is used without a restart, and kept if its file is gone."""

    async def course(_: FleetHouse, peer: Peer) -> None:
        (tmp_path / "host.cert").write_text("another certificate\n")
        peer.say(Deliver(1, LEASE.seal(ISSUER)))
        for number in range(2):
            heard = await peer.hear()
            shown = lease_exchange.open_reply(base64.b64decode(heard["message"]))[1]
            assert shown == b"another certificate"
            (tmp_path / "host.cert").unlink(missing_ok=True)
            peer.say(Deliver(number + 2, LEASE.seal(ISSUER)))

    at_fleet(tmp_path, course)


def test_an_unreadable_key_is_a_reported_problem(tmp_path: Path) -> None:
    """An unreadable key or certificate is reported with the command that makes it."""
    with pytest.raises(Problems) as caught:
        HostSigner(Fleet((), (), key=str(tmp_path / "k"), certificate=str(tmp_path / "c")))
    text = " ".join(caught.value.problems)
    assert "fleet.key" in text
    assert "fleet.certificate" in text
    assert "sixtykey fleet join" in text


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_no_change_of_a_lease_is_taken(data: Any) -> None:
    """A lease with bytes changed, removed or inserted is refused."""
    sealed = LEASE.seal(ISSUER)
    place = data.draw(st.integers(0, len(sealed) - 1))
    length = data.draw(st.integers(0, 20))
    piece = data.draw(st.binary(max_size=20))
    changed = sealed[:place] + piece + sealed[place + length :]
    if changed == sealed:
        return
    with pytest.raises(Rejected):
        LeaseMessage.open(changed, {ISSUER.public})


def test_a_line_for_the_daemon_is_refused_from_a_connector(tmp_path: Path) -> None:
    """A connector that says hello twice is disconnected."""

    async def course(_: FleetHouse, peer: Peer) -> None:
        peer.writer.write(encode(Hello("fleet")))
        assert await peer.is_closed()

    at_fleet(tmp_path, course)
