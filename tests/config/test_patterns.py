"""The one matcher for the patterns that an administrator writes."""

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
    """`*`, `?` and `[...]`; all else stands for itself."""
    assert patterns.matches(value, globs)


@pytest.mark.parametrize(
    ("globs", "value"),
    [
        ([], "root"), (["adm*"], "Admin"), (["ADM*"], "admin"), (["adm"], "admin"),
        (["adm*"], "xadm"), (["root"], "root\n"), (["a.b"], "axb"), (["ci?"], "ci"), ([""], "a"),
    ],
)  # fmt: skip
def test_case_counts_and_so_does_every_character(globs: list[str], value: str) -> None:
    """No pattern fits a part, and no list of none fits anything."""
    assert not patterns.matches(value, globs)
