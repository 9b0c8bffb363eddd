"""Every single corruption, through a real HTTP server, is reported; other blocks stay valid."""

from __future__ import annotations

from typing import Callable

import pytest
from hypothesis import HealthCheck, example, given, settings, strategies

from agent.config.limits import LIMITS
from agent.sources.feed.messages import Answer, encode, from_source
from agent.sources.metadata.source import Source
from tests.parts.ec2_signer import CALLER, NAME, REQUEST
from tests.parts.leases import ed25519_line
from tests.sources.metadata.serving import Service

KEY, GOOD, LATER = (ed25519_line(number) for number in (1, 2, 3))

BLOCKS: dict[str, tuple[Callable[[Service], bytes], str]] = {
    "signature": (
        lambda ec2: ec2.block(KEY).replace(b"\n\n", b"\n").rstrip(b"=\n")[:-8] + b"AAAAAAA=\n\n",
        "signature",
    ),
    "signed by another": (
        lambda ec2: ec2.block(KEY).replace(b"#Caller=arn", b"#Caller=Arn"),
        "signature does not verify",
    ),
    "instance": (
        lambda ec2: ec2.block(KEY, instance="i-00000000000000001"),
        "for 'i-00000000000000001', not for this instance",
    ),
    "time": (lambda ec2: ec2.block(KEY, left=-1.0), "it expired at"),
    "time of another year": (lambda ec2: ec2.block(KEY, left=4e6), "too far ahead"),
    "order of lines": (
        lambda ec2: b"\n".join(
            ec2.block(KEY).split(b"\n")[1::-1] + ec2.block(KEY).split(b"\n")[2:]
        ),
        "signature does not verify",
    ),
    "key before its lines": (
        lambda ec2: KEY.encode() + b"\n" + ec2.block(KEY).replace(KEY.encode() + b"\n", b""),
        "in this order",
    ),
    "CRLF": (lambda ec2: ec2.block(KEY).replace(b"\n", b"\r\n"), "carriage returns"),
    "no empty line": (lambda ec2: ec2.block(KEY)[:-1], "no empty line at its end"),
    "invisible character": (lambda ec2: ec2.block(f"{KEY}\u200b"), "not plain ASCII"),
}


@pytest.mark.parametrize("what", BLOCKS)
def test_a_bad_block_is_refused_and_leaves_the_others_standing(ec2: Service, what: str) -> None:
    """A bad block is refused, and the valid ones around it are offered."""
    make, reason = BLOCKS[what]
    bad = make(ec2)
    ec2.data.set_keys("alice", ec2.block(GOOD), bad, ec2.block(LATER))
    offers, refusals = ec2.ask()
    assert [each.key for each in offers] == [GOOD, LATER]
    assert reason in refusals[-1].reason


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@example(text="\u200b")
@given(text=strategies.text(strategies.characters(blacklist_categories=["Cs"]), min_size=1))
def test_no_text_of_a_key_ends_the_connection_to_the_daemon(ec2: Service, text: str) -> None:
    """Whatever EC2 signed as a key, the answer is a valid message with the other keys."""
    hostile = ec2.block(f"{KEY}{text}"), ec2.block(f"{text} {KEY}"), ec2.block(f"ssh-rsa {text}")
    ec2.data.set_keys("alice", ec2.block(GOOD), *hostile, ec2.block(LATER))
    answer = from_source(encode(Answer(1, *ec2.ask())))
    assert isinstance(answer, Answer)
    assert {GOOD, LATER} <= {each.key for each in answer.offers}


def test_a_block_without_a_final_line_feed_is_refused(ec2: Service) -> None:
    """A block without a final line feed is refused, and the one before it is offered."""
    ec2.data.set_keys("alice", ec2.block(GOOD), ec2.block(KEY).rstrip(b"\n"))
    (offer,), (refusal,) = ec2.ask()
    assert offer.key == GOOD
    assert "no line feed" in refusal.reason


