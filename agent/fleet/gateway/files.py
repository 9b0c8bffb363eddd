"""The fleet's files that change while a gateway runs: facts, issuer, removed hosts."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from typing import Callable, Generic, Optional, TypeVar

from agent.config.document import Problems
from agent.config.fleet_limits import FLEET
from agent.fleet import jwt, nkeys, roles
from agent.fleet.enrolment import Fleet
from agent.fleet.facts import Facts
from agent.fleet.gateway.settings import GatewayConfig
from agent.fleet.jwt import BadToken
from agent.fleet.nkeys import KeyPair
from agent.fleet.signing import PrivateKey
from agent.host import files

T = TypeVar("T")


class Watched(Generic[T]):
    """A file, read again when it has changed."""

    def __init__(self, path: str, parse: Callable[[str], T]) -> None:
        self._path = path
        self._parse = parse
        self._seen: Optional[tuple[int, int, int]] = None
        self._value: Optional[T] = None

    def get(self) -> T:
        """The file's present content, parsed. Raises Problems."""
        try:
            status = os.stat(self._path)
            seen = (status.st_ino, status.st_mtime_ns, status.st_size)
            if seen != self._seen or self._value is None:
                text = files.read(self._path, FLEET.file_bytes)
                self._value, self._seen = self._parse(text), seen
            return self._value
        except OSError as error:
            raise Problems([f"{self._path}: {error.strerror}"]) from None
        except (ValueError, BadToken) as error:
            raise Problems([f"{self._path}: {error}"]) from None


class FleetFiles:
    """All of the files. Each is read when it is needed, which raises Problems."""

    def __init__(self, config: GatewayConfig) -> None:
        self._facts = Watched(config.facts, lambda _: Facts.load(config.facts))
        self._issuer = Watched(config.issuer, PrivateKey.parse)
        self._signer = Watched(config.enrol.signer, lambda text: KeyPair.parse(text, nkeys.ACCOUNT))
        self._account = Watched(config.enrol.account, self._revocations)
        self._authority = Watched(config.bus.ca, lambda text: text)

    @property
    def facts(self) -> Facts:
        """The fleet's public keys and addresses."""
        return self._facts.get()

    @property
    def issuer(self) -> PrivateKey:
        """The key that signs leases, which must be one of the facts' issuers."""
        issuer = self._issuer.get()
        if issuer.public not in self.facts.issuers:
            raise Problems(["the issuer's key is none of those that fleet.json names"])
        return issuer

    @property
    def authority(self) -> str:
        """The certificate of the authority, as PEM."""
        return self._authority.get()

    def fleet(self) -> Fleet:
        """The facts and keys that enrolment needs."""
        facts = self.facts
        return Fleet(
            self.issuer,
            facts.issuers,
            self._signer.get(),
            facts.account.identity,
            facts.gateways[0],
            tuple(server.url for server in facts.servers),
            facts.gateways,
            ssl.PEM_cert_to_DER_cert(self.authority),
        )

    def revoked(self) -> Mapping[str, int]:
        """The removed hosts by nkey, each with the time of issue (s) up to which all is void."""
        return self._account.get()

    def check(self) -> list[str]:
        """Every problem of these files, in one list."""
        problems: list[str] = []
        for attempt in (lambda: self.facts, lambda: self.issuer, self.fleet, self.revoked):
            try:
                attempt()
            except Problems as found:
                problems += [each for each in found.problems if each not in problems]
        return problems

    def _revocations(self, token: str) -> Mapping[str, int]:
        return roles.revocations(jwt.decode(token.strip(), self.facts.operator_signer, "account"))
