"""The real daemon in a separate process, with configuration and sockets in a directory."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

import yaml

from tests.parts.host import ROOT, free_port, helper_group
from tests.parts.part import Part
from tests.parts.waiting import wait_until

INSTANCE_ID = "i-0f1e2d3c4b5a69788"
ZONE = "us-east-2b"
REGION = "us-east-2"

CREDENTIAL: dict[str, Any] = {
    "access_key_id": "AKIAIOSFODNN7EXAMPLE",
    "secret_access_key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "enabled": True,
    "allow": {"os_users": ["*"], "instances": ["*"], "sources": ["127.0.0.0/8"]},
}

PATIENCE = 30.0
"""Seconds to wait for the daemon to start, reload or end before that is called a failure."""


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` updated with `changes`, mapping by mapping; None removes a key."""
    result = dict(base)
    for key, value in changes.items():
        below = result.get(key)
        if value is None:
            result.pop(key, None)
        elif isinstance(below, Mapping) and isinstance(value, Mapping):
            result[key] = merged(below, value)
        else:
            result[key] = value
    return result


class RunningDaemon(Part):
    """`python -m agent`, ready to serve inside the `with` block.

    `config` updates the defaults below; `credentials` replaces the one that allows everything.
    `environment` is added to the daemon's; `prefix` is a command that executes the one that follows
    it, as nsenter does. Raises RuntimeError, with the daemon's stderr, when it does not become
    ready.
    """

    module = "agent"

    def __init__(
        self,
        directory: Path,
        *,
        config: Optional[Mapping[str, Any]] = None,
        credentials: Optional[Sequence[Mapping[str, Any]]] = None,
        environment: Optional[Mapping[str, str]] = None,
        prefix: Sequence[str] = (),
    ) -> None:
        self.directory = directory
        self.config_file = directory / "config.yaml"
        self.credentials_file = directory / "credentials.yaml"
        self.lookup_socket = str(directory / "lookup.sock")
        self.push_socket = str(directory / "push.sock")
        self.http_port = 0
        self.instance_id = INSTANCE_ID
        self.availability_zone = ZONE
        self.region = REGION
        self.process: Optional[subprocess.Popen[bytes]] = None
        self._changes = config or {}
        self._environment = environment or {}
        self._prefix = list(prefix)
        self._audit_file = directory / "audit.log"
        self._log_file = directory / "daemon.log"
        self._notify: Optional[socket.socket] = None
        self.write_credentials([CREDENTIAL] if credentials is None else credentials)

    def defaults(self) -> dict[str, Any]:
        """Return the configuration that the caller's configuration updates."""
        return {
            "instance": {"id": INSTANCE_ID, "availability_zone": ZONE, "region": REGION},
            "lookup": {"socket": self.lookup_socket, "group": helper_group()},
            "push": {
                "socket": self.push_socket,
                "group": helper_group(),
                "http": {"address": "127.0.0.1", "port": self.http_port},
                "credentials": str(self.credentials_file),
            },
            "journal": str(self.directory / "leases.db"),
        }

    def write_credentials(self, credentials: Sequence[Mapping[str, Any]]) -> None:
        """Write the credentials file with mode 0600; the daemon reads it at its next reload."""
        self.credentials_file.touch(mode=0o600)
        # JSON is YAML without aliases, which a YAML dumper would make for shared objects.
        self.credentials_file.write_text(json.dumps([dict(each) for each in credentials]))

    @property
    def endpoint(self) -> str:
        """The URL of the HTTP listener."""
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def pid(self) -> int:
        """The daemon's process id."""
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        """Start the daemon and wait until it is ready; after `stop` or `kill`, on the same port."""
        if self.http_port:
            self._launch()
            return
        for attempt in range(5):
            self.http_port = free_port()
            try:
                self._launch()
                return
            except RuntimeError as error:
                # Another process may have taken the port since it was found free.
                if attempt == 4 or "in use" not in str(error):
                    raise

    def _launch(self) -> None:
        config = merged(self.defaults(), self._changes)
        self.config_file.write_text(yaml.safe_dump(config))
        notify_path = self.directory / "notify.sock"
        notify_path.unlink(missing_ok=True)
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._notify.bind(str(notify_path))
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "NOTIFY_SOCKET": str(notify_path),
            **self._environment,
        }
        with self._audit_file.open("ab") as audit, self._log_file.open("ab") as log:
            command = [sys.executable, "-m", self.module, "--config", str(self.config_file)]
            self.process = subprocess.Popen(
                [*self._prefix, *command],
                cwd=self.directory, env=environment,
                stdin=subprocess.DEVNULL, stdout=audit, stderr=log,
                start_new_session=True,  # ^C at the terminal is for us, who then stop it in order
            )  # fmt: skip
        try:
            self._await_ready()
        except BaseException:
            self.kill()
            raise

    def _await_ready(self) -> None:
        assert self._notify is not None
        assert self.process is not None
        self._notify.settimeout(0.05)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                message = self._notify.recv(4096)
            except socket.timeout:
                continue
            if b"READY=1" in message.split(b"\n"):
                return
        state = self.process.poll()
        raise RuntimeError(f"the daemon is not ready (exit code {state}): {self.log()}")

    def change(self, config: Mapping[str, Any]) -> None:
        """Update the configuration's defaults for the next start."""
        self._changes = config

    def reload(self) -> None:
        """Send SIGHUP and wait until the daemon says that it is ready again."""
        assert self.process is not None
        self.process.send_signal(signal.SIGHUP)
        self._await_ready()

    def stop(self) -> int:
        """Send SIGTERM and return the exit code once the daemon has drained."""
        return self._end(signal.SIGTERM)

    def kill(self) -> int:
        """Send SIGKILL, as in a crash."""
        return self._end(signal.SIGKILL)

    def wait(self) -> int:
        """Return the exit code of a daemon that has been told to stop.

        A second SIGTERM would end it by that signal if it has just done its work.
        """
        return self._end(None)

    def _end(self, number: Optional[signal.Signals]) -> int:
        assert self.process is not None
        try:
            if number is not None:
                self.process.send_signal(number)
            return self.process.wait(PATIENCE)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            if self._notify is not None:
                self._notify.close()
                self._notify = None

    def audit(self, **wanted: Any) -> list[dict[str, Any]]:
        """Return the audit records so far, of every run, that have these fields and values."""
        lines = self._audit_file.read_text("utf-8").splitlines(keepends=True)
        # The last line may be incomplete.
        records = [json.loads(line) for line in lines if line.endswith("\n")]
        return [each for each in records if wanted.items() <= each.items()]

    def await_audit(self, **wanted: Any) -> dict[str, Any]:
        """Return the newest such audit record once there is one; RuntimeError if none comes."""
        return wait_until(
            lambda: self.audit(**wanted), lambda: f"no audit record has {wanted}: {self.audit()}"
        )[-1]

    def log(self) -> str:
        """Return what the daemon has written to stderr so far, in every run."""
        return self._log_file.read_text("utf-8", errors="replace").strip()

    def begin(self) -> None:
        """Start the daemon."""
        self.start()

    def finish(self) -> None:
        """Stop the daemon."""
        if self.process is not None and self.process.poll() is None:
            self.stop()
        elif self._notify is not None:
            self._notify.close()
