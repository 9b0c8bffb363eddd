"""sixtykey list: the table, JSON, and --watch on a terminal."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

import pytest

from agent.commands.explanations import limits_of
from tests.parts.command import InTerminal, run, run_as
from tests.parts.daemon import CREDENTIAL, RunningDaemon
from tests.parts.host import IS_ROOT, helper_group, own_name
from tests.parts.keys import KeyPair, make_key
from tests.parts.pushers import Target, push_with_boto3

HIDE, SHOW = "\033[?25l", "\033[?25h"


@pytest.fixture(scope="module")
def quick(directory: Path) -> Iterator[RunningDaemon]:
    """A daemon whose keys live for three seconds, so that a test sees them end."""
    folder = directory / "quick"
    folder.mkdir()
    with RunningDaemon(folder, config={"keys": {"lifetime": 3}}) as running:
        yield running


def push(daemon: RunningDaemon, os_user: str, key: KeyPair) -> None:
    """Push a key with the command."""
    done = run("push", os_user, str(key.public), "--socket", daemon.push_socket)
    assert done.code == 0, done


def test_an_empty_list_says_so(directory: Path) -> None:
    """Without a live key, `list` prints a sentence, or an empty list with --json."""
    folder = directory / "empty"
    folder.mkdir()
    with RunningDaemon(folder) as daemon:
        done = run("list", "--socket", daemon.push_socket)
        assert (done.code, done.out, done.err) == (0, "no key is live\n", "")
        assert run("list", "--json", "--socket", daemon.push_socket).json == {"Leases": []}


def test_the_table_has_a_row_for_each_key(daemon: RunningDaemon, key: KeyPair) -> None:
    """Each live key has a row with user, fingerprint, principal, source and seconds left."""
    push(daemon, "alice", key)
    push_with_boto3(Target.of(daemon), "bob", key.line)
    done = run("list", "--socket", daemon.push_socket)
    assert done.code == 0
    heading, *rows = done.out.splitlines()
    assert heading.split() == ["USER", "TYPE", "FINGERPRINT", "PUSHED", "BY", "FROM", "LEFT"]
    by_user = {row.split()[0]: row for row in rows}
    assert key.fingerprint() in by_user["alice"]
    assert f"{own_name()} (uid:" in by_user["alice"]
    assert "this host" in by_user["alice"]
    assert CREDENTIAL["access_key_id"] in by_user["bob"]
    assert "127.0.0.1" in by_user["bob"]
    assert all(row.endswith(" s") for row in rows)
    (only,) = run("list", "bob", "--json", "--socket", daemon.push_socket).json["Leases"]
    assert only["OSUser"] == "bob"
    assert 0 < only["SecondsLeft"] <= only["Lifetime"] == 60


def test_the_limits_of_a_key_have_a_column(directory: Path, key: KeyPair) -> None:
    """Restrictions of a key are shown in a column: its pinned source and its options."""
    folder = directory / "limited"
    folder.mkdir()
    limits = {"pin_source": True, "options": ["pty", "restrict"]}
    credentials = [{**CREDENTIAL, "keys": limits}]
    with RunningDaemon(folder, credentials=credentials) as daemon:
        push(daemon, "alice", key)
        push_with_boto3(Target.of(daemon), "bob", key.line)
        done = run("list", "--socket", daemon.push_socket)
        rows = {row.split()[0]: row for row in done.out.splitlines()}
        assert rows["USER"].split()[-2:] == ["ONLY", "LEFT"]
        assert rows["alice"].split()[-3] == "-"
        assert "  from 127.0.0.1, restrict, pty  " in rows["bob"]


@pytest.mark.parametrize(
    ("uses", "source", "options", "words"),
    [
        (None, None, [], ""),
        (1, None, [], "1 login"),
        (2, "2001:db8::/64", ["restrict"], "2 logins, from 2001:db8::/64, restrict"),
    ],
)
def test_the_limits_of_a_key_are_described(
    uses: Optional[int], source: Optional[str], options: list[str], words: str
) -> None:
    """A key's restrictions are described in words, and a key without any gives no text."""
    lease = {"UsesLeft": uses, "PinnedSource": source, "Options": options}
    assert limits_of(lease) == words
    assert limits_of({}) == ""


def test_watch_without_a_terminal_prints_once(daemon: RunningDaemon, key: KeyPair) -> None:
    """Without a terminal, --watch prints the list once and without escape sequences."""
    push(daemon, "alice", key)
    done = run("list", "--watch", "--socket", daemon.push_socket)
    assert done.code == 0
    assert "alice" in done.out
    assert "\033" not in done.out


def test_watch_runs_down_and_ends_on_interrupt(quick: RunningDaemon, key: KeyPair) -> None:
    """--watch shows bars until the keys end; ^C ends it with 0 and restores the cursor."""
    push(quick, "alice", key)
    with InTerminal("list", "--watch", "--socket", quick.push_socket) as screen:
        screen.wait_for("█")
        assert screen.seen.startswith(HIDE)
        screen.wait_for("no key is live")
        screen.press("\x03")
        assert screen.end() == 0
        assert screen.seen.endswith(SHOW)
        assert "Traceback" not in screen.seen
        assert screen.seen.count(" s") > screen.seen.count("3 s")


def test_watch_ends_cleanly_when_terminated(quick: RunningDaemon) -> None:
    """SIGTERM ends --watch with 0 and restores the cursor."""
    with InTerminal("list", "--watch", "--socket", quick.push_socket) as screen:
        screen.wait_for("no key is live")
        screen.signal(signal.SIGTERM)
        assert screen.end() == 0
        assert screen.seen.endswith(SHOW)


def test_watch_fits_a_small_terminal(daemon: RunningDaemon, directory: Path) -> None:
    """On a small terminal, --watch cuts lines and counts the rows that do not fit."""
    for number in range(6):
        push(daemon, "small", make_key(directory, f"small{number}"))
    words = ("list", "small", "--watch", "--socket", daemon.push_socket)
    with InTerminal(*words, lines=5, columns=40) as screen:
        screen.wait_for("... and 4 more")
        lines = screen.seen.replace("\r", "").split("\n")[:4]
        assert all(len(line.split("\033[K")[0].split("\033[?25l\n")[-1]) <= 48 for line in lines)
        screen.press("\x03")
        assert screen.end() == 0


def test_watch_survives_the_daemon(directory: Path, key: KeyPair) -> None:
    """--watch reports a daemon that goes away, and shows the keys again on its return."""
    folder = directory / "leaving"
    folder.mkdir()
    with RunningDaemon(folder) as daemon:
        push(daemon, "alice", key)
        with InTerminal("list", "--watch", "--socket", daemon.push_socket) as screen:
            screen.wait_for("alice")
            daemon.kill()
            screen.wait_for("the daemon does not answer")
            daemon.start()
            time.sleep(0.1)
            screen.seen = ""
            screen.wait_for("alice")
            screen.press("\x03")
            assert screen.end() == 0


@pytest.mark.skipif(not IS_ROOT, reason="only root can become somebody else")
def test_only_the_group_may_list(daemon: RunningDaemon, user: str) -> None:
    """A user outside the group gets exit code 4 and a hint; a member gets the list."""
    refused = run_as(user, "list", "--socket", daemon.push_socket)
    assert refused.code == 4
    assert "member of the group" in refused.err
    assert run_as(user, "list", "--socket", daemon.push_socket, group=helper_group()).code == 0
