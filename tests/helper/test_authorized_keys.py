"""The helper as sshd runs it, against lookup sockets that answer well, badly or not at all."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from pathlib import Path
from typing import Optional

import pytest

from tests.parts.key_lines import REQUEST_ID, line
from tests.parts.keys import KeyPair
from tests.parts.stub_lookup import Behaviour, Helper, StubLookup, answering


@pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa-256", "ecdsa-384", "ecdsa-521"])
@pytest.mark.parametrize("algorithm", ["", "sha256", "md5"])
def test_a_key_is_printed_as_the_daemon_wrote_it(
    helper: Helper, tmp_path: Path, keys: dict[str, KeyPair], kind: str, algorithm: str
) -> None:
    """A key of each type is printed as the daemon wrote it.

    The request is the words of the command line.
    """
    words = ["ec2-user"] + ([keys[kind].fingerprint(algorithm)] if algorithm else [])
    with StubLookup(tmp_path, answering(line(keys[kind]))) as stub:
        ran = helper.run("--socket", stub.path, *words)
    assert (ran.status, ran.out, ran.err, ran.warnings) == (0, line(keys[kind]), b"", [])
    assert stub.asked == [" ".join(words).encode() + b"\n"]


def test_without_a_fingerprint_every_key_is_printed(
    helper: Helper, tmp_path: Path, keys: dict[str, KeyPair]
) -> None:
    """Without a fingerprint every key is printed, even more than a pipe holds."""
    answer = b"".join(map(line, keys.values())) * 150
    with StubLookup(tmp_path, answering(answer)) as stub:
        assert helper.run("--socket", stub.path, "root").out == answer


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_keys_with_another_fingerprint_are_dropped(
    helper: Helper, tmp_path: Path, keys: dict[str, KeyPair], algorithm: str
) -> None:
    """Keys with another fingerprint than the requested one are dropped, with a warning."""
    wanted = keys["ed25519"]
    with StubLookup(tmp_path, answering(line(keys["other"]) + line(wanted))) as stub:
        ran = helper.run("--socket", stub.path, "root", wanted.fingerprint(algorithm))
        none = helper.run("--socket", stub.path, "root", keys["rsa"].fingerprint(algorithm))
    assert (ran.status, ran.out, len(ran.warnings)) == (0, line(wanted), 1)
    assert (none.status, none.out, len(none.warnings)) == (0, b"", 1)


def test_a_user_without_a_key_gets_silence_and_status_0(helper: Helper, tmp_path: Path) -> None:
    """For a user without a key the status is 0, and nothing is printed or logged."""
    with StubLookup(tmp_path, answering(b"")) as stub:
        ran = helper.run("--socket", stub.path, "root")
    assert (ran.status, ran.out, ran.err, ran.warnings) == (0, b"", b"", [])


@pytest.mark.parametrize(
    "change",
    [
        lambda good: b'command="id" ' + good,
        lambda good: good.replace(b"\n", b" more\n"),
        lambda good: good.replace(b" ", b"  ", 1),
        lambda good: good.replace(b" ", b"\t", 1),
        lambda good: good.replace(b"\n", b"\r\n"),
        lambda good: good.replace(b"ssh-ed25519", b"ssh-dss"),
        lambda good: good.replace(b"ssh-ed25519", b"ssh-rsa"),
        lambda good: good.replace(b"ssh-ed25519", b"\x1b[2Jssh-ed25519"),
        lambda good: good.replace(REQUEST_ID.encode(), REQUEST_ID.upper().encode()),
        lambda good: good.replace(REQUEST_ID.encode(), b"\x1b]0;x\x07" + REQUEST_ID.encode()[6:]),
        lambda good: good.replace(REQUEST_ID.encode(), b"a" * 36),
        lambda good: good.replace(b"-d9cb-", b"d9-cb-"),
        lambda good: good.replace(b" " + REQUEST_ID.encode(), b""),
        lambda good: good[:-1] + b"\0\n",
        lambda good: good[:-1] + b"\0 command=x\n",
        lambda good: b"restrict " + good[:-1] + b" more\n",
        lambda good: b"restrict " + good[:-1] + b" \n",
        lambda good: good.replace(b"AAAAC3", b"AAAA=C3"),
        lambda good: good.replace(b"AAAAC3", b"AAAA*C3"),
        lambda good: good.replace(b"AAAAC3", b"AAAAC3A", 1),
        lambda good: good.replace(b" 0f8f", b"= 0f8f", 1),
        lambda good: b"#" + good,
        lambda _: b"\xff\xfe\x00\n",
    ],
)
def test_drops_what_the_daemon_would_not_write(
    helper: Helper, tmp_path: Path, keys: dict[str, KeyPair], change: object
) -> None:
    """A line of any other form is dropped with one warning; valid lines around it are kept."""
    assert callable(change)
    good, bad = line(keys["ed25519"]), change(line(keys["ed25519"]))
    assert bad != good
    with StubLookup(tmp_path, answering(good + bad + bad + line(keys["rsa"]))) as stub:
        ran = helper.run("--socket", stub.path, "root")
    assert (ran.status, ran.out, ran.err) == (0, good + line(keys["rsa"]), b"")
    assert len(ran.warnings) == 1


def drip(connection: socket.socket) -> None:
    """Send a byte every 50 ms, for longer than the helper should wait."""
    never = threading.Event()
    for byte in (b"s" * 40 + b"\n") * 20:
        connection.sendall(bytes([byte]))
        never.wait(0.05)


def wait_for_the_end(connection: socket.socket) -> None:
    """Send nothing until the helper closes the connection."""
    connection.recv(1)


def flood(connection: socket.socket) -> None:
    """Send 10 MB."""
    connection.sendall(b"ssh-ed25519 AAAA x\n" * 550_000)


@pytest.mark.parametrize("behave", [None, wait_for_the_end, drip, flood])
def test_a_daemon_that_does_not_answer_gives_no_key(
    helper: Helper, tmp_path: Path, behave: Optional[Behaviour]
) -> None:
    """A daemon that closes, is silent, drips or floods causes status 0 and one warning."""
    with StubLookup(tmp_path, behave) as stub:
        ran = helper.run("--socket", stub.path, "root")
    assert (ran.status, ran.out, ran.err, len(ran.warnings)) == (0, b"", b"", 1)


@pytest.mark.parametrize("kind", ["absent", "stale", "a file", "too long a path"])
def test_an_absent_daemon_gives_no_key(helper: Helper, tmp_path: Path, kind: str) -> None:
    """Without a daemon the status is 0, nothing is printed, and one warning names the socket."""
    path = tmp_path / ("away" * (40 if kind == "too long a path" else 1))
    if kind == "a file":
        path.touch()
    elif kind == "stale":
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(path))
    ran = helper.run("--socket", str(path), "root")
    assert (ran.status, ran.out, ran.err, len(ran.warnings)) == (0, b"", b"", 1)
    # 84 is authpriv.warning (RFC 3164 section 4.1.1: facility 10 times 8, severity 4).
    assert ran.warnings[0].startswith(b"<84>")
    assert str(path).encode() in ran.warnings[0]


def test_a_full_backlog_gives_no_key(helper: Helper, tmp_path: Path) -> None:
    """A daemon whose backlog stays full is treated like a daemon that is not running."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(tmp_path / "full"))
        listener.listen(0)
        first = stack.enter_context(socket.socket(socket.AF_UNIX))
        first.connect(str(tmp_path / "full"))
        ran = helper.run("--socket", str(tmp_path / "full"), "root")
    assert (ran.status, ran.out, ran.err, len(ran.warnings)) == (0, b"", b"", 1)


