"""client.yaml, the environment and options: their precedence, and errors in the file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Optional

import pytest

from agent.client import patterns, settings, vocabulary
from agent.client.trouble import Trouble


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """The environment of a user with a home and a session folder in memory."""
    (tmp_path / "run").mkdir(mode=0o700)
    return {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "run")}


def write(environ: dict[str, str], document: Any) -> Path:
    """Write client.yaml as JSON, which is YAML; a text is written unchanged."""
    folder = Path(environ["HOME"]) / ".config" / "sixtykey"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "client.yaml"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    path.chmod(0o600)
    return path


def load(environ: dict[str, str], host: str = "", **given: Optional[str]) -> settings.Settings:
    """The settings for a host."""
    return settings.load(environ, given, host)


def test_options_come_before_environment_host_file_and_aws(environ: dict[str, str]) -> None:
    """Options win over environment, host section, file and AWS's variables, in this order.

    The origin of each value names its layer.
    """
    everywhere = {"AWS_REGION": "aws-1"}
    assert load({**environ, **everywhere}).get("region") == "aws-1"
    path = write(environ, {"region": "file-1", "hosts": {"web-*": {"region": "host-1"}}})
    seen = []
    for more, given in (
        ({}, {}),
        ({"SIXTYKEY_REGION": "environment-1"}, {}),
        ({"SIXTYKEY_REGION": "environment-1"}, {"region": "option-1"}),
    ):
        found = load({**environ, **everywhere, **more}, "web-7", **given)
        seen.append((found.get("region"), found.origins["region"]))
    assert seen == [
        ("host-1", f"{path}, hosts: web-*"),
        ("environment-1", "environment, SIXTYKEY_REGION"),
        ("option-1", "option --region"),
    ]
    other = load({**environ, **everywhere}, "db-1")
    assert (other.get("region"), other.origins["region"]) == ("file-1", str(path))


def test_without_anything_it_is_ec2(environ: dict[str, str]) -> None:
    """By default the endpoint is AWS's, and a key lasts an hour without confirmation."""
    found = load(environ)
    assert (found.endpoint, found.origins["endpoint"]) == (vocabulary.AWS, "default")
    assert (found.key_seconds, found.key_confirm) == (3600, False)


def test_aws_own_variable_names_an_endpoint(environ: dict[str, str]) -> None:
    """AWS's own variable for the endpoint is used."""
    url = "http://127.0.0.1:8060"
    found = load({**environ, "AWS_ENDPOINT_URL_EC2_INSTANCE_CONNECT": url})
    assert found.endpoint == url


def test_the_first_section_that_fits_counts(environ: dict[str, str]) -> None:
    """Only the first host section that matches is used."""
    write(environ, {"hosts": {"web-1": {"zone": "a"}, "web-*": {"zone": "b", "jump": "gate"}}})
    assert (load(environ, "WEB-1").get("zone"), load(environ, "web-1").get("jump")) == ("a", None)
    assert load(environ, "web-2").get("zone") == "b"


def test_a_file_that_changes_is_read_again(environ: dict[str, str]) -> None:
    """A changed file is read again, even though a cached copy exists."""
    write(environ, {"region": "first-1"})
    assert load(environ).get("region") == "first-1"
    assert (Path(environ["XDG_RUNTIME_DIR"]) / "sixtykey" / "client.json").exists()
    write(environ, {"region": "other-1"})
    assert load(environ).get("region") == "other-1"


def test_yaml_is_not_imported_where_a_copy_serves(environ: dict[str, str]) -> None:
    """A second start reads the cached copy without importing yaml, with the same values."""
    import subprocess
    import sys

    write(environ, {"region": "first-1", "key": {"lifetime": "8h", "confirm": True}})
    program = (
        "import sys; from agent.client import settings\n"
        f"found = settings.load({environ!r}, {{}})\n"
        "print('yaml' in sys.modules, found.key_seconds, found.key_confirm, found.get('region'))"
    )
    said = [
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        ).stdout.split()
        for _ in range(2)
    ]
    assert said == [["True", "28800", "True", "first-1"], ["False", "28800", "True", "first-1"]]


