"""When the signer is checked again: changed, revoked or missing, and once for many pushes."""

from __future__ import annotations

import pytest

from agent.config.limits import LIMITS
from agent.sources.metadata.refusal import Refused
from agent.sources.metadata.source import Source
from tests.parts.ec2_signer import Ec2Signer
from tests.parts.leases import ed25519_line
from tests.sources.metadata.serving import Service

KEY, OTHER = ed25519_line(1), ed25519_line(2)
KEYS_OF_ALICE = "GET /latest/meta-data/managed-ssh-keys/active-keys/alice/"


def test_a_new_signer_is_noticed_by_its_signature(ec2: Service) -> None:
    """A new signer is fetched when a block does not verify with the old one."""

    async def course(source: Source) -> None:
        ec2.data.set_keys("alice", ec2.block(KEY))
        assert len((await source.answer("alice", None))[0]) == 1
        ec2.clock.advance(3600)
        newer = Ec2Signer(ec2.signer.folder / "newer")
        ec2.roots = str(newer.pem("root"))
        ec2.data.set_signer(newer)
        ec2.data.set_keys("alice", newer.block(OTHER, expires=ec2.clock.wall() + 60))
        ((offer,), refusals) = await source.answer("alice", None)
        assert (offer.key, refusals) == (OTHER, [])

    ec2.run(course)


def test_a_bad_signature_does_not_fetch_the_signer_each_time(ec2: Service) -> None:
    """Bad signatures make the signer be fetched at a limited rate only."""

    async def course(source: Source) -> None:
        ec2.data.set_keys("alice", ec2.block(KEY).replace(b"#Caller=", b"#Caller=x"))
        for _ in range(20):
            assert not (await source.answer("alice", None))[0]
            ec2.clock.advance(1)
        fetched = [each for each in ec2.data.requests() if each.endswith("signer-cert/")]
        assert len(fetched) == 1 + 19 // int(LIMITS.signer_retry_seconds)

    ec2.run(course)


def test_a_bad_block_hides_no_good_one_while_the_signer_is_looked_for(ec2: Service) -> None:
    """A verified signer stays valid while EC2 shows no certificate or an unusable one."""

    async def course(source: Source) -> None:
        ec2.data.set_keys("alice", ec2.block(KEY))
        assert len((await source.answer("alice", None))[0]) == 1
        bad = ec2.block(OTHER).replace(b"#Caller=", b"#Caller=x")
        ec2.data.set_keys("alice", bad, ec2.block(KEY))
        for certificate in (b"", b"x" * (LIMITS.metadata_item_bytes + 1)):
            ec2.data.remove("managed-ssh-keys/signer-cert")
            if certificate:
                ec2.data.write("managed-ssh-keys/signer-cert", certificate)
            ec2.clock.advance(LIMITS.signer_retry_seconds)
            (offers, _) = await source.answer("alice", None)
            assert [each.key for each in offers] == [KEY]

    ec2.run(course)


def test_a_changed_signer_that_is_not_to_be_trusted_ends_the_trust_in_the_old_one(
    ec2: Service,
) -> None:
    """After a change to an untrusted signer, all blocks are refused until it is repaired."""

    async def course(source: Source) -> None:
        ec2.data.set_keys("alice", ec2.block(KEY))
        assert len((await source.answer("alice", None))[0]) == 1
        ec2.clock.advance(LIMITS.signer_retry_seconds)
        newer = Ec2Signer(ec2.signer.folder / "untrusted")
        ec2.data.set_signer(newer)
        other = newer.block(OTHER, expires=ec2.clock.wall() + 60)
        ec2.data.set_keys("alice", ec2.block(KEY), other)
        offers, refusals = await source.answer("alice", None)
        assert (offers, len(refusals)) == ([], 2)
        assert all("no configured root" in each.reason for each in refusals)
        ec2.data.set_signer(ec2.signer)
        ec2.clock.advance(LIMITS.signer_retry_seconds)
        assert [each.key for each in (await source.answer("alice", None))[0]] == [KEY]

    ec2.run(course)


