"""Strict YAML: what was written is what is meant, or it is refused with its path."""

from __future__ import annotations

from typing import Any

import pytest

from agent.config import document
from agent.config.document import MAX_BYTES, Problems, Section


def read(text: str) -> Any:
    """Parse a document that is fine."""
    return document.parse(text, "file")


def problems_of(text: str) -> tuple[str, ...]:
    """What is wrong with it."""
    with pytest.raises(Problems) as caught:
        read(text)
    return caught.value.problems


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("0", 0), ("12", 12), ("012", "012"), ("0x1f", "0x1f"), ("1:30", "1:30"), ("1_0", "1_0"),
        ("-1", "-1"), ("1e3", "1e3"), ("1.5", "1.5"), (".inf", ".inf"), ("true", True),
        ("false", False), ("on", "on"), ("yes", "yes"), ("True", "True"), ("no", "no"),
        ("2027-01-01T00:00:00Z", "2027-01-01T00:00:00Z"), ("2027-01-01", "2027-01-01"),
        ("~", None), ("", None), ("null", None), ("'12'", "12"), ('"true"', "true"),
    ],
)  # fmt: skip
def test_a_scalar_is_what_it_looks_like(written: str, meant: object) -> None:
    """YAML 1.1 reads octals, sexagesimals and `on`; here they stay the text that was written."""
    value = read(f"key: {written}")["key"]
    assert (value, type(value)) == (meant, type(meant))


def test_keys_are_names() -> None:
    """`on:`, `1:` and `null:` are the text of a key, whatever YAML 1.1 makes of them."""
    assert dict(read("{on: 1, 1: 2, null: 3, 2027-01-01: 4}")) == {
        "on": 1, "1": 2, "null": 3, "2027-01-01": 4,
    }  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "a: &x 1\nb: *x", "<<: {a: 1}\nb: [*x]", "a: !!python/object:os.system x", "a: !mine 1",
        "a: [", "a: b: c", "\t- x", "a: 1\n--- \nb: 2", '"\\ud800"x', "a: \x00", "a: \x07",
    ],
)  # fmt: skip
def test_what_is_no_plain_document_is_refused(text: str) -> None:
    """Aliases can grow a page to gigabytes, tags make objects, and two documents are not one."""
    (problem,) = problems_of(text)
    assert problem.startswith("file")


def test_bounds() -> None:
    """Size and depth are refused, not suffered."""
    assert "larger than" in problems_of("#" * (MAX_BYTES + 1))[0]
    assert "deep" in problems_of("[" * 5000)[0]
    with pytest.raises(Problems):
        document.parse(b"a: \xff", "file")


def test_every_problem_is_found_at_once_with_its_path() -> None:
    """Reading goes on after each, so that an administrator mends a file in one go."""
    text = (
        "a: yes\nb: -1\nc: {x: 1, x: 2, y: 3}\nd: [1, '', ok]\ne: 5\nf: []\ng: text\nz: 0\nz: 0\n"
    )
    found: list[str] = []
    root = Section(read(text), "", found)
    assert root.boolean("a", True) is True
    assert root.integer("b", 7, 0, 9) == 7
    nested = root.section("c")
    assert nested.integer("x", 0, 0, 9) == 2
    nested.end()
    assert root.texts("d", ("default",)) == ("default",)
    assert root.text("e", "default") == "default"
    assert root.texts("f", ()) == ()
    root.section("g").end()
    root.integer("absent", 0, 0, 0)
    root.end()
    paths = [problem.partition(": ")[0] for problem in found]
    assert paths == ["z", "a", "b", "c.x", "c.y", "d[0]", "d[1]", "e", "f", "g", "z"]


def test_true_is_no_number_and_a_number_no_text() -> None:
    """Python's bool is an int; a configuration's is not."""
    found: list[str] = []
    root = Section(read("n: true\nb: 1\nt: 12"), "", found)
    assert root.integer("n", 0, 0, 9) == 0
    assert root.boolean("b", False) is False
    assert root.text("t", "") == ""
    assert len(found) == 3


def test_required_is_said_once() -> None:
    """A key that is wrong is not also missing."""
    found: list[str] = []
    root = Section(read("wrong: 1"), "at", found)
    for key in ("wrong", "missing"):
        root.require(key, root.text(key, ""))
    assert found == ["at.wrong: must be a text, not a number", "at.missing: required"]
