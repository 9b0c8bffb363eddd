"""TLS as configured for the daemon: versions, client certificates, renewal; and plaintext."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import ssl
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Optional

import pytest
import yaml

from tests.parts.certificates import Authority
from tests.parts.daemon import RunningDaemon, merged
from tests.parts.host import ROOT, free_port, work_directory
from tests.parts.raw import Answer, Raw, ask
from tests.parts.signed import Signer
from tests.sources.api.plan import Plan, valid_push
from tests.sources.api.test_table import daemon_with, expect


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority that signs certificates for the server and for known clients."""
    return Authority(tmp_path_factory.mktemp("authority"))


def settings(authority: Authority, *, client_ca: bool = False) -> dict[str, Any]:
    """The configuration of a TLS listener."""
    certificate, key = authority.issue("server")
    tls = {"certificate": str(certificate), "private_key": str(key)}
    if client_ca:
        tls["client_ca"] = str(authority.file)
    return {"http": {"tls": tls}}


@pytest.fixture(scope="module")
def daemon(authority: Authority) -> Iterator[RunningDaemon]:
    """A daemon that demands no client certificate."""
    yield from daemon_with(push=settings(authority))


@pytest.fixture(scope="module")
def mutual(authority: Authority) -> Iterator[RunningDaemon]:
    """A daemon that demands a client certificate."""
    yield from daemon_with(push=settings(authority, client_ca=True))


def send(daemon: RunningDaemon, tls: ssl.SSLContext, data: Optional[bytes] = None) -> Answer:
    """Push over TLS."""
    return ask(("127.0.0.1", daemon.http_port), data or valid_push(), tls=tls)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_1_2_and_up_are_spoken(
    daemon: RunningDaemon, authority: Authority, version: ssl.TLSVersion
) -> None:
    """A push over TLS 1.2 or 1.3 is taken, and the audit names version and cipher."""
    client = authority.trusting()
    client.minimum_version = client.maximum_version = version
    answer = send(daemon, client)
    assert answer.code == ""
    record = daemon.await_audit(event="push", request_id=answer.request_id)
    assert record["tls"].startswith(version.name.replace("_", ".") + " ")
    assert "client_certificate" not in record


def old(context: ssl.SSLContext) -> ssl.SSLContext:
    """A context that speaks TLS 1.1 and nothing newer."""
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


def version_between(client: ssl.SSLContext, server: ssl.SSLContext) -> Optional[str]:
    """The TLS version that two contexts agree on, without a network."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = client.wrap_bio(back, there, server_hostname="localhost")
    far = server.wrap_bio(there, back, server_side=True)
    for _ in range(4):
        for end in (near, far):
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
    return near.version()


def test_tls_1_1_is_refused(daemon: RunningDaemon, authority: Authority) -> None:
    """The handshake fails for a client that speaks nothing newer than TLS 1.1."""
    lenient = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    lenient.load_cert_chain(*authority.issue("lenient"))
    assert version_between(old(authority.trusting()), old(lenient)) == "TLSv1.1"
    with pytest.raises(ssl.SSLError):
        send(daemon, old(authority.trusting()))
    assert send(daemon, authority.trusting()).code == ""


def test_http_to_the_tls_listener_is_refused(daemon: RunningDaemon) -> None:
    """A plaintext request to the TLS listener is closed without an answer."""
    with Raw(("127.0.0.1", daemon.http_port)) as raw, pytest.raises(EOFError):
        raw.send(valid_push()).answer()


def test_a_refusal_is_seen_over_tls(daemon: RunningDaemon, authority: Authority) -> None:
    """A refusal over TLS is an error of the reference."""
    wrong = Plan(signer=Signer(secret="wrong")).call().raw()
    expect(send(daemon, authority.trusting(), wrong), "AuthException")


def test_a_client_with_a_known_certificate_is_served(
    mutual: RunningDaemon, authority: Authority
) -> None:
    """A client with a known certificate is served, and the audit names its subject."""
    answer = send(mutual, authority.trusting(authority.issue("deploy")))
    assert answer.code == ""
    record = mutual.await_audit(event="push", request_id=answer.request_id)
    assert record["client_certificate"] == "organizationName=Example,commonName=deploy"


def test_a_client_without_a_certificate_is_refused(
    mutual: RunningDaemon, authority: Authority
) -> None:
    """A client without a certificate gets InvalidClientTokenId, whatever its signature is."""
    expect(send(mutual, authority.trusting()), "InvalidClientTokenId")
    wrong = Plan(signer=Signer(secret="wrong")).call().raw()
    expect(send(mutual, authority.trusting(), wrong), "InvalidClientTokenId")


def test_a_certificate_of_another_authority_is_refused(
    mutual: RunningDaemon, authority: Authority, tmp_path: Path
) -> None:
    """A client certificate of another authority fails in the handshake, before HTTP."""
    stranger = Authority(tmp_path, "stranger").issue("deploy")
    before = len(mutual.audit(event="push"))
    with pytest.raises((ssl.SSLError, ConnectionResetError, EOFError)):
        send(mutual, authority.trusting(stranger))
    assert send(mutual, authority.trusting(authority.issue("deploy"))).code == ""
    assert len(mutual.audit(event="push")) == before + 1


def serial(raw: Raw) -> Any:
    """The serial number of the server's certificate."""
    assert isinstance(raw.sock, ssl.SSLSocket)
    shown: Optional[Mapping[str, Any]] = raw.sock.getpeercert()
    assert shown is not None
    return shown["serialNumber"]


