"""Floods: memory and lookups are checked during a flood as well as after it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Optional

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.faults.load import MANY, PATIENCE, SLACK_MIB, Watch, push_one, resident_mib
from tests.parts import flood
from tests.parts.certificates import Authority
from tests.parts.command import run
from tests.parts.daemon import RunningDaemon, merged
from tests.parts.helper import ask_helper
from tests.parts.host import work_directory
from tests.parts.leases import ed25519_key
from tests.parts.raw import Raw
from tests.parts.signed import push

# Limit of the daemon's resident memory in a flood (MiB), and its memory when idle, with a
# distribution's packages. PyPI's wheels bundle libraries, and some need more.
MOST_MIB, IDLE_MIB = 96.0, 36.0
SECONDS = 4.0
EACH = 60
ONE = ["127.0.0.2"]
MANY_SOURCES = [f"127.0.0.{host}" for host in range(2, 10)]
# Asyncio's debug mode is off: it keeps a stack trace for each handle, which takes memory.
PLAIN = {"PYTHONASYNCIODEBUG": ""}


@contextmanager
def flooded(files: Optional[tuple[Path, Path]] = None) -> Iterator[RunningDaemon]:
    """A daemon to be flooded; with this certificate and key it speaks TLS."""
    config = MANY
    if files is not None:
        tls = {"certificate": str(files[0]), "private_key": str(files[1])}
        config = merged(MANY, {"push": {"http": {"tls": tls}}})
    with work_directory() as folder, ExitStack() as stack:
        yield stack.enter_context(RunningDaemon(folder, config=config, environment=PLAIN))


@pytest.fixture(name="daemon", params=["plain", "tls"])
def _daemon(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningDaemon]:
    with flooded(Authority(tmp_path).issue("server") if request.param == "tls" else None) as daemon:
        yield daemon


@pytest.fixture(name="rsa_files", scope="module")
def _rsa_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate and its key, which takes a second or more to make."""
    key = rsa.generate_private_key(65537, 4096)
    return Authority(tmp_path_factory.mktemp("rsa")).issue("server", key=key)


@pytest.fixture(name="rsa_daemon")
def _rsa_daemon(rsa_files: tuple[Path, Path]) -> Iterator[RunningDaemon]:
    with flooded(rsa_files) as daemon:
        yield daemon


def encrypted(daemon: RunningDaemon) -> str:
    """The suffix of a flood's kind that fits this daemon, for plain HTTP or TLS."""
    return "-tls" if "tls:" in daemon.config_file.read_text("utf-8") else ""


def peak_mib(daemon: RunningDaemon) -> float:
    """The most memory that the daemon has had resident since it started (proc(5), VmHWM)."""
    status = Path(f"/proc/{daemon.pid}/status").read_text("ascii")
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) / 1024


def watch_flood(daemon: RunningDaemon, kind: str, sources: list[str]) -> flood.Sent:
    """Look up a live key again and again during a flood; return the flood's counts.

    The real helper gives up after one second, so each key that it prints came within that time.
    """
    most = MOST_MIB + max(0.0, resident_mib(daemon.pid) - IDLE_MIB)
    pushed = push_one(daemon)
    answers, memory = [], []
    with flood.flooding(kind, daemon.http_port, SECONDS, EACH, sources) as flooding:
        while flooding.poll() is None:
            lines = ask_helper(daemon.lookup_socket, "alice")
            answers.append([line.split()[2] for line in lines])
            memory.append(peak_mib(daemon))
        came_to = flood.result(flooding)
    print(kind, len(sources), came_to, f"{len(answers)} lookups, {max(memory):.1f} MiB")
    assert len(answers) > 5
    assert answers == [[pushed.request_id]] * len(answers)
    assert max(memory) < most
    assert came_to.connections >= EACH * len(sources)
    return came_to


@pytest.mark.parametrize("sources", [ONE, MANY_SOURCES], ids=["1", "8"])
def test_requests_sent_without_a_pause_wait_in_the_kernel(
    daemon: RunningDaemon, sources: list[str]
) -> None:
    """Requests sent without a pause, from one address or many, do not delay lookups."""
    watch = Watch(daemon)
    came_to = watch_flood(daemon, "pipelined" + encrypted(daemon), sources)
    assert came_to.read > 100_000
    assert came_to.sent > len(sources) * 1_000_000
    watch.check(memory=None)


@pytest.mark.parametrize("kind", ["deaf", "half-requests"])
def test_unread_answers_and_unfinished_requests_take_bounded_memory(
    daemon: RunningDaemon, kind: str
) -> None:
    """Unread answers and unfinished requests of many connections take bounded memory."""
    came_to = watch_flood(daemon, kind + encrypted(daemon), MANY_SOURCES)
    assert came_to.sent > EACH * len(MANY_SOURCES) * 32_000


@pytest.mark.parametrize("kind", ["handshakes", "half-hellos"])
@pytest.mark.parametrize("sources", [ONE, MANY_SOURCES], ids=["1", "8"])
def test_handshakes_take_turns_with_lookups(
    rsa_daemon: RunningDaemon, kind: str, sources: list[str]
) -> None:
    """Lookups are answered in time during a flood of TLS handshakes.

    A ClientHello costs its sender nothing, and the daemon a signature of some milliseconds.
    """
    watch = Watch(rsa_daemon)
    came_to = watch_flood(rsa_daemon, kind, sources)
    assert kind == "half-hellos" or came_to.read > 100_000
    # Idle handshakes above the limit were closed to make room for new ones.
    if kind == "half-hellos" and len(sources) > 1:
        assert came_to.connections > 2 * EACH * len(sources)
    watch.check(memory=None)


def test_memory_goes_back_when_a_flood_has_ended(rsa_daemon: RunningDaemon) -> None:
    """After a flood the daemon returns memory that the C library would otherwise keep."""
    before = resident_mib(rsa_daemon.pid)
    watch_flood(rsa_daemon, "half-hellos", MANY_SOURCES)
    deadline = time.monotonic() + PATIENCE
    # The first flood leaves more memory in use than later ones: buffers that are made once.
    while (now := resident_mib(rsa_daemon.pid)) > before + 1.5 * SLACK_MIB:
        assert time.monotonic() < deadline, f"{before:.0f} MiB before, and {now:.0f} now"
        time.sleep(0.1)


def test_a_pusher_who_writes_much_for_many_users_takes_bounded_memory() -> None:
    """The history that explains refusals is bounded in bytes, however long each record is."""
    config = merged(MANY, {"keys": {"lifetime": 2}})
    line = ed25519_key().line("").strip()
    with (
        work_directory() as folder,
        RunningDaemon(folder, config=config, environment=PLAIN) as daemon,
    ):
        with Raw(daemon.push_socket) as raw:
            for first in range(0, 20_000, 50):
                calls = [
                    push(InstanceOSUser=f"user{(first + number) % 1000}", SSHPublicKey=line)
                    .plus("User-Agent", "\\" * 1024).raw()
                    for number in range(50)
                ]  # fmt: skip
                raw.send(b"".join(calls))
                assert [raw.answer().code for _ in calls] == [""] * 50
                if first % 2000 == 0:
                    assert ask_helper(daemon.lookup_socket, f"user{first % 1000}")
                    assert peak_mib(daemon) < MOST_MIB
        assert run("why", "user999", "--socket", daemon.push_socket).code == 0
        assert peak_mib(daemon) < MOST_MIB
