"""From blocks in the metadata to offers, through a real HTTP server."""

from __future__ import annotations

import pytest

from agent.config.limits import LIMITS
from agent.config.settings import Keys
from agent.leases.keys import PublicKey
from agent.sources.metadata.http import Away
from agent.sources.metadata.refusal import Refused
from agent.sources.metadata.source import Source
from tests.parts.daemon import INSTANCE_ID
from tests.parts.ec2_signer import CALLER, NAME, REQUEST
from tests.parts.leases import ed25519_line
from tests.sources.metadata.serving import Service

KEY, OTHER = ed25519_line(1), ed25519_line(2)
KEYS_OF_ALICE = "GET /latest/meta-data/managed-ssh-keys/active-keys/alice/"


def test_a_verified_block_is_offered(ec2: Service) -> None:
    """A verified block is offered with all its values and the remaining lifetime of its key."""
    ec2.data.set_keys("alice", ec2.block(f"{KEY} somebody@somewhere"))
    (offer,), refusals = ec2.ask()
    assert refusals == []
    assert (offer.os_user, offer.instance, offer.key) == ("alice", INSTANCE_ID, KEY)
    assert (offer.caller, offer.request_id) == (CALLER, REQUEST)
    assert 58.0 < offer.left <= 60.0
    assert offer.dated == int(ec2.clock.wall() + 60.0) - 60.0


def test_a_user_without_keys_costs_one_request(ec2: Service) -> None:
    """A user without keys costs one request, and none for the signer."""

    async def course(source: Source) -> None:
        assert await source.answer("nobody", None) == ([], [])
        before = len(ec2.data.requests())
        assert await source.answer("alice", None) == ([], [])
        assert ec2.data.requests()[before:] == [KEYS_OF_ALICE]

    ec2.run(course)
    assert not any("signer" in each for each in ec2.data.requests())


def test_a_push_costs_one_request_once_the_signer_is_known(ec2: Service) -> None:
    """After the first push, each push costs one request."""

    async def course(source: Source) -> None:
        ec2.data.set_keys("alice", ec2.block(KEY))
        await source.answer("alice", None)
        before = len(ec2.data.requests())
        ec2.data.set_keys("alice", ec2.block(OTHER))
        ((offer,), _) = await source.answer("alice", None)
        assert offer.key == OTHER
        assert ec2.data.requests()[before:] == [KEYS_OF_ALICE]

    ec2.run(course)


def test_a_block_that_is_fetched_again_is_the_same_offer(ec2: Service) -> None:
    """A block fetched again is the same offer with less time; its end is not a refusal."""

    async def course(source: Source) -> None:
        ec2.data.set_keys("alice", ec2.block(KEY))
        ((first,), _) = await source.answer("alice", None)
        ec2.clock.advance(30)
        ((again,), _) = await source.answer("alice", None)
        assert (again.digest, again.dated) == (first.digest, first.dated)
        assert again.left == pytest.approx(first.left - 30)
        ec2.clock.advance(31)
        assert await source.answer("alice", None) == ([], [])

    ec2.run(course)


def test_the_wanted_key_comes_first(ec2: Service) -> None:
    """The key that sshd asks for is offered first."""

    async def course(source: Source) -> None:
        ec2.data.set_keys("alice", ec2.block(KEY), ec2.block(OTHER))
        offers, _ = await source.answer("alice", None)
        assert [each.key for each in offers] == [KEY, OTHER]
        sha256 = "SHA256:gOPgXFWkBoXrFVwpjf0SBo3P1kFs+IvH5q/vnQhNpFw"
        wanted, _ = await source.answer("alice", sha256)
        assert [each.key for each in wanted] == [KEY, OTHER]
        wanted, _ = await source.answer("alice", _fingerprint(OTHER))
        assert [each.key for each in wanted] == [OTHER, KEY]

    ec2.run(course)


def _fingerprint(line: str) -> str:
    key = PublicKey.parse(line, Keys(types=("ssh-ed25519",)))
    return key.fingerprint


def test_many_refused_blocks_are_reported_over_several_answers(ec2: Service) -> None:
    """Refusals are spread over answers, none is lost, and the wanted key's comes first."""
    lines = [ed25519_line(number) for number in range(LIMITS.metadata_refusals + 5)]

    async def course(source: Source) -> None:
        ec2.data.set_keys("alice", *(ec2.block(line, left=-1.0) for line in lines))
        _, first = await source.answer("alice", _fingerprint(lines[-1]))
        _, second = await source.answer("alice", None)
        assert (len(first), len(second)) == (LIMITS.metadata_refusals, 5)
        assert first[0].fingerprint == _fingerprint(lines[-1])
        told = {each.fingerprint for each in (*first, *second)}
        assert told == {_fingerprint(line) for line in lines}

    ec2.run(course)


def test_the_metadata_of_another_host_is_not_asked_for_keys(ec2: Service) -> None:
    """Another host's metadata is refused, at start and later, and its keys are not read."""
    foreign = "i-00000000000000001"
    ec2.data.set_keys("alice", ec2.block(KEY, instance=foreign))

    async def course(source: Source) -> None:
        await source.probe()
        ec2.data.write("instance-id", foreign)
        with pytest.raises(Refused, match=f"that of '{foreign}', and this host is {INSTANCE_ID}"):
            await source.probe()
        with pytest.raises(Refused, match="that of"):
            await source.answer("alice", None)

    ec2.run(course)
    with pytest.raises(Refused, match="that of"):
        ec2.ask()
    assert KEYS_OF_ALICE not in ec2.data.requests()


@pytest.mark.parametrize("zone", ["us-east-2-bos-1a", "us-east-2-wl1-bos-wlz-1"])
def test_local_and_wavelength_zones_work(ec2: Service, zone: str) -> None:
    """Blocks in Local and Wavelength Zones are verified with their region's signer."""
    ec2.data.write("placement/availability-zone", zone)
    ec2.data.set_keys("alice", ec2.block(KEY))
    assert len(ec2.ask()[0]) == 1


@pytest.mark.parametrize("how", [{"status": 500}, {"status": 403}, {"drop": True}])
def test_a_service_that_fails_is_away(ec2: Service, how: dict[str, object]) -> None:
    """A failing service is reported as away, not as one without keys."""
    ec2.data.behave(**how)
    with pytest.raises(Away):
        ec2.ask()


def test_the_signers_name_is_that_of_zone_and_domain(ec2: Service) -> None:
    """A signer of another region is refused, and so is an unknown domain."""
    ec2.data.set_keys("alice", ec2.block(KEY))
    ec2.data.write("placement/availability-zone", "us-east-1a")
    (_, (refusal,)) = ec2.ask()
    assert f"is for '{NAME}', not for managed-ssh-signer.us-east-1.amazonaws.com" in refusal.reason
    ec2.data.write("services/domain", "evil.example")
    with pytest.raises(Refused, match="domain is"):
        ec2.ask()
