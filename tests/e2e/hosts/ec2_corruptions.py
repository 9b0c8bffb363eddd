"""Steps: each single corruption of EC2's data is refused, and `why` gives the reason."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, Callable

from agent.config.limits import LIMITS
from tests.e2e.hosts.host import Host
from tests.e2e.hosts.imds import Imds, line, wait_until, wait_well
from tests.e2e.hosts.report import expect
from tests.parts.ec2_signer import AUTHORITY, NAME, wrapped

MEBIBYTE = 1024 * 1024
CHAIN = ("leaf", "intermediate", "cross", "old-root")


def other_signature(imds: Imds, key: str) -> bytes:
    """One bit of the signature is changed."""
    good = imds.signer.block(key)
    at = good.index(key.encode()) + len(key) + 20
    return good[:at] + (b"A" if good[at : at + 1] != b"A" else b"B") + good[at + 1 :]


def signed_by_another(imds: Imds, key: str) -> bytes:
    """The signature is by the intermediate's key, with which EC2 does not sign."""
    lines = imds.signer.block(key).partition(key.encode())[0] + key.encode() + b"\n"
    return lines + wrapped(imds.signer.sign(lines, key="intermediate")) + b"\n"


def other_order(block: bytes) -> bytes:
    """The first two lines are exchanged."""
    first, second, rest = block.split(b"\n", 2)
    return b"\n".join((second, first, rest))


def key_first(block: bytes, key: str) -> bytes:
    """The key is above the block's lines."""
    return key.encode() + b"\n" + block.replace(key.encode() + b"\n", b"")


