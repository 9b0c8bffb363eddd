"""Offers: each accepted push becomes one lease, and a refused one becomes none."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any, Optional

import pytest

from agent.config.limits import LIMITS
from agent.config.settings import Keys
from agent.leases.consumption import Consumption
from agent.leases.lease import Horizon
from agent.sources.feed.messages import Answer
from tests.parts.leases import ed25519_key, ed25519_line, make_lease, mark
from tests.sources.feed.house import House, at_house

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def test_an_offer_is_a_lease_and_the_waiting_lookup_gets_it(tmp_path: Path) -> None:
    """An offer becomes a lease that the waiting lookup gets.

    Its line has a new request id; the audit records that id, EC2's request id and the
    principal. No flood displaces that record.
    """

    async def course(at: House) -> None:
        peer = await at.attach()
        offered = at.offered(left=42.5)
        line = (await at.offer(peer, offered)).decode()
        key, own = line.strip().rsplit(" ", 1)
        assert key == offered.key
        assert UUID.fullmatch(own)
        (lease,) = at.store.table.of("alice")
        assert lease.expires_at == at.clock.boottime() + 42.5
        assert (lease.principal, lease.source) == (offered.caller, "ec2")
        (record,) = at.pushes()
        assert (record["outcome"], record["request_id"]) == ("allowed", own)
        assert ("push", "allowed") in at.kept
        assert (record["upstream_id"], record["principal"]) == ("0d8f4a1e", offered.caller)
        assert record["fingerprint"] == lease.key.fingerprint
        peer.writer.close()

    at_house(tmp_path, course)


def test_the_hosts_own_lifetime_is_shorter(tmp_path: Path) -> None:
    """keys.lifetime shortens the life of an offered key."""

    async def course(at: House) -> None:
        peer = await at.attach()
        await at.offer(peer, at.offered())
        (lease,) = at.store.table.of("alice")
        assert lease.expires_at == at.clock.boottime() + 10
        peer.writer.close()

    at_house(tmp_path, course, keys=Keys(lifetime=10))


def test_the_same_push_is_one_lease(tmp_path: Path) -> None:
    """The same offer again neither extends the lease nor adds one, and is not recorded again."""

    async def course(at: House) -> None:
        peer = await at.attach()
        first = await at.offer(peer, at.offered())
        (lease,) = at.store.table.of("alice")
        at.clock.advance(20)
        other = "alice SHA256:" + "A" * 43 + "\n"
        assert await at.offer(peer, at.offered(left=60.0), line=other) == b""
        assert at.store.table.of("alice") == (lease,)
        assert await at.look_up("alice\n") == first
        assert len(at.pushes()) == 1
        peer.writer.close()

    at_house(tmp_path, course)


def test_a_revoked_key_does_not_come_back(tmp_path: Path) -> None:
    """A revoked key does not come back when its offer is repeated."""

    async def course(at: House) -> None:
        peer = await at.attach()
        assert await at.offer(peer, at.offered())
        await at.store.revoke(at.store.table.of("alice"))
        assert await at.offer(peer, at.offered()) == b""
        assert at.store.table.of("alice") == ()
        peer.writer.close()

    at_house(tmp_path, course)


def test_a_key_that_was_used_up_does_not_come_back(tmp_path: Path) -> None:
    """With `keys.uses: once` a used key does not come back when its offer is repeated."""

    async def course(at: House) -> None:
        peer = await at.attach()
        await at.offer(peer, at.offered())
        (lease,) = at.store.table.of("alice")
        assert lease.uses == 1
        now = at.clock.boottime()
        used = Consumption(lease.request_id, "1:2", "192.0.2.1", now, lease.expires_at)
        await at.store.consume(lease, used)
        await at.offer(peer, at.offered())
        assert at.store.table.of("alice") == ()
        await at.offer(peer, at.offered(2))
        assert len(at.store.table.of("alice")) == 1
        peer.writer.close()

    at_house(tmp_path, course, keys=Keys(uses="once"))


def test_one_push_is_a_key_for_one_user(tmp_path: Path) -> None:
    """An offer repeated for another OS user is refused, and recorded once."""

    async def course(at: House) -> None:
        peer = await at.attach()
        assert await at.offer(peer, at.offered())
        for _ in range(2):
            stolen = at.offered(os_user="root")
            assert await at.offer(peer, stolen, line="root\n") == b""
        assert at.store.table.of("root") == ()
        (record,) = [each for each in at.pushes() if each["os_user"] == "root"]
        assert record["outcome"] == "AccessDeniedException"
        assert "another OS user" in record["reason"]
        peer.writer.close()

    at_house(tmp_path, course)


def test_offers_from_before_a_loss_are_not_taken(tmp_path: Path) -> None:
    """An offer dated before the loss of the journal is refused."""

    async def course(at: House) -> None:
        peer = await at.attach()
        at.memory.resume(Horizon(lost_at=at.clock.boottime()))
        assert await at.offer(peer, at.offered(dated=at.clock.wall() - 1)) == b""
        assert at.pushes()[0]["outcome"] == "RequestExpired"
        at.clock.advance(1)
        assert await at.offer(peer, at.offered(2)) != b""
        peer.writer.close()

    at_house(tmp_path, course)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "another instance": ({"instance": "i-00000000000000001"}, "EC2InstanceNotFoundException"),
    "a type that is not accepted": ({"key": "ecdsa-sha2-nistp256 AAAA"}, "InvalidArgsException"),
    "no key": ({"key": "ssh-ed25519 AAAA"}, "InvalidArgsException"),
    "options": ({"key": f'from="*" {ed25519_line(1)}'}, "InvalidArgsException"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_the_hosts_policy_holds_for_offers(tmp_path: Path, what: str) -> None:
    """An offer against the host's policy is refused, and recorded once however often it comes."""
    changes, outcome = REFUSED[what]

    async def course(at: House) -> None:
        peer = await at.attach()
        for number in (2, 3, 4):
            good = at.offered(number)
            wanted = f"alice {make_lease(key=ed25519_key(number)).key.fingerprint}\n"
            line = await at.offer(peer, at.offered(**changes), good, line=wanted)
            assert line.decode().startswith(good.key)
        refused = [each for each in at.pushes() if each["outcome"] != "allowed"]
        assert [each["outcome"] for each in refused] == [outcome]
        peer.writer.close()

    at_house(tmp_path, course)


