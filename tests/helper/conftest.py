"""Fixtures for the helper's tests, which run with each form of the helper."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.parts.helper_kinds import KINDS
from tests.parts.keys import KeyPair, make_key
from tests.parts.stub_lookup import Helper


@pytest.fixture(params=KINDS)
def helper(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Helper]:
    """The helper, in each of its forms."""
    with contextlib.closing(Helper(tmp_path, request.param)) as made:
        yield made


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, KeyPair]:
    """A key of each kind, and a second Ed25519 one."""
    folder = tmp_path_factory.mktemp("keys")
    made = {"ed25519": make_key(folder, "ed"), "other": make_key(folder, "other")}
    made["rsa"] = make_key(folder, "rsa", "rsa", bits=2048)
    for bits in (256, 384, 521):
        made[f"ecdsa-{bits}"] = make_key(folder, f"ec{bits}", "ecdsa", bits=bits)
    return made
