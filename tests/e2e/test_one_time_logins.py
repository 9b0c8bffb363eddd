"""One-time keys beside other logins, with a real sshd, PAM and OpenSSH's clients."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.parts.host import IS_ROOT, helper_user, tool
from tests.parts.keys import make_key
from tests.parts.one_time import Stage, staged

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="PAM's account phase needs sshd to be root")
ELSEWHERE = "-b127.0.0.2"


def uses(stage: Stage) -> int:
    """How many logins were admitted by a one-time key, according to the audit."""
    return len(stage.daemon.audit(event="admission", outcome="admitted"))


@pytest.mark.parametrize("how", ["away", "standing still"])
def test_an_ordinary_login_asks_nobody(how: str) -> None:
    """A key in the user's own file logs in while the daemon is away or stopped.

    That also holds after another key has been offered.
    """
    with staged() as stage:
        stranger = make_key(stage.daemon.directory, "stranger")
        stage.authorize(stage.key)
        if how == "away":
            stage.daemon.kill()
        else:
            os.kill(stage.daemon.pid, signal.SIGSTOP)
        try:
            assert stage.log_in().accepted, stage.sshd.log()
            both = [stranger.private, stage.key.private]
            assert stage.ssh(identities=both), stage.sshd.log()
        finally:
            if how == "away":
                stage.daemon.start()
            else:
                os.kill(stage.daemon.pid, signal.SIGCONT)


def test_sessions_over_one_connection_are_one_login() -> None:
    """Several sessions over one ControlMaster connection use one push."""
    with staged(["MaxSessions 1"]) as stage:
        stage.push()
        control = stage.daemon.directory / "control"
        shared = f"-oControlPath={control}"
        master = subprocess.Popen(
            [
                tool("ssh", "openssh-client"), *stage.options(), shared, "-M", "-N",
                "-p", str(stage.sshd.port), "-l", stage.user, "127.0.0.1",
            ]
        )  # fmt: skip
        try:
            end = time.monotonic() + 20
            while not control.exists() and time.monotonic() < end:
                time.sleep(0.05)
            assert [stage.ssh(shared) for _ in range(3)] == [True] * 3, stage.sshd.log()
        finally:
            # Not SIGTERM: ssh may miss it between looking for a signal and waiting for input.
            master.kill()
            master.wait()
        assert (uses(stage), stage.log_in().accepted) == (1, False)


def test_sftp_is_one_login(tmp_path: Path) -> None:
    """An sftp connection that fetches two files is one use of the key."""
    with staged() as stage:
        stage.push()
        command = [
            tool("sftp", "openssh-client"), *stage.options(), "-P", str(stage.sshd.port), "-b", "-",
            f"{stage.user}@127.0.0.1",
        ]  # fmt: skip
        # Files that no other test changes: those that make users write passwd and group.
        told = Path("/usr/lib/os-release")
        fetch = f"get /etc/shells {tmp_path}/one\nget {told} {tmp_path}/two\n"
        done = subprocess.run(command, input=fetch, text=True, check=False, timeout=60)
        assert done.returncode == 0, stage.sshd.log()
        assert (tmp_path / "two").read_text() == told.read_text()
        done = subprocess.run(command, input=fetch, text=True, check=False, timeout=60)
        assert (done.returncode, uses(stage)) == (255, 1)


def test_a_key_that_the_client_cannot_sign_with_is_not_used() -> None:
    """A key that is offered without a signature stays unused; the key that logs in is used."""
    with staged() as stage:
        other = make_key(stage.daemon.directory, "other")
        unused, used = stage.push(other), stage.push()
        public = other.private.with_suffix(".public")
        public.write_text(other.line + "\n")
        assert stage.ssh(identities=[public, stage.key.private]), stage.sshd.log()
        admitted = stage.daemon.await_audit(event="admission", outcome="admitted")
        assert admitted["request_id"] == used != unused
        assert stage.ssh(identities=[other.private]), stage.sshd.log()
        assert not stage.ssh(identities=[stage.key.private, other.private])


def test_a_key_pinned_elsewhere_keeps_no_ordinary_login_out() -> None:
    """A key that sshd refuses by `from=` stays unused, and an ordinary key logs in after it."""
    with staged(keys={"pin_source": True}) as stage:
        own = make_key(stage.daemon.directory, "own")
        stage.authorize(own)
        stage.push_by_aws()
        assert not stage.ssh(ELSEWHERE)
        assert stage.ssh(ELSEWHERE, identities=[stage.key.private, own.private]), stage.sshd.log()
        assert uses(stage) == 0
        assert [stage.log_in().accepted for _ in range(2)] == [True, False], stage.sshd.log()


def test_a_step_by_one_time_key_is_a_use() -> None:
    """A one-time key as one of two AuthenticationMethods is used up."""
    with staged(["AuthenticationMethods publickey,publickey"]) as stage:
        own = make_key(stage.daemon.directory, "own")
        stage.authorize(own)
        stage.push()
        both = [stage.key.private, own.private]
        assert not stage.log_in().accepted
        assert stage.ssh(identities=both), stage.sshd.log()
        assert (uses(stage), stage.ssh(identities=both)) == (1, False)


def test_a_credential_may_ask_for_it_where_the_host_does_not() -> None:
    """A credential's `uses: once` holds on a host with unlimited keys, also after a crash."""
    with staged(keys={"uses": "once"}, host="unlimited") as stage:
        stage.push_by_aws()
        stage.daemon.kill()
        stage.daemon.start()
        assert [stage.log_in().accepted for _ in range(2)] == [True, False], stage.sshd.log()
        stage.push()
        assert [stage.log_in().accepted for _ in range(2)] == [True, True], stage.sshd.log()


