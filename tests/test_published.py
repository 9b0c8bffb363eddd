"""Nothing of one developer's machine is published."""

from __future__ import annotations

import re

import pytest

from tests.parts.host import ROOT
from tests.parts.project import project_files

NOT_FOR_THE_WORLD = {
    "a path of one machine": re.compile(
        r"(?<![\w.-])/(?:(?:work|farm)/\w|opt/(?:pypi|wheels)|root/\.pyenv)"
    ),
    "a host of a package registry": re.compile(
        r"\b(?:registry\.npmjs|pypi\.org|pythonhosted\.org|(?:deb|security|snapshot)\.debian\.org"
        r"|archive\.ubuntu\.com|proxy\.golang)"
    ),
}


@pytest.mark.parametrize("what", NOT_FOR_THE_WORLD)
def test_nothing_of_one_machine_is_committed(what: str) -> None:
    """No tracked file names a path of a developer's machine or the host of a package registry."""
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in project_files()
        for match in NOT_FOR_THE_WORLD[what].finditer(path.read_text("utf-8", errors="replace"))
    ]
    assert found == []
