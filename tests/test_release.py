"""A release is one thing: the version stands in several files, and they agree."""

from __future__ import annotations

import re

from agent import __version__
from tests.parts.host import ROOT


def test_every_file_names_the_same_version() -> None:
    """The Python package, Debian's changelog and the spec's own."""
    debian = (ROOT / "packaging" / "debian" / "changelog").read_text("utf-8")
    spec = (ROOT / "packaging" / "rpm" / "sixtykey.spec").read_text("utf-8")
    assert re.findall(r"^sixtykey \((.+?)\)", debian, re.MULTILINE)[0] == __version__
    assert re.findall(r"^\* .+ - (\S+)-\d+$", spec, re.MULTILINE)[0] == __version__
    assert f"%global sixtykey_version {__version__}}}" in spec


def test_the_changelog_begins_with_what_is_not_released() -> None:
    """Its first heading is "Unreleased" or this very version: never an older one alone."""
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert headings[0] in {"Unreleased", __version__}
    assert "0.1.0" in headings
