"""The operator's command agrees with the logins at a real sshd."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.parts.command import Done, run
from tests.parts.daemon import RunningDaemon
from tests.parts.host import IS_ROOT, login_user, work_directory
from tests.parts.keys import KeyPair, make_key
from tests.parts.sshd import RunningSshd


@dataclass
class Host:
    """A daemon, an sshd that asks it, an OS user, and two key pairs."""

    daemon: RunningDaemon
    sshd: RunningSshd
    user: str
    key: KeyPair
    other: KeyPair

    def sixtykey(self, *words: str) -> Done:
        """Run the command against the daemon; fail unless it ends with 0."""
        done = run(*words, "--socket", self.daemon.push_socket)
        assert done.code == 0, done
        return done


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """A host whose logins sixtykey decides."""
    with ExitStack() as stack:
        folder = stack.enter_context(work_directory())
        user = stack.enter_context(login_user())
        daemon = stack.enter_context(RunningDaemon(folder))
        sshd = stack.enter_context(RunningSshd(folder, daemon.lookup_socket))
        yield Host(daemon, sshd, user, make_key(folder, "pushed"), make_key(folder, "not-pushed"))


def test_why_explains_each_login_of_a_push(host: Host) -> None:
    """`why` explains a login with a wrong key, with the pushed key, and after its revocation."""
    host.sixtykey("push", host.user, str(host.key.public))
    assert host.sshd.login(host.user, host.other).refused
    said = host.sixtykey("why", host.user).out
    assert f"sshd asked for {host.other.fingerprint()}, but the key pushed" in said
    assert f" for this user was {host.key.fingerprint()} " in said
    assert host.sshd.login(host.user, host.key).accepted
    said = host.sixtykey("why", host.user, str(host.key.public)).out
    assert f"sshd asked for {host.key.fingerprint()}: given" in said
    host.sixtykey("revoke", host.user)
    assert host.sshd.login(host.user, host.key).refused
    said = host.sixtykey("why", host.user).out
    assert f"sshd asked for {host.key.fingerprint()}: that key had been revoked" in said
    status = host.sixtykey("status", "--json").json
    assert status["Counters"]["lookup"]["given"] >= 2


@pytest.mark.skipif(not IS_ROOT, reason="only root can look everywhere")
def test_check_agrees_with_sshd(host: Host, tmp_path: Path) -> None:
    """`check` finds no fault in a working sshd configuration, and finds a disabled command."""
    config = host.sshd.directory / "sshd_config"
    words = ("check", host.user, "--config", str(host.daemon.config_file), "--sshd-config")
    good = run(*words, str(config))
    assert good.code == 0, good
    spoilt = tmp_path / "sshd_config"
    spoilt.write_text("AuthorizedKeysCommand none\n" + config.read_text())
    bad = run(*words, str(spoilt))
    assert (bad.code, "FAULT sshd-not-asking" in bad.out) == (1, True), bad
