"""A host as in EC2: the metadata service, and sixtykeyd-ec2 and sixtykeyd as processes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Optional

from tests.parts.daemon import RunningDaemon, merged
from tests.parts.ec2_process import RunningEc2, ec2_settings
from tests.parts.ec2_signer import Ec2Signer
from tests.parts.host import ROOT, work_directory
from tests.parts.metadata import MetadataFolder, MetadataServer


class Host:
    """The parts of a host that tests use."""

    def __init__(
        self, data: MetadataFolder, url: str, signer: Ec2Signer, daemon: RunningDaemon
    ) -> None:
        self.folder = daemon.directory
        self.data = data
        self.url = url
        self.signer = signer
        self.daemon = daemon

    def command(self, *words: str) -> str:
        """The output of the operator's command."""
        done = subprocess.run(
            [sys.executable, "-m", "agent.cli", *words, "--socket", self.daemon.push_socket],
            cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert not done.stderr, done.stderr
        return done.stdout

    def why(self, os_user: str) -> str:
        """The output of `sixtykey why`."""
        return self.command("why", os_user)

    def status(self) -> dict[str, Any]:
        """The output of `sixtykey status --json`."""
        told = json.loads(self.command("status", "--json"))
        assert isinstance(told, dict)
        return told


@contextmanager
def host(signer: Ec2Signer, config: Optional[Mapping[str, Any]] = None) -> Iterator[Host]:
    """A host whose metadata shows this signer, with a daemon but without sixtykeyd-ec2."""
    with work_directory() as folder:
        data = MetadataFolder(folder / "metadata")
        data.set_signer(signer)
        with MetadataServer(data.folder) as server:
            settings = merged(ec2_settings(folder, server.url, signer), config or {})
            with RunningDaemon(folder, config=settings) as daemon:
                yield Host(data, server.url, signer, daemon)


@contextmanager
def complete(signer: Ec2Signer, config: Optional[Mapping[str, Any]] = None) -> Iterator[Host]:
    """The same host with sixtykeyd-ec2 connected."""
    with host(signer, config) as made, RunningEc2(made.daemon):
        yield made