def test_every_problem_is_reported_at_once_with_its_place(environ: dict[str, str]) -> None:
    """Every problem of a file is reported at once, each with its path."""
    write(
        environ,
        "regoin: x\nendpoint: ftp://x\nzone: 7\nkey: {lifetime: 25h, confirm: maybe}\n"
        "hosts:\n  'web;*': {}\n  db-1: {uses: twice, lifetime: 61, address: [], network: lan}\n"
        "ca: a\nca: b\n",
    )
    with pytest.raises(Trouble) as refused:
        load(environ)
    for place in (
        "regoin: unknown", "endpoint: must be aws, or a URL", "zone: must be a text",
        "key.lifetime: must be 60 s to 24 h", "key.confirm: must be true or false",
        "hosts: 'web;*' is not a pattern", "hosts.db-1.uses: must be one of once, unlimited",
        "hosts.db-1.lifetime: must be the host's", "hosts.db-1.address: must be an address",
        "hosts.db-1.network: must be one of", "ca: is repeated in line 9",
    ):  # fmt: skip
        assert place in refused.value.words


def test_debug_shows_where_each_value_comes_from(environ: dict[str, str]) -> None:
    """The description gives every value with its origin, defaults included."""
    path = write(environ, {"key": {"confirm": True}, "zone": "a-1a"})
    told = load({**environ, "AWS_REGION": "r-1", "SIXTYKEY_CA": "/ca"}, profile="p").describe()
    assert sorted(told) == sorted([
        "profile = p (option --profile)",
        "ca = /ca (environment, SIXTYKEY_CA)",
        f"zone = a-1a ({path})",
        f"key.confirm = True ({path})",
        "region = r-1 (environment, AWS_REGION)",
        "endpoint = aws (default)",
        "network = any (default)",
        "key.lifetime = 3600 (default)",
    ])  # fmt: skip


def test_a_file_that_was_named_must_be_there(environ: dict[str, str]) -> None:
    """The default file may be missing, but not one given by --config or SIXTYKEY_CONFIG."""
    load(environ)
    for named in ({"SIXTYKEY_CONFIG": "/nonexistent"}, {}):
        with pytest.raises(Trouble, match="/nonexistent"):
            settings.load({**environ, **named}, {} if named else {"config": "/nonexistent"})


@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        ("web-*", "web-1", True), ("web-*", "xweb-1", False), ("*", "", True), ("", "", True),
        ("w?b", "web", True), ("w?b", "wb", False), ("*.example", "a.b.example", True),
        ("*a*b", "xaxxab", True), ("*a*b", "xaxxa", False), ("WEB", "web", True),
        ("[a]", "a", False), ("a*", "b", False), ("**", "x", True),
    ],
)  # fmt: skip
def test_patterns_are_those_of_ssh(pattern: str, text: str, fits: bool) -> None:
    """A pattern knows only `*` and `?`, and ignores case."""
    assert patterns.matches(pattern, text) is fits


@pytest.mark.parametrize("mode", [0o666, 0o620, 0o602])
def test_a_file_that_others_may_write_is_refused(environ: dict[str, str], mode: int) -> None:
    """A file that others can write to is refused, even when a cached copy exists."""
    path = write(environ, {"endpoint": "https://keys.example"})
    assert load(environ).endpoint == "https://keys.example"
    path.chmod(mode)
    with pytest.raises(Trouble, match="can be written by others") as told:
        load(environ)
    assert "chmod go-w" in told.value.hint


def test_a_file_of_somebody_else_is_refused(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that another user than oneself or root owns is refused."""
    path = write(environ, {"region": "x-1"})
    os.chown(path, os.geteuid(), -1)
    assert load(environ).get("region") == "x-1"
    real = os.stat(path)
    monkeypatch.setattr(os, "geteuid", lambda: real.st_uid + 1)
    if real.st_uid == 0:
        os.chown(path, 4711, -1)
    with pytest.raises(Trouble, match="belongs to another user"):
        load(environ)
