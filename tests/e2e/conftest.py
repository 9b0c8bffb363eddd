"""What several tests of the user's side start from."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.parts.world import STAGES, Stage, World, somebody


@pytest.fixture(scope="module", params=STAGES)
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    """A single host, and a host of a fleet: every test runs with both."""
    with STAGES[request.param]() as made:
        yield made


@pytest.fixture
def world(stage: Stage) -> Iterator[World]:
    """A new user without a key."""
    with somebody(stage) as made:
        yield made
