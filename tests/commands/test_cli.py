"""The command line as a whole: help, exit codes, imports, manual and completions."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from agent import cli
from agent.commands import client, settings
from agent.config.settings import DEFAULT_PATH, Push
from tests.parts.command import run
from tests.parts.daemon import RunningDaemon
from tests.parts.host import ROOT, tool

COMMANDS = sorted(cli.COMMANDS)
MANUAL = (ROOT / "packaging" / "man" / "sixtykey.1").read_text("utf-8")


def module(command: str) -> Any:
    """The module of a command."""
    return import_module(f"agent.commands.{cli.COMMANDS[command][0]}")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_usage_options_and_an_example(command: str) -> None:
    """--help shows usage, every option and an example in lines of at most 100 characters."""
    done = run(command, "--help")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"usage: sixtykey {command}")
    assert "example:\n  " in done.out
    assert all(option in done.out for option in module(command).OPTIONS)
    assert max(map(len, done.out.splitlines())) <= 100


def test_help_names_every_command() -> None:
    """--help names every command; without arguments it goes to stderr, with exit code 2."""
    done, bare = run("--help"), run()
    assert (done.code, bare.code) == (0, 2)
    assert all(f"\n  {command} " in done.out for command in COMMANDS)
    assert (bare.out, bare.err) == ("", done.out)
    assert re.fullmatch(r"sixtykey \d+\.\d+\.\d+\S*\n", run("--version").out)


@pytest.mark.parametrize(
    "words",
    [
        ["frobnicate"],
        ["list", "a", "b"],
        ["list", "--wotch"],
        ["list", "--socket"],
        ["list", "--socket", "--json"],
        ["list", "--watch=1"],
        ["list", "--json", "--json"],
        ["push"],
        ["push", "a", "b", "c"],
        ["why"],
        ["why", "a", "not-a-fingerprint"],
        ["revoke"],
        ["revoke", "--all", "alice"],
        ["status", "alice"],
        ["status", "--json", "--metrics"],
        ["check", "a", "b"],
        ["credentials"],
        ["credentials", "frobnicate"],
        ["credentials", "list", "--user", "x"],
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_is_2_and_says_so(words: list[str]) -> None:
    """A wrong command line gives exit code 2 and an error on stderr that names --help."""
    done = run(*words)
    assert (done.code, done.out) == (2, "")
    assert re.match(r"sixtykey[ a-z]*: .+\nTry: sixtykey .*--help\n$", done.err, re.DOTALL)
    assert "Traceback" not in done.err


def test_an_unknown_option_names_the_help_of_its_command() -> None:
    """An option that a command does not have is reported with that command's --help."""
    done = run("list", "--wotch")
    assert done.err == "sixtykey list: unknown option --wotch\nTry: sixtykey list --help\n"


def test_options_end_at_two_dashes() -> None:
    """Words after `--` are no options, and `=` joins an option to its value."""
    done = run("why", "--socket=/nonexistent/push.sock", "--", "--json")
    assert done.code == 3


def test_list_imports_no_slow_module(daemon: RunningDaemon) -> None:
    """`sixtykey list` imports none of the modules that are slow to import."""
    slow = ["asyncio", "paramiko", "yaml", "socket", "http", "ssl", "argparse", "typing"]
    slow += [
        "json",
        "re",
        "enum",
        "dataclasses",
        "inspect",
        "subprocess",
        "pathlib",
        "site",
        "datetime",
        "logging",
    ]
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from agent.cli import main\n"
        "code = main(sys.argv[1:])\n"
        f"print(sorted(set({slow}) & set(sys.modules))); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, "list", "--socket", daemon.push_socket],
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("\n[]\n")


