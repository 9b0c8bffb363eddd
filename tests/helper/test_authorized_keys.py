"""The helper as sshd runs it, against lookup sockets that behave and that do not."""

from __future__ import annotations

import contextlib
import resource
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.helper import authorized_keys
from tests.parts.keys import KeyPair, make_key
from tests.parts.stub_lookup import SSHD_ENVIRONMENT, Behaviour, Helper, StubLookup, answering

REQUEST_ID = "0f8fad5b-d9cb-469f-a165-70867728950e"
NOT_ON_THE_WAY = {"socket", "json", "argparse", "re", "os", "subprocess", "shlex", "base64", "site"}
PYTHONS = sorted({"/usr/bin/python3", sys.executable})


def line(key: KeyPair) -> bytes:
    """The line that the daemon writes for a key."""
    return f"{key.type} {key.base64} {REQUEST_ID}\n".encode()


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, KeyPair]:
    """A key of each kind, and a second Ed25519 one."""
    folder = tmp_path_factory.mktemp("keys")
    made = {"ed25519": make_key(folder, "ed"), "other": make_key(folder, "other")}
    made["rsa"] = make_key(folder, "rsa", "rsa", bits=2048)
    for bits in (256, 384, 521):
        made[f"ecdsa-{bits}"] = make_key(folder, f"ec{bits}", "ecdsa", bits=bits)
    return made


@pytest.fixture
def helper(tmp_path: Path) -> Iterator[Helper]:
    """The helper."""
    with contextlib.closing(Helper(tmp_path)) as made:
        yield made


@pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa-256", "ecdsa-384", "ecdsa-521"])
@pytest.mark.parametrize("algorithm", ["", "sha256", "md5"])
def test_hands_out_a_key(
    helper: Helper, tmp_path: Path, keys: dict[str, KeyPair], kind: str, algorithm: str
) -> None:
    """Keys of all types come out as the daemon wrote them; the request is as the design says."""
    words = ["ec2-user"] + ([keys[kind].fingerprint(algorithm)] if algorithm else [])
    with StubLookup(tmp_path, answering(line(keys[kind]))) as stub:
        ran = helper.run("--socket", stub.path, *words)
    assert (ran.status, ran.out, ran.err, ran.warnings) == (0, line(keys[kind]), b"", [])
    assert stub.asked == [" ".join(words).encode() + b"\n"]


@pytest.mark.parametrize("python", PYTHONS)
def test_loads_nothing_that_takes_long(
    helper: Helper, tmp_path: Path, keys: dict[str, KeyPair], python: str
) -> None:
    """On the way to a key with a fingerprint, no large module is loaded."""
    with StubLookup(tmp_path, answering(line(keys["ed25519"]))) as stub:
        command = helper.command(
            "--socket", stub.path, "root", keys["ed25519"].fingerprint(), python=python
        )
        command[1:1] = ["-X", "importtime"]
        done = subprocess.run(command, capture_output=True, check=True, timeout=60)
    loaded = {row.split(b"|")[-1].strip().decode() for row in done.stderr.splitlines()}
    assert done.stdout == line(keys["ed25519"])
    assert "_socket" in loaded
    assert not loaded & NOT_ON_THE_WAY


def test_all_keys_of_a_user(helper: Helper, tmp_path: Path, keys: dict[str, KeyPair]) -> None:
    """Without a fingerprint every key comes out, however many: here more than a pipe holds."""
    answer = b"".join(map(line, keys.values())) * 150
    with StubLookup(tmp_path, answering(answer)) as stub:
        assert helper.run("--socket", stub.path, "root").out == answer


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_only_the_key_asked_for(
    helper: Helper, tmp_path: Path, keys: dict[str, KeyPair], algorithm: str
) -> None:
    """A daemon that answers other keys than the one asked for gets none of those to sshd."""
    wanted = keys["ed25519"]
    with StubLookup(tmp_path, answering(line(keys["other"]) + line(wanted))) as stub:
        ran = helper.run("--socket", stub.path, "root", wanted.fingerprint(algorithm))
        none = helper.run("--socket", stub.path, "root", keys["rsa"].fingerprint(algorithm))
    assert (ran.status, ran.out, len(ran.warnings)) == (0, line(wanted), 1)
    assert (none.status, none.out, len(none.warnings)) == (0, b"", 1)


