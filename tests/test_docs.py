"""Every link in the documents leads to a file or heading that exists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.parts.host import ROOT
from tests.parts.project import project_files

PAGES = [path for path in project_files() if path.suffix == ".md"]
_LINK = re.compile(r"\]\(([^)\s]+)\)")
# A path within the project, as pages and comments name it.
_PATH = re.compile(
    r"(?<![\w/.-])(?:agent|docs|packaging|systemd|tests)/[\w./-]+\.(?:c|md|py|service|sh|socket|svg)\b"
)
_FENCED = re.compile(r"^ *```.*?^ *```", re.DOTALL | re.MULTILINE)


def prose(page: Path) -> str:
    """A page without its fenced code."""
    return _FENCED.sub("", page.read_text("utf-8"))


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    words = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {each.replace(" ", "-") for each in words}


def dead_links(page: Path) -> Iterator[str]:
    """The links of a page to files or headings that do not exist."""
    for link in _LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        there = page.parent / name if name else page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            yield link


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    """Every link of a page leads to a file and heading that exist."""
    assert list(dead_links(page)) == []


def test_every_document_can_be_found() -> None:
    """Every page of docs/ can be reached from README by links."""
    found = {ROOT / "README.md"}
    left = list(found)
    while left:
        page = left.pop()
        links = (link.partition("#")[0] for link in _LINK.findall(prose(page)))
        new = {(page.parent / link).resolve() for link in links if link.endswith(".md")} - found
        found |= new
        left += [each for each in new if each.exists()]
    assert [p for p in PAGES if p.is_relative_to(ROOT / "docs") and p not in found] == []


def test_every_path_that_is_named_exists() -> None:
    """Every path of the project that a page, a comment or a script names exists."""
    made_up = ROOT / "tests" / "test_project.py"
    files = [each for each in project_files() if each.suffix not in {".gz", ".svg"}]
    found = {
        (str(file.relative_to(ROOT)), name)
        for file in files
        if file != made_up
        for name in _PATH.findall(file.read_text("utf-8").replace("\\-", "-"))
    }
    assert len(found) > 100
    assert [each for each in sorted(found) if not (ROOT / each[1]).exists()] == []
