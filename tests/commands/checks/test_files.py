"""The daemon's files: what can be told of credentials that are right, and of little use."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from agent.commands.checks import files
from agent.commands.checks.finding import Finding
from agent.config.settings import Config, Http, Keys, Push

DAY = 86400
HOST = Keys()


def found(tmp_path: Path, host: Keys = HOST, **changes: Any) -> list[Finding]:
    """What is found in a file of one credential that is right but for `changes`."""
    path = tmp_path / "credentials.yaml"
    path.touch(mode=0o600)
    entry = {"access_key_id": "AKIA1", "secret_access_key": "x" * 32, "allow": {"os_users": ["*"]}}
    path.write_text(json.dumps([{**entry, **changes}]))
    config = Config(push=Push(http=Http(), credentials=str(path)), keys=host)
    return files.credentials(config, None)


def at(seconds: float) -> str:
    """A time so many seconds from now, as `expires` has it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))


@pytest.mark.parametrize(
    ("seconds", "name", "severity"),
    [
        (-1, "credentials-expired", "fault"),
        (-400 * DAY, "credentials-expired", "fault"),
        (60, "credentials-expire-soon", "note"),
        (14 * DAY - 60, "credentials-expire-soon", "note"),
    ],
)
def test_expired_and_soon_expiring_credentials(
    tmp_path: Path, seconds: float, name: str, severity: str
) -> None:
    """Past: its pushes are refused. Within two weeks: time to renew it. Both say how."""
    (finding,) = found(tmp_path, expires=at(seconds))
    assert (finding.name, finding.severity) == (name, severity)
    assert "AKIA1" in finding.what
    assert at(seconds)[:10] in finding.what
    assert "sixtykey credentials remove AKIA1" in finding.remedy


@pytest.mark.parametrize(
    "changes",
    [{}, {"expires": at(14 * DAY + 3600)}, {"expires": at(-DAY), "enabled": False}],
)
def test_others_are_no_finding(tmp_path: Path, changes: dict[str, Any]) -> None:
    """Without an end, with a later one, or disabled anyway."""
    assert found(tmp_path, **changes) == []


def test_tags_on_a_host_of_its_own(tmp_path: Path) -> None:
    """Such a credential may push nothing here, which may not be what was meant."""
    (finding,) = found(tmp_path, allow={"os_users": ["*"], "tags": {"role": ["web"]}})
    assert (finding.name, finding.severity) == ("credentials-tags", "note")


def test_the_file_is_judged_by_the_hosts_keys(tmp_path: Path) -> None:
    """As the daemon judges it: a lifetime beyond the host's is wrong."""
    assert found(tmp_path, keys={"lifetime": 60}) == []
    (finding,) = found(tmp_path, Keys(lifetime=30), keys={"lifetime": 60})
    assert finding.name == "credentials-wrong"
    assert "[0].keys.lifetime" in finding.what
