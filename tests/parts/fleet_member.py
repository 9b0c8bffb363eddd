"""A host of a fleet with the real daemon and the real sixtykeyd-fleet, joined by the command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

import yaml

from tests.parts import command
from tests.parts.daemon import INSTANCE_ID, ZONE, RunningDaemon, merged
from tests.parts.gateway import RunningGateway
from tests.parts.host import helper_group
from tests.parts.part import Part
from tests.parts.source_process import SourceProcess


def join_token(gateway: RunningGateway, *words: str) -> str:
    """A join token of this gateway's home, by default for hosts of any name."""
    hosts = () if "--hosts" in words else ("--hosts", "*")
    folder = ("--folder", gateway.home.folder)
    done = command.run("fleet", "token", "--json", "--uses", "1000", *hosts, *folder, *words)
    if done.code:
        raise RuntimeError(f"no token: {done}")
    return str(done.json["Token"])


class RunningConnector(SourceProcess):
    """`python -m agent.fleet.connector` on a daemon's configuration, on the bus inside `with`."""

    module = "agent.fleet.connector"
    log_name = "connector.log"

    def begin(self, wait: bool = True) -> None:
        """Start it, and wait until the daemon reports that it is on the bus."""
        before = self._times_well()
        self.launch()
        if wait:
            self.wait_until(lambda: self._times_well() > before)

    def _times_well(self) -> int:
        return self.daemon.log().count("source fleet: connected to the bus")


class FleetMember(Part):
    """A daemon and a connector that have joined a gateway's fleet, inside the `with` block.

    `daemon` and `connector` are the two; `config` updates the daemon's configuration; `prefix` is a
    command that runs the connector, `daemon_prefix` one that runs the daemon.
    """

    def __init__(
        self,
        directory: Path,
        gateway: RunningGateway,
        instance: str = INSTANCE_ID,
        *,
        name: str = "web-1",
        token: str = "",
        config: Optional[Mapping[str, Any]] = None,
        prefix: Sequence[str] = (),
        daemon_prefix: Sequence[str] = (),
    ) -> None:
        directory.mkdir(exist_ok=True)
        self.directory = directory
        self.instance = instance
        self.folder = directory / "fleet"
        self.identity = {"instance": {"id": instance, "availability_zone": ZONE}}
        self._joined = directory / "joined.yaml"
        self._joined.write_text(yaml.safe_dump(self.identity))
        self.command("join", "--name", name, gateway.url, token or join_token(gateway))
        self._config = config or {}
        config = merged(self.settings(), self._config)
        self.daemon = RunningDaemon(directory, config=config, prefix=daemon_prefix)
        self.daemon.instance_id = instance
        self.connector = RunningConnector(self.daemon, prefix=prefix)

    def command(self, *words: str) -> command.Done:
        """Run `sixtykey fleet WORDS` on this host. Raises RuntimeError."""
        places = ("--host-folder", str(self.folder), "--config", str(self._joined))
        done = command.run("fleet", *words, *places)
        if done.code:
            raise RuntimeError(f"sixtykey fleet {words[0]}: {done}")
        return done

    def settings(self) -> dict[str, Any]:
        """The daemon's settings that the command has written."""
        source = {"socket": str(self.directory / "source.sock"), "group": helper_group()}
        written = yaml.safe_load(self._joined.read_text())
        fleet = {**written["fleet"], "host_keys": [str(self.directory / "ssh_host_*_key.pub")]}
        return {**self.identity, "source": source, "fleet": fleet}

    def follow(self) -> None:
        """Restart both with what `sixtykey fleet` has written, as `renew --restart` does."""
        self.daemon.stop()
        self.daemon.change(merged(self.settings(), self._config))
        self.daemon.start()
        self.connector.finish()
        self.connector.begin()

    def begin(self) -> None:
        """Start both, and wait until they are on the bus."""
        self.daemon.begin()
        self.connector.begin()

    def finish(self) -> None:
        """Stop both."""
        self.connector.finish()
        self.daemon.finish()
