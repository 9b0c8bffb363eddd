"""The daemon verifies, decides and answers a fleet's messages."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from agent.config.key_policy import KeyPolicy
from agent.config.settings import Keys
from agent.fleet.messages.description import Inquiry
from agent.fleet.messages.lease_exchange import Acknowledgement, Mark, Refusal
from tests.fleet.sample_messages import HOST, ISSUER, LEASE, NOW, lease
from tests.parts.daemon import INSTANCE_ID
from tests.parts.host import IS_ROOT
from tests.parts.pam_host import DEBIAN, lay_out, with_line
from tests.sources.feed.fleet_house import NEXT, STRANGER, FleetHouse, at_fleet
from tests.sources.feed.house import Peer


def test_a_lease_is_live_when_it_is_acknowledged(tmp_path: Path) -> None:
    """An acknowledged lease is live, and the audit names the issuer and the principal.

    No flood displaces that record.
    """

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
        assert ("push", "allowed") in at.kept

    at_fleet(tmp_path, course)


def test_either_of_two_issuers_is_taken(tmp_path: Path) -> None:
    """Leases of both configured issuers are accepted."""

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
    # Keys are new in each process, and pytest's workers must agree on the names of tests.
    ids=["stranger", "issuer-named", "user", "lifetime", "answer", "host", "inquiry"],
)
def test_a_lease_without_an_issuers_signature_is_refused(tmp_path: Path, forged: bytes) -> None:
    """A forged, altered or different document is refused, and no lease becomes live."""

    async def course(at: FleetHouse, peer: Peer) -> None:
        answer = await at.tell(peer, forged)
        assert isinstance(answer, Refusal)
        assert answer.code == "NotReady"
        assert not at.store.table.live()
        assert [each for each in at.pushes() if each["outcome"] == "allowed"] == []
        assert not any("issuer" in each for each in at.pushes())

    at_fleet(tmp_path, course)


def test_another_hosts_lease_is_refused(tmp_path: Path) -> None:
    """A lease for another host is refused."""

    async def course(at: FleetHouse, peer: Peer) -> None:
        answer = await at.tell(peer, lease(host="i-00000000000000009").seal(ISSUER))
        assert (answer.code, list(at.store.table.live())) == ("NotThisHost", [])

    at_fleet(tmp_path, course)


@pytest.mark.parametrize("apart", [-5.0, 0.0, 5.0])
def test_clocks_up_to_five_seconds_apart_work(tmp_path: Path, apart: float) -> None:
    """With clocks up to 5 s apart a lease is accepted, and never outlives its signed end."""

    async def course(at: FleetHouse, peer: Peer) -> None:
        at.clock.set_wall(NOW + apart)
        assert isinstance(await at.tell(peer, LEASE.seal(ISSUER)), Acknowledgement)
        (live,) = at.store.table.live()
        assert live.expires_at - live.pushed_at == min(60.0, 60.0 - apart)

    at_fleet(tmp_path, course)


@pytest.mark.parametrize("apart", [-5.1, 6.1, -60, 61, 3600])
def test_clocks_further_apart_are_refused_with_a_reason(tmp_path: Path, apart: float) -> None:
    """With clocks further apart a lease is refused with a message that mentions NTP."""

    async def course(at: FleetHouse, peer: Peer) -> None:
        at.clock.set_wall(NOW + apart)
        answer = await at.tell(peer, LEASE.seal(ISSUER))
        assert (answer.code, list(at.store.table.live())) == ("NotReady", [])
        assert "NTP" in answer.words

    at_fleet(tmp_path, course)


def test_a_key_lives_by_the_boot_clock(tmp_path: Path) -> None:
    """Setting the wall clock does not change the life of an accepted lease."""

    async def course(at: FleetHouse, peer: Peer) -> None:
        await at.tell(peer, LEASE.seal(ISSUER))
        at.clock.set_wall(NOW - 86_400)
        at.clock.advance(59.9)
        assert await at.look_up("ec2-user\n")
        at.clock.advance(0.1)
        assert await at.look_up("ec2-user\n") == b""

    at_fleet(tmp_path, course)


def test_a_lease_sent_again_extends_nothing(tmp_path: Path) -> None:
    """A lease sent again is acknowledged without an end and not prolonged; later it is refused."""

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
    """The same request through another gateway gets the first request id and no new lease."""

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
    """Without a mark a lease is recognised by its nonce; another nonce is another push."""

    async def course(at: FleetHouse, peer: Peer) -> None:
        made = lease(mark=None)
        first = await at.tell(peer, made.seal(ISSUER))
        again = await at.tell(peer, made.seal(ISSUER))
        assert (first.ends_at is None, again.ends_at is None) == (False, True)
        other = await at.tell(peer, replace(made, nonce=b"\2" * 16).seal(ISSUER))
        assert other.ends_at is not None

    at_fleet(tmp_path, course)


def test_the_hosts_own_rules_are_tighter(tmp_path: Path) -> None:
    """An issuer cannot widen the host's lifetime, uses, denied users or zone."""

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
    """A lease's options and pinned source are applied in the line for sshd."""

    async def course(at: FleetHouse, peer: Peer) -> None:
        conditions = KeyPolicy(30, None, True, ("restrict", "pty"))
        made = lease(conditions=conditions, ends_at=int(NOW * 1000) + 30_000)
        await at.tell(peer, made.seal(ISSUER))
        line = (await at.look_up("ec2-user\n")).decode()
        assert line.startswith(f'from="{LEASE.source}",restrict,pty ssh-ed25519 ')

    at_fleet(tmp_path, course)


