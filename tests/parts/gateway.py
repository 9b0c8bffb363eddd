"""The real gateway in a separate process, with a fleet's home, and hosts that join by hand."""

from __future__ import annotations

import json
import os
import ssl
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional
from urllib.parse import urlsplit

from agent.fleet.home.home import Home, gateway_name
from tests.parts import signed
from tests.parts.bus import lasting_port
from tests.parts.daemon import INSTANCE_ID, REGION, ZONE, RunningDaemon
from tests.parts.pushers import Target
from tests.parts.raw import Answer, Raw, ask
from tests.parts.waiting import wait_until


class RunningGateway(RunningDaemon):
    """`python -m agent.fleet.gateway`, ready to serve inside the `with` block.

    `home` is the fleet's; `url` is one of its gateways, the first unless said otherwise.
    """

    module = "agent.fleet.gateway"

    def __init__(
        self,
        directory: Path,
        home: Home,
        url: str = "",
        *,
        config: Optional[Mapping[str, Any]] = None,
        credentials: Optional[Sequence[Mapping[str, Any]]] = None,
        environment: Optional[Mapping[str, str]] = None,
    ) -> None:
        directory.mkdir(exist_ok=True)
        super().__init__(directory, config=config, credentials=credentials, environment=environment)
        self.home = home
        self.metrics_port = lasting_port()
        self.url = url or home.facts.gateways[0]
        self.http_port = urlsplit(self.url).port or 0
        first = self.url == home.facts.gateways[0]
        inner = Path(home.folder) / "home" / "gateways" / gateway_name(self.url)
        self.folder = Path(home.folder) if first else inner
        self._registry = {"registry": home.facts.registry} if first else {}

    def defaults(self) -> dict[str, Any]:
        """Return the configuration that the caller's configuration updates."""
        return {
            "region": REGION,
            "http": {
                "address": "127.0.0.1",
                "port": self.http_port,
                "tls": {
                    "certificate": str(self.folder / "certificate.pem"),
                    "private_key": str(self.folder / "certificate.key"),
                },
            },
            "credentials": str(self.credentials_file),
            "rate": {"per_credential": 10_000, "total": 10_000},
            "bus": {
                "ca": str(self.folder / "ca.pem"),
                "identity": str(self.folder / "gateway.creds"),
            },
            "metrics": {"port": self.metrics_port},
            "issuer": str(self.folder / "issuer.key"),
            "facts": str(self.folder / "fleet.json"),
            "enrol": {
                "signer": str(self.folder / "host-signer.nk"),
                "account": str(self.folder / "account.jwt"),
                **self._registry,
            },
        }

    def metrics(self) -> str:
        """The metrics for Prometheus."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics") as answer:
            return str(answer.read().decode())

    @property
    def endpoint(self) -> str:
        """The URL of the HTTP listener."""
        return self.url

    @property
    def ca(self) -> str:
        """The file of the authority that issued its certificate."""
        return os.path.join(self.home.folder, "ca.pem")

    def send(self, call: signed.Call) -> Answer:
        """Send a request over TLS; return the answer."""
        return ask(("127.0.0.1", self.http_port), call.raw(), tls=self.tls())

    def tls(self) -> ssl.SSLContext:
        """The client's TLS context; its name is 127.0.0.1, and a raw client asks for localhost."""
        context = ssl.create_default_context(cafile=self.ca)
        context.check_hostname = False
        return context

    def connection(self) -> Raw:
        """A new connection, for one request after the other."""
        return Raw(("127.0.0.1", self.http_port), tls=self.tls())

    def push(self, **changes: Any) -> Answer:
        """Push a new key with the credential that allows everything."""
        return self.send(signed.sign(signed.push(**changes)))

    def hosts(self, signer: Optional[signed.Signer] = None, **members: Any) -> Answer:
        """The answer of Sixtykey.Hosts."""
        call = signed.Call(body=json.dumps(members).encode())
        return self.send(
            signed.sign(call.having("X-Amz-Target", "Sixtykey.Hosts"), signer or signed.Signer())
        )

    def target(self, instance: str = INSTANCE_ID) -> Target:
        """The target of pushes for a host, with the default credential."""
        environment = {"AWS_CA_BUNDLE": self.ca}
        return Target(self.url, instance, ZONE, REGION, environment=environment)

    def await_bus(self) -> None:
        """Wait until the gateway is connected to the bus."""
        wait_until(
            lambda: "bus: connected" in self.log(),
            lambda: f"the gateway does not reach the bus: {self.log()}",
        )
