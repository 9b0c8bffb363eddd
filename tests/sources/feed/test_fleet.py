"""What the daemon makes of a fleet's messages: whoever carries them, it decides, and signs."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.config.document import Problems
from agent.config.key_policy import KeyPolicy
from agent.config.settings import Fleet, Keys
from agent.fleet import messages
from agent.fleet.description import Description, Inquiry
from agent.fleet.documents import Rejected
from agent.fleet.messages import Acknowledgement, LeaseMessage, Mark, Refusal
from agent.fleet.signing import PrivateKey
from agent.fleet.voice import Voice
from agent.leases.lease import Horizon
from agent.sources.feed.fleet import FleetRole
from agent.sources.feed.messages import Addresses, Deliver, Health, Hello, encode
from agent.sources.intake import Intake
from tests.fleet.messages import HOST, ISSUER, LEASE, NOW, lease
from tests.parts.daemon import INSTANCE_ID, ZONE
from tests.parts.keys import make_key
from tests.sources.feed.house import House, Peer

NEXT = PrivateKey.generate()
STRANGER = PrivateKey.generate()


class FleetHouse(House):
    """A house whose source is a fleet's connector, with two issuers."""

    def __init__(self, folder: Path, keys: Keys = Keys()) -> None:  # noqa: B008
        super().__init__(folder, keys)
        (folder / "host.key").write_text(HOST.dump())
        (folder / "host.cert").write_text("the certificate\n")
        # As after a restart with a journal: nothing was forgotten that a mark could be.
        self.memory.resume(Horizon())
        issuers = (str(ISSUER.public), str(NEXT.public))
        where = Fleet(
            (), issuers, certificate=str(folder / "host.cert"),
            host_keys=(str(folder / "ssh_host_*.pub"),), key=str(folder / "host.key"),
        )  # fmt: skip
        intake = Intake(self.context, self.store, self.memory)
        self.fleet = FleetRole(self.context, intake, Voice(where), "1.2.3")

    async def join(self) -> Peer:
        """The connector, on the bus."""
        self.feed._roles = {"fleet": self.fleet}
        peer = await self.connect()
        peer.say(Hello("fleet"), Health(True))
        while self.fleet.told()["Problem"] is not None:
            await asyncio.sleep(0.001)
        return peer

    async def tell(self, peer: Peer, envelope: bytes) -> Any:
        """What the daemon answers to a message, its signature verified."""
        peer.say(Deliver(7, envelope))
        heard = await peer.hear()
        assert heard["reply"] == 7
        answer, shown = messages.open_reply(base64.b64decode(heard["message"]))
        assert shown == b"the certificate"
        digest = messages.digest(envelope)
        return messages.open_answer(answer, INSTANCE_ID, HOST.public, digest)


def at_fleet(
    tmp_path: Path, course: Callable[[FleetHouse, Peer], Awaitable[Any]], **more: Any
) -> None:
    """Run a course of events with a connector that is attached."""

    async def run() -> None:
        at = FleetHouse(tmp_path, **more)
        at.start()
        peer = await at.join()
        try:
            await course(at, peer)
        finally:
            peer.writer.close()
            await at.feed.stop()
            await at.lookups.stop()
            at.store.close()

    asyncio.run(run())


def test_a_lease_is_live_when_it_is_acknowledged(tmp_path: Path) -> None:
    """The next lookup has it; the answer says until when; the audit, who signed and who pushed."""

    async def course(at: FleetHouse, peer: Peer) -> None:
        answer = await at.tell(peer, LEASE.seal(ISSUER))
        assert answer == Acknowledgement(
            answer.lease, INSTANCE_ID, LEASE.request_id, int((NOW + 60) * 1000)
        )
        line = (await at.look_up("ec2-user\n")).decode()
        assert line == f"{LEASE.key} {LEASE.request_id}\n"
        (record,) = at.pushes()
        assert (record["outcome"], record["issuer"]) == ("allowed", str(ISSUER.public))
        assert (record["principal"], record["source"]) == (LEASE.principal, LEASE.source)

    at_fleet(tmp_path, course)


