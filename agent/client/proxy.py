"""The steps of one connection: find the host, push the session's key, connect, hand over."""

from __future__ import annotations

import os
import time

from agent.client import (
    credentials,
    dial,
    handover,
    known_hosts,
    leases,
    limits,
    session_key,
    settings,
    targets,
)  # fmt: skip
from agent.client.api import PUSH, Api
from agent.client.hosts import is_name
from agent.client.trouble import REFUSED, Trouble

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Optional

    from agent.client.folders import Environment
    from agent.client.hosts import Host
    from agent.client.progress import Progress
    from agent.client.session_key import SessionKey
    from agent.client.settings import Settings


class Connection:
    """One connection to HOST as USER, step by step. Every step raises Trouble."""

    def __init__(
        self,
        environ: Environment,
        given: Mapping[str, Optional[str]],
        names: tuple[str, str, int],
        progress: Progress,
    ) -> None:
        self.user, self.name, self.port = names
        _check_name(self.user, "@.$\\")
        # The name goes into a file of host keys, where wildcards, lists and markers have a meaning
        # (sshd(8)).
        _check_name(self.name)
        self._progress = progress
        self._environ = environ
        self.settings: Settings = settings.load(environ, given, self.name)
        for line in self.settings.describe():
            progress.debug(line)
        self._progress.begin("looking for credentials")
        self.region = credentials.region(self.settings)
        credential = credentials.find(self.settings, time.time())
        progress.debug(f"credential {credential.access_key_id} ({credential.origin})")
        self.api = Api(self.settings, credential, self.region)
        self.host: Host = self._find()

    def _find(self, *, fresh: bool = False) -> Host:
        self._progress.begin(f"looking for {self.name}")
        host = targets.find(self.settings, self.api, self.region, self.name, fresh=fresh)
        self._progress.debug(f"{self.name} is {host.instance} at {', '.join(host.addresses)}")
        return host

    def key(self) -> SessionKey:
        """The key that ssh has already loaded. This ssh could not use a new one."""
        self._progress.begin("asking ssh-agent")
        key = session_key.find_loaded(self._environ)
        if key is None or key.seconds_left(time.time()) < limits.KEY_SPARE_SECONDS:
            key = self._ensure(limits.KEY_SPARE_SECONDS)
            self._progress.show("a new key was made; if ssh does not offer it, try again")
        return key

    def _ensure(self, fresh: float) -> SessionKey:
        seconds, confirm = self.settings.key_seconds, self.settings.key_confirm
        return session_key.ensure(self._environ, seconds, confirm, fresh)

    def push(self, key: SessionKey) -> None:
        """Push the key to the host and wait for the answer, unless a lease is still live."""
        host = self.host
        which = (self.api.url, self.api.credential.access_key_id, host.instance, self.user)
        lease = leases.Lease(self._environ, *which, key.fingerprint)
        lasting = host.uses == "unlimited" and host.lifetime > 0
        if lasting and lease.is_live(host.lifetime):
            self._progress.debug("an earlier lease is still live")
            return
        self._progress.begin(f"pushing the key to {self.name} ({host.instance})")
        began = leases.boottime(), time.time()
        try:
            self.api.ask(PUSH, self._members(key))
        except Trouble as trouble:
            if trouble.code != "EC2InstanceNotFoundException" or self.settings.get("instance"):
                raise
            before, self.host = self.host, self._find(fresh=True)
            if self.host.instance == before.instance:
                raise
            self.api.ask(PUSH, self._members(key))
        self._progress.debug(f"pushed {key.fingerprint}")
        if lasting:
            lease.record_push(*began)

    def _members(self, key: SessionKey) -> dict[str, str]:
        members = {
            "InstanceId": self.host.instance,
            "InstanceOSUser": self.user,
            "SSHPublicKey": key.public,
            "AvailabilityZone": self.host.zone,
        }
        return {name: value for name, value in members.items() if value}

    def record_host_keys(self) -> None:
        """Give ssh the host keys that the gateway certifies, over a verified connection only."""
        keys = self.host.host_keys if self.api.verified else []
        known_hosts.replace_keys(self._environ, self.name, self.port, keys)

    def hand_over(self) -> None:
        """Connect, and give ssh the connection. Returns when ssh no longer needs this process."""
        jump = self.settings.get("jump")
        if jump and not self._is_jump_host(jump):
            # An interval timer survives execve(2): stop it first (setitimer(2)).
            self._progress.stop()
            _jump(jump, self.host.addresses[0], self.port)
            return
        self._progress.begin(f"connecting to {self.name}")
        what = f"{self.name} port {self.port} ({', '.join(self.host.addresses)})"
        try:
            sock = dial.dial(self.host.addresses, self.port, limits.DIAL_SECONDS, what)
        except Trouble:
            before, self.host = self.host.addresses, self._find(fresh=True)
            if self.host.addresses == before:
                raise
            sock = dial.dial(self.host.addresses, self.port, limits.DIAL_SECONDS, what)
        self._progress.stop()
        if handover.wants_socket():
            handover.give(sock.fileno())
            sock.close()
        else:
            handover.relay(sock)

    def _is_jump_host(self, jump: str) -> bool:
        """Whether this host is the jump host: the same setting may apply to it, and it is near."""
        jumps = self._environ.get(_JUMPS, "").split("\n")
        return jump in jumps or jump.rpartition("@")[2].lower() == self.name.lower()

    def renew(self, key: SessionKey) -> None:
        """Make the next key early, for later connections."""
        margin = session_key.margin(self.settings.key_seconds)
        if key.seconds_left(time.time()) < margin:
            self._ensure(margin)


# The `jump` settings, one per line, for whose hosts the running ssh processes connect.
_JUMPS = "SIXTYKEY_JUMPS"


def _check_name(name: str, others: str = ".:%=/") -> None:
    if not is_name(name, others):
        raise Trouble(REFUSED, "Name", f"{name!r} is not a valid user or host name")


def _jump(jump: str, address: str, port: int) -> None:
    """Run ssh to connect through a jump host (ssh(1), -W)."""
    import subprocess

    # These settings are this host's, and must not apply to the jump host.
    this_host = {f"SIXTYKEY_{each}" for each in ("JUMP", "INSTANCE", "ZONE", "ADDRESS", "NETWORK")}
    environ = {name: value for name, value in os.environ.items() if name not in this_host}
    environ[_JUMPS] = f"{environ.get(_JUMPS, '')}\n{jump}"
    inner = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    command = ["ssh", "-W", inner, "--", jump]
    if not handover.wants_socket():
        os.execvpe(command[0], command, environ)  # noqa: S606 - a list, and no shell
    import _socket

    ours, theirs = _socket.socketpair()
    child = subprocess.Popen(
        command, stdin=theirs.fileno(), stdout=theirs.fileno(), env=environ
    )  # fmt: skip
    theirs.close()
    handover.give(ours.fileno())
    ours.close()
    # It lives as long as the connection, so do not wait for it.
    child.returncode = 0
