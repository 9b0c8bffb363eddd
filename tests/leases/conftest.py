"""What tests of the lease store share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.parts.stores import Host


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """A host with a store, which ends with the test."""
    made = Host(tmp_path)
    yield made
    made.end()
