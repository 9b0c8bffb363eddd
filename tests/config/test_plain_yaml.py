"""Plain YAML is read as it is written, alike by both parsers, or refused without a quote."""

from __future__ import annotations

import traceback
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from agent.config import plain_yaml
from agent.config.plain_yaml import MAX_BYTES, MAX_DEPTH, Problems
from tests.parts.loaders import LOADERS

pytestmark = pytest.mark.usefixtures("loader")


def read(text: str) -> Any:
    """Parse a valid document."""
    return plain_yaml.parse(text, "file")


def problem_of(text: str) -> str:
    """The single problem of a document, with its place."""
    with pytest.raises(Problems) as caught:
        read(text)
    (problem,) = caught.value.problems
    assert problem.startswith("file:")
    return problem


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("0", 0), ("12", 12), ("012", "012"), ("0x1f", "0x1f"), ("1:30", "1:30"), ("1_0", "1_0"),
        ("-1", "-1"), ("1e3", "1e3"), ("1.5", "1.5"), (".inf", ".inf"), ("true", True),
        ("false", False), ("on", "on"), ("yes", "yes"), ("True", "True"), ("no", "no"),
        ("2027-01-01T00:00:00Z", "2027-01-01T00:00:00Z"), ("2027-01-01", "2027-01-01"),
        ("~", None), ("", None), ("null", None), ("'12'", "12"), ('"true"', "true"), ("=", "="),
        ("'null'", "null"), ("''", ""), ("|\n  two\n  lines", "two\nlines"),
        (">-\n  a\n  b", "a b"),
    ],
)  # fmt: skip
def test_a_scalar_is_what_it_looks_like(written: str, meant: object) -> None:
    """Octals, sexagesimals, `on` and other special scalars of YAML 1.1 are read as text."""
    value = read(f"key: {written}")["key"]
    assert (value, type(value)) == (meant, type(meant))


def test_keys_are_names_and_know_their_lines() -> None:
    """Keys are read as text with their lines, and repeated keys are noted."""
    found = read("{on: 1, 1: 2,\n null: 3, 2027-01-01: 4, <<: 5, on: 6}")
    assert dict(found) == {"on": 6, "1": 2, "null": 3, "2027-01-01": 4, "<<": 5}
    assert (found.lines["1"], found.lines["null"]) == (1, 2)
    assert found.repeated == [("on", 2)]


@pytest.mark.parametrize("text", ["", "---", "# a comment\n\n  # another\n", "\ufeff", "---\n..."])
def test_an_empty_file_is_nothing(text: str) -> None:
    """A file without content is read as None."""
    assert read(text) is None


REFUSED = {
    "an alias": ("a: &x 1\nb: *x", "anchors"),
    "an anchor alone": ("a: &x 1", "anchors"),
    "an anchor of a key": ("&x a: 1", "anchors"),
    "a merge of an alias": ("<<: {a: 1}\nb: [*x]", "anchors"),
    "a tag for an object": ("a: !!python/object:os.system x", "tags"),
    "a tag of nobody's": ("a: !mine 1", "tags"),
    "a tag of YAML's own": ("a: !!str 1", "tags"),
    "the tag of a list": ("!!set {a, b}", "tags"),
    "the tag of a key": ("!!str a: 1", "tags"),
    "an open list": ("a: [", ""),
    "an open quote": ("a: 'b", "not closed"),
    "two colons": ("a: b: c", "a colon"),
    "a tab": ("\t- x", "a tab"),
    "a tab for spaces": ("a:\tb", "a tab"),
    "a tab after a value": ("a: b\t# c", "a tab"),
    "two documents": ("a: 1\n--- \nb: 2", "second document"),
    "two documents, the first empty": ("---\n---\nb: 2", "second document"),
    "a directive": ("%YAML 1.1\n---\na: 1", "directives"),
    "a directive of nobody's": ("%MINE x\n---\na: 1", "directives"),
    "a key that is a list": ("? [a]\n: b", "must be a name"),
    "half an escape": ('"\\ud800"', ""),
    "an escape of no character": ('"\\U00110000"', ""),
    "an escape beyond any integer": ('"\\Uffffffff"', ""),
    "no escape": ('"\\q"', "escape"),
    "NUL": ("a: \x00", "control character"),
    "BEL": ("a: \x07", "control character"),
    "a lone surrogate": ("a: \ud800", "UTF-8"),
    "a later byte order mark": ("a: 1\n\ufeffb: 2", "byte order mark"),
    "? in a list": ("[ci?]", ""),
    ": at an end in a list": ("[2001:db8::]", ""),
    "no value in braces": ("{a:, b: 1}", ""),
    "no space before a list": ("{a:[b]}", ""),
    "a key that is empty": ("{? : a}", "must be a name"),
    "a marked key that is empty": ("[a, ? : b]", "must be a name"),
    "a comment at once": ("a: |#b", ""),
}  # fmt: skip


@pytest.mark.parametrize(("text", "words"), REFUSED.values(), ids=list(REFUSED))
def test_yaml_beyond_the_plain_subset_is_refused(text: str, words: str) -> None:
    """Anchors, tags, directives, second documents and malformed YAML are refused."""
    assert words in problem_of(text)