@pytest.mark.parametrize(
    "words",
    [
        ["two words"], ["new\nline"], ["tab\t"], ["\x1b[2J"], ["nul\x7f"], [""], ["\u00fc"],
        ["a" * 512], ["a", "b" * 510], ["a" * 511, "b"], ["a" * 600],
        ["root", ""], ["root", "SHA256:a b"], ["root", "x\n"], ["\udcff"],
    ],
)  # fmt: skip
def test_words_of_another_request_are_not_sent(
    helper: Helper, tmp_path: Path, words: list[str]
) -> None:
    """Words that could be read as another request are not sent; the status is still 0."""
    with StubLookup(tmp_path, answering(b"")) as stub:
        ran = helper.run("--socket", stub.path, *words)
    assert (ran.status, ran.out, ran.err, ran.warnings) == (0, b"", b"", [])
    assert stub.asked == []


@pytest.mark.parametrize("words", [["a" * 511], ["a", "b" * 509], ["a" * 509, "b"]])
def test_asks_with_the_longest_request(helper: Helper, tmp_path: Path, words: list[str]) -> None:
    """A request of 512 bytes, the most that the protocol has, is sent whole."""
    with StubLookup(tmp_path, answering(b"")) as stub:
        ran = helper.run("--socket", stub.path, *words)
    assert (ran.status, ran.out, ran.err, ran.warnings) == (0, b"", b"", [])
    assert stub.asked == [" ".join(words).encode() + b"\n"]
    assert len(stub.asked[0]) == 512


@pytest.mark.parametrize(
    "words", [[], ["a", "b", "c"], ["--unknown", "root"], ["--socket"], ["--socket", "/x"]]
)
def test_a_wrong_command_line_prints_the_usage(helper: Helper, words: list[str]) -> None:
    """A wrong command line ends with status 2 and the usage on stderr."""
    ran = helper.run(*words)
    assert (ran.status, ran.out, ran.warnings) == (2, b"", [])
    assert ran.err.startswith(b"usage: ")


