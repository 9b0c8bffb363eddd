"""How long the key in a block lives, by EC2's end and by the boot clock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config.limits import LIMITS
from agent.sources.metadata.blocks import Block
from agent.sources.metadata.refusal import Refused
from agent.sources.metadata.sightings import Ended, Sightings
from tests.parts.clock import ManualClock


def block(expires: float, number: int = 0) -> Block:
    """A block whose key ends at `expires` (s since the Unix epoch)."""
    return Block(b"%d" % number, b"", int(expires), "i-00000000", "ssh-ed25519 AAAA")


def test_a_key_lives_until_its_end_and_not_at_it() -> None:
    """A key lives until EC2's absolute end, however often its block is seen."""
    clock = ManualClock()
    sightings, pushed = Sightings(clock), block(clock.wall() + 60)
    clock.advance(20)
    assert sightings.left(pushed) == 40.0
    clock.advance(39.5)
    assert sightings.left(pushed) == 0.5
    clock.advance(0.5)
    with pytest.raises(Ended) as ended:
        sightings.left(pushed)
    assert ended.value.served


def test_an_end_that_has_passed_is_reported() -> None:
    """A key that expired before its block was first seen is reported as never served."""
    clock = ManualClock()
    with pytest.raises(Ended, match="2027-01-15T08:00:00") as ended:
        Sightings(clock).left(block(clock.wall()))
    assert not ended.value.served


def test_nothing_lives_longer_than_sixty_seconds() -> None:
    """A key lives at most 60 s after its block was first seen, whatever end the block has."""
    clock = ManualClock()
    sightings, pushed = Sightings(clock), block(clock.wall() + 300)
    assert sightings.left(pushed) == 60.0
    clock.advance(59)
    assert sightings.left(pushed) == 1.0
    clock.advance(1)
    with pytest.raises(Ended):
        sightings.left(pushed)


def test_setting_the_clock_back_gives_no_second_more() -> None:
    """Setting the wall clock back does not bring back a key that has ended."""
    clock = ManualClock()
    sightings = Sightings(clock)
    lived, over = block(clock.wall() + 60, 1), block(clock.wall() - 1, 2)
    sightings.left(lived)
    with pytest.raises(Ended):
        sightings.left(over)
    clock.advance(60)
    clock.set_wall(clock.wall() - 600)
    for each in (lived, over):
        with pytest.raises(Ended):
            sightings.left(each)


def test_setting_the_clock_ahead_ends_a_key() -> None:
    """A key ends when the wall clock is set past its end."""
    clock = ManualClock()
    sightings, pushed = Sightings(clock), block(clock.wall() + 60)
    sightings.left(pushed)
    clock.set_wall(clock.wall() + 61)
    with pytest.raises(Ended):
        sightings.left(pushed)


def test_an_end_far_ahead_is_refused() -> None:
    """A block whose end is too far ahead is refused, since a clock must be wrong."""
    clock = ManualClock()
    sightings, most = Sightings(clock), 60 + LIMITS.metadata_ahead_seconds
    assert sightings.left(block(clock.wall() + most, 1)) == 60.0
    with pytest.raises(Refused, match="too far ahead"):
        sightings.left(block(clock.wall() + most + 1, 2))


def test_memory_is_bounded_and_nothing_valid_is_forgotten() -> None:
    """A full memory refuses new blocks, keeps known ones, and has room again later."""
    clock = ManualClock()
    sightings = Sightings(clock)
    for number in range(LIMITS.metadata_seen):
        sightings.left(block(clock.wall() + 60, number))
    with pytest.raises(Refused, match="too many keys"):
        sightings.left(block(clock.wall() + 60, -1))
    assert sightings.left(block(clock.wall() + 60, 0)) == 60.0
    clock.advance(61 + LIMITS.metadata_ahead_seconds)
    assert sightings.left(block(clock.wall() + 60, -1)) == 60.0


@given(
    st.lists(st.tuples(st.floats(0, 30), st.integers(-500, 500)), max_size=12), st.integers(1, 900)
)
def test_no_course_of_the_clock_serves_it_after_a_minute(
    steps: list[tuple[float, int]], ahead: int
) -> None:
    """Whatever the wall clock does, a key ends at most 60 s after its block was first seen."""
    clock = ManualClock()
    sightings, pushed, seen = Sightings(clock), block(clock.wall() + ahead), clock.boottime()
    sightings.left(pushed)
    for passed, jump in steps:
        clock.advance(passed)
        clock.set_wall(clock.wall() + jump)
        try:
            left = sightings.left(pushed)
        except Ended:
            continue
        assert clock.boottime() + left <= seen + 60.0 + 1e-6
