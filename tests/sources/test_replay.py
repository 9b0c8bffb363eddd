"""agent/sources/replay.py: a replay is recognised, nothing is forgotten early, nobody takes all."""

from __future__ import annotations

import pytest

from agent.leases.lease import AcceptedMark, Horizon, ReplayMark
from agent.sources.replay import ReplayMemory, ReplayMemoryFull, TooOld
from tests.parts.clock import ManualClock
from tests.parts.leases import mark

NOW = 1_800_000_000.0


@pytest.fixture(name="clock")
def _clock() -> ManualClock:
    return ManualClock()


def known(clock: ManualClock, limit: int = 100) -> ReplayMemory:
    """A memory that has lost nothing."""
    memory = ReplayMemory(clock, limit)
    memory.resume(Horizon())
    return memory


def fill(memory: ReplayMemory, principal: str, first: int, dated: float = NOW) -> int:
    """Accept pushes of one principal until there is no room for more; how many there were."""
    taken = 0
    while True:
        try:
            memory.check_room(principal)
        except ReplayMemoryFull:
            return taken
        memory.remember(mark(first + taken, dated), "id", principal)
        taken += 1


def test_a_mark_is_recalled_with_its_own_request_id(clock: ManualClock) -> None:
    """A new mark has none; accepted twice, a mark is there once, and the later id counts."""
    memory = known(clock)
    assert memory.recall(mark(1)) is None
    memory.remember(mark(1), "one", "a")
    memory.remember(mark(2), "two", "a")
    assert (memory.recall(mark(1)), memory.recall(mark(2))) == ("one", "two")
    memory.remember(mark(1), "other", "b")
    assert (memory.recall(mark(1)), len(memory)) == ("other", 2)
    assert {each.principal for each in memory.accepted()} == {"a", "b"}


def test_nothing_is_forgotten_while_it_is_valid(clock: ManualClock) -> None:
    """To the last second of its 15 minutes; then it is, and its date is the horizon."""
    memory = known(clock)
    memory.remember(mark(1), "one", "a")
    clock.advance(900)
    memory.forget()
    assert memory.recall(mark(1)) == "one"
    clock.advance(1)
    memory.forget()
    assert len(memory) == 0
    for older in (NOW, NOW - 1):
        with pytest.raises(TooOld):
            memory.recall(mark(1, older))
    assert memory.recall(mark(3, NOW + 1)) is None


def test_a_clock_that_jumped_ahead_and_was_set_back_serves_no_replay(clock: ManualClock) -> None:
    """What was forgotten early stays refused; what is dated later than it is taken at once."""
    memory = known(clock)
    memory.remember(mark(1), "one", "a")
    clock.set_wall(NOW + 5 * 3600)
    memory.forget()
    clock.set_wall(NOW + 1)
    with pytest.raises(TooOld):
        memory.recall(mark(1))
    assert memory.recall(mark(2, NOW + 1)) is None


def test_a_full_memory_says_when_it_has_room(clock: ManualClock) -> None:
    """The wait is until the first mark is forgotten, a second at least; then there is room."""
    memory = known(clock, limit=2)
    memory.remember(mark(1, NOW - 100), "one", "a")
    with pytest.raises(ReplayMemoryFull) as caught:
        memory.check_room("a")
    assert caught.value.wait == 800
    clock.advance(800)
    with pytest.raises(ReplayMemoryFull) as caught:
        memory.check_room("a")
    assert caught.value.wait == 1
    clock.advance(1)
    memory.check_room("a")


def test_a_memory_without_any_room_refuses_everybody(clock: ManualClock) -> None:
    """Also one that remembers nothing: it has no date to wait for."""
    with pytest.raises(ReplayMemoryFull):
        known(clock, limit=0).check_room("a")


def test_one_principal_throttles_no_other(clock: ManualClock) -> None:
    """It gets half of the memory; others share what is left in the same way."""
    memory = known(clock, limit=100)
    assert fill(memory, "greedy", 0) == 50
    for number in range(20):
        memory.check_room("modest")
        memory.remember(mark(1000 + number), "id", "modest")
    with pytest.raises(ReplayMemoryFull):
        memory.check_room("greedy")
    memory.check_room("newcomer")


