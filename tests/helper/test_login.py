"""Logins at a real sshd through the compiled helper, installed as a package installs it."""

from __future__ import annotations

import subprocess
import uuid
from ipaddress import ip_network
from pathlib import Path

import pytest

from tests.parts.daemon import RunningDaemon
from tests.parts.host import login_user, tool, work_directory
from tests.parts.keys import make_key
from tests.parts.raw import ask
from tests.parts.signed import push
from tests.parts.sshd import Install, RunningSshd, install_compiled, install_helper
from tests.parts.stub_lookup import StubLookup, answering


@pytest.mark.parametrize("install", [install_compiled, install_helper])
@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_a_pushed_key_logs_in_and_no_other(install: Install, algorithm: str) -> None:
    """Only the pushed key logs in, with either FingerprintHash, and sshd logs no complaint."""
    settings = [f"FingerprintHash {algorithm}"]
    with (
        work_directory() as folder,
        login_user() as user,
        RunningDaemon(folder) as daemon,
        RunningSshd(folder, daemon.lookup_socket, settings=settings, install=install) as sshd,
    ):
        pushed, other = make_key(folder, "pushed"), make_key(folder, "other")
        assert not sshd.login(user, pushed).accepted
        answer = ask(daemon.push_socket, push(SSHPublicKey=pushed.line, InstanceOSUser=user).raw())
        assert answer.status == 200
        for _ in range(2):
            done = sshd.login(user, pushed)
            assert done.accepted, f"{done.message}\n{sshd.log()}"
        assert not sshd.login(user, other).accepted
        given = daemon.audit(event="lookup", outcome="given", request_id=answer.request_id)
        assert {each["fingerprint"] for each in given} == {pushed.fingerprint()}
        assert "AuthorizedKeysCommand" not in sshd.log()


def test_the_login_fails_when_the_command_is_not_roots(tmp_path: Path) -> None:
    """sshd does not run a helper that others can write to, so the login fails."""

    def writable(folder: Path) -> Path:
        program = install_compiled(folder)
        program.chmod(0o777)
        return program

    with (
        work_directory() as folder,
        login_user() as user,
        RunningDaemon(folder) as daemon,
        RunningSshd(folder, daemon.lookup_socket, install=writable) as sshd,
    ):
        key = make_key(tmp_path)
        assert (
            ask(daemon.push_socket, push(SSHPublicKey=key.line, InstanceOSUser=user).raw()).status
            == 200
        )
        assert not sshd.login(user, key).accepted
        assert "Unsafe AuthorizedKeysCommand" in sshd.log()


@pytest.mark.parametrize(
    ("place", "accepted"),
    [("::1", True), ("::/64", True), ("0:0:0:1::/64", False), ("127.0.0.1", False)],
)
def test_sshd_reads_what_a_key_is_pinned_to(place: str, accepted: bool) -> None:
    """sshd applies a pinned IPv6 address or /64, as the daemon writes it, to a login from ::1."""
    place = str(ip_network(place)).removesuffix("/128").removesuffix("/32")
    with work_directory() as folder, login_user() as user:
        key = make_key(folder)
        text = f'from="{place}",restrict {key.type} {key.base64} {uuid.uuid4()}\n'
        with StubLookup(folder, answering(text.encode())) as stub:
            Path(stub.path).chmod(0o777)
            with RunningSshd(
                folder, stub.path, settings=["ListenAddress ::1"], install=install_compiled
            ) as sshd:
                command = [
                    tool("ssh", "openssh-client"), "-F", "none", "-p", str(sshd.port), "-6",
                    "-i", str(key.private), "-oBatchMode=yes", "-oIdentitiesOnly=yes",
                    "-oIdentityAgent=none", f"-oUserKnownHostsFile={sshd.known_hosts}",
                    f"-oHostKeyAlias=[127.0.0.1]:{sshd.port}", "-l", user, "::1", "true",
                ]  # fmt: skip
                done = subprocess.run(command, capture_output=True, check=False, timeout=60)
                assert (done.returncode == 0) == accepted, sshd.log()
                assert ("not from a permitted host" in sshd.log()) != accepted
        assert stub.asked
