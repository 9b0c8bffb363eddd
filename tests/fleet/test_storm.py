"""300 pushes in the storm; `make storm` sends ten thousand."""

from __future__ import annotations

import random

import pytest

from tests.fleet.storm import storm
from tests.parts.host import work_directory

PUSHES = 300


@pytest.mark.timeout(400)
def test_no_acknowledgement_is_false_whoever_is_killed() -> None:
    """Every 200 is served by its host while processes of all four kinds are killed."""
    with work_directory() as directory:
        tally = storm(directory, PUSHES, random.randrange(1 << 30), pause=0.5)
    assert tally.false == []
    # All four kinds were killed, and enough pushes were acknowledged all the same.
    assert len(tally.killed) == 4, tally
    assert tally.acknowledged > PUSHES // 4, tally
