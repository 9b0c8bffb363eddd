"""`sixtykey check` on the credentials file: credentials that are valid and of little use."""

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


def findings_of(tmp_path: Path, host: Keys = HOST, **changes: Any) -> list[Finding]:
    """The findings for a file with one credential that is right except for `changes`."""
    path = tmp_path / "credentials.yaml"
    path.touch(mode=0o600)
    entry = {"access_key_id": "AKIA1", "secret_access_key": "x" * 32, "allow": {"os_users": ["*"]}}
    path.write_text(json.dumps([{**entry, **changes}]))
    config = Config(push=Push(http=Http(), credentials=str(path)), keys=host)
    return files.credentials(config, None)


def at(seconds: float) -> str:
    """The time that many seconds from now, in the form of `expires`."""
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
def test_expired_and_soon_expiring_credentials_are_reported(
    tmp_path: Path, seconds: float, name: str, severity: str
) -> None:
    """An expired credential is a fault, and one that ends within two weeks a note."""
    (finding,) = findings_of(tmp_path, expires=at(seconds))
    assert (finding.name, finding.severity) == (name, severity)
    assert "AKIA1" in finding.what
    assert at(seconds)[:10] in finding.what
    assert "sixtykey credentials remove AKIA1" in finding.remedy


@pytest.mark.parametrize(
    "changes",
    [{}, {"expires": at(14 * DAY + 3600)}, {"expires": at(-DAY), "enabled": False}],
)
def test_other_credentials_are_no_finding(tmp_path: Path, changes: dict[str, Any]) -> None:
    """A credential gives no finding without an end, with a later end, or when disabled."""
    assert findings_of(tmp_path, **changes) == []


def test_tags_on_a_single_host_are_reported(tmp_path: Path) -> None:
    """A credential for tags on a single host is a note, since it may push nothing there."""
    (finding,) = findings_of(tmp_path, allow={"os_users": ["*"], "tags": {"role": ["web"]}})
    assert (finding.name, finding.severity) == ("credentials-tags", "note")


def test_the_file_is_judged_by_the_hosts_keys(tmp_path: Path) -> None:
    """A credential whose lifetime exceeds the host's is found wrong."""
    assert findings_of(tmp_path, keys={"lifetime": 60}) == []
    (finding,) = findings_of(tmp_path, Keys(lifetime=30), keys={"lifetime": 60})
    assert finding.name == "credentials-wrong"
    assert "[0].keys.lifetime" in finding.what