@pytest.mark.parametrize("python", PYTHONS)
def test_no_key(helper: Helper, tmp_path: Path, python: str) -> None:
    """A user without a key: status 0, nothing printed, nothing logged."""
    with StubLookup(tmp_path, answering(b"")) as stub:
        ran = helper.run("--socket", stub.path, "root", python=python)
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
        lambda good: good.replace(b"AAAAC3", b"AAAA=C3"),
        lambda good: good.replace(b"AAAAC3", b"AAAA*C3"),
        lambda good: good.replace(b"AAAAC3", b"AAAAC3A", 1),
        lambda good: good.replace(b" 0f8f", b"= 0f8f", 1),
        lambda good: b"#" + good,
        lambda _: b"\n",
        lambda _: b"\xff\xfe\x00\n",
    ],
)
def test_drops_what_the_daemon_would_not_write(
    helper: Helper, tmp_path: Path, keys: dict[str, KeyPair], change: object
) -> None:
    """Any other form of line is dropped, with one warning; the good lines around it are kept."""
    assert callable(change)
    good, bad = line(keys["ed25519"]), change(line(keys["ed25519"]))
    assert bad != good
    with StubLookup(tmp_path, answering(good + bad + bad + line(keys["rsa"]))) as stub:
        ran = helper.run("--socket", stub.path, "root")
    assert (ran.status, ran.out, ran.err) == (0, good + line(keys["rsa"]), b"")
    assert len(ran.warnings) == 1


def test_drops_a_line_without_end(helper: Helper, tmp_path: Path, keys: dict[str, KeyPair]) -> None:
    """A last line that was cut off is dropped, even where it happens to look whole."""
    answer = line(keys["rsa"]) + line(keys["ed25519"])[:-1]
    with StubLookup(tmp_path, answering(answer)) as stub:
        ran = helper.run("--socket", stub.path, "root")
    assert (ran.status, ran.out, len(ran.warnings)) == (0, line(keys["rsa"]), 1)


def drip(connection: socket.socket) -> None:
    """Send a byte now and then, for longer than anyone should listen."""
    never = threading.Event()
    for byte in (b"s" * 40 + b"\n") * 20:
        connection.sendall(bytes([byte]))
        never.wait(0.05)


def wait_for_the_end(connection: socket.socket) -> None:
    """Send nothing until the helper has gone."""
    connection.recv(1)


def flood(connection: socket.socket) -> None:
    """Send 10 MB."""
    connection.sendall(b"ssh-ed25519 AAAA x\n" * 550_000)


@pytest.mark.parametrize("behave", [None, wait_for_the_end, drip, flood])
def test_daemon_that_does_not_answer(
    helper: Helper, tmp_path: Path, behave: Behaviour | None
) -> None:
    """Closed at once, silent, dripping, endless: the helper ends, quiet but for syslog."""
    with StubLookup(tmp_path, behave) as stub:
        ran = helper.run("--socket", stub.path, "root")
    assert (ran.status, ran.out, ran.err, len(ran.warnings)) == (0, b"", b"", 1)


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("kind", ["absent", "stale", "a file", "too long a path"])
def test_daemon_that_is_away(helper: Helper, tmp_path: Path, kind: str, python: str) -> None:
    """Without a daemon: status 0, nothing printed, one warning that names the socket."""
    path = tmp_path / ("away" * (40 if kind == "too long a path" else 1))
    if kind == "a file":
        path.touch()
    elif kind == "stale":
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(path))
    ran = helper.run("--socket", str(path), "root", python=python)
    assert (ran.status, ran.out, ran.err, len(ran.warnings)) == (0, b"", b"", 1)
    # 84 is authpriv.warning (RFC 3164 section 4.1.1: facility 10 times 8, severity 4).
    assert ran.warnings[0].startswith(b"<84>")
    assert str(path).encode() in ran.warnings[0]