def test_commands_that_read_yaml_find_it_without_site(daemon: RunningDaemon) -> None:
    """A command started without site-packages finds PyYAML when --config is given."""
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from agent.cli import main; "
    done = subprocess.run(
        [
            sys.executable, "-I", "-S", "-c", program + "sys.exit(main())",
            "list", "--config", str(daemon.config_file),
        ],
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_defaults_are_those_of_the_configuration() -> None:
    """Defaults that the command repeats equal those of the configuration."""
    assert Push().socket == client.DEFAULT_SOCKET
    assert DEFAULT_PATH == settings.DEFAULT_PATH
    assert all(Push().socket in what for _, what in [client_option()])


def client_option() -> tuple[str, str]:
    """The name and the description of --socket."""
    return module("list").OPTIONS["--socket"]  # type: ignore[no-any-return]


def test_a_closed_pipe_ends_it_quietly(daemon: RunningDaemon) -> None:
    """A command whose output pipe is closed ends without a traceback."""
    command = f"{sys.executable} -m agent.cli status --socket {daemon.push_socket}; echo $? >&2"
    done = subprocess.run(
        ["bash", "-c", f"({command}) | true"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert done.stderr.strip() in {"0", "141"}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_manual_has_every_command_and_option(command: str) -> None:
    """sixtykey(1) names every command, every option of it, and its example."""
    text = MANUAL.replace("\\-", "-").replace("\\(aq", "'")
    assert f".SS {command}\n" in text
    section = text.split(f".SS {command}\n")[1].split(".SS ")[0]
    common = {"--json", "--socket", "--config"}
    assert all(option in section for option in set(module(command).OPTIONS) - common)
    assert all(option in text for option in common)


@pytest.mark.parametrize("option", ["--json", "--socket", "--config"])
def test_the_manual_says_which_commands_lack_a_common_option(option: str) -> None:
    """sixtykey(1) names exactly the commands that do not take an option that most take."""
    text = MANUAL.replace("\\-", "-").split(".SH OPTIONS\n")[1]
    (paragraph,) = re.findall(rf"^\.BI? {option}\b(.*?)^\.TP", text, re.MULTILINE | re.DOTALL)
    named = re.search(r"^Not for (.*)\.$", paragraph, re.MULTILINE)
    lacking = {command for command in COMMANDS if option not in module(command).OPTIONS}
    assert set(named[1].split(", ") if named else ()) == lacking


def test_the_manual_has_every_finding() -> None:
    """Each finding's name that `sixtykey check` uses is explained in sixtykey(1)."""
    folder = ROOT / "agent" / "commands" / "checks"
    source = "".join(path.read_text("utf-8") for path in sorted(folder.glob("*.py")))
    names = re.findall(r'(?:fault|note|unknown)\)?\(\s*"([a-z-]+)"', source)
    assert len(set(names)) > 25
    text = MANUAL.replace("\\-", "-")
    assert [name for name in set(names) if name not in text] == []


def test_the_manual_is_well_formed(tmp_path: Path) -> None:
    """groff formats sixtykey(1) without a warning."""
    page = ROOT / "packaging" / "man" / "sixtykey.1"
    done = subprocess.run(
        [tool("groff", "groff-base"), "-man", "-Tutf8", "-ww", "-z", str(page)],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def bash_completes(*words: str) -> list[str]:
    """The completions that bash offers for the last word of a command line."""
    script = ROOT / "packaging" / "completion" / "bash" / "sixtykey"
    line = " ".join(f"'{word}'" for word in words)
    program = (
        f"source {script}; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; "
        'complete -p sixtykey >/dev/null || exit 1; _sixtykey; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", program], capture_output=True, text=True, check=True, timeout=30
    )
    return done.stdout.split()


@pytest.mark.parametrize("command", COMMANDS)
def test_bash_completes_every_option(command: str) -> None:
    """For each command, bash offers exactly the options that it accepts."""
    offered = bash_completes("sixtykey", command, "--")
    assert sorted(offered) == sorted([*module(command).OPTIONS, "--help"])


def test_bash_completes_commands_users_and_actions(tmp_path: Path) -> None:
    """bash completes commands, OS users, actions of credentials, and file names."""
    assert bash_completes("sixtykey", "") == list(cli.COMMANDS)
    assert "root" in bash_completes("sixtykey", "push", "ro")
    assert bash_completes("sixtykey", "credentials", "") == ["add", "list", "remove"]
    (tmp_path / "id.pub").touch()
    assert bash_completes("sixtykey", "push", "root", f"{tmp_path}/i") == [f"{tmp_path}/id.pub"]


@pytest.mark.parametrize("command", COMMANDS)
def test_zsh_completes_every_option(command: str) -> None:
    """For each command, zsh offers exactly the options that it accepts."""
    script = ROOT / "packaging" / "completion" / "zsh" / "_sixtykey"
    program = (
        "_arguments() { print -rl -- $@ }; _message() { :; }; _describe() { :; }; "
        f"words=(sixtykey {command} ''); CURRENT=3; _main() {{ {script.read_text()} }}; _main"
    )
    done = subprocess.run(
        [tool("zsh", "zsh"), "-f", "-c", program],
        capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    offered = set(re.findall(r"^\*?(--[a-z-]+)", done.stdout, re.MULTILINE))
    assert offered == {*module(command).OPTIONS, "--help"}
