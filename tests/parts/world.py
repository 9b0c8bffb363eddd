"""A host that accepts only pushed keys, and a user who wants to log in there."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from tests.parts.bus import Bus, gateway_url, make_home
from tests.parts.command import Done
from tests.parts.daemon import CREDENTIAL, RunningDaemon
from tests.parts.fleet_member import FleetMember, join_token
from tests.parts.gateway import RunningGateway
from tests.parts.host import login_user, work_directory
from tests.parts.pam import pam_namespace, sshd_with_pam
from tests.parts.sshd import RunningSshd
from tests.parts.user import User
from tests.parts.waiting import wait_until

# A second credential of the fleet, whose keys are for one login and 20 s.
TIGHT = {**CREDENTIAL, "access_key_id": "AKIATIGHT", "keys": {"lifetime": 20, "uses": "once"}}


@dataclass
class Stage:
    """What the tests of a module share: a daemon, its sshd, and a fleet's gateway.

    `settings` is client.yaml, as a user of it would write it.
    """

    daemon: RunningDaemon
    sshd: RunningSshd
    login: str
    settings: dict[str, Any]
    gateway: Optional[RunningGateway] = None


@dataclass
class World:
    """A stage and a new user. `folder` is for files of the test."""

    folder: Path
    stage: Stage
    user: User
    before: int = field(default=0)

    @property
    def daemon(self) -> RunningDaemon:
        """The host's daemon."""
        return self.stage.daemon

    @property
    def sshd(self) -> RunningSshd:
        """The host's sshd."""
        return self.stage.sshd

    @property
    def login(self) -> str:
        """The host's OS user for logins."""
        return self.stage.login

    @property
    def place(self) -> str:
        """USER@HOST."""
        return f"{self.login}@web-1"

    @property
    def with_config(self) -> str:
        """The ssh command for programs that run ssh."""
        return f"ssh -F {self.user.config}"

    def pushes(self) -> int:
        """The number of pushes that the daemon has accepted since this began."""
        return len(self.daemon.audit(event="push", outcome="allowed")) - self.before

    def share(self, name: str) -> Path:
        """A folder that the host's OS user can write."""
        made = self.folder / name
        made.mkdir()
        made.chmod(0o777)
        return made


def names_host(daemon: RunningDaemon) -> dict[str, Any]:
    """A client.yaml that names a single host: its daemon's instance and zone, and its address."""
    host = {
        "endpoint": daemon.endpoint,
        "instance": daemon.instance_id,
        "zone": daemon.availability_zone,
        "address": "127.0.0.1",
    }
    return {"region": daemon.region, "hosts": {"web-*": host}}


@contextlib.contextmanager
def one_host() -> Iterator[Stage]:
    """A single host; client.yaml names its instance, zone and address."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(work_directory())
        login = stack.enter_context(login_user())
        daemon = stack.enter_context(RunningDaemon(folder))
        sshd = stack.enter_context(_sshd(folder, daemon))
        yield Stage(daemon, sshd, login, names_host(daemon))


@contextlib.contextmanager
def a_fleet(*, one_time: bool = False) -> Iterator[Stage]:
    """A host of a fleet, web-1; client.yaml names only the gateway.

    Args:
        one_time: the host's keys are for one login, which its sshd asks PAM about. Takes root.
    """
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(work_directory())
        login = stack.enter_context(login_user())
        url = gateway_url()
        home = make_home(folder, gateways=[url])
        stack.enter_context(Bus(home, folder))
        known = [CREDENTIAL, TIGHT]
        gateway = stack.enter_context(
            RunningGateway(folder / "gw", home, url, credentials=known)
        )  # fmt: skip
        gateway.await_bus()
        token = join_token(gateway, "--tag", "role=web")
        host = folder / "host"
        host.mkdir()
        prefix = stack.enter_context(pam_namespace(host)) if one_time else []
        config = one_time_config(host) if one_time else {}
        member = stack.enter_context(
            FleetMember(host, gateway, token=token, config=config, daemon_prefix=prefix)
        )
        daemon = member.daemon
        sshd = stack.enter_context(
            sshd_with_pam(host, prefix) if one_time else _sshd(folder, daemon)
        )
        # The daemon reports sshd's host keys from where FleetMember configures them.
        public = (sshd.directory / "host_key.pub").read_text()
        (member.directory / "ssh_host_ed25519_key.pub").write_text(public)
        _await_host(gateway)
        settings = {"region": daemon.region, "endpoint": url, "ca": gateway.ca}
        # Each connection pushes, as with a host whose `uses` are unknown.
        hosts = {"web-*": {"uses": "once"}}
        yield Stage(daemon, sshd, login, {**settings, "hosts": hosts}, gateway)


def one_time_config(folder: Path) -> dict[str, Any]:
    """The configuration of a daemon whose keys are for one login; its journal is in `folder`."""
    (folder / "journal").mkdir(mode=0o700)
    return {"keys": {"uses": "once"}, "journal": str(folder / "journal" / "leases.db")}


def _await_host(gateway: RunningGateway) -> None:
    """Wait until the gateway reports everything about the host."""
    wait_until(
        lambda: any(
            host["Addresses"] and host["HostKeys"] for host in gateway.hosts().body.get("Hosts", [])
        ),
        lambda: f"the gateway does not describe the host: {gateway.hosts()}",
        pause=0.05,
    )


def _sshd(folder: Path, daemon: RunningDaemon) -> RunningSshd:
    settings = ["Subsystem sftp internal-sftp"]
    return RunningSshd(folder, daemon.lookup_socket, settings=settings)


STAGES = {"one host": one_host, "a fleet": a_fleet}


@contextlib.contextmanager
def somebody(stage: Stage, **options: Any) -> Iterator[World]:
    """A user with a home and an agent, who has no key yet."""
    with work_directory() as folder, User(folder, **options) as user:
        user.settings(stage.settings)
        user.ssh_settings(stage.sshd)
        world = World(folder, stage, user)
        world.before = world.pushes()
        yield world


def good(done: Done) -> Done:
    """Return the result; fail unless the command ended with 0."""
    assert done.code == 0, done
    return done
