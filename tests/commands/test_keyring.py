"""The credentials file as text: entries are added and removed, and the rest is unchanged."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.client.trouble import Trouble
from agent.commands import keyring
from agent.config.document import MAX_BYTES
from agent.config.settings import Keys
from agent.sources.api import credentials

SECRET = "three-of-at-least-32-letters-and-more"
COMMENTED = """\
# Our keys. Ask ops before you touch this.

# the build server
- access_key_id: BUILD
  secret_access_key: one-of-at-least-32-letters-and-more   # from the vault
  allow: {os_users: ["*"],
          sources: [10.0.0.0/8]}
# the laptop
-
  access_key_id: LAPTOP
  secret_access_key: |
    two-of-at-least-32-letters-and-more
  # nested
  allow:
    os_users:
    - me   # myself

# that is all
"""


@pytest.mark.parametrize("indent", ["", "  "])
def test_comments_and_the_other_entries_stay(indent: str) -> None:
    """Adding and removing an entry leaves comments and other entries unchanged."""
    text = "".join(indent + line if line.strip() else line for line in COMMENTED.splitlines(True))
    entry = keyring.entry("NEW0", SECRET, {"os_users": ["a: #b"], "sources": []}, "")
    more = keyring.add_entry(text, entry)
    assert more.startswith(text)
    assert [c.access_key_id for c in credentials.parse(more, "x")] == ["BUILD", "LAPTOP", "NEW0"]
    assert keyring.remove_entry(more, "NEW0") == text
    less = keyring.remove_entry(text, "BUILD")
    assert less.splitlines() == [
        line for line in text.splitlines()
        if not any(word in line for word in ("BUILD", "one", "allow: {", "10.0.0.0/8"))
    ]  # fmt: skip
    last = keyring.remove_entry(less, "LAPTOP")
    assert credentials.parse(last, "x") is not None
    assert all(line.lstrip().startswith("#") for line in last.splitlines() if line.strip())
    assert "# that is all" in last


@pytest.mark.parametrize("text", ["", "[]\n", "# nothing yet\n[]\n", "# nothing yet"])
def test_the_first_entry_goes_into_an_empty_file(text: str) -> None:
    """An entry can be added to a file that is empty, an empty list or only comments."""
    more = keyring.add_entry(text, keyring.entry("NEW0", SECRET, {"os_users": ["a"]}, ""))
    assert [c.access_key_id for c in credentials.parse(more, "x")] == ["NEW0"]
    assert ("# nothing yet" in text) == ("# nothing yet" in more)


FLOW = f"""\
[{{"access_key_id": "AAAA", "secret_access_key": "{SECRET}", "allow": {{"os_users": ["x"]}}}},
 {{"access_key_id": "BBBB", "secret_access_key": "{SECRET}",
   "allow": {{"os_users": ["y"]}}}}]  # from a tool
"""


def test_a_list_in_brackets_stays_one() -> None:
    """In a list in brackets entries are added and removed, and it stays in brackets."""
    more = keyring.add_entry(FLOW, keyring.entry("CCCC", SECRET, {"os_users": ["é"]}, ""))
    assert [c.access_key_id for c in credentials.parse(more, "x")] == ["AAAA", "BBBB", "CCCC"]
    assert keyring.remove_entry(more, "CCCC") == FLOW
    for gone, left in (("AAAA", ["BBBB", "CCCC"]), ("BBBB", ["AAAA", "CCCC"])):
        assert [
            c.access_key_id for c in credentials.parse(keyring.remove_entry(more, gone), "x")
        ] == left
    none = keyring.remove_entry(keyring.remove_entry(FLOW, "AAAA"), "BBBB")
    assert none.strip() == "[]  # from a tool"
    with pytest.raises(Trouble, match="there is no access key CCCC"):
        keyring.remove_entry(FLOW, "CCCC")


def test_a_file_that_is_too_long_is_not_cut_short(tmp_path: Path) -> None:
    """A file over the size limit is refused and left unchanged."""
    path = tmp_path / "credentials.yaml"
    text = f"[]\n{'#' * MAX_BYTES}\n"
    path.write_text(text)
    with pytest.raises(Trouble, match="larger than"):
        keyring.edit(str(path), Keys(), lambda text: text)
    assert path.read_text() == text