def test_renewed_files_are_taken(authority: Authority) -> None:
    """After a reload new connections get the new certificate, and open ones are closed."""
    for daemon in daemon_with(push=settings(authority)):
        address, client = ("127.0.0.1", daemon.http_port), authority.trusting()
        with Raw(address, tls=client) as before:
            assert before.send(valid_push()).answer().code == ""
            authority.issue("server")
            with Raw(address, tls=client) as same:
                assert serial(same) == serial(before)
            daemon.reload()
            assert before.ends()
            with Raw(address, tls=client) as after:
                assert after.send(valid_push()).answer().code == ""
                assert serial(after) != serial(before)


def test_a_client_ca_that_was_replaced_lets_nobody_push(
    authority: Authority, tmp_path: Path
) -> None:
    """After the client CA was replaced, its old clients cannot push on new or open connections."""
    old, new = (Authority(tmp_path, name) for name in ("old", "new"))
    client_ca = tmp_path / "client-ca.pem"
    client_ca.write_bytes(old.file.read_bytes())
    config = merged(settings(authority), {"http": {"tls": {"client_ca": str(client_ca)}}})
    shown = [authority.trusting(each.issue("deploy")) for each in (old, new)]
    for daemon in daemon_with(push=config):
        address = "127.0.0.1", daemon.http_port
        with Raw(address, tls=shown[0]) as there:
            assert there.send(valid_push()).answer().code == ""
            client_ca.write_bytes(new.file.read_bytes())
            daemon.reload()
            with contextlib.suppress(OSError):
                there.send(valid_push())
            assert there.ends()
        with pytest.raises((ssl.SSLError, ConnectionResetError, EOFError)):
            send(daemon, shown[0])
        assert send(daemon, shown[1]).code == ""
        assert len(daemon.audit(event="push", outcome="allowed")) == 2


@pytest.mark.parametrize("text", ["", "nonsense", None])
def test_unusable_files_are_reported_and_the_old_stay(
    authority: Authority, text: Optional[str]
) -> None:
    """A reload with unusable TLS files changes nothing, neither TLS nor credentials."""
    for daemon in daemon_with(push=settings(authority)):
        certificate = Path(authority.issue("server")[0])
        if text is None:
            certificate.unlink()
        else:
            certificate.write_text(text)
        daemon.write_credentials([])
        daemon.reload()
        record = daemon.await_audit(event="reload", outcome="refused")
        assert str(certificate) in record["reason"]
        assert send(daemon, authority.trusting()).code == ""


def run(directory: Path, config: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    """Run a daemon that is expected to fail at start."""
    daemon = RunningDaemon(directory, config=config)
    daemon.config_file.write_text(yaml.safe_dump(merged(daemon.defaults(), config)))
    return subprocess.run(
        [sys.executable, "-m", "agent", "--config", str(daemon.config_file)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.0.2.1", "2001:db8::1"])
def test_plaintext_off_loopback_is_refused(address: str) -> None:
    """Plaintext on an address that is not loopback ends the start with exit code 2 and a hint."""
    with work_directory() as directory:
        done = run(directory, {"push": {"http": {"address": address, "port": free_port()}}})
        assert done.returncode == 2
        assert "push.http.address" in done.stderr
        assert "plaintext: accepted" in done.stderr
        assert not (directory / "push.sock").exists()


def test_plaintext_off_loopback_may_be_accepted() -> None:
    """With `plaintext: accepted` plaintext may listen on any address."""
    for daemon in daemon_with(push={"http": {"address": "0.0.0.0", "plaintext": "accepted"}}):
        assert ask(("127.0.0.1", daemon.http_port), valid_push()).code == ""


def test_tls_off_loopback_needs_no_such_word(authority: Authority) -> None:
    """TLS may listen on any address without `plaintext: accepted`."""
    for daemon in daemon_with(push=merged(settings(authority), {"http": {"address": "0.0.0.0"}})):
        assert send(daemon, authority.trusting()).code == ""


def test_unusable_files_stop_the_start(tmp_path: Path) -> None:
    """Unusable TLS files end the start with exit code 2, and every file is named."""
    tls = {
        "certificate": str(tmp_path / "none.pem"), "private_key": str(tmp_path / "none.key"),
        "client_ca": str(tmp_path / "ca.pem"),
    }  # fmt: skip
    with work_directory() as directory:
        done = run(directory, {"push": {"http": {"port": free_port(), "tls": tls}}})
        assert done.returncode == 2
        for path in tls.values():
            assert path in done.stderr


PASS_IN = """
import json, os, socket, sys
sock = socket.socket(*json.loads(sys.argv[1]))
sock.bind(sys.argv[2] if sock.family == socket.AF_UNIX else (sys.argv[2], 0))
os.dup2(sock.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="https")
os.execv(sys.executable, [sys.executable, "-m", "agent", "--config", sys.argv[3]])
"""


@pytest.mark.parametrize(
    ("family", "name", "words"),
    [(socket.AF_INET, "0.0.0.0", "not loopback"), (socket.AF_UNIX, "https.sock", "not TCP")],
)
def test_a_socket_that_systemd_passes_in_is_checked_too(family: int, name: str, words: str) -> None:
    """A socket from systemd must meet the same rules, or the daemon exits with code 2."""
    with work_directory() as directory:
        daemon = RunningDaemon(directory)
        daemon.config_file.write_text(yaml.safe_dump(daemon.defaults()))
        done = subprocess.run(
            [
                sys.executable, "-c", PASS_IN, json.dumps([family, socket.SOCK_STREAM]), name,
                str(daemon.config_file),
            ],
            env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=directory,
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert (done.returncode, words in done.stderr) == (2, True), done.stderr
