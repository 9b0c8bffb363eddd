"""agent/sources/replay.py: replays are recognised, and no principal takes all the memory."""

from __future__ import annotations

import math

import pytest

from agent.leases.lease import AcceptedMark, Horizon, ReplayMark
from agent.sources.replay import ReplayMemory, ReplayMemoryFull, TooOld
from tests.parts.clock import ManualClock
from tests.parts.leases import mark

NOW = 1_800_000_000.0


@pytest.fixture(name="clock")
def _clock() -> ManualClock:
    return ManualClock()


def make_memory(clock: ManualClock, limit: int = 100) -> ReplayMemory:
    """A memory that has lost nothing."""
    memory = ReplayMemory(clock, limit)
    memory.resume(Horizon())
    return memory


def check_room(memory: ReplayMemory, principal: str) -> None:
    """Offer something new. Raises ReplayMemoryFull unless it could be remembered."""
    assert memory.recall(ReplayMark(b"new", math.inf), principal) is None


def fill(memory: ReplayMemory, principal: str, first: int, dated: float = NOW) -> int:
    """Remember pushes of one principal until there is no room; return their number."""
    taken = 0
    while True:
        try:
            check_room(memory, principal)
        except ReplayMemoryFull:
            return taken
        memory.remember(mark(first + taken, dated), "id", principal)
        taken += 1


def test_a_mark_is_recalled_with_its_own_request_id(clock: ManualClock) -> None:
    """A mark is recalled with its last request id, and is stored once."""
    memory = make_memory(clock)
    assert memory.recall(mark(1), "a") is None
    memory.remember(mark(1), "one", "a")
    memory.remember(mark(2), "two", "a")
    assert (memory.recall(mark(1), "a"), memory.recall(mark(2), "a")) == ("one", "two")
    memory.remember(mark(1), "other", "b")
    assert (memory.recall(mark(1), "a"), len(memory)) == ("other", 2)
    assert {each.principal for each in memory.accepted()} == {"a", "b"}


def test_nothing_is_forgotten_while_it_is_valid(clock: ManualClock) -> None:
    """A mark is kept for 15 minutes; once forgotten, no mark as old is accepted."""
    memory = make_memory(clock)
    memory.remember(mark(1), "one", "a")
    clock.advance(900)
    memory.forget()
    assert memory.recall(mark(1), "a") == "one"
    clock.advance(1)
    memory.forget()
    assert len(memory) == 0
    for older in (NOW, NOW - 1):
        with pytest.raises(TooOld):
            memory.recall(mark(1, older), "a")
    assert memory.recall(mark(3, NOW + 1), "a") is None


def test_a_clock_that_jumped_ahead_and_was_set_back_serves_no_replay(clock: ManualClock) -> None:
    """A mark forgotten while the clock was ahead stays refused; a later one is accepted."""
    memory = make_memory(clock)
    memory.remember(mark(1), "one", "a")
    clock.set_wall(NOW + 5 * 3600)
    memory.forget()
    clock.set_wall(NOW + 1)
    with pytest.raises(TooOld):
        memory.recall(mark(1), "a")
    assert memory.recall(mark(2, NOW + 1), "a") is None


def test_a_full_memory_says_when_it_has_room(clock: ManualClock) -> None:
    """A full memory says how long to wait until the first mark is forgotten."""
    memory = make_memory(clock, limit=2)
    memory.remember(mark(1, NOW - 100), "one", "a")
    with pytest.raises(ReplayMemoryFull) as caught:
        check_room(memory, "a")
    assert caught.value.wait == 800
    clock.advance(800)
    with pytest.raises(ReplayMemoryFull) as caught:
        check_room(memory, "a")
    assert caught.value.wait == 1
    clock.advance(1)
    check_room(memory, "a")


def test_a_memory_without_any_room_refuses_everybody(clock: ManualClock) -> None:
    """A memory with a limit of zero refuses every principal."""
    with pytest.raises(ReplayMemoryFull):
        check_room(make_memory(clock, limit=0), "a")


def test_one_principal_throttles_no_other(clock: ManualClock) -> None:
    """One principal gets at most half of the memory, and others still have room."""
    memory = make_memory(clock, limit=100)
    assert fill(memory, "greedy", 0) == 50
    for number in range(20):
        check_room(memory, "modest")
        memory.remember(mark(1000 + number), "id", "modest")
    with pytest.raises(ReplayMemoryFull):
        check_room(memory, "greedy")
    check_room(memory, "newcomer")


