"""The daemon as a process: exit codes, its command line, and how it starts and ends."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.parts.daemon import CREDENTIAL, INSTANCE_ID, REGION, ZONE, RunningDaemon
from tests.parts.host import ROOT, work_directory
from tests.parts.raw import Raw, ask
from tests.parts.signed import push, sign


@pytest.fixture(name="folder")
def _folder() -> Iterator[Path]:
    with work_directory() as folder:
        yield folder


def agent(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m agent` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "agent", *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def run_refused(daemon: RunningDaemon) -> tuple[int, str]:
    """The exit code and the log of a daemon that does not start."""
    with pytest.raises(RuntimeError):
        daemon.start()
    assert daemon.process is not None
    return daemon.process.returncode, daemon.log()


def test_help_names_every_option() -> None:
    """--help names the options, the default configuration, and the exit codes."""
    done = agent("--help")
    assert done.returncode == 0
    for word in (
        "--config",
        "/etc/sixtykey/config.yaml",
        "--print-identity",
        "Exit codes",
        "SIGHUP",
    ):
        assert word in done.stdout


def test_an_unknown_option_is_exit_2() -> None:
    """An unknown option gives the exit code 2."""
    assert agent("--confg", "x").returncode == 2


def test_print_identity_prints_what_clients_need(folder: Path) -> None:
    """--print-identity prints instance id, zone and region on one line."""
    daemon = RunningDaemon(folder)
    daemon.config_file.write_text(json.dumps({"instance": daemon.defaults()["instance"]}))
    done = agent("--config", str(daemon.config_file), "--print-identity")
    assert (done.returncode, done.stdout) == (0, f"{INSTANCE_ID} {ZONE} {REGION}\n")


def test_a_wrong_configuration_is_exit_2_with_every_problem(folder: Path) -> None:
    """A wrong configuration gives exit code 2 and one line for each problem."""
    file = folder / "config.yaml"
    file.write_text("keys: {lifetime: 600, tpyes: []}\njournal: 1\n")
    done = agent("--config", str(file))
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) == 3
    assert all(line.startswith(f"sixtykeyd: {file}: ") for line in lines)
    assert agent("--config", str(folder / "absent")).returncode == 2


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o620, 0o660])
def test_credentials_that_others_can_read_or_change_are_refused(mode: int, folder: Path) -> None:
    """Credentials that others can read or change give exit code 2 and a command to run."""
    daemon = RunningDaemon(folder)
    daemon.credentials_file.chmod(mode)
    code, log = run_refused(daemon)
    assert code == 2
    assert "chmod 0640" in log


def test_tls_files_that_cannot_be_used_are_exit_2(folder: Path) -> None:
    """TLS files that cannot be used give exit code 2, and all of them are named."""
    tls = {"certificate": "/absent/cert", "private_key": "/absent/key", "client_ca": "/absent/ca"}
    code, log = run_refused(RunningDaemon(folder, config={"push": {"http": {"tls": tls}}}))
    assert code == 2
    assert "/absent/cert" in log
    assert "/absent/ca" in log


def test_sockets_in_use_are_exit_1(folder: Path) -> None:
    """A daemon whose port or socket is in use gives exit code 1, and the first one stays up."""
    with RunningDaemon(folder) as first:
        (folder / "second").mkdir()
        second = RunningDaemon(folder / "second")
        second.http_port = first.http_port
        code, log = run_refused(second)
        assert code == 1
        assert f"port {first.http_port}: Address already in use" in log
        second = RunningDaemon(
            folder / "second", config={"lookup": {"socket": first.lookup_socket}}
        )
        code, log = run_refused(second)
        assert code == 1
        assert "another daemon is listening" in log
        assert ask(first.push_socket, push().raw()).status == 200


def test_a_kill_leaves_nothing_in_the_way(folder: Path) -> None:
    """After a SIGKILL, the next daemon replaces the stale sockets and serves the live keys."""
    with RunningDaemon(folder) as daemon:
        request_id = ask(daemon.push_socket, push().raw()).request_id
        assert daemon.kill() == -signal.SIGKILL
        daemon.start()
        with Raw(daemon.lookup_socket) as helper:
            assert request_id.encode() in helper.send(b"ec2-user\n").sock.recv(4096)


def test_sigterm_answers_the_requests_under_way_and_ends_with_0(folder: Path) -> None:
    """On SIGTERM, every push that is answered as accepted is audited and served later.

    The other requests get ServiceUnavailable or a closed connection.
    """
    rate = {"push": {"rate": {"per_credential": 1000, "total": 1000}}}
    with RunningDaemon(folder, config=rate) as daemon:
        requests = [sign(push()).raw() for _ in range(40)]
        clients = [Raw(("127.0.0.1", daemon.http_port)) for _ in requests]
        for client, request in zip(clients, requests):
            client.send(request)
        taken = {clients[0].answer().request_id}
        assert daemon.process is not None
        daemon.process.send_signal(signal.SIGTERM)
        for client in clients[1:]:
            try:
                answer = client.answer()
            except EOFError:
                continue  # the connection was not accepted, or nothing was read from it
            assert answer.code in {"", "ServiceUnavailable"}
            if answer.code == "":
                taken.add(answer.request_id)
        assert daemon.wait() == 0
        audited = {each["request_id"] for each in daemon.audit(event="push", outcome="allowed")}
        assert taken == audited
        assert daemon.audit()[-1]["event"] == "stop"
        for client in clients:
            client.close()
        daemon.start()
        with Raw(daemon.lookup_socket) as helper:
            lines = helper.send(b"ec2-user\n").sock.makefile("rb").read().decode()
        assert lines.endswith("\n\n")
        assert {line.split()[2] for line in lines.splitlines()[:-1]} == audited


def test_an_idle_connection_does_not_hold_up_the_end(folder: Path) -> None:
    """An idle connection or half a request does not delay the stop.

    Half a request gets ServiceUnavailable.
    """
    with RunningDaemon(folder) as daemon:
        address = ("127.0.0.1", daemon.http_port)
        with Raw(address) as idle, Raw(address) as half:
            half.send(b"POST / HT")
            time.sleep(0.1)
            assert daemon.stop() == 0
            assert half.answer().code == "ServiceUnavailable"
            assert idle.ends()


def test_without_http_no_port_is_opened(folder: Path) -> None:
    """Without push.http, no port is opened and no credentials file is needed."""
    with RunningDaemon(folder, config={"push": {"http": None}}) as daemon:
        daemon.credentials_file.unlink()
        daemon.stop()
        daemon.start()
        assert "no network listener" in daemon.log()
        assert ask(daemon.push_socket, push().raw()).status == 200
        with pytest.raises(ConnectionRefusedError), socket.socket() as probe:
            probe.connect(("127.0.0.1", daemon.http_port))


def test_reload_takes_all_of_it_or_nothing(folder: Path) -> None:
    """A reload applies new credentials, and a broken file is logged and changes nothing."""
    with RunningDaemon(folder) as daemon:
        address = ("127.0.0.1", daemon.http_port)
        daemon.credentials_file.write_text("- {access_key_id: broken")
        daemon.reload()
        assert "not reloaded" in daemon.log()
        assert ask(address, sign(push()).raw()).code == ""
        daemon.write_credentials([{**CREDENTIAL, "enabled": False}])
        daemon.reload()
        assert ask(address, sign(push()).raw()).code == "OptInRequired"
        outcomes = [each["outcome"] for each in daemon.audit(event="reload")]
        assert outcomes == ["refused", "done"]
