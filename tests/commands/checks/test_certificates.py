"""`sixtykey check` on TLS files: whether they can be used, when they end, what they cost."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Optional

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from agent.commands.checks.certificates import certificates
from agent.commands.checks.finding import Finding
from agent.config.settings import Config, Http, Push, Tls
from tests.parts.certificates import Authority, Key

YEAR = timedelta(days=365)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The certificate authority."""
    return Authority(tmp_path_factory.mktemp("checked"), lifetime=YEAR)


def findings_of(
    authority: Authority,
    *,
    key: Optional[Key] = None,
    lifetime: timedelta = YEAR,
    client_ca: Optional[Path] = None,
) -> list[Finding]:
    """The findings for a certificate that is right except for these arguments."""
    certificate, private = authority.issue("server", key=key, lifetime=lifetime)
    tls = Tls(str(certificate), str(private), None if client_ca is None else str(client_ca))
    return certificates(Config(push=Push(http=Http(tls=tls))))


def test_a_certificate_that_will_do_is_no_finding(authority: Authority) -> None:
    """A valid certificate, a listener without TLS, and no listener give no finding."""
    assert findings_of(authority, client_ca=authority.file) == []
    assert certificates(Config(push=Push(http=Http()))) == []
    assert certificates(Config()) == []


@pytest.mark.parametrize(
    ("lifetime", "name", "severity"),
    [
        (timedelta(days=-1), "tls-expired", "fault"),
        (timedelta(days=-400), "tls-expired", "fault"),
        (timedelta(minutes=1), "tls-expires-soon", "note"),
        (timedelta(days=30, minutes=-1), "tls-expires-soon", "note"),
    ],
)
def test_a_certificate_is_reported_before_and_after_its_end(
    authority: Authority, lifetime: timedelta, name: str, severity: str
) -> None:
    """An expired certificate is a fault, and one that ends within thirty days a note."""
    (finding,) = findings_of(authority, lifetime=lifetime)
    assert (finding.name, finding.severity) == (name, severity)
    assert "server" in finding.what
    assert "systemctl reload sixtykeyd" in finding.remedy


def test_a_certificate_of_thirty_one_days_is_no_finding(authority: Authority) -> None:
    """A certificate with thirty-one days left gives no finding."""
    assert findings_of(authority, lifetime=timedelta(days=31)) == []


def test_every_certificate_of_a_file_is_looked_at(authority: Authority, tmp_path: Path) -> None:
    """Every certificate in a file is checked: client CAs and intermediates too."""
    old = Authority(tmp_path, "old", lifetime=timedelta(days=-1))
    both = tmp_path / "both.pem"
    both.write_bytes(authority.file.read_bytes() + old.file.read_bytes())
    (finding,) = findings_of(authority, client_ca=both)
    assert (finding.name, finding.severity) == ("tls-expired", "fault")
    assert "both.pem" in finding.what
    assert "CN=old" in finding.what
    certificate, private = authority.issue("server", lifetime=YEAR)
    certificate.write_bytes(certificate.read_bytes() + old.file.read_bytes())
    tls = Tls(str(certificate), str(private))
    names = [each.name for each in certificates(Config(push=Push(http=Http(tls=tls))))]
    assert names == ["tls-expired"]


def test_an_rsa_key_is_noted(authority: Authority) -> None:
    """A server key of type RSA is a note, since each handshake then costs milliseconds."""
    (finding,) = findings_of(authority, key=rsa.generate_private_key(65537, 2048))
    assert (finding.name, finding.severity) == ("tls-rsa", "note")
    assert "2048 bits" in finding.what
    assert "prime256v1" in finding.remedy


def test_files_that_cannot_be_used_are_a_fault(authority: Authority, tmp_path: Path) -> None:
    """A TLS file that cannot be used is a fault that names the file."""
    (finding,) = findings_of(authority, client_ca=tmp_path / "absent.pem")
    assert (finding.name, finding.severity) == ("tls-wrong", "fault")
    assert "absent.pem" in finding.what