# Attempts of the helper's user, who can connect to the socket, outside of a child of sshd.
FORGE = """\
import os, socket, sys
folder, path, question = sys.argv[1:]
for attempt in (
    lambda: open(folder + "/1-1", "w"),
    lambda: [os.unlink(folder + "/" + name) for name in os.listdir(folder)],
    lambda: os.rename(folder, folder + "-away"),
):
    try:
        attempt()
        print("done")
    except PermissionError:
        pass
for line in (question, "admit 127.0.0.1"):
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(path)
    sock.sendall(line.encode() + b"\\n")
    print(sock.makefile().read().strip())
"""


def test_the_lookup_user_forges_and_removes_nothing() -> None:
    """The helper's user can neither create nor remove a mark, nor use a key up."""
    with staged() as stage:
        stage.push()
        folder = stage.daemon.directory / "handed"
        question = f"{stage.user} {stage.key.fingerprint()}"
        with stage.held_between():
            before = os.listdir(folder)
            tried = subprocess.run(
                [
                    tool("setpriv", "util-linux"), f"--reuid={helper_user()}", "--regid=nogroup",
                    "--init-groups", "/usr/bin/python3", "-c", FORGE, str(folder),
                    stage.daemon.lookup_socket, question,
                ],
                capture_output=True, text=True, timeout=60, check=True,
            )  # fmt: skip
            assert tried.stdout.split("\n", 1)[0] == ""
            assert "only root may ask" in tried.stdout
            assert (len(before), os.listdir(folder)) == (1, before)
            assert uses(stage) == 0
        assert stage.held().accepted, stage.sshd.log()
        assert (uses(stage), stage.log_in().accepted) == (1, False)


def test_a_step_by_keyboard_interactive_hides_no_use() -> None:
    """A one-time key counts as used when keyboard-interactive follows it.

    There sshd runs PAM's account phase in a child of the process that was handed the key.
    """
    methods = "AuthenticationMethods publickey,keyboard-interactive:pam"
    with staged([methods, "KbdInteractiveAuthentication yes"]) as stage:
        stage.push()
        talking = "-oBatchMode=no"
        assert stage.ssh(talking), stage.sshd.log()
        assert (uses(stage), stage.ssh(talking)) == (1, False)
