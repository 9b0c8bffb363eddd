"""The history is newest first and bounded, and a flood displaces no other user's decisions."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace
from typing import Any

from agent.audit.history import History, NoHistory
from agent.config.limits import LIMITS
from tests.parts.leases import make_lease


def record(event: str = "push", outcome: str = "allowed", **more: Any) -> dict[str, Any]:
    """An audit record about alice."""
    return {"event": event, "outcome": outcome, "os_user": "alice", **more}


def note(history: History, known: dict[str, Any], now: float) -> None:
    """Note a record, as the audit does."""
    history.note(known, json.dumps(known).encode(), now)


def test_decisions_come_newest_first_with_their_age() -> None:
    """Decisions of all kinds come newest first, each with its age in seconds."""
    history = History()
    note(history, record(request_id="a"), 100.0)
    note(history, record("lookup", "given", request_id="a"), 103.0)
    note(history, record("revoke"), 104.5)
    told = [(each["event"], each["age"]) for each in history.of("alice", 110.0)]
    assert told == [("revoke", 5.5), ("lookup", 7.0), ("push", 10.0)]


def test_records_that_explain_no_login_are_not_kept() -> None:
    """A record of an operator's reading or of the daemon's start is not kept in the history."""
    history = History()
    for event in ("list", "why", "status", "start"):
        note(history, record(event), 1.0)
    assert history.of("alice", 2.0) == []


def test_summed_decisions_are_listed_apart_from_a_users() -> None:
    """Records of sums are kept apart from users' decisions, newest first, bounded, for a time."""
    history = History()
    for number in range(2 * LIMITS.history_unwritten):
        note(history, {"event": "audit", "outcome": "summed", "count": number}, float(number))
    told = history.unwritten(100.0)
    newest = 2 * LIMITS.history_unwritten - 1
    assert [each["count"] for each in told] == list(range(newest, newest // 2, -1))
    assert told[0]["age"] == 100.0 - newest
    assert history.of("alice", 100.0) == []
    assert history.unwritten(LIMITS.history_seconds + newest) == []


def test_repeated_lookups_are_one_entry_with_a_count() -> None:
    """Equal lookups in a row are one decision with a count."""
    history = History()
    for at in (1.0, 2.0, 3.0):
        note(history, record("lookup", "given", request_id="a", fingerprint="SHA256:x"), at)
    note(history, record("lookup", "none", fingerprint="SHA256:y", reason="expired"), 4.0)
    told = [(e["outcome"], e["times"], e["age"]) for e in history.of("alice", 5.0)]
    assert told == [("none", 1, 1.0), ("given", 3, 2.0)]


def test_lookups_do_not_displace_pushes() -> None:
    """A thousand lookups displace no push from a user's history."""
    history = History()
    note(history, record(request_id="the push"), 1.0)
    for number in range(1000):
        note(history, record("lookup", "none", fingerprint=f"SHA256:{number}"), 2.0 + number)
    told = history.of("alice", 2000.0)
    assert len(told) == LIMITS.history_per_user + 1
    assert told[-1]["request_id"] == "the push"


def test_claims_of_strangers_displace_only_each_other() -> None:
    """A flood of unauthenticated requests displaces no authenticated decision."""
    history = History(room=2000)
    note(history, record(), 1.0)
    for number in range(10 * LIMITS.history_claims):
        name = "alice" if number % 2 else f"user{number}"
        claim = {"event": "push", "outcome": "AuthException", "claimed_os_user": name}
        note(history, claim, 2.0 + number)
    told = history.of("alice", 10_000.0)
    assert [each["outcome"] for each in told].count("allowed") == 1
    assert len(told) <= LIMITS.history_claims + 1


def test_a_user_has_a_bounded_number_of_decisions() -> None:
    """The latest decisions of each user are kept, and displace no other user's."""
    history = History(each=3)
    for name in ("a", "b"):
        for number in range(5):
            note(history, {**record(), "os_user": name, "seq": number}, 1.0)
    assert [[e["seq"] for e in history.of(name, 2.0)] for name in ("a", "b")] == [[2, 3, 4]] * 2


def test_records_of_any_length_take_bounded_memory() -> None:
    """Memory stays bounded for records of any length; the oldest user's go first."""
    history = History()
    tracemalloc.start()
    try:
        for number in range(4000):
            known = {**record(user_agent="x" * 6000), "os_user": f"user{number}"}
            note(history, known, float(number))
            known["event"] = "lookup"
            note(history, known, float(number))
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert grown < 2 * LIMITS.history_bytes
    assert len(history.of("user3999", 4000.0)) == 2
    assert history.of("user0", 4000.0) == []


def test_leases_that_ended_take_bounded_memory() -> None:
    """Remembered leases take bounded memory, and the oldest are forgotten first."""
    history = History()
    leases = [make_lease(f"user{number}", at=100.0) for number in range(100)]
    for each in range(200):
        for lease in leases:
            history.record_push(replace(lease, os_user=f"{lease.os_user}-{each}"))
    mine = leases[0].key.fingerprint
    assert history.explain("user0-0", mine, 110.0) is None
    assert history.explain("user0-199", mine, 110.0) is not None
    assert history._leases.size <= LIMITS.history_bytes


def test_the_history_leaves_the_public_key_out() -> None:
    """The history gives a key's fingerprint and not the public key."""
    history = History()
    note(history, record(public_key="A" * 1400, fingerprint="SHA256:x"), 1.0)
    (told,) = history.of("alice", 2.0)
    assert "public_key" not in told
    assert told["fingerprint"] == "SHA256:x"


def test_a_login_without_a_push_names_whom_the_key_was_pushed_for() -> None:
    """A login as one user with a key pushed for another names the other user."""
    history = History()
    lease = make_lease("bob", at=100.0)
    history.record_push(lease)
    history.record_miss("alice", lease.key.fingerprint, 110.0)
    history.record_miss("alice", lease.key.fingerprint, 111.0)
    told = history.last_miss("alice", 115.0)
    assert told == {
        "fingerprint": lease.key.fingerprint,
        "age": 4.0,
        "times": 2,
        "pushed_for": ["bob"],
    }
    assert history.last_miss("bob", 115.0) is None


def test_without_a_fingerprint_no_other_user_is_named() -> None:
    """A lookup without a fingerprint names no user for whom the key was pushed."""
    history = History()
    history.record_push(make_lease("bob", at=100.0))
    history.record_miss("alice", None, 110.0)
    told = history.last_miss("alice", 115.0)
    assert told is not None
    assert told["pushed_for"] == []


def test_a_refusal_says_why_the_key_is_not_usable() -> None:
    """A refusal says that the key expired, was revoked, or has another fingerprint.

    After a quarter of an hour it gives no reason.
    """
    history = History()
    lease = make_lease(at=100.0)
    mine, now = lease.key.fingerprint, 110.0

    def reason(fingerprint: str, now: float) -> str:
        found = history.explain("alice", fingerprint, now)
        assert found is not None
        assert found.request_id == (lease.request_id if fingerprint == mine else None)
        return found.reason

    assert history.explain("alice", mine, now) is None
    history.record_push(lease)
    other = reason("SHA256:" + "A" * 43, now)
    assert other.startswith(f"another fingerprint: the key pushed for this user was {mine}")
    assert other.endswith("live for 50 s more")
    assert reason(mine, 172.0).startswith("expired 12 s ago")
    history.record_revocation(lease, 120.0)
    assert reason(mine, 125.0).startswith("revoked 5 s ago")
    assert history.explain("alice", mine, 160.0 + LIMITS.history_seconds) is None


def test_a_gateway_remembers_no_decision() -> None:
    """A gateway's history stays empty, whatever is noted: nothing on a gateway reads it."""
    history = NoHistory()
    note(history, record(), 1.0)
    note(history, {"event": "audit", "outcome": "summed"}, 1.0)
    assert history.of("alice", 2.0) == []
    assert history.unwritten(2.0) == []
