"""Every command that the documents show exists, with the options shown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from agent import cli
from agent.client import settings_file
from agent.client.vocabulary import HOST_KEYS
from agent.commands.fleet import command as fleet
from agent.sshd_setup import command as sshd_setup
from tests.parts.host import ROOT
from tests.test_docs import PAGES

_FENCED = re.compile(r"^ *```\w*\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
_INDENTED = re.compile(r"^    (\S.*)$", re.MULTILINE)
_SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")
_COMMAND = re.compile(
    r"(?:^|[\s$(])(?<!-[a-z] )(?:\S*/)?(sixtykey|sshd-setup|make) +([a-z][\w-]*)(?![./\w-]| \d)(.*)"
)
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")


def shown(page: Path) -> Iterator[tuple[str, str, list[str]]]:
    """Yield each command in a page's code: the program, its first word, and the other words."""
    text = page.read_text("utf-8")
    prose = _FENCED.sub("", text)
    code = [*_FENCED.findall(text), *_INDENTED.findall(prose), *_SPAN.findall(prose)]
    for line in "\n".join(code).replace("\\\n", " ").splitlines():
        for part in re.split(r"&&|[;|]", line.partition(" # ")[0]):
            found = _COMMAND.search(part)
            if found:
                yield found[1], found[2], re.sub(r"""[][()'"]""", " ", found[3]).split()


def unknown(program: str, first: str, words: list[str]) -> set[str]:
    """What a command has that its program does not know."""
    if program == "make":
        targets = set(re.findall(r"^([a-z][\w-]*):", MAKEFILE, re.MULTILINE))
        variables = {word.partition("=")[0] for word in words if "=" in word and word[0].isupper()}
        return ({first} - targets) | {name for name in variables if f"$({name})" not in MAKEFILE}
    given = {word.partition("=")[0] for word in words if word.startswith("-") and word != "-"}
    if program == "sshd-setup":
        usage = sshd_setup._parser().format_help()
        return {word for word in (first, *given) if not re.search(rf"[\s{{,]{word}[\s}},]", usage)}
    if first not in cli.COMMANDS:
        return {first}
    command: Any = import_module(f"agent.commands.{cli.COMMANDS[first][0]}")
    if first == "fleet" and words:
        return given - set(fleet.ACTIONS[words[0]][1]) if words[0] in fleet.ACTIONS else {words[0]}
    if getattr(command, "WORDS_END_OPTIONS", False):
        given = {word for word in given if word.startswith("--")}  # the others are ssh's
    return given - {*command.OPTIONS, "--help"}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_of_a_page_exists(page: Path) -> None:
    """Programs know each subcommand and option that a page shows, and make each target."""
    assert [(each, wrong) for each in shown(page) if (wrong := unknown(*each))] == []


def test_commands_are_found_in_pages(tmp_path: Path) -> None:
    """Commands in spans, fenced and indented code are found, and what is wrong about them."""
    page = tmp_path / "page.md"
    page.write_text(
        "`sixtykey nosuch`, `sudo make tset X=1`, sixtykey is prose\n\n"
        "    sixtykey ssh -L 1 --nosuch web && /usr/lib/sixtykey/sshd-setup enable --nosuch\n\n"
        "```sh\nsixtykey fleet token \\\n  --uses 1 --watch\nsixtykey why USER # --nosuch\n"
        "install -g sixtykey file\n```\n"
    )
    assert [sorted(unknown(*each)) for each in shown(page)] == [
        ["--watch"], [], ["--nosuch"], ["--nosuch"], ["nosuch"], ["X", "tset"],
    ]  # fmt: skip
    assert sum(len(list(shown(page))) for page in PAGES) > 80


def test_the_clients_example_is_valid(tmp_path: Path) -> None:
    """The client.yaml of docs/client.md is accepted, and has every key but those for a lease."""
    text = (ROOT / "docs" / "client.md").read_text("utf-8")
    (example,) = re.findall(r"^```yaml\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    path = tmp_path / "client.yaml"
    path.write_text(example)
    found = settings_file.load(str(path))
    used = {*found, *(key for section in found["hosts"].values() for key in section)}
    missing = {*HOST_KEYS, "key"} - used
    assert missing == {"instance", "zone", "uses", "lifetime"}
    assert all(f"`{key}" in text for key in missing)