def test_a_document_beyond_the_limits_is_refused() -> None:
    """A document that is too large, too deep or not UTF-8 is refused."""
    assert "larger than" in problem_of("#" * (MAX_BYTES + 1))
    assert "deep" in problem_of("[" * 5000)
    assert "deep" in problem_of("a: " + "{b: " * MAX_DEPTH + "1" + "}" * MAX_DEPTH)
    assert read("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    with pytest.raises(Problems, match="not UTF-8"):
        plain_yaml.parse(b"a: \xff", "file")
    assert plain_yaml.parse("\ufeffa: é".encode(), "file") == {"a": "é"}


# Pieces that are hard for parsers; hypothesis joins some of them.
PIECES = [
    "a", "b: c", "key", "-", "- ", "- - ", ":", ": ", "?", "? ", "[", "]", "{", "}", ",", ", ", "'",
    '"', "#", " #", "|", "|-\n", "|2", ">", "&a ", "*a", "!", "!t ", "!!str ", "%", "%YAML 1.1\n",
    "---", "--- ", "...", "\n", "\n---\n", "\n...\n", "\n  ", "\n    ", "\n- ", "\r", "\r\n", " ",
    "\t", "\\", "\\n", "\\x41", "\\ud800", "\\UFFFFFFFF", "\\'", "\\/", "é", "\u2028", "\x85",
    "\ufeff", "null", "~", "12", "012", "true", "@", "`", "=", "<<", "a:b", "::", "::1", "\x7f",
    "\x9f", "\uffff", "\ud800", "\U0001f600", "'x'", '"y": ', "{a}", "[a, b]",
]  # fmt: skip


RIGHT = """\
# Ours.
- access_key_id: BUILD
  secret: one   # from the vault
  allow: {os_users: ["*", 'it''s', b c], ? sources : [10.0.0.0/8, "::1/128"],
          "tags":{}}
-
  id: >-
    two

    lines
  list:
  - a: |2
      b
- [{"a": null, b: , c}, d: e]
"""


@st.composite
def mutate(draw: st.DrawFn, text: str) -> str:
    """A part of a valid text, changed in a few places."""
    start = draw(st.integers(0, len(text)))
    text = text[start : draw(st.integers(start, len(text)))]
    for _ in range(draw(st.integers(0, 3))):
        place, more = draw(st.integers(0, len(text))), draw(st.sampled_from(["", *PIECES]))
        text = text[:place] + more + text[place + draw(st.integers(0, 2)) :]
    return text


def outcome(loader: Any, text: str) -> Any:
    """The value with its types, or None if it is refused."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain_yaml, "LOADER", loader)
        try:
            return repr(plain_yaml.parse(text, "file"))
        except Problems:
            return None


@pytest.mark.skipif(len(LOADERS) < 2, reason="PyYAML was built without libyaml")
@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join) | mutate(RIGHT))
@example("[a::]")
@example("%a\n---\n")
@example("? |-#")
@example("\n\ufeff")
@example("[-?!t ]")
def test_both_parsers_are_equally_strict(text: str) -> None:
    """Both parsers read any text as the same value, or both refuse it."""
    assert len({outcome(loader, text) for loader in LOADERS}) == 1


SECRET = "AbCdEf0123456789AbCdEf0123456789"
# Every kind of syntax error, each around a secret that must not be quoted.
BROKEN = {
    "a tag": "- secret_access_key: !{}",
    "a tag with a handle": "- secret_access_key: !{}!x y",
    "a tag in full": "- secret_access_key: !<{}> y",
    "a tag of YAML's": "- secret_access_key: !!{} y",
    "base64 that is none": "- secret_access_key: !!binary {}é",
    "an anchor": "- secret_access_key: &{}",
    "an anchor twice": "- &{0} a\n- &{0} b",
    "an alias of nothing": "- secret_access_key: *{}",
    "a directive": "%{}\n---\n",
    "a tag directive": "%TAG !{0}! !{0}\n---\n- !{0}!x y",
    "a bad escape": '- secret_access_key: "{}\\q"',
    "a bad number": '- secret_access_key: "{}\\xZZ"',
    "no such character": '- secret_access_key: "{}\\UFFFFFFFF"',
    "a quote that stays open": "- secret_access_key: '{}",
    "a tab": "-\tsecret_access_key: {}",
    "a tab behind it": "- secret_access_key: {}\t",
    "two documents": "--- {0}\n--- {0}",
    "two colons": "- secret_access_key: {}: x",
    "an open list": "- [{}",
    "an open mapping": "- {{secret_access_key: {}",
    "no space after the colon": "- access_key_id: a\n  secret_access_key:{}\n",
    "a wrong indentation": "- access_key_id: a\n   secret_access_key: {}\n",
    "@ before it": "- secret_access_key: @{}",
    "` before it": "- secret_access_key: `{}",
    "% before it": "- secret_access_key: %{}",
    "a block's head": "- secret_access_key: |{}",
    "a control character": "- secret_access_key: {}\x07",
    "half a character": "- secret_access_key: {}\ud800",
    "too deep": "[" * 20 + "{}" + "]" * 20,
    "a key that is a list": "? [{}]\n: x",
}  # fmt: skip


@pytest.mark.parametrize("text", BROKEN.values(), ids=list(BROKEN))
def test_no_error_quotes_the_file(text: str) -> None:
    """Neither an error's text nor its traceback contains any part of the file."""
    with pytest.raises(Problems) as caught:
        read(text.format(SECRET))
    told = "".join(traceback.format_exception(Problems, caught.value, caught.tb)) + str(
        caught.value
    )
    assert not any(part in told for part in (SECRET, SECRET.lower(), SECRET[:5], SECRET[-5:]))


@pytest.mark.parametrize("loader", LOADERS)
def test_the_parsers_themselves_would_have_quoted_it(loader: Any) -> None:
    """PyYAML's own errors do quote the file, which makes the test above necessary."""
    with pytest.raises(yaml.YAMLError, match=SECRET):
        yaml.load(f"a: !{SECRET}", Loader=loader)  # noqa: S506 - that it is refused is what is tried