def test_backlog_that_stays_full(helper: Helper, tmp_path: Path) -> None:
    """A daemon that accepts nobody, and whose backlog is full, is a daemon that is away."""
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
        ["a" * 600], ["root", ""], ["root", "SHA256:a b"], ["root", "x\n"], ["\udcff"],
    ],
)  # fmt: skip
def test_does_not_ask_for_odd_names(helper: Helper, tmp_path: Path, words: list[str]) -> None:
    """What could be read as another request is not sent at all; it is no error either."""
    with StubLookup(tmp_path, answering(b"")) as stub:
        ran = helper.run("--socket", stub.path, *words)
    assert (ran.status, ran.out, ran.err, ran.warnings) == (0, b"", b"", [])
    assert stub.asked == []


@pytest.mark.parametrize(
    "words", [[], ["a", "b", "c"], ["--unknown", "root"], ["--socket"], ["--socket", "/x"]]
)
def test_wrong_usage(helper: Helper, words: list[str]) -> None:
    """A command line that sshd_config has wrong: status 2, and the usage on stderr."""
    ran = helper.run(*words)
    assert (ran.status, ran.out, ran.warnings) == (2, b"", [])
    assert ran.err.startswith(b"usage: ")


def test_help(helper: Helper) -> None:
    """--help prints the usage and is no error."""
    ran = helper.run("--help")
    assert (ran.status, ran.err) == (0, b"")
    assert ran.out.startswith(b"usage: ")


def test_reader_that_goes_away(helper: Helper, tmp_path: Path, keys: dict[str, KeyPair]) -> None:
    """sshd before 7.5 stops reading at the key it looks for: status 0, and nothing to warn of."""
    with StubLookup(tmp_path, answering(line(keys["ed25519"]) * 2000)) as stub:
        command = helper.command("--socket", stub.path, "root")
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=SSHD_ENVIRONMENT) as process:
            assert process.stdout is not None
            process.stdout.read(10)
            process.stdout.close()
            assert process.wait(60) == 0
    assert list(helper.warnings()) == []


def test_no_stdout_at_all(helper: Helper, tmp_path: Path, keys: dict[str, KeyPair]) -> None:
    """With descriptors 0 to 2 closed, no key is written into some other descriptor."""
    with StubLookup(tmp_path, answering(line(keys["ed25519"]))) as stub:
        command = helper.command("--socket", stub.path, "root")
        shell = ["/bin/sh", "-c", 'exec "$@" 0<&- 1>&- 2>&-', "sh", *command]
        assert subprocess.run(shell, check=False, timeout=60).returncode == 0
    assert [b"Bad file descriptor" in each for each in helper.warnings()] == [True]


def test_full_log_does_not_hold_a_login_up(tmp_path: Path) -> None:
    """When nobody reads the log's socket, a warning is dropped: warn() returns all the same."""
    path = str(tmp_path / "log")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(path)
        log.settimeout(0)
        for number in range(10_000):
            authorized_keys.warn(f"warning {number}", path)
        got = 0
        with contextlib.suppress(BlockingIOError):
            while log.recv(4096):
                got += 1
    assert 0 < got < 10_000


def test_warning_without_descriptors(tmp_path: Path) -> None:
    """A warning that cannot even open a socket is dropped: nothing is raised."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        authorized_keys.warn("no descriptor is left", str(tmp_path / "log"))
        with pytest.raises(OSError, match="Too many open files"):
            socket.socket(socket.AF_UNIX)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_fingerprint_without_own_digests(
    monkeypatch: pytest.MonkeyPatch, keys: dict[str, KeyPair]
) -> None:
    """Where the interpreter is built without its own digests, OpenSSL's give the same."""
    key = keys["ed25519"]
    for module in ("_sha2", "_sha256", "_md5"):
        monkeypatch.setitem(sys.modules, module, None)
    assert authorized_keys.fingerprint_of(key.blob, "SHA2") == key.fingerprint()
    assert authorized_keys.fingerprint_of(key.blob, "MD5:") == key.fingerprint("md5")