@pytest.mark.skipif(not IS_ROOT, reason="pam-account has to be root's")
@pytest.mark.parametrize("enforced", [True, False])
def test_a_key_for_one_login_is_refused_where_that_cannot_be_enforced(
    tmp_path: Path, enforced: bool
) -> None:
    """A lease for one login is taken only where PAM asks the daemon, whatever the host's `uses`."""
    lay_out(tmp_path, with_line(DEBIAN) if enforced else DEBIAN)

    async def course(at: FleetHouse, peer: Peer) -> None:
        answer = await at.tell(peer, lease(conditions=KeyPolicy(60, "once")).seal(ISSUER))
        taken = at.store.table.of("ec2-user")
        if enforced:
            assert isinstance(answer, Acknowledgement)
            assert [each.uses for each in taken] == [1]
        else:
            assert (answer.code, taken) == ("NotReady", ())
            assert "cannot limit a key to one login" in answer.words
            (record,) = at.pushes()
            assert (record["outcome"], record["os_user"]) == ("ServiceUnavailable", "ec2-user")

    at_fleet(tmp_path, course)


def test_a_full_table_is_reported_with_the_time_to_wait(tmp_path: Path) -> None:
    """A full table is reported in a signed refusal with the time to wait."""

    async def course(at: FleetHouse, peer: Peer) -> None:
        await at.tell(peer, LEASE.seal(ISSUER))
        key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
        more = lease(key=key, mark=Mark(b"\4" * 32, int(NOW * 1000)))
        answer = await at.tell(peer, more.seal(ISSUER))
        assert (answer.code, answer.wait) == ("TableFull", 60_000)

    at_fleet(tmp_path, course, keys=Keys(per_user=1))


def test_a_request_id_is_a_uuid(tmp_path: Path) -> None:
    """A lease whose request id is not a UUID is refused, since it becomes part of sshd's line."""

    async def course(at: FleetHouse, peer: Peer) -> None:
        for words in ("x", 'a" command="id', LEASE.request_id.replace("-", "")):
            answer = await at.tell(peer, lease(request_id=words).seal(ISSUER))
            assert isinstance(answer, Refusal)
        assert not at.store.table.live()

    at_fleet(tmp_path, course)
