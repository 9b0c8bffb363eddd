"""A gateway's configuration, /etc/sixtykey/gateway.yaml: read strictly, all problems reported."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Optional

from agent.config import checks, document, patterns
from agent.config import file as config_file
from agent.config.document import Problems, Section
from agent.config.settings import KEY_TYPES, REFERENCES, Http, Keys, Rate

DEFAULT_PATH = "/etc/sixtykey/gateway.yaml"
FOLDER = "/etc/sixtykey/gateway"


@dataclass(frozen=True)
class Bus:
    """The bus and the gateway's credentials there. Without `servers`, those in `facts`."""

    servers: tuple[str, ...] = ()
    ca: str = f"{FOLDER}/ca.pem"
    identity: str = f"{FOLDER}/gateway.creds"


@dataclass(frozen=True)
class Enrol:
    """The files for enrolment. Without a `registry`, hosts join at another gateway."""

    signer: str = f"{FOLDER}/host-signer.nk"
    account: str = f"{FOLDER}/account.jwt"
    registry: Optional[str] = None


@dataclass(frozen=True)
class Metrics:
    """The listener for Prometheus: HTTP without a password, so bind it to a private address."""

    address: str = "127.0.0.1"
    port: int = 9160


@dataclass(frozen=True)
class GatewayConfig:
    """The whole configuration. `keys`: rules for keys here; hosts apply their own rules too."""

    region: str
    http: Http
    credentials: str = f"{FOLDER}/credentials.yaml"
    reference: str = "2021-03-05"
    rate: Rate = field(default_factory=lambda: Rate(per_credential=200, total=2000))
    keys: Keys = field(default_factory=lambda: Keys(types=KEY_TYPES))
    bus: Bus = field(default_factory=Bus)
    issuer: str = f"{FOLDER}/issuer.key"
    facts: str = f"{FOLDER}/fleet.json"
    enrol: Enrol = field(default_factory=Enrol)
    metrics: Optional[Metrics] = None


def load(path: str) -> GatewayConfig:
    """Read the configuration file. Raises Problems, with every problem."""
    return parse(document.read(path), path)


def parse(text: Any, name: str) -> GatewayConfig:
    """Parse the configuration from YAML; messages call it `name`. Raises Problems."""
    problems: list[str] = []
    root = Section(document.parse(text, name), "", problems)
    region, http = root.text("region", "", patterns.region), root.optional_section("http")
    listener = config_file.read_http(http)
    for key, value in (("region", region), ("http", listener)):
        root.require(key, value)
    config = GatewayConfig(
        region,
        listener or Http(),
        credentials=root.text("credentials", GatewayConfig.credentials, checks.absolute_path),
        reference=root.text("reference", GatewayConfig.reference, document.one_of(*REFERENCES)),
        rate=_rate(root.section("rate")),
        keys=_keys(root.section("keys")),
        bus=_bus(root.section("bus")),
        issuer=root.text("issuer", GatewayConfig.issuer, checks.absolute_path),
        facts=root.text("facts", GatewayConfig.facts, checks.absolute_path),
        enrol=_enrol(root.section("enrol")),
        metrics=_metrics(root.optional_section("metrics")),
    )
    root.end()
    if problems:
        raise Problems(f"{name}: {problem}" for problem in problems)
    return config


def _rate(section: Section) -> Rate:
    rate = Rate(
        section.integer("per_credential", 200, 1, 1_000_000),
        section.integer("total", 2000, 1, 1_000_000),
    )
    section.end()
    return rate


def _keys(section: Section) -> Keys:
    keys = Keys(
        lifetime=section.integer("lifetime", 60, 1, 60),
        types=section.texts("types", KEY_TYPES, document.one_of(*KEY_TYPES)),
        rsa_min_bits=section.integer("rsa_min_bits", 2048, 2048, 8192),
    )
    section.end()
    return keys


def _bus(section: Section) -> Bus:
    bus = Bus(
        servers=section.texts("servers", (), checks.server_url, different=True),
        ca=section.text("ca", Bus.ca, checks.absolute_path),
        identity=section.text("identity", Bus.identity, checks.absolute_path),
    )
    section.end()
    return bus


def _metrics(section: Optional[Section]) -> Optional[Metrics]:
    if section is None:
        return None
    metrics = Metrics(
        section.text("address", Metrics.address, checks.address),
        section.integer("port", Metrics.port, 1, 65535),
    )
    section.end()
    return metrics


def _enrol(section: Section) -> Enrol:
    enrol = Enrol(
        signer=section.text("signer", Enrol.signer, checks.absolute_path),
        account=section.text("account", Enrol.account, checks.absolute_path),
        registry=section.text("registry", None, checks.absolute_path),
    )
    section.end()
    return enrol
