"""systemd's protocols, with real sockets: passed-in listeners, readiness, watchdog."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from agent.host.systemd import Notifier, listen_fds

# A daemon in miniature: what it was given, what is left in the environment and what a child
# inherits, as one line of JSON; then it answers one connection on each socket with its name.
CHILD = """
import json, os, subprocess, sys
from agent.host.systemd import listen_fds
found = listen_fds(os.environ)
count = "import os; print(len(os.listdir('/proc/self/fd')))"
print(json.dumps({
    "sockets": {n: [int(s.family), int(s.type), s.get_inheritable()] for n, s in found.items()},
    "left": sorted(name for name in os.environ if name.startswith("LISTEN_")),
    "inherited": int(subprocess.check_output([sys.executable, "-c", count], close_fds=False)),
}), flush=True)
for name, listener in found.items():
    connection, _ = listener.accept()
    connection.sendall(name.encode())
    connection.close()
"""
# LISTEN_PID must be the id of the process itself, and the descriptors must begin at 3. Both are set
# between fork and exec, as systemd does it.
EXEC = """
import os, sys
for index, descriptor in enumerate(sys.argv[1].split(",")):
    os.dup2(int(descriptor), 3 + index, inheritable=True)
    os.close(int(descriptor))
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.executable, [sys.executable, "-c", sys.argv[2]])
"""


@pytest.fixture(name="receiver")
def _receiver(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.settimeout(10)
        yield receiver


def _environment(receiver: socket.socket) -> dict[str, str]:
    name = receiver.getsockname()
    return {"NOTIFY_SOCKET": "@" + name[1:].decode() if isinstance(name, bytes) else name}


def test_ready_is_one_datagram_with_a_status(receiver: socket.socket) -> None:
    """`ready` is one datagram with READY=1 and the status on one line."""
    with closing(Notifier(_environment(receiver))) as notifier:
        notifier.ready("serving\nREADY=0")
    assert receiver.recv(4096) == b"READY=1\nSTATUS=serving READY=0"


def test_stopping_watchdog_and_status_are_sd_notifys(receiver: socket.socket) -> None:
    """Stopping, watchdog and status are the words of sd_notify(3)."""
    with closing(Notifier(_environment(receiver))) as notifier:
        notifier.stopping()
        notifier.watchdog()
        notifier.status("3 keys")
    assert [receiver.recv(4096) for _ in range(3)] == [
        b"STOPPING=1",
        b"WATCHDOG=1",
        b"STATUS=3 keys",
    ]


def test_reloading_carries_the_monotonic_time(receiver: socket.socket) -> None:
    """A reload names the monotonic time, in microseconds, between before and after."""
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    with closing(Notifier(_environment(receiver))) as notifier:
        notifier.reloading()
    word, _, stamp = receiver.recv(4096).decode().partition("\nMONOTONIC_USEC=")
    assert word == "RELOADING=1"
    assert before <= int(stamp) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def test_an_address_with_an_at_sign_is_abstract() -> None:
    """An address that begins with @ is an abstract one."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(b"\0sixtykey-test-" + secrets.token_hex(8).encode())
        receiver.settimeout(10)
        with closing(Notifier(_environment(receiver))) as notifier:
            notifier.watchdog()
        assert receiver.recv(4096) == b"WATCHDOG=1"


@pytest.mark.parametrize(
    "address", ["", "relative", "vsock:2:1234", "/nowhere/at/all", "/" + "x" * 200]
)
def test_without_a_manager_notifications_are_lost_silently(address: str) -> None:
    """Without a manager that listens, notifications raise no error."""
    with closing(Notifier({"NOTIFY_SOCKET": address} if address else {})) as notifier:
        notifier.ready("serving")
        notifier.reloading()
        notifier.watchdog()
        notifier.status("x")
        notifier.stopping()
        assert notifier.watchdog_interval is None


def test_a_manager_that_does_not_read_blocks_nothing(receiver: socket.socket) -> None:
    """A manager that does not read blocks nothing: later notifications are dropped."""
    with closing(Notifier(_environment(receiver))) as notifier:
        for _ in range(5000):
            notifier.watchdog()
    assert receiver.recv(4096) == b"WATCHDOG=1"


