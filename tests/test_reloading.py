"""Reloading many credentials: lookups go on meanwhile, and the last file read is in force."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Sequence
from typing import Any

from tests.parts.daemon import CREDENTIAL, RunningDaemon
from tests.parts.host import work_directory
from tests.parts.raw import Raw, ask
from tests.parts.signed import Call, push, sign

RELOAD = Call(headers=(("Host", "localhost"), ("X-Amz-Target", "Sixtykey.Reload")))
# Asyncio's debug mode is off, because it inspects every step of the loop.
PLAIN = {"PYTHONASYNCIODEBUG": ""}


def many(count: int, **changes: Any) -> list[dict[str, Any]]:
    """The usual credential with these changes, and `count` others."""
    allow = {"os_users": ["deploy-*", "web-*"], "instances": ["i-0f*"], "sources": ["10.0.0.0/8"]}
    others = [
        {**CREDENTIAL, "access_key_id": f"AKIA{number:016}", "allow": allow}
        for number in range(count)
    ]
    return [{**CREDENTIAL, **changes}, *others]


def look_up(daemon: RunningDaemon) -> None:
    """Look up a user's keys, and read the answer to its end."""
    with Raw(daemon.lookup_socket) as raw:
        raw.send(b"somebody\n").sock.makefile("rb").read()


def lookups_during_reload(daemon: RunningDaemon) -> int:
    """The number of lookups answered one by one between RELOADING=1 and READY=1."""
    assert daemon.process is not None
    assert daemon._notify is not None
    daemon._notify.setblocking(False)
    said, answered = b"", 0
    daemon.process.send_signal(signal.SIGHUP)
    while b"READY=1" not in said:
        look_up(daemon)
        answered += b"RELOADING=1" in said
        try:
            while True:
                said += daemon._notify.recv(4096)
        except BlockingIOError:
            pass
    return answered


def test_lookups_go_on_while_a_thousand_credentials_are_read() -> None:
    """Lookups are answered while a thousand credentials are parsed."""
    with work_directory() as folder, RunningDaemon(folder, environment=PLAIN) as daemon:
        look_up(daemon)
        daemon.write_credentials(many(1000))
        answered = [lookups_during_reload(daemon) for _ in range(10)]
        assert len(daemon.audit(event="reload", outcome="done")) == 10
        # If YAML were parsed on the event loop, it would be 10 at most. In a thread it is some 200
        # for each, or fewer if other processes take the processors.
        assert sum(answered) > 20
        assert ask(("127.0.0.1", daemon.http_port), sign(push()).raw()).code == ""


def replace(daemon: RunningDaemon, credentials: Sequence[dict[str, Any]]) -> None:
    """Replace the credentials file atomically."""
    draft = daemon.credentials_file.with_suffix(".new")
    draft.touch(mode=0o600)
    draft.write_text(json.dumps(credentials))
    os.replace(draft, daemon.credentials_file)


def test_of_two_reloads_at_once_the_later_file_counts() -> None:
    """Of two concurrent reloads, the one that read its file later is in force."""
    with work_directory() as folder, RunningDaemon(folder, environment=PLAIN) as daemon:
        address = ("127.0.0.1", daemon.http_port)
        for _ in range(5):
            replace(daemon, many(3000, enabled=True))
            with Raw(daemon.push_socket) as first, Raw(daemon.push_socket) as second:
                first.send(RELOAD.raw())
                look_up(daemon)
                replace(daemon, many(0, enabled=False))
                second.send(RELOAD.raw())
                assert [raw.answer().status for raw in (first, second)] == [200, 200]
            assert ask(address, sign(push()).raw()).code == "OptInRequired"
