"""A fleet's home with one real server, or whole fleets, for the tests of a module."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fleet.attacked import Attacked, attack
from tests.parts.asked_fleet import AskedFleet, asked_fleet, explain
from tests.parts.bus import Bus, make_home
from tests.parts.host import work_directory


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    """A folder that other users can enter."""
    with work_directory() as folder:
        yield folder


@pytest.fixture(scope="module")
def bus(directory: Path) -> Iterator[Bus]:
    """A home and its only server."""
    with Bus(make_home(directory), directory) as running:
        yield running


@pytest.fixture(scope="module")
def running() -> Iterator[Attacked]:
    """A whole fleet under attack."""
    with attack() as attacked:
        yield attacked


@pytest.fixture
def attacked(running: Attacked) -> Iterator[Attacked]:
    """The same fleet, with the thief made quiet after each test."""
    yield running
    running.thief.on_lease = lambda _: None


@pytest.fixture(scope="module")
def asked() -> Iterator[AskedFleet]:
    """A fleet in which principals ask why their pushes were refused."""
    with asked_fleet() as running:
        yield running


@pytest.fixture
def fleet(asked: AskedFleet) -> AskedFleet:
    """The same fleet, with a stub that answers as a host does."""
    asked.stub.answer = explain
    return asked
