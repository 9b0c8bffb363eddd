"""gateway.yaml is read strictly: all problems are reported at once, and nothing is guessed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from agent.config.document import Problems
from agent.fleet.gateway import settings
from tests.parts.host import ROOT

LEAST = "region: us-east-2\nhttp: {address: 127.0.0.1, port: 8443}\n"


def test_region_and_listener_are_enough() -> None:
    """Region and listener are enough; all other settings have defaults."""
    config = settings.parse(LEAST, "gateway.yaml")
    assert (config.region, config.http.port) == ("us-east-2", 8443)
    assert config.credentials == "/etc/sixtykey/gateway/credentials.yaml"
    assert (config.rate.per_credential, config.rate.total) == (200, 2000)
    assert config.metrics is None
    assert config.enrol.registry is None


def test_the_packages_gateway_yaml_is_valid() -> None:
    """The gateway.yaml of the package is valid."""
    text = (ROOT / "packaging" / "config" / "gateway.yaml").read_text()
    config = settings.parse(text, "gateway.yaml")
    assert config.http.tls is not None
    assert config.enrol.registry == "/var/lib/sixtykey-gateway/hosts.db"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("colour: red", "colour"),
        ("rate: {total: 0}", "rate.total"),
        ("keys: {lifetime: 61}", "keys.lifetime"),
        ("keys: {deny_users: [root]}", "keys.deny_users"),
        ("bus: {servers: ['http://a:1']}", "bus.servers"),
        ("bus: {ca: relative.pem}", "bus.ca"),
        ("metrics: {port: 0}", "metrics.port"),
        ("metrics: {address: localhost}", "metrics.address"),
        ("issuer: [a]", "issuer"),
        ("enrol: {registry: x}", "enrol.registry"),
        ("reference: 2020", "reference"),
        ("http: {address: 0.0.0.0, port: 8443}", "plaintext: accepted"),
    ],
)
def test_each_problem_is_named(more: str, words: str) -> None:
    """A problem is reported with its path in the file."""
    text = LEAST if not more.startswith("http") else "region: us-east-2\n"
    with pytest.raises(Problems) as caught:
        settings.parse(f"{text}{more}\n", "gateway.yaml")
    assert words in " ".join(caught.value.problems)


def test_every_problem_is_reported_at_once(tmp_path: Path) -> None:
    """The gateway exits with code 2, and reports every problem of its configuration."""
    config = tmp_path / "gateway.yaml"
    config.write_text("colour: red\nrate: {total: 0}\nissuer: x\n")
    done = subprocess.run(
        [sys.executable, "-m", "agent.fleet.gateway", "--config", str(config)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    for words in ("colour", "rate.total", "issuer", "region", "http"):
        assert words in done.stderr


def test_every_unusable_file_is_reported_at_once(tmp_path: Path) -> None:
    """Every unusable file is reported at one start: credentials, certificate, facts and keys."""
    folder = tmp_path / "none"
    config = tmp_path / "gateway.yaml"
    tls = f"tls: {{certificate: {folder}/c.pem, private_key: {folder}/k.pem}}"
    config.write_text(
        f"region: us-east-2\nhttp: {{address: 127.0.0.1, port: 8443, {tls}}}\n"
        f"credentials: {folder}/credentials.yaml\nissuer: {folder}/issuer.key\n"
        f"facts: {folder}/fleet.json\n"
        f"bus: {{ca: {folder}/ca.pem, identity: {folder}/gateway.creds}}\n"
        f"enrol: {{signer: {folder}/host-signer.nk, account: {folder}/account.jwt}}\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "agent.fleet.gateway", "--config", str(config)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    for name in ("credentials.yaml", "c.pem", "fleet.json", "issuer.key", "account.jwt"):
        assert name in done.stderr
