"""A daemon with one-time keys, a real sshd with PAM, a user, and the user's logins."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from tests.parts.daemon import CREDENTIAL, RunningDaemon
from tests.parts.host import login_user, tool, work_directory
from tests.parts.keys import KeyPair, make_key
from tests.parts.pam import BETWEEN, pam_namespace, sshd_with_pam
from tests.parts.pushers import Target, push_with_boto3
from tests.parts.raw import ask
from tests.parts.signed import push
from tests.parts.ssh import Login, login_with_ssh
from tests.parts.sshd import RunningSshd
from tests.parts.waiting import wait_until

RACERS = 8


@dataclass
class Stage:
    """The daemon, sshd and user, with a key that has not been pushed yet."""

    daemon: RunningDaemon
    sshd: RunningSshd
    user: str
    key: KeyPair

    def push(self, key: Optional[KeyPair] = None) -> str:
        """Push the key over the local socket; return the request id."""
        line = (key or self.key).line
        call = push(SSHPublicKey=line, InstanceOSUser=self.user)
        answer = ask(self.daemon.push_socket, call.raw())
        assert answer.status == 200, answer
        return str(answer.request_id)

    def push_by_aws(self) -> str:
        """Push it with AWS's own client, at most once in a second; return the request id.

        SigV4 dates are whole seconds, so two pushes of a key in one second have the same signature.
        """
        time.sleep(1.0 - time.time() % 1.0)
        pushed = push_with_boto3(Target.of(self.daemon), self.user, self.key.line)
        assert pushed.ok, pushed
        return pushed.request_id

    def log_in(self) -> Login:
        """Try to log in once, with only the key."""
        return login_with_ssh(self.sshd.port, self.user, self.key, self.sshd.known_hosts)

    def race(self) -> int:
        """Run RACERS logins at the same time; return how many are admitted."""
        with ThreadPoolExecutor(RACERS) as pool:
            logins = list(pool.map(lambda _: self.log_in(), range(RACERS)))
        return sum(login.accepted for login in logins)

    def options(self, *identities: Path) -> list[str]:
        """The options of OpenSSH's clients for a login with these keys, in this order."""
        names = [f"-oIdentityFile={path}" for path in identities or [self.key.private]]
        return [
            "-F", "none", *names, "-oBatchMode=yes", "-oIdentitiesOnly=yes",
            "-oIdentityAgent=none", "-oStrictHostKeyChecking=yes", "-oLogLevel=ERROR",
            "-oGlobalKnownHostsFile=/dev/null", f"-oUserKnownHostsFile={self.sshd.known_hosts}",
        ]  # fmt: skip

    def ssh(self, *words: str, identities: Sequence[Path] = ()) -> bool:
        """Whether ssh, with more options, runs a command as the user."""
        done = subprocess.run(
            [
                tool("ssh", "openssh-client"), *words, *self.options(*identities),
                "-p", str(self.sshd.port), "-l", self.user, "127.0.0.1", "id -un",
            ],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        return done.returncode == 0 and done.stdout.strip() == self.user

    def authorize(self, key: KeyPair) -> None:
        """Add a key to the user's authorized_keys file."""
        (self.daemon.directory / "authorized_keys").write_text(key.line + "\n")

    @contextlib.contextmanager
    def held_between(self) -> Iterator[None]:
        """During the body, hold a login between the hand-out of its key and PAM's question.

        Raises AssertionError when the login does not come that far.
        """
        directory = self.daemon.directory
        reached, go_on = directory / "reached", directory / "go-on"
        for file in (reached, go_on):
            file.unlink(missing_ok=True)
        (directory / BETWEEN).write_text(
            f"#!/bin/sh\n: > {reached}\nuntil test -e {go_on}; do sleep 0.01; done\n"
        )
        with ThreadPoolExecutor(1) as pool:
            self._held = pool.submit(self.log_in)
            try:
                wait_until(reached.exists, self.sshd.log)
                (directory / BETWEEN).write_text("#!/bin/sh\nexit 0\n")
                yield
            finally:
                go_on.touch()

    def held(self) -> Login:
        """The result of the login that was held."""
        return self._held.result()


@contextlib.contextmanager
def staged(
    sshd_config: Sequence[str] = (),
    keys: Optional[Mapping[str, Any]] = None,
    host: str = "once",
) -> Iterator[Stage]:
    """A stage that is removed afterwards.

    Args:
        sshd_config: further lines of it.
        keys: the key settings of the credential.
        host: `keys.uses` of the configuration.
    """
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(work_directory())
        user = stack.enter_context(login_user())
        config: dict[str, Any] = {
            "keys": {"uses": host},
            "journal": str(directory / "journal" / "leases.db"),
        }
        credentials = [{**CREDENTIAL, **({} if keys is None else {"keys": dict(keys)})}]
        (directory / "journal").mkdir(mode=0o700)
        prefix = stack.enter_context(pam_namespace(directory))
        daemon = stack.enter_context(
            RunningDaemon(directory, config=config, credentials=credentials, prefix=prefix)
        )
        sshd = stack.enter_context(sshd_with_pam(directory, prefix, sshd_config))
        yield Stage(daemon, sshd, user, make_key(directory))
