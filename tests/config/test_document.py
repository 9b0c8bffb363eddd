"""Sections report every problem of a file at once, with its path, and never quote secrets."""

from __future__ import annotations

import pytest

from agent.config import document
from agent.config.document import Problems, Section

pytestmark = pytest.mark.usefixtures("loader")


def section(text: str, found: list[str], *, path: str = "", secret: bool = False) -> Section:
    """The mapping of this document."""
    return Section(document.parse(text, "file"), path, found, secret=secret)


def test_every_problem_is_found_at_once_with_its_path() -> None:
    """Every problem is reported in one reading, each with its path."""
    text = (
        "a: yes\nb: -1\nc: {x: 1, x: 2, y: 3}\nd: [1, '', ok]\ne: 5\nf: []\ng: text\nz: 0\nz: 0\n"
    )
    found: list[str] = []
    root = section(text, found)
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


def test_a_key_without_a_value_is_a_problem_for_every_reader() -> None:
    """A key without a value is a problem for every type, and does not mean the default."""
    found: list[str] = []
    root = section("a:\nb: ~\nc: null\nd:\ne:\nf:\n  # x: 1\ng: {h: }\n", found)
    root.text("a", "default")
    root.integer("b", 1, 0, 9)
    root.boolean("c", True)
    root.texts("d", ("default",))
    root.section("e").end()
    assert root.optional_section("f") is None
    root.section("g").text("h", None)
    assert found == [
        f"{path}: has no value: give it one, or leave the key out"
        for path in ("a", "b", "c", "d", "e", "f", "g.h")
    ]


def test_only_a_whole_file_may_be_nothing() -> None:
    """An empty file is valid, and an empty entry of a list is a problem."""
    found: list[str] = []
    section("", found).end()
    assert found == []
    section("", found, path="[0]").end()
    assert found == ["[0]: has no value: give it one, or leave the key out"]


def test_true_is_no_number_and_a_number_no_text() -> None:
    """A boolean is not accepted as a number, nor a number as a boolean or a text."""
    found: list[str] = []
    root = section("n: true\nb: 1\nt: 12", found)
    assert root.integer("n", 0, 0, 9) == 0
    assert root.boolean("b", False) is False
    assert root.text("t", "") == ""
    assert len(found) == 3


def test_a_missing_key_is_reported_once() -> None:
    """A key with a wrong value is not also reported as missing, nor are the keys below it."""
    found: list[str] = []
    root = section("wrong: 1\nnone:\nitems: [1]", found, path="at")
    for key in ("wrong", "missing"):
        root.require(key, root.text(key, ""))
    root.require("items", root.texts("items", ()))
    below = root.section("none")
    below.require("deep", below.text("deep", ""))
    assert found == [
        "at.wrong: must be a text, not a number",
        "at.missing: required",
        "at.items[0]: must be a text, not a number",
        "at.none: has no value: give it one, or leave the key out",
    ]


def test_a_list_of_different_texts_has_none_twice() -> None:
    """A repeated text is reported in a list of different texts, and accepted elsewhere."""
    found: list[str] = []
    root = section("a: [x, y, x]\nb: [x, x]", found)
    assert root.texts("a", (), different=True) == ()
    assert root.texts("b", ()) == ("x", "x")
    assert found == ["a[2]: given twice"]


def no_capitals(value: str) -> None:
    """A check for names and values: neither may have capitals."""
    if value != value.lower():
        raise ValueError("has capitals")


def test_lists_under_names_that_the_file_chooses() -> None:
    """Names and lists below them are checked, and an empty mapping or list is a problem."""
    found: list[str] = []
    assert section("{a: [x], b: [y, z]}", found).named_lists(no_capitals) == (
        ("a", ("x",)), ("b", ("y", "z")),
    )  # fmt: skip
    section("{a: [], B: [x], c: y}", found, path="tags").named_lists(no_capitals)
    section("{}", found, path="none").named_lists(no_capitals)
    section("[]", found, path="list").named_lists(no_capitals)
    paths = [problem.partition(": ")[0] for problem in found]
    assert paths == ["tags.B", "tags.a", "tags.c", "none", "list"]


SECRET = "AbCdEf0123456789AbCdEf0123456789"


def test_a_secret_file_is_never_quoted() -> None:
    """Problems of a secret file quote neither values nor unknown keys, but give the line."""
    text = f"""\
t: [{SECRET}]
i: {SECRET}
b: {SECRET}
l: {SECRET}
s: {SECRET}
n: {{{SECRET}: {SECRET}, ok: [{SECRET}, 1]}}
{SECRET}: 1
{SECRET}: {SECRET}
"""
    found: list[str] = []
    root = section(text, found, path="[0]", secret=True)
    root.text("t", "")
    root.integer("i", 0, 0, 9)
    root.boolean("b", False)
    root.texts("l", ())
    root.section("s").end()
    root.section("n").named_lists(no_capitals)
    root.end()
    assert SECRET not in "".join(found)
    paths = [problem.partition(": ")[0] for problem in found]
    assert paths == [
        "[0].(line 8)", "[0].t", "[0].i", "[0].b", "[0].l", "[0].s", "[0].n.(line 6)",
        "[0].n.(line 6)", "[0].n.(line 6)[1]", "[0].(line 8)",
    ]  # fmt: skip


def test_one_of_names_the_choices() -> None:
    """The error for a wrong choice lists the choices."""
    check = document.one_of("a", "b")
    check("a")
    with pytest.raises(ValueError, match=r"^must be one of a, b$"):
        check("c")


def test_each_problem_has_its_line() -> None:
    """The text of Problems has one line for each problem."""
    assert str(Problems(["a: x", "b: y"])) == "a: x\nb: y"
