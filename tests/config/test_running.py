"""A running daemon with wrong files lifts no restriction and reveals no secret."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.parts.command import run
from tests.parts.daemon import CREDENTIAL, RunningDaemon
from tests.parts.helper import ask_helper
from tests.parts.host import ROOT, work_directory
from tests.parts.raw import Answer, ask
from tests.parts.signed import Call, push, sign

RELOAD = Call(headers=(("Host", "localhost"), ("X-Amz-Target", "Sixtykey.Reload")))


@pytest.fixture(name="folder")
def _folder() -> Iterator[Path]:
    with work_directory() as folder:
        yield folder


def start(config: Path) -> subprocess.CompletedProcess[str]:
    """Run `python -m agent` with a wrong configuration to its end."""
    return subprocess.run(
        [sys.executable, "-m", "agent", "--config", str(config)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def send(daemon: RunningDaemon, **changes: Any) -> Answer:
    """Push over the network, signed with the usual credential."""
    return ask(("127.0.0.1", daemon.http_port), sign(push(**changes)).raw())


TLS = "push: {http: {tls: {certificate: /c, private_key: /k, client_ca: }}}"


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (TLS, "push.http.tls.client_ca"),
        ("keys:\n  deny_users:\n  # - root\n", "keys.deny_users"),
        ("push:\n  # http: {}\n", "push"),
        ("journal: ~\n", "journal"),
    ],
)
def test_a_key_without_a_value_keeps_the_daemon_from_starting(
    folder: Path, text: str, path: str
) -> None:
    """A configuration key without a value stops the start with exit code 2 and the path."""
    file = folder / "config.yaml"
    file.write_text(text)
    done = start(file)
    assert done.returncode == 2
    assert done.stderr.startswith(f"sixtykeyd: {file}: {path}: has no value")


@pytest.mark.parametrize(
    ("restriction", "value", "code"),
    [
        ("sources", ["192.0.2.0/24"], "NotAuthorized"),
        ("instances", ["i-ffffffff"], "AuthException"),
        ("os_users", ["deploy"], "AccessDeniedException"),
        ("tags", {"role": ["web"]}, "AuthException"),
    ],
)
def test_a_restriction_that_loses_its_items_does_not_open(
    folder: Path, restriction: str, value: Any, code: str
) -> None:
    """A reload with an empty restriction is refused and logged, and pushes stay refused."""
    credential = {**CREDENTIAL, "allow": {"os_users": ["*"], restriction: value}}
    with RunningDaemon(folder, credentials=[credential]) as daemon:
        assert send(daemon).code == code
        credential["allow"][restriction] = None
        daemon.write_credentials([credential])
        daemon.reload()
        reason = daemon.await_audit(event="reload", outcome="refused")["reason"]
        assert f"[0].allow.{restriction}: has no value" in reason
        assert reason in daemon.log()
        assert send(daemon).code == code


def test_a_disabled_credential_without_a_value_stays_disabled(folder: Path) -> None:
    """A disabled credential whose `enabled` loses its value stays disabled."""
    with RunningDaemon(folder, credentials=[{**CREDENTIAL, "enabled": False}]) as daemon:
        assert send(daemon).code == "OptInRequired"
        daemon.write_credentials([{**CREDENTIAL, "enabled": None}])
        daemon.reload()
        assert send(daemon).code == "OptInRequired"
        assert "[0].enabled: has no value" in daemon.log()


def test_denied_users_are_patterns_for_everybody(folder: Path) -> None:
    """deny_users are case-sensitive patterns, for the network and the push socket."""
    with RunningDaemon(folder, config={"keys": {"deny_users": ["adm*", "ROOT"]}}) as daemon:
        for user, code in (("admin", "AccessDeniedException"), ("Admin", ""), ("root", "")):
            assert send(daemon, InstanceOSUser=user).code == code
            assert ask(daemon.push_socket, push(InstanceOSUser=user).raw()).code == code
            assert len(ask_helper(daemon.lookup_socket, user)) == (0 if code else 2)


SECRET = "AbCdEf0123456789AbCdEf0123456789"
BROKEN = {
    "a tag": "- access_key_id: AKIA\n  secret_access_key: !{}\n",
    "an anchor": "- access_key_id: AKIA\n  secret_access_key: &{}\n",
    "an alias": "- access_key_id: AKIA\n  secret_access_key: *{}\n",
    "a bad escape": '- access_key_id: AKIA\n  secret_access_key: "{}\\q"\n',
    "a tab": "- access_key_id: AKIA\n  secret_access_key:\t{}\n",
    "two documents": "--- {0}\n--- {0}\n",
    "no space after the colon": "- {{access_key_id: AKIA, secret_access_key:{}}}\n",
    "no space, and a wrong indentation": "- access_key_id: AKIA\n  secret_access_key:{}\n",
    "in the place of an entry": "- {}\n",
    "in the place of a key": "- {{access_key_id: AKIA, {0}: {0}}}\n",
    "in the place of every value": (
        "- {{access_key_id: '{0}/', enabled: {0}, expires: {0}, allow: {{os_users: {0}, "
        "sources: [{0}]}}, keys: {{lifetime: {0}, uses: {0}, options: [{0}]}}}}\n"
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def running() -> Iterator[RunningDaemon]:
    """A daemon whose credentials file a test may break."""
    with work_directory() as folder, RunningDaemon(folder) as daemon:
        yield daemon


@pytest.mark.parametrize("text", BROKEN.values(), ids=list(BROKEN))
def test_no_output_of_ours_has_a_secret_from_a_broken_file(
    running: RunningDaemon, text: str
) -> None:
    """No log, audit record, answer or command quotes a secret from a broken file."""
    config = ("--config", str(running.config_file))
    logged, recorded = len(running.log()), len(running.audit())
    running.credentials_file.write_text(text.format(SECRET))
    running.reload()
    answer = ask(running.push_socket, RELOAD.raw())
    assert answer.status == 400
    listed = run("credentials", "list", *config)
    removed = run("credentials", "remove", "AKIA", *config)
    assert (listed.code, removed.code) == (1, 1)
    told = answer.content.decode() + start(running.config_file).stderr
    told += repr(listed) + repr(removed) + repr(run("check", *config))
    records = running.audit()[recorded:]
    reloads = [each["outcome"] for each in records if each["event"] == "reload"]
    assert reloads.count("refused") == 1
    told += running.log()[logged:] + json.dumps(records)
    assert told.count(str(running.credentials_file)) > 4
    assert SECRET not in told
    assert SECRET[:12] not in told
