"""An answer without the end mark is discarded, wherever it was interrupted."""

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
    """Serve these answers in turn; yield the socket's path and the requests received.

    The last answer is repeated for all further connections.
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
    """An answer that is cut off before its end mark is dropped, and the helper asks again."""
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
    """If no answer is whole within a second, no key is printed and a warning says so."""
    good = line(keys["ed25519"])
    with in_turns(tmp_path, [good * n for n in range(1, 2000)]) as (path, asked):
        ran = helper.run("--socket", path, "root")
    assert (ran.status, ran.out, ran.err, len(ran.warnings)) == (0, b"", b"", 1)
    assert b"no whole answer within a second" in ran.warnings[0]
    assert len(asked) > 2


def test_a_line_without_its_end_is_never_printed(
    helper: Helper, tmp_path: Path, keys: dict[str, KeyPair]
) -> None:
    """An answer whose last line has no newline is dropped, even if it is repeated."""
    answer = line(keys["rsa"]) + line(keys["ed25519"])[:-1]
    with StubLookup(tmp_path, sending(answer)) as stub:
        ran = helper.run("--socket", stub.path, "root")
    assert (ran.status, ran.out, len(ran.warnings)) == (0, b"", 1)


def test_a_daemon_without_end_marks_is_believed_when_it_repeats_itself(
    helper: Helper, tmp_path: Path, keys: dict[str, KeyPair]
) -> None:
    """An answer without an end mark, as from sixtykeyd 0.1.0, counts when it is received twice."""
    for answer in (line(keys["rsa"]) + line(keys["ed25519"]), b""):
        with in_turns(tmp_path, [b"", line(keys["other"]), answer, answer]) as (path, asked):
            ran = helper.run("--socket", path, "root")
        assert (ran.status, ran.out, ran.err, len(ran.warnings)) == (0, answer, b"", 1)
        assert OLDER in ran.warnings[0]
        assert asked == [b"root\n"] * 4


def test_data_after_the_end_mark_is_not_printed(
    helper: Helper, tmp_path: Path, keys: dict[str, KeyPair]
) -> None:
    """Whatever follows the end mark is dropped, with a warning."""
    good, more = line(keys["ed25519"]), line(keys["rsa"])
    for answer in (good + b"\n" + more + b"\n", good + b"\n\n"):
        with StubLookup(tmp_path, sending(answer)) as stub:
            ran = helper.run("--socket", stub.path, "root")
        assert (ran.status, ran.out, ran.err, len(ran.warnings)) == (0, good, b"", 1)
        assert b"dropped" in ran.warnings[0]


def test_the_end_mark_ends_it_and_not_the_end_of_the_stream(
    helper: Helper, tmp_path: Path, keys: dict[str, KeyPair]
) -> None:
    """The helper ends at the end mark, even if the daemon does not close the connection."""
    good = line(keys["ed25519"])

    def behave(connection: socket.socket) -> None:
        connection.sendall(good[:20])
        connection.sendall(good[20:] + b"\n")
        # Wait for the helper to close; it must not wait for this side to close first.
        connection.recv(1)

    with StubLookup(tmp_path, behave) as stub:
        ran = helper.run("--socket", stub.path, "root")
    assert (ran.status, ran.out, ran.err, ran.warnings) == (0, good, b"", [])


def test_asks_again_when_the_daemon_ended_before_it_read(
    helper: Helper, tmp_path: Path, keys: dict[str, KeyPair]
) -> None:
    """The helper asks again when a daemon closes the connection without reading the request."""
    good, asked = line(keys["ed25519"]), []

    def serve(listener: socket.socket) -> None:
        for _ in range(2):
            connection, _ = listener.accept()
            # As when a process is killed: closing with an unread request resets the connection.
            # Without a request, the helper would see an end of file.
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
