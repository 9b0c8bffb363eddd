"""The local push socket: the same API for local users, without a signature."""

from __future__ import annotations

import grp
import json
import os
import stat
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.parts.daemon import RunningDaemon
from tests.parts.helper import ask_helper
from tests.parts.host import IS_ROOT, helper_group, tool
from tests.parts.raw import ask
from tests.parts.signed import Call, members
from tests.sources.api.plan import Plan
from tests.sources.api.test_table import daemon_with, expect


@pytest.fixture(scope="module")
def daemon() -> Iterator[RunningDaemon]:
    """A daemon that denies one OS user to everybody."""
    yield from daemon_with()


def curl(daemon: RunningDaemon, body: str, *, user: str = "") -> subprocess.CompletedProcess[str]:
    """Push with curl and a plain JSON body, as `user` if one is given."""
    command = [
        tool("curl", "curl"), "--silent", "--show-error", "--unix-socket", daemon.push_socket,
        "--data", body, "http://localhost/",
    ]  # fmt: skip
    if user:
        drop = ["--reuid", user, "--clear-groups", "--regid"]
        group = "daemon" if user == "daemon" else helper_group()
        command = [tool("setpriv", "util-linux"), *drop, group, *command]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_curl_pushes(daemon: RunningDaemon) -> None:
    """A key pushed with curl and plain JSON is served, and the audit names the uid."""
    answer = json.loads(curl(daemon, json.dumps(members(InstanceOSUser="local"))).stdout)
    assert answer["Success"] is True
    (line,) = ask_helper(daemon.lookup_socket, "local")
    assert line.endswith(answer["RequestId"])
    record = daemon.await_audit(request_id=answer["RequestId"], outcome="allowed", event="push")
    assert (record["principal"], record["source"]) == (f"uid:{os.getuid()}", "unix")
    assert record["user_agent"].startswith("curl/")


def test_a_signature_is_not_needed_and_not_looked_at(daemon: RunningDaemon) -> None:
    """The push socket ignores signatures: signed requests count as the local user's."""
    for how in ("none", "header", "query"):
        plan = Plan(how=how)
        plan.signer = type(plan.signer)(key="AKIANOBODY")
        answer = ask(daemon.push_socket, plan.call().raw())
        assert answer.code == ""
        assert daemon.await_audit(request_id=answer.request_id)["principal"].startswith("uid:")


REFUSED: list[tuple[Call, str]] = [
    (Call(method="GET"), "MissingAction"),
    (Call(target="/x"), "MissingAction"),
    (Call(target="/?Action=%"), "MalformedQueryString"),
    (Call(target="/?Colour=red"), "InvalidQueryParameter"),
    (Call(target="/?Version=1"), "InvalidParameterValue"),
    (Call(headers=(("Host", "a"), ("X-Amz-Target", "Other.Thing"))), "InvalidAction"),
    (Call(body=b"x"), "ValidationError"),
    (Call(body=b"{}"), "MissingParameter"),
    (Call(body=json.dumps(members(InstanceOSUser="no/user")).encode()), "InvalidArgsException"),
    (Call(body=json.dumps(members(InstanceOSUser="denied")).encode()), "AccessDeniedException"),
    (
        Call(body=json.dumps(members(InstanceId="i-bbbbbbbb")).encode()),
        "EC2InstanceNotFoundException",
    ),
]


@pytest.mark.parametrize(("call", "code"), REFUSED)
def test_everything_else_is_checked(daemon: RunningDaemon, call: Call, code: str) -> None:
    """The push socket checks all except the signature as the network door does."""
    expect(ask(daemon.push_socket, call.raw()), code)


def test_only_its_group_may_connect(daemon: RunningDaemon) -> None:
    """The push socket's mode allows only its owner and its group to connect."""
    found = os.stat(daemon.push_socket)
    assert stat.S_IMODE(found.st_mode) == 0o660
    assert grp.getgrgid(found.st_gid).gr_name == helper_group()


@pytest.mark.skipif(not IS_ROOT, reason="only root can be another user")
@pytest.mark.parametrize(("user", "pushes"), [("nobody", True), ("daemon", False)])
def test_only_group_members_may_push(daemon: RunningDaemon, user: str, pushes: bool) -> None:
    """A group member may push and is named in the audit; another user cannot connect."""
    before: list[Any] = daemon.audit(event="push")
    done = curl(daemon, json.dumps(members(InstanceOSUser=f"by-{user}")), user=user)
    if pushes:
        assert json.loads(done.stdout)["Success"] is True
        record = daemon.await_audit(event="push", os_user=f"by-{user}")
        assert record["principal"] == "uid:65534"
    else:
        assert done.returncode == 7
        assert daemon.audit(event="push") == before
