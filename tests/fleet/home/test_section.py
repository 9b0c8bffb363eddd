"""A section of the configuration is inserted or removed, and all other lines stay unchanged."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
import yaml

from agent.client.trouble import Trouble
from agent.commands.fleet import section

MEMBERS = {
    "servers": ["tls://a.example:4222", "tls://b.example:4222"],
    "issuers": ["ed25519:" + "A" * 43 + "="],
    "ca": "/etc/ca.pem",
}
TEXT = """\
# The host.
instance:
  id: i-0123456789   # ours

# Who may push.
push:
  reference: current
"""
FLEET = """\
fleet:  # by hand
  servers: [tls://old.example:4222]
  issuers:
    - ed25519:AAAA
"""


@pytest.mark.parametrize("text", ["", TEXT, TEXT.rstrip("\n"), FLEET, TEXT + FLEET, FLEET + TEXT])
def test_the_section_is_put_in_and_the_rest_stays(text: str) -> None:
    """Putting a section in keeps the rest of the file; putting it in again changes nothing."""
    after = section.put(text, "fleet", MEMBERS)
    before = yaml.safe_load(text) or {}
    assert yaml.safe_load(after) == {**before, "fleet": MEMBERS}
    assert section.put(after, "fleet", MEMBERS) == after
    assert all(line in after for line in text.splitlines() if "#" in line and "hand" not in line)


def test_the_section_is_cut_out_with_nothing_else() -> None:
    """Cutting a section out restores the text without it, including comments."""
    assert section.cut(section.put(TEXT, "fleet", MEMBERS), "fleet") == TEXT
    assert section.cut(FLEET + TEXT, "fleet") == TEXT
    assert section.cut(TEXT, "fleet") == TEXT


@pytest.mark.parametrize("text", ["{instance: {id: x}}", "- a\n", "a: [\n"])
def test_a_file_of_another_style_is_left_alone(text: str) -> None:
    """A file in another YAML style is refused."""
    with pytest.raises(Trouble, match="cannot be edited"):
        section.put(text, "fleet", MEMBERS)


def test_owner_and_mode_stay(tmp_path: Path) -> None:
    """Owner, group and mode of the file are kept when it is replaced."""
    path = tmp_path / "config.yaml"
    path.write_text(TEXT)
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 0, 4)
    before = path.stat()
    section.edit(str(path), "fleet", MEMBERS)
    after = path.stat()
    assert (stat.S_IMODE(after.st_mode), after.st_uid, after.st_gid) == (
        0o640,
        before.st_uid,
        before.st_gid,
    )
    assert after.st_ino != before.st_ino


def test_an_invalid_section_is_not_written(tmp_path: Path) -> None:
    """A section that breaks the daemon's rules is refused, and the file is unchanged."""
    path = tmp_path / "config.yaml"
    path.write_text(TEXT)
    with pytest.raises(Trouble, match=r"fleet\.servers"):
        section.edit(str(path), "fleet", {**MEMBERS, "servers": ["http://a"]})
    assert path.read_text() == TEXT
    assert os.listdir(tmp_path) == ["config.yaml"]
