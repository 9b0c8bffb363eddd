"""Reads /etc/sixtykey/config.yaml: every key optional, every problem reported at once."""

from __future__ import annotations

import ipaddress
from typing import Any, Optional

from agent.config import checks, document, patterns
from agent.config.document import Problems, Section
from agent.config.key_policy import most_per_user
from agent.config.settings import (
    FORMER_JOURNAL,
    JOURNAL,
    KEY_TYPES,
    REFERENCES,
    USES,
    Config,
    Ec2,
    Fleet,
    Http,
    Instance,
    Keys,
    Lookup,
    Push,
    Rate,
    Source,
    Tls,
)


def load(path: str) -> Config:
    """Read the configuration file.

    Raises:
        Problems: it cannot be read, or something in it is wrong; it lists every problem.
    """
    return parse(document.read(path), path)


def parse(text: Any, name: str) -> Config:
    """Parse YAML text; messages use `name` for the file. Raises Problems."""
    problems: list[str] = []
    root = Section(document.parse(text, name), "", problems)
    config = Config(
        instance=_instance(root.section("instance")),
        keys=_keys(root.section("keys")),
        lookup=_lookup(root.section("lookup")),
        push=_push(root.section("push")),
        journal=_journal(root),
        source=_source(root.section("source")),
        ec2=_ec2(root.optional_section("ec2")),
        fleet=_fleet(root.optional_section("fleet")),
    )
    root.end()
    if problems:
        raise Problems(f"{name}: {problem}" for problem in problems)
    return config


def _instance(section: Section) -> Instance:
    instance = Instance(
        id=section.text("id", "auto", _auto_or(patterns.instance_id)),
        availability_zone=section.text(
            "availability_zone", "auto", _auto_or(patterns.availability_zone)
        ),
        region=section.text("region", "auto", _auto_or(patterns.region)),
    )
    section.end()
    return instance


def _keys(section: Section) -> Keys:
    keys = Keys(
        lifetime=section.integer("lifetime", Keys.lifetime, 1, 60),
        types=section.texts("types", Keys.types, document.one_of(*KEY_TYPES)),
        rsa_min_bits=section.integer("rsa_min_bits", Keys.rsa_min_bits, 2048, 8192),
        per_user=section.integer("per_user", Keys.per_user, 1, 10_000),
        total=section.integer("total", Keys.total, 1, 1_000_000),
        deny_users=section.texts("deny_users", (), patterns.glob, some=False),
        uses=section.text("uses", Keys.uses, document.one_of(*USES)),
    )
    most = most_per_user(keys.types)
    if keys.per_user > most:
        section.problem(
            "per_user",
            f"must be at most {most} with these keys.types, not {keys.per_user}: all keys of one "
            "user have to fit the 1 MiB that sshd's helper reads",
        )
    section.end()
    return keys


def _lookup(section: Section) -> Lookup:
    lookup = Lookup(
        socket=section.text("socket", Lookup.socket, checks.socket_path),
        group=section.text("group", Lookup.group),
    )
    section.end()
    return lookup


def _source(section: Section) -> Source:
    source = Source(
        socket=section.text("socket", Source.socket, checks.socket_path),
        group=section.text("group", Source.group),
    )
    section.end()
    return source


def _ec2(section: Optional[Section]) -> Optional[Ec2]:
    if section is None:
        return None
    ec2 = Ec2(
        metadata=section.text("metadata", Ec2.metadata, checks.metadata_url),
        roots=section.text("roots", Ec2.roots, checks.absolute_path),
    )
    section.end()
    return ec2


def _fleet(section: Optional[Section]) -> Optional[Fleet]:
    if section is None:
        return None
    servers = section.texts("servers", (), checks.server_url, different=True)
    issuers = section.texts("issuers", (), checks.issuer, different=True)
    for key, value in (("servers", servers), ("issuers", issuers)):
        section.require(key, value)
    fleet = Fleet(
        servers,
        issuers,
        ca=section.text("ca", Fleet.ca, checks.absolute_path),
        identity=section.text("identity", Fleet.identity, checks.absolute_path),
        key=section.text("key", Fleet.key, checks.absolute_path),
        certificate=section.text("certificate", Fleet.certificate, checks.absolute_path),
        gateways=section.texts("gateways", (), checks.gateway_url, different=True),
        host_keys=section.texts("host_keys", Fleet.host_keys, checks.absolute_path),
    )
    section.end()
    return fleet


def _push(section: Section) -> Push:
    rate = section.section("rate")
    push = Push(
        socket=section.text("socket", Push.socket, checks.socket_path),
        group=section.text("group", Push.group),
        http=read_http(section.optional_section("http")),
        credentials=section.text("credentials", Push.credentials, checks.absolute_path),
        reference=section.text("reference", Push.reference, document.one_of(*REFERENCES)),
        rate=Rate(
            per_credential=rate.integer("per_credential", Rate.per_credential, 1, 1_000_000),
            total=rate.integer("total", Rate.total, 1, 1_000_000),
        ),
    )
    rate.end()
    section.end()
    return push


def read_http(section: Optional[Section]) -> Optional[Http]:
    """The settings of a network listener, or None without such a section."""
    if section is None:
        return None
    http = Http(
        address=section.text("address", Http.address, checks.address),
        port=section.integer("port", Http.port, 0, 65535),
        tls=_tls(section.optional_section("tls")),
        plaintext=section.text("plaintext", "refused", document.one_of("accepted", "refused"))
        == "accepted",
    )
    loopback = ipaddress.ip_address(http.address).is_loopback
    if http.tls is None and not loopback and not http.plaintext:
        section.problem(
            "address",
            f"{http.address} is not loopback and there is no tls: requests could be read and "
            f"captured on the way. Set {section.path}.tls, or accept that: `plaintext: accepted`",
        )
    section.end()
    return http


def _tls(section: Optional[Section]) -> Optional[Tls]:
    if section is None:
        return None
    certificate = section.text("certificate", "", checks.absolute_path)
    private_key = section.text("private_key", "", checks.absolute_path)
    client_ca = section.text("client_ca", None, checks.absolute_path)
    for key, value in (("certificate", certificate), ("private_key", private_key)):
        section.require(key, value)
    section.end()
    return Tls(certificate, private_key, client_ca)


def _journal(root: Section) -> Optional[str]:
    journal = root.text("journal", Config.journal, checks.path_or_none)
    if journal == FORMER_JOURNAL:
        # The folder belongs to root now. A configuration that repeats 0.1.0's default means
        # today's.
        return JOURNAL
    return None if journal == "none" else journal


def _auto_or(check: patterns.Check) -> patterns.Check:
    def auto_or(value: str) -> None:
        if value != "auto":
            check(value)

    return auto_or