def test_either_of_two_issuers_is_taken(tmp_path: Path) -> None:
    """Keys rotate with two at a time."""

    async def course(at: FleetHouse, peer: Peer) -> None:
        made = lease(issuer=NEXT.public, mark=None)
        assert isinstance(await at.tell(peer, made.seal(NEXT)), Acknowledgement)

    at_fleet(tmp_path, course)


@pytest.mark.parametrize(
    "forged",
    [
        lease(issuer=STRANGER.public).seal(STRANGER),
        lease().seal(STRANGER),
        LEASE.seal(ISSUER).replace(b"ec2-user", b"root4567"),
        LEASE.seal(ISSUER).replace(b'\\"lifetime\\":60', b'\\"lifetime\\":59'),
        Acknowledgement(bytes(32), INSTANCE_ID, LEASE.request_id, None).seal(ISSUER),
        Acknowledgement(bytes(32), INSTANCE_ID, LEASE.request_id, None).seal(HOST),
        Inquiry(INSTANCE_ID, int(NOW * 1000), bytes(16)).seal(STRANGER),
    ],
)
def test_what_no_issuer_signed_is_refused(tmp_path: Path, forged: bytes) -> None:
    """A stranger's lease, a changed one, another kind of document: nothing is live, in words."""

    async def course(at: FleetHouse, peer: Peer) -> None:
        answer = await at.tell(peer, forged)
        assert isinstance(answer, Refusal)
        assert answer.code == "NotReady"
        assert not at.store.table.live()
        assert [each for each in at.pushes() if each["outcome"] == "allowed"] == []
        assert not any("issuer" in each for each in at.pushes())

    at_fleet(tmp_path, course)


def test_another_hosts_lease_is_refused(tmp_path: Path) -> None:
    """Whatever the subject was that it came on."""

    async def course(at: FleetHouse, peer: Peer) -> None:
        answer = await at.tell(peer, lease(host="i-00000000000000009").seal(ISSUER))
        assert (answer.code, list(at.store.table.live())) == ("NotThisHost", [])

    at_fleet(tmp_path, course)


@pytest.mark.parametrize("apart", [-5.0, 0.0, 5.0])
def test_clocks_up_to_five_seconds_apart_work(tmp_path: Path, apart: float) -> None:
    """The key lives from its receipt, and never beyond the end that was signed."""

    async def course(at: FleetHouse, peer: Peer) -> None:
        at.clock.set_wall(NOW + apart)
        assert isinstance(await at.tell(peer, LEASE.seal(ISSUER)), Acknowledgement)
        (live,) = at.store.table.live()
        assert live.expires_at - live.pushed_at == min(60.0, 60.0 - apart)

    at_fleet(tmp_path, course)


@pytest.mark.parametrize("apart", [-5.1, 6.1, -60, 61, 3600])
def test_clocks_further_apart_are_refused_in_words(tmp_path: Path, apart: float) -> None:
    """By how much, and what to do."""

    async def course(at: FleetHouse, peer: Peer) -> None:
        at.clock.set_wall(NOW + apart)
        answer = await at.tell(peer, LEASE.seal(ISSUER))
        assert (answer.code, list(at.store.table.live())) == ("NotReady", [])
        assert "NTP" in answer.words

    at_fleet(tmp_path, course)


def test_a_key_lives_by_the_boot_clock(tmp_path: Path) -> None:
    """Setting the wall clock after its receipt makes it live no longer and no shorter."""

    async def course(at: FleetHouse, peer: Peer) -> None:
        await at.tell(peer, LEASE.seal(ISSUER))
        at.clock.set_wall(NOW - 86_400)
        at.clock.advance(59.9)
        assert await at.look_up("ec2-user\n")
        at.clock.advance(0.1)
        assert await at.look_up("ec2-user\n") == b""

    at_fleet(tmp_path, course)


def test_a_lease_sent_again_prolongs_nothing(tmp_path: Path) -> None:
    """The very same bytes: acknowledged as before, without an end; and too old, refused."""

    async def course(at: FleetHouse, peer: Peer) -> None:
        sealed = LEASE.seal(ISSUER)
        await at.tell(peer, sealed)
        (live,) = at.store.table.live()
        at.clock.advance(3)
        again = await at.tell(peer, sealed)
        assert (again.request_id, again.ends_at) == (LEASE.request_id, None)
        assert list(at.store.table.live()) == [live]
        at.clock.advance(57)
        assert isinstance(await at.tell(peer, sealed), Refusal)
        assert not at.store.table.live()

    at_fleet(tmp_path, course)


