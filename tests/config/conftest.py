"""The tests run with both of PyYAML's parsers, where it was built with libyaml."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from agent.config import plain_yaml
from tests.parts.loaders import LOADERS


@pytest.fixture(scope="module", params=LOADERS, ids=lambda loader: loader.__name__)
def loader(request: Any) -> Iterator[Any]:
    """Read every file of a test module with this parser."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain_yaml, "LOADER", request.param)
        yield request.param