def rubbish() -> bytes:
    """Slightly more data than is read."""
    each = b"#Timestamp=1\n" + b"A" * 8000 + b"\n\n"
    return each * (MEBIBYTE // len(each) + 1)


# Faults of a block, made from a good one, and the reasons that `sixtykey why` gives.
BLOCKS: dict[str, tuple[Callable[[Imds, str], bytes], str]] = {
    "signature": (other_signature, "signature does not verify"),
    "signature by another key": (signed_by_another, "does not verify"),
    "caller changed": (
        lambda imds, key: imds.signer.block(key).replace(b"#Caller=arn", b"#Caller=Arn"),
        "signature does not verify",
    ),
    "instance": (
        lambda imds, key: imds.signer.block(key, instance="i-00000000000000001"),
        "not for this instance",
    ),
    "time": (lambda imds, key: imds.signer.block(key, expires=time.time() - 1), "it expired at"),
    "time too far ahead": (
        lambda imds, key: imds.signer.block(key, expires=time.time() + 4e6),
        "too far ahead",
    ),
    "order of lines": (lambda imds, key: other_order(imds.signer.block(key)), "does not verify"),
    "key before its lines": (lambda imds, key: key_first(imds.signer.block(key), key), "order"),
    "CRLF": (
        lambda imds, key: imds.signer.block(key).replace(b"\n", b"\r\n"),
        "carriage returns",
    ),
    "no empty line": (lambda imds, key: imds.signer.block(key)[:-1], "no empty line at its end"),
}  # fmt: skip
# These are put after all other blocks.
LAST: dict[str, tuple[Callable[[Imds, str], bytes], str]] = {
    "no final newline": (lambda imds, key: imds.signer.block(key).rstrip(b"\n"), "no line feed"),
    "1 MB of blocks": (
        lambda imds, key: rubbish() + imds.signer.block(key),
        f"more than {MEBIBYTE} bytes",
    ),
}


def decisions(host: Host) -> dict[str, Any]:
    """The decisions about alice that `sixtykey why` shows, by request id."""
    done = host.machine.run("sixtykey", "why", "--json", "alice", check=False)
    told = json.loads(done.stdout or '{"Decisions": []}')
    return {each["request_id"]: each for each in told["Decisions"] if "request_id" in each}


def expect_told(host: Host, before: dict[str, Any], reason: str) -> str:
    """Fail unless `sixtykey why` gives this reason, and did not give it before.

    On a busy machine the answer may come after the login that asked for it.
    """
    told: list[str] = []

    def is_told() -> bool:
        new = [each for number, each in decisions(host).items() if number not in before]
        told.extend(str(each["words"]) for each in new if reason in str(each.get("reason")))
        return bool(told)

    wait_until(is_told, lambda: f"why does not tell {reason!r}: {decisions(host)}")
    return told[0]


def get_in(host: Host, key: Path, what: str) -> None:
    """Log in as alice; again if refused, as a user would if the metadata's answer is late."""
    wait_until(lambda: host.client.login("alice", key) == "alice", lambda: what)


def blocks(host: Host, imds: Imds) -> None:
    """A bad block between two good ones, or after one."""
    for what, (make, reason) in {**BLOCKS, **LAST}.items():
        with host.report.step(f"a bad block ({what}): refused, the others log in") as seen:
            keys = [host.client.key(name) for name in ("bad", "good", "later")]
            bad, good, later = (line(key) for key in keys)
            after = [] if what in LAST else [imds.signer.block(later)]
            before = decisions(host)
            imds.data.set_keys("alice", imds.signer.block(good), make(imds, bad), *after)
            expect(host.client.login("alice", keys[0]) == "", "the bad one has logged in")
            seen.append(expect_told(host, before, reason))
            get_in(host, keys[1], "the good one before it")
            if after:
                get_in(host, keys[2], "the good one after it")
            host.machine.run("sixtykey", "revoke", "alice", check=False)
    imds.data.set_keys("alice")


def show_name(imds: Imds, name: str, san: Any = None, chain: tuple[str, ...] = CHAIN) -> None:
    """Show a signer of this name, with a valid chain and answers."""
    imds.signer.issue_signer("leaf", name, san)
    answers = {**imds.signer.answers(), "leaf": imds.signer.answer("leaf", "intermediate")}
    imds.data.set_signer(imds.signer, *chain, answers=answers)


def show_impostor(imds: Imds) -> None:
    """Show a signer of the right name, by another authority."""
    signer = imds.signer
    signer.issue("impostor", "impostor", AUTHORITY, subject="/CN=Root 1")
    signer.issue_signer("leaf", NAME, issuer="impostor")
    answers = {"leaf": signer.answer("leaf", "impostor")}
    imds.data.set_signer(signer, "leaf", "impostor", answers=answers)


def show_answer(imds: Imds, answer: Any) -> None:
    """Show EC2's signer with this OCSP answer about it, or with none."""
    answers = {name: each for name, each in imds.signer.answers().items() if name != "signer"}
    if answer is not None:
        answers["signer"] = answer
    imds.data.set_signer(imds.signer, answers=answers)


def answer_for_another(imds: Imds) -> bytes:
    """A valid answer about another certificate of the same issuer."""
    imds.signer.issue_signer("other", NAME)
    return imds.signer.answer("other", "intermediate")


# Faults of the signer, and the reasons that `sixtykey why` gives.
SIGNERS: dict[str, tuple[Callable[[Imds], None], str]] = {
    "CN": (lambda imds: show_name(imds, NAME.replace("us-east-2", "us-east-1")), "is for"),
    "SAN": (lambda imds: show_name(imds, NAME, "www.evil.example"), "alternative name"),
    "domain": (lambda imds: show_name(imds, NAME + ".evil.example"), "evil.example"),
    "chain": (lambda imds: show_name(imds, NAME, chain=("leaf", "old-root")), "not its issuer's"),
    "chain cut": (lambda imds: show_name(imds, NAME, chain=("leaf",)), "no configured root"),
    "authority of somebody's own": (show_impostor, "no configured root"),
    "OCSP answer missing": (
        lambda imds: show_answer(imds, None),
        "no OCSP answer is about the certificate",
    ),
    "revoked": (
        lambda imds: show_answer(imds, imds.signer.answer("signer", "intermediate", status="R")),
        "is revoked",
    ),
    "OCSP answer for another certificate": (
        lambda imds: show_answer(imds, answer_for_another(imds)),
        "no OCSP answer is about the certificate",
    ),
    "OCSP answer signed by another": (
        lambda imds: show_answer(imds, imds.signer.answer("signer", "intermediate", by="signer")),
        "OCSP answer",
    ),
}


def signers(host: Host, imds: Imds) -> None:
    """The signer is verified before its blocks; each case uses a new process without a cache."""
    stale = imds.signer.answer("signer", "intermediate", days=None, options=["-nmin", "1"])
    made = time.time()
    with host.report.step("another certificate of the signer's does as well") as seen:
        show_name(imds, NAME)
        seen.append(try_signer(host, imds, ""))
    for what, (show, reason) in SIGNERS.items():
        with host.report.step(f"a bad signer ({what}): refused, ordinary keys log in") as s:
            show(imds)
            s.append(try_signer(host, imds, reason))
    with host.report.step("a bad signer (OCSP answer stale): refused, ordinary keys log in") as s:
        show_answer(imds, stale)
        time.sleep(max(0.0, made + 61.0 - time.time()))
        s.append(try_signer(host, imds, "is not current"))
    with host.report.step("a signer that is mended signs again, without a restart") as seen:
        imds.data.set_signer(imds.signer)
        time.sleep(LIMITS.signer_retry_seconds)
        seen.append(try_signer(host, imds, "", restart=False))


def try_signer(host: Host, imds: Imds, reason: str, restart: bool = True) -> str:
    """A block by this signer is accepted if no reason is given, else refused with that reason."""
    if restart:
        host.machine.run("systemctl", "restart", "sixtykeyd-ec2.service")
    wait_well(host)
    key, here = host.client.key("block"), host.client.key("here")
    before = decisions(host)
    status, body = host.push("alice", here)
    expect(status == 200, f"{status} {body}")
    imds.data.set_keys("alice", imds.signer.block(line(key)))
    if reason:
        expect(host.client.login("alice", key) == "", "logged in")
    else:
        get_in(host, key, "not logged in")
    expect(host.client.login("alice", here) == "alice", "a key that was pushed here")
    told = expect_told(host, before, reason) if reason else f"alice, by {NAME}"
    host.machine.run("sixtykey", "revoke", "alice", check=False)
    return told