def test_many_greedy_principals_leave_room_for_one_more(clock: ManualClock) -> None:
    """Each principal takes at most half of what is left, so a new one has room."""
    memory = make_memory(clock, limit=10_000)
    taken = [fill(memory, f"greedy {number}", number * 10_000) for number in range(10)]
    assert taken[:3] == [5000, 2500, 1250]
    assert sum(taken) == len(memory) < 10_000
    check_room(memory, "newcomer")


def test_a_share_is_free_again_when_its_marks_are_forgotten(clock: ManualClock) -> None:
    """A principal's share is free again when its marks are forgotten."""
    memory = make_memory(clock, limit=10)
    assert fill(memory, "a", 0) == 5
    clock.advance(901)
    assert fill(memory, "a", 100, NOW + 901) == 5


def test_restored_marks_count_in_their_principals_share(clock: ManualClock) -> None:
    """Restored marks count in their principal's share."""
    memory = make_memory(clock, limit=10)
    memory.restore(AcceptedMark(mark(number), "id", "a") for number in range(5))
    with pytest.raises(ReplayMemoryFull):
        check_room(memory, "a")
    check_room(memory, "b")
    assert memory.recall(mark(3), "a") == "id"


def test_a_new_memory_has_lost_all_that_was_before_it(clock: ManualClock) -> None:
    """A new memory refuses marks dated before its start, and accepts later ones."""
    memory = ReplayMemory(clock)
    for older in (NOW - 800, NOW - 1):
        with pytest.raises(TooOld):
            memory.recall(mark(1, older), "a")
    assert memory.recall(mark(1, NOW), "a") is None


def test_after_a_loss_nothing_as_old_is_taken(clock: ManualClock) -> None:
    """After a loss unknown marks dated before it are refused, and later ones are accepted."""
    memory = make_memory(clock)
    memory.remember(mark(1), "one", "a")
    clock.advance(5)
    memory.resume(Horizon(lost_at=clock.boottime()))
    assert memory.recall(mark(1), "a") == "one"
    for lost in (NOW - 800, NOW + 5):
        with pytest.raises(TooOld):
            memory.recall(mark(2, lost), "a")
    assert memory.recall(mark(2, NOW + 6), "a") is None


def test_a_clock_that_was_behind_at_the_loss_lets_nothing_old_in(clock: ManualClock) -> None:
    """If the clock was behind at the loss, marks from before it are still refused."""
    clock.set_wall(NOW - 86_400)
    memory = ReplayMemory(clock)
    clock.advance(30)
    clock.set_wall(NOW + 30)
    with pytest.raises(TooOld):
        memory.recall(mark(1, NOW - 60), "a")
    assert memory.recall(mark(1, NOW), "a") is None


def test_a_clock_that_was_ahead_at_the_loss_keeps_nobody_out(clock: ManualClock) -> None:
    """If the clock was ahead at the loss, marks signed since are still accepted."""
    clock.set_wall(NOW + 7200)
    memory = ReplayMemory(clock)
    clock.advance(30)
    clock.set_wall(NOW + 30)
    assert memory.recall(mark(1, NOW + 29), "a") is None


def test_an_accepted_push_fixes_the_date_of_a_loss(clock: ManualClock) -> None:
    """After an accepted push, setting the clock back lets no refused mark in."""
    memory = ReplayMemory(clock)
    clock.advance(10)
    memory.remember(mark(1, NOW + 10), "one", "a")
    clock.set_wall(NOW - 600)
    with pytest.raises(TooOld):
        memory.recall(mark(2, NOW - 60), "a")


def test_resuming_lowers_no_horizon(clock: ManualClock) -> None:
    """Of several horizons the latest date counts."""
    memory = make_memory(clock)
    memory.resume(Horizon(NOW - 50))
    memory.resume(Horizon(NOW - 80))
    assert memory.state == Horizon(NOW - 50, None)
    assert memory.horizon == NOW - 50


def test_a_mark_is_known_by_its_digest(clock: ManualClock) -> None:
    """A mark is recognised by its digest, whatever its date is."""
    memory = make_memory(clock)
    memory.remember(mark(1), "one", "a")
    assert memory.recall(ReplayMark(mark(1).digest, NOW - 700), "a") == "one"