@pytest.mark.parametrize(
    ("environ", "interval"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_interval_is_half_of_the_managers(
    environ: dict[str, str], interval: float
) -> None:
    """The watchdog interval is half the manager's, and none if it is for another process."""
    assert Notifier(environ).watchdog_interval == interval


def _run(listeners: list[socket.socket], names: str) -> subprocess.Popen[str]:
    """Start CHILD with `listeners` as descriptors 3 and up, passed as by systemd."""
    high = [os.dup2(listener.fileno(), 100 + i) for i, listener in enumerate(listeners)]
    environ = {**os.environ, "LISTEN_FDS": str(len(listeners)), "LISTEN_FDNAMES": names}
    command = [sys.executable, "-c", EXEC, ",".join(map(str, high)), CHILD]
    try:
        return subprocess.Popen(
            command, env=environ, pass_fds=high, stdout=subprocess.PIPE, text=True
        )
    finally:
        for descriptor in high:
            os.close(descriptor)


def _ask(address: object, family: int) -> bytes:
    with socket.socket(family, socket.SOCK_STREAM) as client:
        client.settimeout(10)
        client.connect(address)  # type: ignore[arg-type]
        return client.recv(100)


def test_listeners_are_found_by_name(tmp_path: Path) -> None:
    """Passed sockets are found by name and work. A child gets neither them nor the variables."""
    unix = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    unix.bind(str(tmp_path / "lookup.sock"))
    inet = socket.create_server(("127.0.0.1", 0))
    unix.listen()
    with unix, inet, _run([unix, inet], "lookup:https") as child:
        assert child.stdout is not None
        said = json.loads(child.stdout.readline())
        assert said["sockets"] == {
            "lookup": [int(socket.AF_UNIX), int(socket.SOCK_STREAM), False],
            "https": [int(socket.AF_INET), int(socket.SOCK_STREAM), False],
        }
        assert said["left"] == []
        # stdin, stdout, stderr, and the directory being listed.
        assert said["inherited"] == 4
        assert _ask(str(tmp_path / "lookup.sock"), socket.AF_UNIX) == b"lookup"
        assert _ask(inet.getsockname(), socket.AF_INET) == b"https"


def test_of_two_sockets_with_one_name_the_first_counts() -> None:
    """Of two sockets with one name the first counts; a socket without a name is `unknown`."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    with _run(listeners, "push:push") as child:
        assert child.stdout is not None
        assert set(json.loads(child.stdout.readline())["sockets"]) == {"push", "unknown"}
        assert _ask(listeners[0].getsockname(), socket.AF_INET) == b"push"
        assert _ask(listeners[2].getsockname(), socket.AF_INET) == b"unknown"
    for listener in listeners:
        listener.close()


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"LISTEN_PID": "1", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "lookup:push"},
        {"LISTEN_PID": "", "LISTEN_FDS": "1"},
        {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "0"},
        {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "some"},
    ],
)
def test_sockets_of_another_process_are_ignored(environ: dict[str, str]) -> None:
    """Variables for another process, or malformed ones, give no socket and are removed."""
    assert listen_fds(environ) == {}
    assert environ == {}


def test_sockets_of_systemd_socket_activate_are_found_by_name(tmp_path: Path) -> None:
    """Sockets passed by systemd-socket-activate are found by the names given to it."""
    activate = shutil.which("systemd-socket-activate")
    if activate is None:
        pytest.skip("systemd-socket-activate is not installed (Debian: systemd)")
    paths = [str(tmp_path / "a.sock"), str(tmp_path / "b.sock")]
    command = [
        activate,
        "-l",
        paths[0],
        "-l",
        paths[1],
        "--fdname=lookup:push",
        f"--setenv=PYTHONPATH={os.getcwd()}",
    ]
    with subprocess.Popen(
        [*command, sys.executable, "-c", CHILD], stdout=subprocess.PIPE, text=True
    ) as child:
        deadline = time.monotonic() + 10
        while not all(map(os.path.exists, paths)) and time.monotonic() < deadline:
            time.sleep(0.01)
        # It starts the program at the first connection.
        assert _ask(paths[0], socket.AF_UNIX) == b"lookup"
        assert _ask(paths[1], socket.AF_UNIX) == b"push"
        assert child.stdout is not None
        assert set(json.loads(child.stdout.readline())["sockets"]) == {"lookup", "push"}
