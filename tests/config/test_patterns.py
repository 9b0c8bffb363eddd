"""The matcher for patterns that an administrator writes."""

from __future__ import annotations

import fnmatch
import itertools
import re

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


@pytest.mark.parametrize(
    "glob", ["", "web-*", "[a-z]", "[!0-9]x", "[]a-z]", "[a", "a]", "z-a", "[-]", "[!-]"]
)
def test_a_pattern_is_accepted(glob: str) -> None:
    """Usual patterns are accepted, and what only looks like a set of characters."""
    patterns.glob(glob)


@pytest.mark.parametrize(
    "glob", ["[z-a]", "x[!9-0]", "[a-z][z-a]", "[]z-a]", "[ab-a]", "[!-z-a]", "[!--!]"]
)
def test_a_range_from_high_to_low_is_refused(glob: str) -> None:
    """A range that Python 3.9 cannot match is refused, with what is right."""
    with pytest.raises(ValueError, match="from low to high"):
        patterns.glob(glob)


def test_no_accepted_set_of_characters_fails_to_match() -> None:
    """What is accepted compiles, on every Python, for all short sets of the special characters."""
    for length in range(1, 5):
        for letters in itertools.product("!-]a[z", repeat=length):
            value = f"[{''.join(letters)}]"
            try:
                patterns.glob(value)
            except ValueError:
                continue
            re.compile(fnmatch.translate(value))
