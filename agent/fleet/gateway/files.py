"""The fleet's files that change while a gateway runs: facts, issuer, removed hosts."""

from __future__ import annotations

import hashlib
import logging
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Callable, Generic, Optional, TypeVar

from agent.config.document import Problems
from agent.config.fleet_limits import FLEET
from agent.fleet.bus import jwt, nkeys, roles
from agent.fleet.bus.jwt import BadToken
from agent.fleet.bus.nkeys import KeyPair
from agent.fleet.gateway.settings import GatewayConfig
from agent.fleet.home.enrolment import Fleet
from agent.fleet.home.facts import Facts
from agent.fleet.messages.signing import PrivateKey
from agent.host import files

T = TypeVar("T")
log = logging.getLogger("sixtykeyd")


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


@dataclass(frozen=True)
class Account:
    """The account's token, its subject (an nkey), when it was made (s), and who is removed."""

    token: str
    subject: str
    made_at: int
    revoked: Mapping[str, int]


class FleetFiles:
    """All of the files. Each is read when it is needed, which raises Problems."""

    def __init__(self, config: GatewayConfig, state: Optional[str] = None) -> None:
        """`state`: the folder for a token that another gateway sent; None: in memory only."""
        self._facts = Watched(config.facts, lambda _: Facts.load(config.facts))
        self._issuer = Watched(config.issuer, PrivateKey.parse)
        self._signer = Watched(config.enrol.signer, lambda text: KeyPair.parse(text, nkeys.ACCOUNT))
        self._account = Watched(config.enrol.account, self._parse_account)
        self._learned: Optional[Account] = None
        self._kept = None if state is None else os.path.join(state, "account.jwt")
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
            raise Problems(["the issuer's key is not in fleet.json"])
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

    @property
    def account(self) -> Account:
        """The account's newest token: the file's, or one that another gateway sent."""
        own, learned = self._account.get(), self._learned
        if learned is None and self._kept is not None and os.path.exists(self._kept):
            try:
                learned = self._learned = Watched(self._kept, self._parse_account).get()
            except Problems as problems:
                # Of another fleet, or damaged: the other gateways are asked again.
                log.warning("%s: it is not used", "; ".join(problems.problems))
                os.unlink(self._kept)
        if learned is None or learned.subject != own.subject or learned.made_at <= own.made_at:
            return own
        return learned

    def learn(self, token: str) -> bool:
        """Use this token of the account if it is newer; returns whether it is.

        Raises BadToken: the operator has not signed it for this fleet's account.
        """
        found = self._parse_account(token)
        if found.made_at <= self.account.made_at:
            return False
        if self._kept is not None:
            files.replace(self._kept, found.token + "\n", 0o600)
        self._learned = found
        return True

    def revoked(self) -> Mapping[str, int]:
        """The removed hosts by nkey, each with the time of issue (s) up to which all is void."""
        return self.account.revoked

    def check(self) -> list[str]:
        """Every problem of these files, in one list."""
        problems: list[str] = []
        for attempt in (lambda: self.facts, lambda: self.issuer, self.fleet, self.revoked):
            try:
                attempt()
            except Problems as found:
                problems += [each for each in found.problems if each not in problems]
        return problems

    def state(self) -> dict[str, str]:
        """What this gateway uses, for others to compare (joining.GatewayState)."""
        facts = hashlib.sha256(self.facts.dump().encode()).hexdigest()
        issuer = str(self.issuer.public)
        return {"account": self.account.token, "facts": facts, "issuer": issuer}

    def _parse_account(self, text: str) -> Account:
        token = text.strip()
        claims = jwt.decode(token, self.facts.operator_signer, "account")
        # The same key signs the servers' own account, whose token revokes nobody.
        if claims.subject != self.facts.account.identity:
            raise BadToken("it is another account's")
        return Account(token, claims.subject, claims.times.issued_at, roles.revocations(claims))