def test_a_request_by_another_gateway_is_recognised_by_its_mark(tmp_path: Path) -> None:
    """Another lease, another issuer, the same pusher's request: the first one's id, no new life."""

    async def course(at: FleetHouse, peer: Peer) -> None:
        await at.tell(peer, LEASE.seal(ISSUER))
        (live,) = at.store.table.live()
        at.clock.advance(30)
        now = int((NOW + 30) * 1000)
        other = lease(
            issuer=NEXT.public, issued_at=now, ends_at=now + 60_000, nonce=b"\1" * 16,
            request_id="11111111-1111-4111-8111-111111111111",
        )  # fmt: skip
        again = await at.tell(peer, other.seal(NEXT))
        assert (again.request_id, again.ends_at) == (LEASE.request_id, None)
        assert list(at.store.table.live()) == [live]
        assert at.pushes()[-1]["replay"] is True

    at_fleet(tmp_path, course)


def test_a_lease_without_a_mark_is_recognised_by_its_nonce(tmp_path: Path) -> None:
    """It is the lease itself then that must not count twice; another nonce is another push."""

    async def course(at: FleetHouse, peer: Peer) -> None:
        made = lease(mark=None)
        first = await at.tell(peer, made.seal(ISSUER))
        again = await at.tell(peer, made.seal(ISSUER))
        assert (first.ends_at is None, again.ends_at is None) == (False, True)
        other = await at.tell(peer, replace(made, nonce=b"\2" * 16).seal(ISSUER))
        assert other.ends_at is not None

    at_fleet(tmp_path, course)


def test_the_hosts_own_rules_are_tighter(tmp_path: Path) -> None:
    """Its lifetime, its denied users, its zone: an issuer cannot widen them."""

    async def course(at: FleetHouse, peer: Peer) -> None:
        await at.tell(peer, LEASE.seal(ISSUER))
        (live,) = at.store.table.live()
        assert live.expires_at - live.pushed_at == 10.0
        assert live.uses == 1
        marked = Mark(b"\3" * 32, int(NOW * 1000))
        denied = await at.tell(peer, lease(os_user="admin", mark=marked).seal(ISSUER))
        assert denied.code == "UserDenied"
        other = await at.tell(peer, lease(zone="eu-central-1a", mark=marked).seal(ISSUER))
        assert other.code == "NotThisHost"

    at_fleet(tmp_path, course, keys=Keys(lifetime=10, uses="once", deny_users=("adm*",)))


def test_a_credentials_conditions_hold_on_the_host(tmp_path: Path) -> None:
    """Options, the pinned source and the shorter lifetime come with the lease."""

    async def course(at: FleetHouse, peer: Peer) -> None:
        conditions = KeyPolicy(30, None, True, ("restrict", "pty"))
        made = lease(conditions=conditions, ends_at=int(NOW * 1000) + 30_000)
        await at.tell(peer, made.seal(ISSUER))
        line = (await at.look_up("ec2-user\n")).decode()
        assert line.startswith(f'from="{LEASE.source}",restrict,pty ssh-ed25519 ')

    at_fleet(tmp_path, course)


def test_a_full_table_is_told_with_the_time_to_wait(tmp_path: Path) -> None:
    """The host's own refusal goes back signed."""

    async def course(at: FleetHouse, peer: Peer) -> None:
        await at.tell(peer, LEASE.seal(ISSUER))
        key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
        more = lease(key=key, mark=Mark(b"\4" * 32, int(NOW * 1000)))
        answer = await at.tell(peer, more.seal(ISSUER))
        assert (answer.code, answer.wait) == ("TableFull", 60_000)

    at_fleet(tmp_path, course, keys=Keys(per_user=1))


