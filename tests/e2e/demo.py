"""`make demo` shows the main job with the real AWS CLI, a real sshd and a real ssh.

Every line below a step is what was observed, and the exit code is 1 if a step was not as promised.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import pwd
import shlex
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Optional

from tests.e2e.screen import BrokenPromiseError, Countdown, Screen, promise
from tests.parts.daemon import RunningDaemon
from tests.parts.host import IS_ROOT, login_user, own_name, work_directory
from tests.parts.keys import KeyPair, make_key
from tests.parts.pushers import Target, aws_command, public_key_file, push_with_aws_cli
from tests.parts.ssh import Login
from tests.parts.sshd import RunningSshd

SHORTEST = 5
"""Seconds. With fewer, the key would expire before the AWS CLI has ended and ssh has logged in."""


class Demo:
    """The steps in order; each shows its observations, and raises if a promise was broken."""

    def __init__(
        self, screen: Screen, daemon: RunningDaemon, sshd: RunningSshd, user: str, key: KeyPair
    ) -> None:
        self.screen = screen
        self.daemon = daemon
        self.sshd = sshd
        self.user = user
        self.key = key
        self.request_id = ""

    def login(self) -> Login:
        """Try to log in with OpenSSH and show the result."""
        login = self.sshd.login(self.user, self.key)
        said = login.output or login.message
        self.screen.saw(
            f"$ ssh -p {self.sshd.port} -i {self.key.private.name} {self.user}@127.0.0.1"
        )
        self.screen.saw(f"exit code {login.exit_code}: {said}")
        return login

    def audit(self, **wanted: Any) -> dict[str, Any]:
        """Show and return the daemon's newest such audit record."""
        record = self.daemon.await_audit(**wanted)
        self.screen.saw(f"audit: {json.dumps(record)}")
        return record

    def show_hosts(self) -> None:
        """Show what is running, and as which user."""
        self.screen.step("sixtykeyd and a temporary sshd start; this sshd asks sixtykeyd for keys")
        self.screen.saw(f"sixtykeyd: process {self.daemon.pid}, ready, {self.daemon.endpoint}")
        self.screen.saw(f"sshd: 127.0.0.1 port {self.sshd.port}, run by {own_name()}")
        self.screen.saw(f"OS user: {self.user}" + (" (made for this demo)" if IS_ROOT else ""))
        self.screen.step("A new key pair is made")
        self.screen.saw(f"{self.key.type} {self.key.fingerprint()}")

    def refused_before(self) -> None:
        """The key has not been pushed: sshd must refuse it."""
        self.screen.step("Before the push, sshd refuses the key")
        promise(self.login().refused, "a key that nobody has pushed is refused")

    def push(self) -> None:
        """Push the key with the AWS CLI."""
        self.screen.step("The AWS CLI pushes the public key")
        target = Target.of(self.daemon)
        file = public_key_file(self.key.public)
        command = aws_command(target, self.user, file)
        self.screen.saw(f"$ export AWS_ENDPOINT_URL_EC2_INSTANCE_CONNECT={target.endpoint}")
        self.screen.saw("$ " + shlex.join([Path(command[0]).name, *command[1:]]))
        pushed = push_with_aws_cli(target, self.user, file)
        self.screen.saw(" ".join(pushed.output.split()))
        promise(pushed.ok, "the push succeeds")
        self.request_id = pushed.request_id
        record = self.audit(event="push", request_id=pushed.request_id)
        promise(record["outcome"] == "allowed", "the audit record has the outcome allowed")
        promise(
            record["fingerprint"] == self.key.fingerprint(),
            "the audit record has the key's fingerprint",
        )

    def accepted(self) -> None:
        """The key is live: sshd must accept it."""
        self.screen.step("After the push, sshd accepts the key")
        promise(self.login().accepted, "a pushed key is accepted")
        record = self.audit(event="lookup", os_user=self.user, outcome="given")
        promise(record["request_id"] == self.request_id, "the lookup's record names the push")

    def run_down(self, clock: Countdown) -> None:
        """Show the seconds; the key must work until the end, so it is also tried halfway."""
        self.screen.step("The lifetime runs; halfway through it, sshd still accepts the key")
        clock.run(until=clock.seconds / 2)
        promise(self.login().accepted, "the key is accepted until its lifetime ends")
        clock.run(until=0)

    def refused_after(self) -> None:
        """The key has expired: sshd must refuse it again."""
        self.screen.step("The key has expired: sshd refuses it")
        promise(self.login().refused, "an expired key is refused")
        self.audit(event="lookup", os_user=self.user, outcome="none")


@contextlib.contextmanager
def stage(screen: Screen, config: Mapping[str, Any]) -> Iterator[Demo]:
    """Set up everything for the demo, and always remove it again and show that."""
    user, directory = "", Path()
    daemon: Optional[RunningDaemon] = None
    try:
        with contextlib.ExitStack() as stack:
            directory = stack.enter_context(work_directory())
            user = stack.enter_context(login_user())
            daemon = stack.enter_context(RunningDaemon(directory, config=config))
            sshd = stack.enter_context(RunningSshd(directory, daemon.lookup_socket))
            try:
                yield Demo(screen, daemon, sshd, user, make_key(directory))
            except BrokenPromiseError:
                screen.saw(f"daemon's log: {daemon.log()}")
                screen.saw(f"sshd's log: {sshd.log()}")
                raise
    finally:
        screen.step("The demo removes everything that it made")
        code = None if daemon is None or daemon.process is None else daemon.process.returncode
        screen.saw(f"sixtykeyd: ended with exit code {code}")
        screen.saw(f"{directory}: {'still exists' if directory.exists() else 'removed'}")
    promise(code == 0, "the daemon ends with exit code 0")
    promise(not directory.exists(), "no file is left on the disk")
    left = {each.pw_name for each in pwd.getpwall()}
    promise(not IS_ROOT or user not in left, "the OS user is removed")


def run(lifetime: int, config: Optional[Mapping[str, Any]] = None) -> int:
    """Run the demo for keys of `lifetime` seconds and return its exit code.

    `config` is for the tests: a daemon's configuration that breaks a promise.
    """
    screen = Screen(sys.stdout)

    def steps() -> str:
        with stage(screen, config or {"keys": {"lifetime": lifetime}}) as demo:
            demo.show_hosts()
            demo.refused_before()
            demo.push()
            clock = screen.countdown(lifetime)
            demo.accepted()
            demo.run_down(clock)
            demo.refused_after()
        return f"Every step went as promised: sshd accepted the key for {lifetime} seconds."

    return screen.show(steps)


def main() -> int:
    """Read the command line and run the demo."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lifetime", type=int, default=60, metavar="SECONDS")
    lifetime = parser.parse_args().lifetime
    if not SHORTEST <= lifetime <= 60:
        parser.error(f"a lifetime of {SHORTEST} to 60 seconds can be shown, not of {lifetime}")
    # So that a terminated demo cleans up like an interrupted one.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # the bar, where the terminal has no such letters
    try:
        return run(lifetime)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
