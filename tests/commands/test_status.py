"""sixtykey status: as text, as JSON and as metrics for Prometheus."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.parts.command import run, run_as
from tests.parts.daemon import RunningDaemon
from tests.parts.helper import ask_helper
from tests.parts.host import IS_ROOT, helper_group
from tests.parts.keys import KeyPair


@pytest.fixture(scope="module")
def busy(daemon: RunningDaemon, key: KeyPair) -> RunningDaemon:
    """A daemon that accepted a push, refused one, gave a key, and had none for one lookup."""
    words = ("--socket", daemon.push_socket)
    assert run("push", "alice", *words, text="no key at all, but long enough " * 9).code == 1
    assert run("push", "alice", str(key.public), *words).code == 0
    assert len(ask_helper(daemon.lookup_socket, "alice")) == 1
    assert ask_helper(daemon.lookup_socket, "nobody-else") == []
    return daemon


def test_the_status_is_printed_for_people(busy: RunningDaemon) -> None:
    """The text shows identity, process, listeners, journal, and pushes and lookups by outcome."""
    done = run("status", "--socket", busy.push_socket)
    assert done.code == 0
    told = {line.split("  ")[0]: line for line in done.out.splitlines()}
    assert busy.instance_id in told["instance"]
    assert f"process {busy.pid}," in told["daemon"]
    assert told["http"].endswith(f"127.0.0.1:{busy.http_port}")
    assert told["lookup"].endswith(busy.lookup_socket)
    assert told["journal"].endswith("leases.db, usable")
    assert told["pushes"].endswith("2: InvalidArgsException 1, allowed 1")
    assert told["lookups"].endswith("2: given 1, none 1")


def test_json_has_the_same_figures_as_the_text(busy: RunningDaemon) -> None:
    """--json has the same figures."""
    status = run("status", "--json", "--socket", busy.push_socket).json
    assert status["Counters"]["push"] == {"InvalidArgsException": 1, "allowed": 1}
    assert status["ProcessId"] == busy.pid
    assert status["Uptime"] > 0
    assert status["Memory"] > 2**20
    assert abs(status["ClockStepped"]) < 10


def test_prometheus_reads_the_same_figures(busy: RunningDaemon) -> None:
    """--metrics and GET /metrics on the push socket are read by Prometheus' parser."""
    texts = [run("status", "--metrics", "--socket", busy.push_socket).out]
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(busy.push_socket)
        sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        head, _, body = b"".join(iter(lambda: sock.recv(65536), b"")).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert b"Content-Type: text/plain; version=0.0.4" in head
    for text in (*texts, body.decode()):
        samples = {
            (s.name, s.labels.get("outcome")): s.value
            for family in text_string_to_metric_families(text)
            for s in family.samples
        }
        assert samples["sixtykey_pushes_total", "allowed"] == 1
        assert samples["sixtykey_lookups_total", "none"] == 1
        assert samples["sixtykey_journal_usable", None] == 1


@pytest.mark.skipif(not IS_ROOT, reason="only root can become somebody else")
def test_only_the_group_may_see_the_status(busy: RunningDaemon, user: str) -> None:
    """A member of the group may see the status, and other users may not."""
    assert run_as(user, "status", "--socket", busy.push_socket, group=helper_group()).code == 0
    assert run_as(user, "status", "--socket", busy.push_socket).code == 4


def test_an_unusable_journal_is_shown(directory: Path) -> None:
    """With an unusable journal, status is answered and reports it."""
    folder = directory / "unkept"
    folder.mkdir()
    (folder / "leases.db").mkdir()
    with RunningDaemon(folder) as daemon:
        done = run("status", "--socket", daemon.push_socket)
        assert done.code == 0
        assert "journal    NOT USABLE: " in done.out
        check = run("check", "--json", "--config", str(daemon.config_file))
        assert "journal-unusable" in {f["Name"] for f in check.json["Findings"]}
