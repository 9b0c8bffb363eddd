"""A gateway's memory of refused pushes: bounded, and shared fairly."""

from __future__ import annotations

import tracemalloc
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.audit.record import Record
from agent.config.fleet_limits import FLEET
from agent.fleet.gateway.attempts import Attempts
from agent.fleet.gateway.fair_memory import FairMemory
from tests.parts.asked_fleet import OWN
from tests.parts.daemon import INSTANCE_ID


def record(principal: str = OWN, **changes: Any) -> Record:
    """The record of a push that was refused."""
    members = {"os_user": "ec2-user", "instance": INSTANCE_ID, "request_id": "r", **changes}
    return Record("push", "AuthException", principal=principal, **{"reason": "no", **members})


def longest(number: int) -> dict[str, Any]:
    """The members of an attempt that takes most memory; each number's is different."""
    return {
        "os_user": f"u{number}".ljust(32, "x"),
        "instance": None,
        "reason": chr(0x10000 + number % 99) + "\U0001f511" * 2000,
        "fingerprint": f"SHA256:{number:043}",
        "request_id": f"{number:036}",
    }


def test_repetitions_take_one_place() -> None:
    """The same refusal again takes no further place; it is told with its number and latest time."""
    attempts = Attempts(each=3)
    for at in range(50):
        attempts.note(record(request_id=str(at)), float(at))
    attempts.note(record(fingerprint="SHA256:x"), 50.0)
    attempts.note(record("AKIAOTHER"), 51.0)
    found = attempts.of(OWN, INSTANCE_ID, "ec2-user", 60.0)
    assert [(each["age"], each["times"]) for each in found] == [(10.0, 1), (11.0, 50)]
    for at in range(10):
        attempts.note(record(fingerprint=f"SHA256:{at}"), 60.0)
    assert len(attempts.of(OWN, INSTANCE_ID, "ec2-user", 60.0)) == 3


def test_the_memory_is_bounded_in_bytes() -> None:
    """Whatever callers send, and however many they are, attempts take no more than their bytes."""
    tracemalloc.start()
    try:
        attempts = Attempts()
        before = tracemalloc.get_traced_memory()[0]
        for number in range(30_000):
            # A new string for each: literals would be shared.
            attempts.note(record(f"AKIA{number % 600:096}", **longest(number)), float(number))
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    kept = len(list(attempts._memory))
    assert 600 <= kept < 30_000
    assert taken <= FLEET.attempts_bytes


def test_one_principal_has_a_share() -> None:
    """One principal that fills its memory takes its share, and keeps its latest attempts."""
    attempts = Attempts()
    for number in range(1000):
        attempts.note(record(**longest(number)), float(number))
    assert attempts._memory.size <= FLEET.attempts_share
    latest = attempts.of(OWN, INSTANCE_ID, longest(999)["os_user"], 1000.0)
    assert [each["age"] for each in latest] == [1.0]


def test_floods_of_others_remove_no_attempts() -> None:
    """However many principals fill their share, those who take less than they keep all attempts."""
    attempts = Attempts()
    for number in range(10):
        attempts.note(record(fingerprint=f"SHA256:{number}"), 0.0)
    for number in range(60_000):
        attempts.note(record(f"AKIA{number % 300}", **longest(number)), 1.0)
    assert len(attempts.of(OWN, INSTANCE_ID, "ec2-user", 2.0)) == 10


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(1, 400), st.booleans()), max_size=120),
)
def test_who_takes_most_loses_first(course: list[tuple[int, int, bool]]) -> None:
    """The bounds hold at every step, and only a principal that took most before loses items.

    A principal's own items are its latest ones, in their order.
    """
    memory: FairMemory[tuple[int, int]] = FairMemory(8, 4000, 12_000, lambda item: item[0])
    model: dict[str, list[tuple[int, int]]] = {}
    for step, (who, size, replacing) in enumerate(course):
        name, item = f"p{who}", (size, step)
        before = {each: sum(size for size, _ in memory.of(each)) for each in model}
        own = model.setdefault(name, [])
        if replacing and memory.latest(name) is not None:
            own.pop()
            memory.replace_latest(name, item)
        else:
            memory.add(name, item)
        own.append(item)
        assert memory.size <= 12_000
        lost = [each for each in before if each != name and memory.of(each) != model[each]]
        for each in model:
            found = memory.of(each)
            assert found == model[each][len(model[each]) - len(found) :]
            assert len(found) <= 8
            model[each] = found
        largest = max([*before.values(), 0])
        # One step makes room by dropping several items: of the largest, down to the next ones.
        assert all(before[each] >= largest - 12_000 // 16 - 400 for each in lost)
    assert sorted(memory) == sorted(item for items in model.values() for item in items)


def test_attempts_that_nobody_can_ask_about_are_not_kept() -> None:
    """Not kept: an unverified sender's, without a user, with a name of another form; no push."""
    attempts = Attempts()
    attempts.note(record(principal=None, claimed_principal=OWN), 0.0)  # type: ignore[arg-type]
    attempts.note(record(os_user=None), 0.0)
    attempts.note(record(os_user="a b"), 0.0)
    attempts.note(record(instance="i-x"), 0.0)
    attempts.note(Record("explain", "AuthException", principal=OWN, os_user="ec2-user"), 0.0)
    assert list(attempts._memory) == []
    assert attempts.of(OWN, INSTANCE_ID, "ec2-user", 0.0) == []
    attempts.note(record(os_user=None, claimed_os_user="ec2-user", instance=None), 0.0)
    assert len(attempts.of(OWN, "i-00000000", "ec2-user", 0.0)) == 1


def test_more_principals_than_there_is_room_for() -> None:
    """If even one item of each principal is too much, some are forgotten; the bound holds."""
    memory: FairMemory[int] = FairMemory(4, 1000, 10_000, lambda item: item)
    for number in range(100):
        memory.add(f"p{number:03}", 200)
        assert memory.size <= 10_000
    left = [each for each in range(100) if memory.of(f"p{each:03}")]
    assert 5 < len(left) < 20
    assert memory.latest("p099") in (None, 200)