def test_help_prints_the_usage(helper: Helper) -> None:
    """--help prints the usage and ends with status 0."""
    ran = helper.run("--help")
    assert (ran.status, ran.err) == (0, b"")
    assert ran.out.startswith(b"usage: ")


def test_a_reader_that_goes_away_ends_it(
    helper: Helper, tmp_path: Path, keys: dict[str, KeyPair]
) -> None:
    """A reader that stops early, as sshd before 7.5 does, causes status 0 and no warning."""
    with (
        StubLookup(tmp_path, answering(line(keys["ed25519"]) * 2000)) as stub,
        helper.start("--socket", stub.path, "root") as process,
    ):
        assert process.stdout is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.wait(60) == 0
    assert list(helper.warnings()) == []


def test_without_standard_descriptors_no_key_is_written(
    helper: Helper, tmp_path: Path, keys: dict[str, KeyPair]
) -> None:
    """With descriptors 0 to 2 closed, no key is written to any other descriptor."""
    with StubLookup(tmp_path, answering(line(keys["ed25519"]))) as stub:
        shell = ["/bin/sh", "-c", 'exec "$@" 0<&- 1>&- 2>&-', "sh"]
        ran = helper.run("--socket", stub.path, "root", prefix=shell)
    assert (ran.status, ran.out, ran.err) == (0, b"", b"")
    assert [b"Bad file descriptor" in each for each in ran.warnings] == [True]


def fill(senders: contextlib.ExitStack, path: str) -> int:
    """Send to an unread datagram socket until it blocks; return how many datagrams were sent."""
    sender = senders.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
    sender.setblocking(False)
    for sent in itertools.count():
        try:
            sender.sendto(b"full", path)
        except BlockingIOError:
            return sent
    raise AssertionError("it never blocks")


def test_full_log_does_not_hold_a_login_up(helper: Helper, tmp_path: Path) -> None:
    """When the log's socket is full, the warning is dropped and the helper ends."""
    with contextlib.ExitStack() as senders:
        sent = [fill(senders, str(tmp_path / "log"))]
        # A sender's buffer may fill up before the log's queue does; then another sender continues.
        while sent[-1]:
            sent.append(fill(senders, str(tmp_path / "log")))
        ran = helper.run("--socket", str(tmp_path / "away"), "root")
    assert (ran.status, ran.out, ran.err) == (0, b"", b"")
    assert ran.warnings == [b"full"] * sum(sent)


def test_without_a_log_the_result_is_the_same(helper: Helper, tmp_path: Path) -> None:
    """Without a syslog socket no warning is sent, and the result is the same."""
    (tmp_path / "log").unlink()
    ran = helper.run("--socket", str(tmp_path / "away"), "root")
    assert (ran.status, ran.out, ran.err, ran.warnings) == (0, b"", b"", [])


def test_nothing_from_outside_breaks_out_of_the_log(helper: Helper, tmp_path: Path) -> None:
    """A warning contains only printable ASCII and is at most 1024 bytes long."""
    for path in ("\n\x1b]0;\x07\u00fc%n%s", "x" * 3000):
        ran = helper.run("--socket", str(tmp_path / path), "root")
        assert (ran.status, ran.out, ran.err, len(ran.warnings)) == (0, b"", b"", 1)
        assert set(ran.warnings[0]) <= set(range(32, 127))
        assert len(ran.warnings[0]) <= 1024
    assert helper.run("--socket", str(tmp_path / "%s%n"), "root").warnings[0].count(b"%s%n") == 1


@pytest.mark.parametrize(
    "prefix",
    [
        "trap '' PIPE CHLD HUP INT TERM; exec \"$@\"",
        'exec env -i "$@"',
        'exec env LC_ALL=xx_YY.latin9 LD_BIND_NOW= MALLOC_CHECK_=3 TZ=:/etc/passwd "$@"',
        'cd /; umask 777; exec "$@" <&-',
    ],
)
def test_a_key_is_printed_in_any_inherited_environment(
    helper: Helper, tmp_path: Path, keys: dict[str, KeyPair], prefix: str
) -> None:
    """A key is printed whatever signals, environment, working directory and umask are inherited."""
    with StubLookup(tmp_path, answering(line(keys["ed25519"]))) as stub:
        ran = helper.run(
            "--socket", stub.path, "--chain", "/bin/echo theirs", "root",
            prefix=["/bin/sh", "-c", prefix, "sh"],
        )  # fmt: skip
    assert (ran.status, ran.out) == (0, line(keys["ed25519"]) + b"theirs root\n")
    assert (ran.err, ran.warnings) == (b"", [])
