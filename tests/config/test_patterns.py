"""The matcher for patterns that an administrator writes."""

from __future__ import annotations

import pytest

from agent.config import patterns


@pytest.mark.parametrize(
    ("globs", "value"),
    [
        (["root"], "root"), (["adm*"], "adm"), (["adm*"], "administrator"), (["a", "b"], "b"),
        (["ci?"], "ci1"), (["[ab]x"], "bx"), (["[!a]x"], "bx"), (["*"], "a\nb"), (["a.b"], "a.b"),
        (["*"], ""), (["[x"], "[x"),
    ],
)  # fmt: skip
def test_a_pattern_fits_the_whole_value(globs: list[str], value: str) -> None:
    """A pattern with `*`, `?` or `[...]` matches the whole value, and other text literally."""
    assert patterns.matches(value, globs)


@pytest.mark.parametrize(
    ("globs", "value"),
    [
        ([], "root"), (["adm*"], "Admin"), (["ADM*"], "admin"), (["adm"], "admin"),
        (["adm*"], "xadm"), (["root"], "root\n"), (["a.b"], "axb"), (["ci?"], "ci"), ([""], "a"),
    ],
)  # fmt: skip
def test_case_counts_and_so_does_every_character(globs: list[str], value: str) -> None:
    """A pattern does not match in another case or only a part; an empty list matches nothing."""
    assert not patterns.matches(value, globs)
