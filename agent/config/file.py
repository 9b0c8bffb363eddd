"""Reads /etc/sixtykey/config.yaml: every key optional, every problem reported at once."""

from __future__ import annotations

import ipaddress
from typing import Any, Optional

from agent.config import document, patterns
from agent.config.document import Problems, Section
from agent.config.settings import (
    FORMER_JOURNAL,
    JOURNAL,
    KEY_TYPES,
    REFERENCES,
    Config,
    Http,
    Instance,
    Keys,
    Lookup,
    Push,
    Rate,
    Tls,
)


def load(path: str) -> Config:
    """Read the configuration file.

    Raises:
        Problems: it cannot be read, or anything in it will not do; every problem is in it.
    """
    try:
        with open(path, "rb") as file:
            text = file.read(document.MAX_BYTES + 1)
    except OSError as error:
        raise Problems([f"{path}: {error.strerror}"]) from None
    return parse(text, path)


def parse(text: Any, name: str) -> Config:
    """Configuration from YAML text; `name` is what messages call it. Raises Problems."""
    problems: list[str] = []
    root = Section(document.parse(text, name), "", problems)
    config = Config(
        instance=_instance(root.section("instance")),
        keys=_keys(root.section("keys")),
        lookup=_lookup(root.section("lookup")),
        push=_push(root.section("push")),
        journal=_journal(root),
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
        lifetime=section.integer("lifetime", 60, 1, 60),
        types=section.texts("types", Keys.types, document.one_of(*KEY_TYPES)),
        rsa_min_bits=section.integer("rsa_min_bits", 2048, 2048, 8192),
        per_user=section.integer("per_user", 128, 1, 10_000),
        total=section.integer("total", 10_000, 1, 1_000_000),
        deny_users=section.texts("deny_users", (), some=False),
    )
    section.end()
    return keys


def _lookup(section: Section) -> Lookup:
    lookup = Lookup(
        socket=section.text("socket", Lookup.socket, _socket_path),
        group=section.text("group", Lookup.group),
    )
    section.end()
    return lookup


def _push(section: Section) -> Push:
    rate = section.section("rate")
    push = Push(
        socket=section.text("socket", Push.socket, _socket_path),
        group=section.text("group", Push.group),
        http=_http(section.optional_section("http")),
        credentials=section.text("credentials", Push.credentials, _absolute),
        reference=section.text("reference", Push.reference, document.one_of(*REFERENCES)),
        rate=Rate(
            per_credential=rate.integer("per_credential", Rate.per_credential, 1, 1_000_000),
            total=rate.integer("total", Rate.total, 1, 1_000_000),
        ),
    )
    rate.end()
    section.end()
    return push


def _http(section: Optional[Section]) -> Optional[Http]:
    if section is None:
        return None
    http = Http(
        address=section.text("address", Http.address, _address),
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
            "captured on the way. Set push.http.tls, or accept that with `plaintext: accepted`",
        )
    section.end()
    return http


def _tls(section: Optional[Section]) -> Optional[Tls]:
    if section is None:
        return None
    certificate = section.text("certificate", "", _absolute)
    private_key = section.text("private_key", "", _absolute)
    client_ca = section.text("client_ca", None, _absolute)
    for key, value in (("certificate", certificate), ("private_key", private_key)):
        section.require(key, value)
    section.end()
    return Tls(certificate, private_key, client_ca)


def _journal(root: Section) -> Optional[str]:
    journal = root.text("journal", Config.journal, _absolute_or_none)
    if journal == FORMER_JOURNAL:
        # That folder is root's now: written down as 0.1.0's default, it would take no push.
        return JOURNAL
    return None if journal == "none" else journal


def _auto_or(check: patterns.Check) -> patterns.Check:
    def auto_or(value: str) -> None:
        if value != "auto":
            check(value)

    return auto_or


def _absolute(value: str) -> None:
    if not value.startswith("/") or "\0" in value:
        raise ValueError(f"must be an absolute path, not {value!r}")


def _absolute_or_none(value: str) -> None:
    if value != "none":
        _absolute(value)


def _socket_path(value: str) -> None:
    _absolute(value)
    # unix(7): sun_path has room for 108 bytes, the last of which is NUL.
    if len(value.encode()) > 107:
        raise ValueError("longer than the 107 bytes that a Unix socket's path can have")


def _address(value: str) -> None:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        raise ValueError(f"must be an IP address, not {value!r}") from None
