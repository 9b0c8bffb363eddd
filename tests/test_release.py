"""All files of a release state the same version."""

from __future__ import annotations

import re

from agent import __version__
from tests.parts.host import ROOT


def test_every_file_names_the_same_version() -> None:
    """The Python package, Debian's changelog and the RPM spec state the same version."""
    debian = (ROOT / "packaging" / "debian" / "changelog").read_text("utf-8")
    spec = (ROOT / "packaging" / "rpm" / "sixtykey.spec").read_text("utf-8")
    assert re.findall(r"^sixtykey \((.+?)\)", debian, re.MULTILINE)[0] == __version__
    assert re.findall(r"^\* .+ - (\S+)-\d+$", spec, re.MULTILINE)[0] == __version__
    assert f"%global sixtykey_version {__version__}}}" in spec


def test_the_changelog_begins_with_what_is_not_released() -> None:
    """The changelog's first heading is "Unreleased" or the current version."""
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert headings[0] in {"Unreleased", __version__}
    assert "0.1.0" in headings