def test_a_request_id_is_a_uuid(tmp_path: Path) -> None:
    """It becomes the comment of sshd's line: an issuer cannot write anything else there."""

    async def course(at: FleetHouse, peer: Peer) -> None:
        for words in ("x", 'a" command="id', LEASE.request_id.replace("-", "")):
            answer = await at.tell(peer, lease(request_id=words).seal(ISSUER))
            assert isinstance(answer, Refusal)
        assert not at.store.table.live()

    at_fleet(tmp_path, course)


def test_an_issuer_is_told_who_the_host_is(tmp_path: Path) -> None:
    """Signed by the host: version, zone, addresses of the connector, and sshd's own keys."""
    key = make_key(tmp_path, "ssh_host_ed25519_key")
    (tmp_path / "ssh_host_bad_key.pub").write_text("ssh-rsa AAAA\n")

    async def course(_: FleetHouse, peer: Peer) -> None:
        inquiry = Inquiry(INSTANCE_ID, int(NOW * 1000), bytes(16)).seal(ISSUER)
        peer.say(Addresses(["192.0.2.9", "2001:db8::1"]), Deliver(1, inquiry))
        heard = await peer.hear()
        answer = messages.open_reply(base64.b64decode(heard["message"]))[0]
        digest = messages.digest(inquiry)
        found = Description.open(answer, INSTANCE_ID, HOST.public, digest)
        assert found == Description(
            digest, INSTANCE_ID, "1.2.3", ZONE, ("192.0.2.9", "2001:db8::1"),
            (f"{key.type} {key.base64}",),
        )  # fmt: skip

    at_fleet(tmp_path, course)


@pytest.mark.parametrize("wrong", [["localhost"], ["192.0.2.1%eth0"], ["192.0.2.1 "], ["::01"]])
def test_an_address_that_is_none_ends_the_connection(tmp_path: Path, wrong: list[str]) -> None:
    """A connector that was taken over cannot have clients told anything but addresses."""

    async def course(_: FleetHouse, peer: Peer) -> None:
        peer.say(Addresses(wrong))
        assert await peer.is_closed()

    at_fleet(tmp_path, course)


def test_what_is_no_document_gets_no_answer(tmp_path: Path) -> None:
    """Nothing in it could be answered; the next message is."""

    async def course(at: FleetHouse, peer: Peer) -> None:
        for garbage in (b"{}", b"[]", b"\xff", b"x" * 20_000, b"{" * 10_000):
            peer.say(Deliver(1, garbage))
        assert isinstance(await at.tell(peer, LEASE.seal(ISSUER)), Acknowledgement)
        assert at.pushes()[0]["outcome"] == "allowed"

    at_fleet(tmp_path, course)


def test_a_renewed_certificate_is_shown_from_then_on(tmp_path: Path) -> None:
    """Without a restart; when it is gone, the one of before is shown."""

    async def course(_: FleetHouse, peer: Peer) -> None:
        (tmp_path / "host.cert").write_text("another certificate\n")
        peer.say(Deliver(1, LEASE.seal(ISSUER)))
        for number in range(2):
            heard = await peer.hear()
            shown = messages.open_reply(base64.b64decode(heard["message"]))[1]
            assert shown == b"another certificate"
            (tmp_path / "host.cert").unlink(missing_ok=True)
            peer.say(Deliver(number + 2, LEASE.seal(ISSUER)))

    at_fleet(tmp_path, course)


def test_a_key_that_cannot_be_read_is_a_problem_that_is_told(tmp_path: Path) -> None:
    """Both files are named, and what makes them."""
    with pytest.raises(Problems) as caught:
        Voice(Fleet((), (), key=str(tmp_path / "k"), certificate=str(tmp_path / "c")))
    text = " ".join(caught.value.problems)
    assert "fleet.key" in text
    assert "fleet.certificate" in text
    assert "sixtykey fleet join" in text


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_no_change_of_a_lease_is_taken(data: Any) -> None:
    """Any byte changed, any piece cut out, doubled or inserted: it is no lease any more."""
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
    """It may not answer questions of EC2's source, nor say hello twice."""

    async def course(_: FleetHouse, peer: Peer) -> None:
        peer.writer.write(encode(Hello("fleet")))
        assert await peer.is_closed()

    at_fleet(tmp_path, course)
