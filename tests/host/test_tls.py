"""TLS files that cannot be used are reported, and the others give a strict context."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

import pytest

from agent.config.document import Problems
from agent.config.settings import Tls
from agent.host import tls


@pytest.fixture(name="files", scope="module")
def _files(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-nodes", "-subj", "/CN=localhost", "-keyout", str(key), "-out", str(certificate),
        ],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    return Tls(str(certificate), str(key))


def problems_of(settings: Tls) -> tuple[str, ...]:
    """The problems of these TLS settings."""
    with pytest.raises(Problems) as caught:
        tls.context(settings)
    return caught.value.problems


def test_old_versions_are_not_spoken(files: Tls) -> None:
    """A context needs TLS 1.2 or later and forbids renegotiation.

    Without a client CA it asks for no client certificate.
    """
    context = tls.context(files)
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.verify_mode == ssl.CERT_NONE


def test_with_a_client_ca_certificates_are_verified(files: Tls) -> None:
    """With a client CA, a client certificate is verified if it is sent."""
    context = tls.context(Tls(files.certificate, files.private_key, files.certificate))
    assert context.verify_mode == ssl.CERT_OPTIONAL
    assert len(context.get_ca_certs()) == 1


def test_every_file_that_cannot_be_used_is_named(files: Tls, tmp_path: Path) -> None:
    """Each TLS file that is missing or malformed is reported."""
    rubbish = tmp_path / "rubbish.pem"
    rubbish.write_text("-----BEGIN CERTIFICATE-----\nrubbish\n")
    assert len(problems_of(Tls(str(tmp_path / "absent"), files.private_key, str(rubbish)))) == 2
    assert "rubbish.pem" in problems_of(Tls(files.certificate, str(rubbish)))[0]
    assert "client_ca" in problems_of(Tls(files.certificate, files.private_key, "/absent"))[0]


def test_an_encrypted_key_is_a_problem_and_not_a_question(files: Tls, tmp_path: Path) -> None:
    """An encrypted private key is reported, without a prompt for a passphrase."""
    locked = tmp_path / "locked.pem"
    subprocess.run(
        ["openssl", "ec", "-aes128", "-passout", "pass:secret", "-in", files.private_key,
         "-out", str(locked)],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    assert "locked.pem" in problems_of(Tls(files.certificate, str(locked)))[0]