def test_a_revocation_is_noticed_within_the_hour(ec2: Service) -> None:
    """A revocation is noticed within the hour, although the good answer is valid for a week."""

    async def course(source: Source) -> None:
        await source.prepare(0.0)
        revoked = ec2.signer.answer("signer", "intermediate", status="R")
        ec2.data.set_signer(ec2.signer, answers={**ec2.signer.answers(), "signer": revoked})
        ec2.clock.advance(LIMITS.signer_recheck_seconds - 1.0)
        await source.prepare(0.0)
        ec2.data.set_keys("alice", ec2.block(KEY))
        assert len((await source.answer("alice", None))[0]) == 1
        ec2.clock.advance(1.0)
        with pytest.raises(Refused, match="is revoked"):
            await source.prepare(0.0)
        offers, (refusal,) = await source.answer("alice", None)
        assert offers == []
        assert "is revoked" in refusal.reason

    ec2.run(course)


def test_a_signer_that_is_not_shown_now_is_believed_until_its_end(ec2: Service) -> None:
    """A signer stays valid when EC2, after an idle hour, shows its certificate no longer."""

    async def course(source: Source) -> None:
        await source.prepare(0.0)
        ec2.data.remove("managed-ssh-keys/signer-cert")
        ec2.clock.advance(LIMITS.signer_recheck_seconds)
        await source.prepare(0.0)
        ec2.data.set_keys("alice", ec2.block(KEY))
        assert len((await source.answer("alice", None))[0]) == 1

    ec2.run(course)


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        ("signer-cert", "no signer's certificate"),
        ("signer-ocsp/*", "no OCSP answer is about"),
        ("too long", "its signer cannot be fetched"),
    ],
)
def test_a_block_without_its_signer_is_refused_and_reported(
    ec2: Service, missing: str, reason: str
) -> None:
    """A block is refused with a reason if EC2 shows no certificate or no OCSP answer for it."""
    if missing == "too long":
        ec2.data.write("managed-ssh-keys/signer-cert", b"x" * (LIMITS.metadata_item_bytes + 1))
    for path in ec2.data.folder.glob(f"latest/meta-data/managed-ssh-keys/{missing}"):
        path.unlink()
    if missing.endswith("*"):
        ec2.data.folder.joinpath("latest/meta-data/managed-ssh-keys/signer-ocsp").rmdir()
    ec2.data.set_keys("alice", ec2.block(KEY))
    offers, (refusal,) = ec2.ask()
    assert offers == []
    assert reason in refusal.reason


def test_everything_is_checked_again_when_an_answer_expires(ec2: Service) -> None:
    """When the OCSP answers have expired, new ones are fetched and used."""

    async def course(source: Source) -> None:
        ec2.data.set_keys("alice", ec2.block(KEY))
        assert len((await source.answer("alice", None))[0]) == 1
        ec2.clock.advance(8 * 86400)
        ec2.data.set_keys("alice", ec2.block(OTHER))
        (offers, (refusal,)) = await source.answer("alice", None)
        assert offers == []
        assert "is not current" in refusal.reason
        pairs = (("signer", "intermediate"), ("intermediate", "cross"))
        answers = {name: ec2.signer.answer(name, by, days=20) for name, by in pairs}
        ec2.data.set_signer(ec2.signer, answers=answers)
        assert not (await source.answer("alice", None))[0]
        ec2.clock.advance(LIMITS.signer_retry_seconds)
        assert len((await source.answer("alice", None))[0]) == 1

    ec2.run(course)


def test_a_prepared_signer_is_not_fetched_during_a_login(ec2: Service) -> None:
    """A prepared signer is not fetched again during a login."""

    async def course(source: Source) -> None:
        await source.probe()
        await source.prepare(LIMITS.metadata_ahead_of_end_seconds)
        before = len(ec2.data.requests())
        ec2.data.set_keys("alice", ec2.block(KEY))
        assert len((await source.answer("alice", None))[0]) == 1
        assert ec2.data.requests()[before:] == [KEYS_OF_ALICE]
        ec2.clock.advance(7 * 86400 - 600)
        pairs = (("signer", "intermediate"), ("intermediate", "cross"))
        answers = {name: ec2.signer.answer(name, by, days=20) for name, by in pairs}
        ec2.data.set_signer(ec2.signer, answers=answers)
        await source.prepare(LIMITS.metadata_ahead_of_end_seconds)
        ec2.clock.advance(1200)
        before = len(ec2.data.requests())
        ec2.data.set_keys("alice", ec2.block(OTHER))
        assert len((await source.answer("alice", None))[0]) == 1
        assert ec2.data.requests()[before:] == [KEYS_OF_ALICE]

    ec2.run(course)