def test_a_denied_user_gets_no_key(tmp_path: Path) -> None:
    """An offer for a user in keys.deny_users is refused."""

    async def course(at: House) -> None:
        peer = await at.attach()
        assert await at.offer(peer, at.offered(os_user="root"), line="root\n") == b""
        assert at.pushes()[0]["outcome"] == "AccessDeniedException"
        peer.writer.close()

    at_house(tmp_path, course, keys=Keys(deny_users=("root",)))


def test_an_offer_for_another_user_is_refused(tmp_path: Path) -> None:
    """A source that offers a key for another user is disconnected, and its answer ignored."""

    async def course(at: House) -> None:
        peer = await at.attach()
        looking = asyncio.ensure_future(at.look_up("alice\n"))
        asked = await peer.hear()
        peer.say(Answer(asked["ask"], [at.offered(1), at.offered(2, os_user="root")]))
        assert await peer.is_closed()
        assert await looking == b""
        assert at.store.table.live() == []
        peer.writer.close()

    at_house(tmp_path, course)


def test_a_full_table_takes_none_and_evicts_none(tmp_path: Path) -> None:
    """An offer for a full table is refused, and accepted later when there is room."""

    async def course(at: House) -> None:
        peer = await at.attach()
        lease = make_lease("alice", at=at.clock.boottime(), lifetime=5)
        at.store.table.add(lease)
        other = "alice SHA256:" + "A" * 43 + "\n"
        await at.offer(peer, at.offered(), line=other)
        assert at.store.table.of("alice") == (lease,)
        assert at.pushes()[0]["outcome"] == "ThrottlingException"
        at.clock.advance(5)
        assert await at.offer(peer, at.offered(left=55.0)) != b""
        peer.writer.close()

    at_house(tmp_path, course, keys=Keys(per_user=1))


def test_the_seconds_that_an_answer_waits_are_not_given_back(tmp_path: Path) -> None:
    """An offer's lifetime also runs while it waits for its turn."""

    async def course(at: House) -> None:
        peer = await at.attach()
        looking = asyncio.ensure_future(at.look_up("alice\n"))
        async with at.context.turns:
            asked = await peer.hear()
            peer.say(Answer(asked["ask"], [at.offered(1), at.offered(2, left=3.0)]))
            await looking
            at.clock.advance(7)
        while not at.store.table.of("alice"):
            await asyncio.sleep(0.001)
        (lease,) = at.store.table.of("alice")
        assert lease.expires_at == at.clock.boottime() + 53
        assert lease.mark is not None
        assert lease.mark.digest.hex() == f"{1:064x}"
        peer.writer.close()

    at_house(tmp_path, course)


@pytest.mark.parametrize(("ago", "left"), [(0.0, 60.0), (45.0, 15.0), (60.0, None), (1e4, None)])
def test_an_offer_that_arrives_late_ends_by_its_date(
    tmp_path: Path, ago: float, left: Optional[float]
) -> None:
    """A key ends a minute after its date, though its message says that it lives for a minute more.

    So a host that was suspended while the message was on its way does not serve it.
    """

    async def course(at: House) -> None:
        at.memory.resume(Horizon())  # no mark has been lost
        peer = await at.attach()
        await at.offer(peer, at.offered(dated=at.clock.wall() - ago))
        ends = [lease.expires_at - at.clock.boottime() for lease in at.store.table.live()]
        assert ends == ([] if left is None else [pytest.approx(left)])
        peer.writer.close()

    at_house(tmp_path, course)


def test_a_date_far_ahead_is_forgotten_in_its_time(tmp_path: Path) -> None:
    """A mark dated far ahead is forgotten in time, so it cannot fill the memory."""

    async def course(at: House) -> None:
        peer = await at.attach()
        assert await at.offer(peer, at.offered(dated=2.0**52)) != b"\n"
        assert len(at.memory) == 1
        at.clock.advance(2 * LIMITS.clock_skew_seconds + 1)
        at.memory.forget()
        assert len(at.memory) == 0
        peer.writer.close()

    at_house(tmp_path, course)


@pytest.mark.parametrize("callers", [["AKIDEXAMPLE"] * 8, [f"caller-{n}" for n in range(8)]])
def test_a_source_takes_nobody_elses_share_of_the_replay_memory(
    tmp_path: Path, callers: list[str]
) -> None:
    """A source has one share, whatever callers it claims: it fills half of the memory at most."""

    async def course(at: House) -> None:
        peer = await at.attach()
        offers = [at.offered(n, digest=f"{n:064x}", caller=who) for n, who in enumerate(callers)]
        await at.offer(peer, *offers)
        assert [each["outcome"] for each in at.pushes()].count("allowed") == len(at.memory) == 4
        for principal in ("AKIDEXAMPLE", "caller-1", "another"):
            assert at.memory.recall(mark(1000, at.clock.wall()), principal) is None
        peer.writer.close()

    at_house(tmp_path, course, marks=8)
