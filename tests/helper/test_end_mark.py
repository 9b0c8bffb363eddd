"""The end mark: an answer without one is discarded, at any point of an interruption."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.parts.key_lines import line
from tests.parts.keys import KeyPair
from tests.parts.stub_lookup import Helper, StubLookup, answering, sending

OLDER = b"no end mark: is sixtykeyd older than this helper?"


@contextmanager
def in_turns(folder: Path, answers: Sequence[bytes]) -> Iterator[tuple[str, list[bytes]]]:
    """A daemon after the other on one socket, each with an answer; the path, and what was asked.

    The last one's answer is that of all who come after.
    """
    asked: list[bytes] = []

    def behave(connection: socket.socket) -> None:
        connection.sendall(answers[min(len(asked), len(answers) - 1)])
        asked.append(b"")

    with StubLookup(folder, behave) as stub:
        yield stub.path, stub.asked


@pytest.mark.parametrize("cut", ["all of it", "the mark", "half a line", "a line and the mark"])
def test_a_daemon_that_is_killed_while_it_answers_is_not_one_without_a_key(
    helper: Helper, tmp_path: Path, keys: dict[str, KeyPair], cut: str
) -> None:
    """Killed after it has read and before its mark: the next daemon's keys count."""
    lines = line(keys["rsa"]) + line(keys["ed25519"])
    whole = lines + b"\n"
    kept = {
        "all of it": b"",
        "the mark": lines,
        "half a line": lines[:-40],
        "a line and the mark": line(keys["rsa"]),
    }[cut]
    with in_turns(tmp_path, [kept, whole]) as (path, asked):
        ran = helper.run("--socket", path, "root")
    assert (ran.status, ran.out, ran.err, ran.warnings) == (0, lines, b"", [])
    assert asked == [b"root\n"] * 2


def test_answers_that_are_cut_off_each_time_in_another_place_are_none(
    helper: Helper, tmp_path: Path, keys: dict[str, KeyPair]
) -> None:
    """No key is printed from what never came whole; it ends within its second, and says so."""
    good = line(keys["ed25519"])
    with in_turns(tmp_path, [good * n for n in range(1, 2000)]) as (path, asked):
        ran = helper.run("--socket", path, "root")
    assert (ran.status, ran.out, ran.err, len(ran.warnings)) == (0, b"", b"", 1)
    assert b"no whole answer within a second" in ran.warnings[0]
    assert len(asked) > 2


def test_a_line_without_its_end_is_never_printed(
    helper: Helper, tmp_path: Path, keys: dict[str, KeyPair]
) -> None:
    """A last line that is cut off is no line, even where it looks whole and comes each time."""
    answer = line(keys["rsa"]) + line(keys["ed25519"])[:-1]
    with StubLookup(tmp_path, sending(answer)) as stub:
        ran = helper.run("--socket", stub.path, "root")
    assert (ran.status, ran.out, len(ran.warnings)) == (0, b"", 1)


def test_a_daemon_without_end_marks_is_believed_when_it_repeats_itself(
    helper: Helper, tmp_path: Path, keys: dict[str, KeyPair]
) -> None:
    """sixtykeyd 0.1.0, during an upgrade: twice the same whole lines, or none, are its answer."""
    for answer in (line(keys["rsa"]) + line(keys["ed25519"]), b""):
        with in_turns(tmp_path, [b"", line(keys["other"]), answer, answer]) as (path, asked):
            ran = helper.run("--socket", path, "root")
        assert (ran.status, ran.out, ran.err, len(ran.warnings)) == (0, answer, b"", 1)
        assert OLDER in ran.warnings[0]
        assert asked == [b"root\n"] * 4


def test_what_comes_after_the_end_mark_is_not_printed(
    helper: Helper, tmp_path: Path, keys: dict[str, KeyPair]
) -> None:
    """A first empty line ends the answer, whatever follows in the same write."""
    good, more = line(keys["ed25519"]), line(keys["rsa"])
    for answer in (good + b"\n" + more + b"\n", good + b"\n\n"):
        with StubLookup(tmp_path, sending(answer)) as stub:
            ran = helper.run("--socket", stub.path, "root")
        assert (ran.status, ran.out, ran.err, len(ran.warnings)) == (0, good, b"", 1)
        assert b"dropped" in ran.warnings[0]


def test_the_end_mark_ends_it_and_not_the_end_of_the_stream(
    helper: Helper, tmp_path: Path, keys: dict[str, KeyPair]
) -> None:
    """A daemon that has answered and stands still, without closing, keeps nobody waiting."""
    good = line(keys["ed25519"])

    def behave(connection: socket.socket) -> None:
        connection.sendall(good[:20])
        connection.sendall(good[20:] + b"\n")
        # Until the helper has gone, which must not wait for us.
        connection.recv(1)

    with StubLookup(tmp_path, behave) as stub:
        ran = helper.run("--socket", stub.path, "root")
    assert (ran.status, ran.out, ran.err, ran.warnings) == (0, good, b"", [])


def test_asks_again_when_the_daemon_ended_before_it_read(
    helper: Helper, tmp_path: Path, keys: dict[str, KeyPair]
) -> None:
    """Two daemons die between accepting and reading; the third, on the same socket, is asked."""
    good, asked = line(keys["ed25519"]), []

    def serve(listener: socket.socket) -> None:
        for _ in range(2):
            connection, _ = listener.accept()
            # Closing with the request unread is what the kernel does for a process that is killed:
            # the helper sees a reset. Without a request yet, it would see an end of file.
            connection.recv(1, socket.MSG_PEEK)
            connection.close()
        connection, _ = listener.accept()
        with connection:
            asked.append(connection.recv(512))
            answering(good)(connection)

    with contextlib.closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(tmp_path / "lookup.sock"))
        listener.listen()
        listener.settimeout(20)
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        ran = helper.run("--socket", str(tmp_path / "lookup.sock"), "root")
        thread.join()
    assert asked == [b"root\n"]
    assert (ran.status, ran.out, ran.err, ran.warnings) == (0, good, b"", [])
