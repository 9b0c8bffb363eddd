"""Reloading many credentials: lookups go on meanwhile, and the file that was read last counts."""

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
# Without asyncio's debug mode, which looks at every step of the loop.
PLAIN = {"PYTHONASYNCIODEBUG": ""}


def many(count: int, **changes: Any) -> list[dict[str, Any]]:
    """The usual credential with these changes, and this many others."""
    allow = {"os_users": ["deploy-*", "web-*"], "instances": ["i-0f*"], "sources": ["10.0.0.0/8"]}
    others = [
        {**CREDENTIAL, "access_key_id": f"AKIA{number:016}", "allow": allow}
        for number in range(count)
    ]
    return [{**CREDENTIAL, **changes}, *others]


def look_up(daemon: RunningDaemon) -> None:
    """Ask about somebody, and read to the end."""
    with Raw(daemon.lookup_socket) as raw:
        raw.send(b"somebody\n").sock.makefile("rb").read()


def lookups_during_reload(daemon: RunningDaemon) -> int:
    """Lookups answered, one after the other, since the daemon said RELOADING and till READY."""
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
    """Where YAML is parsed on the event loop, one lookup at most is answered during a reload."""
    with work_directory() as folder, RunningDaemon(folder, environment=PLAIN) as daemon:
        look_up(daemon)
        daemon.write_credentials(many(1000))
        answered = [lookups_during_reload(daemon) for _ in range(10)]
        assert len(daemon.audit(event="reload", outcome="done")) == 10
        # On the event loop it would be 10 at most. In a thread it is some 200 for each, and fewer
        # where other processes take the processors.
        assert sum(answered) > 20
        assert ask(("127.0.0.1", daemon.http_port), sign(push()).raw()).code == ""


def replace(daemon: RunningDaemon, credentials: Sequence[dict[str, Any]]) -> None:
    """Put another file in its place, in one step."""
    draft = daemon.credentials_file.with_suffix(".new")
    draft.touch(mode=0o600)
    draft.write_text(json.dumps(credentials))
    os.replace(draft, daemon.credentials_file)


def test_of_two_reloads_at_once_the_later_file_counts() -> None:
    """A long file that was read first never overwrites the short one that replaced it."""
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