def test_many_greedy_principals_leave_room_for_one_more(clock: ManualClock) -> None:
    """Each takes half of what is left at most, so after ten of them a newcomer has room."""
    memory = known(clock, limit=10_000)
    taken = [fill(memory, f"greedy {number}", number * 10_000) for number in range(10)]
    assert taken[:3] == [5000, 2500, 1250]
    assert sum(taken) == len(memory) < 10_000
    memory.check_room("newcomer")


def test_a_share_is_free_again_when_its_marks_are_forgotten(clock: ManualClock) -> None:
    """Shares are counted by what is remembered, not by what ever was."""
    memory = known(clock, limit=10)
    assert fill(memory, "a", 0) == 5
    clock.advance(901)
    assert fill(memory, "a", 100, NOW + 901) == 5


def test_what_is_restored_counts_in_its_principals_share(clock: ManualClock) -> None:
    """A restart gives nobody a second share."""
    memory = known(clock, limit=10)
    memory.restore(AcceptedMark(mark(number), "id", "a") for number in range(5))
    with pytest.raises(ReplayMemoryFull):
        memory.check_room("a")
    memory.check_room("b")
    assert memory.recall(mark(3)) == "id"


def test_a_new_memory_has_lost_all_that_was_before_it(clock: ManualClock) -> None:
    """Nobody told it otherwise: what is dated over a second before it is refused, no later mark."""
    memory = ReplayMemory(clock)
    for older in (NOW - 800, NOW - 1):
        with pytest.raises(TooOld):
            memory.recall(mark(1, older))
    assert memory.recall(mark(1, NOW)) is None


def test_after_a_loss_nothing_as_old_is_taken(clock: ManualClock) -> None:
    """What may have been accepted before is refused; what is dated later is new."""
    memory = known(clock)
    memory.remember(mark(1), "one", "a")
    clock.advance(5)
    memory.lose(clock.boottime())
    assert memory.recall(mark(1)) == "one"
    for lost in (NOW - 800, NOW + 5):
        with pytest.raises(TooOld):
            memory.recall(mark(2, lost))
    assert memory.recall(mark(2, NOW + 6)) is None


def test_a_clock_that_was_behind_at_the_loss_lets_nothing_old_in(clock: ManualClock) -> None:
    """A host without a battery starts in the past: set right, it refuses what was before."""
    clock.set_wall(NOW - 86_400)
    memory = ReplayMemory(clock)
    clock.advance(30)
    clock.set_wall(NOW + 30)
    with pytest.raises(TooOld):
        memory.recall(mark(1, NOW - 60))
    assert memory.recall(mark(1, NOW)) is None


def test_a_clock_that_was_ahead_at_the_loss_keeps_nobody_out(clock: ManualClock) -> None:
    """A host whose clock says local time at boot: set right, it takes what is signed since."""
    clock.set_wall(NOW + 7200)
    memory = ReplayMemory(clock)
    clock.advance(30)
    clock.set_wall(NOW + 30)
    assert memory.recall(mark(1, NOW + 29)) is None


def test_an_accepted_push_fixes_the_date_of_a_loss(clock: ManualClock) -> None:
    """Then the clock is right, and setting it back later lets nothing in that was refused."""
    memory = ReplayMemory(clock)
    clock.advance(10)
    memory.remember(mark(1, NOW + 10), "one", "a")
    clock.set_wall(NOW - 600)
    with pytest.raises(TooOld):
        memory.recall(mark(2, NOW - 60))


def test_what_is_resumed_lowers_no_horizon(clock: ManualClock) -> None:
    """An earlier process's horizon joins this one's own; the later date counts."""
    memory = known(clock)
    memory.resume(Horizon(NOW - 50))
    memory.resume(Horizon(NOW - 80))
    assert memory.state == Horizon(NOW - 50, None)
    assert memory.horizon == NOW - 50
    memory.lose(clock.boottime() - 20)
    memory.lose(clock.boottime() - 40)
    assert memory.horizon == NOW - 20


def test_a_mark_is_known_by_its_digest(clock: ManualClock) -> None:
    """Whatever date it is shown with: a known offer is never new."""
    memory = known(clock)
    memory.remember(mark(1), "one", "a")
    assert memory.recall(ReplayMark(mark(1).digest, NOW - 700)) == "one"
