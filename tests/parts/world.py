"""A host that takes pushed keys and nothing else, and somebody who wants to log in there."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.parts.command import Done
from tests.parts.daemon import RunningDaemon
from tests.parts.host import login_user, work_directory
from tests.parts.sshd import RunningSshd
from tests.parts.user import User


@dataclass
class World:
    """A host that takes pushed keys and nothing else, and somebody who wants to log in there."""

    folder: Path
    daemon: RunningDaemon
    sshd: RunningSshd
    login: str
    user: User

    @property
    def place(self) -> str:
        """USER@HOST."""
        return f"{self.login}@web-1"

    @property
    def with_config(self) -> str:
        """How programs that run ssh are told to."""
        return f"ssh -F {self.user.config}"

    def pushes(self) -> int:
        """How many pushes the daemon has taken."""
        return len(self.daemon.audit(event="push", outcome="allowed"))

    def share(self, name: str) -> Path:
        """A folder that the OS user of the host can write."""
        made = self.folder / name
        made.mkdir()
        made.chmod(0o777)
        return made


@contextlib.contextmanager
def open_world() -> Iterator[World]:
    """All of it, afresh: nobody has a key yet."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(work_directory())
        login = stack.enter_context(login_user())
        daemon = stack.enter_context(RunningDaemon(folder))
        settings = ["Subsystem sftp internal-sftp"]
        sshd = stack.enter_context(RunningSshd(folder, daemon.lookup_socket, settings=settings))
        user = stack.enter_context(User(folder))
        user.knows(daemon, sshd)
        yield World(folder, daemon, sshd, login, user)


def good(done: Done) -> Done:
    """It must have ended with 0."""
    assert done.code == 0, done
    return done