def test_a_megabyte_of_blocks_is_read_no_further(ec2: Service) -> None:
    """A body is read up to a megabyte; blocks before that are offered."""
    rubbish = b"#Timestamp=1\n" + b"A" * 8000 + b"\n\n"
    many = rubbish * (LIMITS.metadata_bytes // len(rubbish) + 1)
    ec2.data.set_keys("alice", ec2.block(GOOD), many, ec2.block(KEY))
    (offer,), refusals = ec2.ask()
    assert offer.key == GOOD
    assert refusals[-1].reason.startswith(f"more than {LIMITS.metadata_bytes} bytes")


def test_one_bad_signature_beside_the_good_one_hides_nothing(ec2: Service) -> None:
    """A block is offered although the same lines also appear with a bad signature."""
    good = ec2.block(GOOD)
    head, _, _ = good.rpartition(GOOD.encode())
    bad = head + GOOD.encode() + b"\n" + b"QUFB\n\n"
    for both in ((good, bad), (bad, good)):
        ec2.data.set_keys("alice", *both)
        (offer,), (refusal,) = ec2.ask()
        assert offer.key == GOOD
        assert "does not verify" in refusal.reason


def test_the_verified_part_of_a_refused_block_is_reported(ec2: Service) -> None:
    """A refusal names the pusher only if the signature verifies it."""
    ec2.data.set_keys("alice", ec2.block(KEY, left=-1.0))
    (_, (ended,)) = ec2.ask()
    assert (ended.caller, ended.request_id) == (CALLER, REQUEST)
    ec2.data.set_keys("alice", ec2.block(KEY).replace(b"#Caller=arn", b"#Caller=Arn"))
    (_, (forged,)) = ec2.ask()
    assert (forged.caller, forged.request_id) == (None, None)
    assert forged.fingerprint == ended.fingerprint is not None


def test_a_refused_block_is_reported_once(ec2: Service) -> None:
    """A refused block is reported once, and again only after the source forgot its reports."""

    async def course(source: Source) -> None:
        ec2.data.set_keys("alice", ec2.block(KEY, left=-1.0))
        assert len((await source.answer("alice", None))[1]) == 1
        assert await source.answer("alice", None) == ([], [])
        source.forget_reported()
        assert len((await source.answer("alice", None))[1]) == 1

    ec2.run(course)


def other_cn(ec2: Service) -> None:
    """Show a certificate of another region's signer."""
    ec2.signer.issue_signer("leaf", NAME.replace("us-east-2", "us-east-1"))
    ec2.data.set_signer(ec2.signer, "leaf", "intermediate", "cross", "old-root")


def other_san(ec2: Service) -> None:
    """Show a certificate with the right common name and another alternative name."""
    ec2.signer.issue_signer("leaf", NAME, "www.evil.example")
    ec2.data.set_signer(ec2.signer, "leaf", "intermediate", "cross", "old-root")


def other_domain(ec2: Service) -> None:
    """Show a certificate with the right name in another domain."""
    ec2.signer.issue_signer("leaf", NAME + ".evil.example")
    ec2.data.set_signer(ec2.signer, "leaf", "intermediate", "cross", "old-root")


def with_answer(answer: Callable[[Service], bytes]) -> Callable[[Service], None]:
    """Show this OCSP answer for the signer."""

    def change(ec2: Service) -> None:
        answers = {"intermediate": ec2.signer.answer("intermediate", "cross")}
        if made := answer(ec2):
            answers["signer"] = made
        ec2.data.set_signer(ec2.signer, answers=answers)

    return change


def stale(ec2: Service) -> bytes:
    """An answer that was valid for one minute, two minutes ago."""
    made = ec2.signer.answer("signer", "intermediate", days=None, options=["-nmin", "1"])
    ec2.clock.advance(120)
    return made


def of_another(ec2: Service) -> bytes:
    """A valid answer about another certificate of the same issuer."""
    ec2.signer.issue_signer("other", NAME)
    return ec2.signer.answer("other", "intermediate")


SIGNERS: dict[str, tuple[Callable[[Service], None], str]] = {
    "CN": (other_cn, "is for"),
    "SAN": (other_san, "alternative name"),
    "domain": (other_domain, "is for"),
    "chain": (
        lambda ec2: ec2.data.set_signer(ec2.signer, "signer", "old-root"),
        "is not its issuer's",
    ),
    "a chain that is cut": (
        lambda ec2: ec2.data.set_signer(ec2.signer, "signer"),
        "no configured root",
    ),
    "OCSP missing": (with_answer(lambda _: b""), "no OCSP answer is about"),
    "OCSP stale": (with_answer(stale), "is not current"),
    "OCSP revoked": (
        with_answer(lambda ec2: ec2.signer.answer("signer", "intermediate", status="R")),
        "is revoked",
    ),
    "OCSP for another certificate": (with_answer(of_another), "no OCSP answer is about"),
}


@pytest.mark.parametrize("what", SIGNERS)
def test_a_signer_that_is_not_to_be_trusted_has_signed_nothing(ec2: Service, what: str) -> None:
    """Blocks are refused while their signer has a fault, and offered once it is repaired."""
    change, reason = SIGNERS[what]

    async def course(source: Source) -> None:
        change(ec2)
        ec2.data.set_keys("alice", ec2.block(KEY), ec2.block(GOOD))
        offers, refusals = await source.answer("alice", None)
        assert offers == []
        assert len(refusals) == 2
        assert all(reason in each.reason for each in refusals)
        ec2.data.set_signer(ec2.signer)
        ec2.clock.advance(LIMITS.signer_retry_seconds)
        offers, _ = await source.answer("alice", None)
        assert len(offers) == 2

    ec2.run(course)


def test_a_signer_that_has_gone_bad_signs_nothing_more(ec2: Service) -> None:
    """A verified signer is trusted until its OCSP answer ends, and is then checked again."""

    async def course(source: Source) -> None:
        ec2.data.set_keys("alice", ec2.block(KEY))
        assert len((await source.answer("alice", None))[0]) == 1
        with_answer(lambda ec2: ec2.signer.answer("signer", "intermediate", status="R", days=20))(
            ec2
        )
        ec2.clock.advance(8 * 86400)
        ec2.data.set_keys("alice", ec2.block(GOOD))
        offers, (refusal,) = await source.answer("alice", None)
        assert offers == []
        assert "OCSP" in refusal.reason or "revoked" in refusal.reason

    ec2.run(course)
