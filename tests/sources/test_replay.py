"""agent/sources/replay.py: a replay is answered as before; nothing is forgotten early."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.leases.lease import ReplayMark
from agent.sources.replay import ReplayMemory, ReplayMemoryFull, TooOld

NOW = 1_800_000_000.0


def signed(name: int, at: float = NOW) -> ReplayMark:
    """A request of this number."""
    return ReplayMark(name.to_bytes(4, "big"), at)


def test_an_answer_is_given_again() -> None:
    """A new request has none; one that was answered has its own; the last word counts."""
    answered = ReplayMemory()
    assert answered.recall(signed(1)) is None
    answered.remember(signed(1), "one", "AKIA")
    answered.remember(signed(2), "two", "AKIA")
    assert (answered.recall(signed(1)), answered.recall(signed(2))) == ("one", "two")
    answered.remember(signed(1), "other", "AKIA")
    assert (answered.recall(signed(1)), len(answered)) == ("other", 2)


def test_nothing_is_forgotten_while_it_is_valid() -> None:
    """To the last second of its 15 minutes; then it is, and its date is the horizon."""
    answered = ReplayMemory()
    answered.remember(signed(1), "one", "AKIA")
    answered.forget(NOW + 900)
    assert answered.recall(signed(1)) == "one"
    answered.forget(NOW + 901)
    assert len(answered) == 0
    for older in (NOW, NOW - 1):
        with pytest.raises(TooOld):
            answered.recall(signed(1, older))
    assert answered.recall(signed(3, NOW + 1)) is None


def test_a_full_memory_refuses() -> None:
    """ReplayMemoryFull says when the first place is free; then there is room again."""
    answered = ReplayMemory(limit=2)
    answered.remember(signed(1, NOW - 100), "one", "AKIA")
    answered.check_room("AKIA", NOW)
    answered.remember(signed(2, NOW), "two", "AKIA")
    with pytest.raises(ReplayMemoryFull) as caught:
        answered.check_room("AKIA", NOW)
    assert caught.value.wait == 800
    with pytest.raises(ReplayMemoryFull) as caught:
        answered.check_room("AKIA", NOW + 800)
    assert caught.value.wait == 1
    answered.check_room("AKIA", NOW + 801)
    assert answered.recall(signed(2)) == "two"


@given(
    st.lists(st.tuples(st.integers(0, 30), st.floats(0, 3000), st.booleans()), max_size=60),
    st.integers(1, 8),
)
def test_no_request_is_carried_out_twice(steps: list[tuple[int, float, bool]], limit: int) -> None:
    """Whatever the order, the clock set back too: while a request is valid it is new only once."""
    answered = ReplayMemory(limit)
    done: set[int] = set()
    wall = NOW
    for number, step, back in steps:
        wall += -step if back else step
        # The date is part of what is signed, so a request always comes with the same one.
        request = signed(number, NOW + number * 100.0)
        if abs(wall - request.dated) > 900:
            continue
        try:
            known = answered.recall(request)
            if known is None:
                answered.check_room("AKIA", wall)
        except (TooOld, ReplayMemoryFull):
            continue
        if known is None:
            assert number not in done
            done.add(number)
            answered.remember(request, str(number), "AKIA")
        assert len(answered) <= limit


def test_after_a_loss_nothing_as_old_is_taken() -> None:
    """What may have been answered before is refused; what is signed later is new."""
    answered = ReplayMemory()
    answered.remember(signed(1), "one", "AKIA")
    answered.lose(NOW + 5)
    assert answered.recall(signed(1)) == "one"
    for lost in (NOW - 800, NOW + 5):
        with pytest.raises(TooOld):
            answered.recall(signed(2, lost))
    assert answered.recall(signed(2, NOW + 6)) is None
