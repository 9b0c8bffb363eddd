"""While no lease can be taken, no source's is; nothing is lost by that."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.config.limits import LIMITS
from agent.fleet.messages.lease_exchange import Acknowledgement, Refusal
from agent.leases import store as store_module
from tests.fleet.sample_messages import ISSUER, LEASE
from tests.sources.feed.fleet_house import FleetHouse, at_fleet
from tests.sources.feed.house import House, Peer, at_house


@contextmanager
def short_of_memory() -> Iterator[None]:
    """No host has the reserve of memory that is asked for inside the block."""
    with pytest.MonkeyPatch.context() as patch:
        limits = LIMITS._replace(memory_reserve_bytes=1 << 60)
        patch.setattr(store_module, "LIMITS", limits)
        yield


def test_ec2s_offer_is_refused_without_a_reserve_and_taken_later(tmp_path: Path) -> None:
    """Without memory in reserve an offer is refused, like a push; later the same one is taken."""

    async def course(at: House) -> None:
        peer = await at.attach()
        offered = at.offered()
        with short_of_memory():
            assert await at.offer(peer, offered) == b""
        assert [each["outcome"] for each in at.pushes()] == ["ServiceUnavailable"]
        assert (await at.offer(peer, offered)).startswith(offered.key.encode())
        assert [each["outcome"] for each in at.pushes()] == ["ServiceUnavailable", "allowed"]
        peer.writer.close()

    at_house(tmp_path, course)


def test_a_fleets_lease_is_refused_without_a_reserve_and_taken_later(tmp_path: Path) -> None:
    """Without memory in reserve a fleet's lease is refused; later the same one is taken."""

    async def course(at: FleetHouse, peer: Peer) -> None:
        with short_of_memory():
            answer = await at.tell(peer, LEASE.seal(ISSUER))
        assert isinstance(answer, Refusal)
        assert (answer.code, at.store.table.live()) == ("NotReady", [])
        assert isinstance(await at.tell(peer, LEASE.seal(ISSUER)), Acknowledgement)

    at_fleet(tmp_path, course)
