"""No credential can have another one's pushes throttled, on a running daemon.

The replay memory is nearly full at its real limit, as after a quarter of an hour on a very busy
host. Without shares, a flood would fill the rest within a second.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.config.limits import LIMITS
from agent.config.settings import Keys
from agent.leases.journal import Journal
from agent.leases.lease import AcceptedMark
from tests.faults.floods import FLOODER, Flood, Flooding, Target, throttled
from tests.faults.load import MANY, SLACK_MIB, resident_mib
from tests.parts.certificates import Authority
from tests.parts.daemon import CREDENTIAL, RunningDaemon, merged
from tests.parts.helper import ask_helper
from tests.parts.host import work_directory
from tests.parts.leases import mark
from tests.parts.signed import Signer, push, sign

POWERLESS: dict[str, Any] = {
    **CREDENTIAL,
    "access_key_id": "AKIAPOWERLESS0000000",
    "allow": {**CREDENTIAL["allow"], "os_users": ["nobody-there"]},
}
SECONDS, PUSHES = 4.0, 10
# Free places in the replay memory at the attack's start: enough for all honest pushes.
ROOM = 97


def powerless(target: Target, until: float) -> int:
    """Send signed pushes of a credential that has no permission on this host."""
    signer = Signer(key=POWERLESS["access_key_id"])
    signed = [sign(push(InstanceOSUser="root"), signer).raw() for _ in range(1000)]
    return target.repeat(signed, "127.1.0.3", until)


def nearly_fill(journal: Path) -> None:
    """Fill half of all marks for the flooder, and all but ROOM of the rest for others."""
    opened = Journal(str(journal))
    now, dated = time.clock_gettime(time.CLOCK_BOOTTIME), time.time()
    found = opened.open(Keys(), now, pytest.fail, pytest.fail)
    assert found is not None
    half = LIMITS.remembered_marks // 2
    holders = [FLOODER["access_key_id"]] * half
    holders += ["busy"] * (LIMITS.remembered_marks - half - ROOM)
    marks = [AcceptedMark(mark(n, dated), f"id {n}", who) for n, who in enumerate(holders)]
    opened.rewrite(found.leases, marks, found.horizon)
    opened.close()


@pytest.fixture(name="target", params=["plain", "tls"])
def _target(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[RunningDaemon, Target]]:
    config, file = MANY, None
    if request.param == "tls":
        authority = Authority(tmp_path)
        certificate, key = authority.issue("server")
        tls = {"certificate": str(certificate), "private_key": str(key)}
        config, file = merged(MANY, {"push": {"http": {"tls": tls}}}), str(authority.file)
    with work_directory() as folder:
        known = [CREDENTIAL, FLOODER, POWERLESS]
        plain = {"PYTHONASYNCIODEBUG": ""}
        with RunningDaemon(folder, config=config, credentials=known, environment=plain) as daemon:
            daemon.kill()
            nearly_fill(folder / "leases.db")
            daemon.start()
            yield daemon, Target(daemon.http_port, daemon.lookup_socket, file)


@pytest.mark.parametrize("flood", [powerless, throttled])
def test_no_credential_has_anothers_pushes_throttled(
    target: tuple[RunningDaemon, Target], flood: Flood
) -> None:
    """A flood of one credential never causes another credential's pushes to be throttled.

    Refused pushes take no room, and a credential that has used its share gets no more. Lookups are
    answered within the helper's second, and memory does not grow during the flood.
    """
    daemon, reached = target
    before = resident_mib(daemon.pid)
    with Flooding(reached, SECONDS, [flood]) as flooding:
        # The flood's process needs up to this long to start.
        time.sleep(1.5)
        for number in range(PUSHES):
            with reached.connect("127.0.0.1") as raw:
                answer = raw.send(sign(push(InstanceOSUser=f"user{number}")).raw()).answer()
            assert (answer.status, answer.code) == (200, "")
            (line,) = ask_helper(daemon.lookup_socket, f"user{number}")
            assert line.split()[2] == answer.request_id
            assert resident_mib(daemon.pid) < before + 2 * SLACK_MIB
            time.sleep(max(0.0, flooding.until - time.monotonic()) / (PUSHES - number + 1))
        sent = flooding.wait()
    assert sent > 3 * ROOM
    code = {"powerless": "AccessDeniedException", "throttled": "ThrottlingException"}
    recorded = daemon.audit(outcome=code[flood.__name__])
    assert recorded, "the flood was refused for another reason"
