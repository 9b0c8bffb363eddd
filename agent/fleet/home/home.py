"""The fleet's home: the folder of its first gateway, where all of its keys are made and kept.

In the folder is what every gateway needs, for its group to read: fleet.json (facts), issuer.key
(signs leases and certificates), host-signer.nk (signs hosts' tokens for the bus), gateway.creds,
account.jwt (who is revoked), ca.pem, and the gateway's own certificate. In home/ below it, at the
first gateway only and for root alone, are keys/ (operator, accounts, authorities), servers/NAME/ to
be copied to each server of the bus, and gateways/NAME/ to be copied to each further gateway.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Optional
from urllib.parse import urlsplit

from agent.config.fleet_limits import FLEET
from agent.fleet.bus import jwt, nkeys, roles, servers
from agent.fleet.bus.access import Access
from agent.fleet.bus.jwt import Times
from agent.fleet.bus.nkeys import KeyPair
from agent.fleet.bus.servers import Server, Trust
from agent.fleet.home import revocation
from agent.fleet.home.authority import Authority, Certificate
from agent.fleet.home.facts import Facts
from agent.fleet.messages.signing import PrivateKey
from agent.host import files

GROUP = "sixtykey-gateway"
FACTS, ACCOUNT, ISSUER, NEXT_ISSUER = "fleet.json", "account.jwt", "issuer.key", "issuer-next.key"
HOST_SIGNER, CREDS, CA = "host-signer.nk", "gateway.creds", "ca.pem"
CERTIFICATE, CERTIFICATE_KEY = "certificate.pem", "certificate.key"
# The files that are the same at every gateway.
_SHARED = (ACCOUNT, ISSUER, HOST_SIGNER, CA, FACTS)
# Exists while a removal is recorded here, and no server of the bus has it yet.
_UNSENT = "unsent"
_PUBLIC = (FACTS, ACCOUNT, CA, CERTIFICATE)


@dataclass(frozen=True)
class Plan:
    """A new fleet: the gateways' URLs, the servers, their two folders, the registry."""

    gateways: tuple[str, ...]
    servers: tuple[Server, ...]
    server_folder: str
    server_state: str
    registry: str


class Home:
    """The folder. Every method raises OSError when a file cannot be read or written."""

    def __init__(self, folder: str) -> None:
        """Open an existing home. Raises Problems."""
        self.folder = folder
        self.facts = Facts.load(os.path.join(folder, FACTS))

    @classmethod
    def create(cls, folder: str, plan: Plan, now: float) -> Home:
        """Make all keys, and the folders to copy. Raises FileExistsError: there is a home."""
        if os.path.exists(os.path.join(folder, FACTS)):
            raise FileExistsError(errno.EEXIST, "a fleet already has its home there", folder)
        for name in ("", "keys", "servers", "gateways"):
            os.makedirs(os.path.join(folder, "home", name), mode=0o700, exist_ok=True)
        os.chown(folder, -1, files.gid_of(GROUP))
        os.chmod(folder, 0o750)  # noqa: S103 - its group is the gateway's
        _make_keys(folder, plan, int(now))
        home = cls(folder)
        for server in plan.servers:
            home.write_server(server, now)
        for url in plan.gateways:
            home.write_gateway(url, now)
        return home

    def save(self, facts: Facts) -> None:
        """Write the facts here, and in the other gateways' folders."""
        self.write(FACTS, facts.dump())
        self.facts = facts

    def write(self, name: str, text: str) -> None:
        """Write a shared file here, and in the other gateways' folders, which must be copied."""
        others = os.path.join(self.folder, "home", "gateways")
        for gateway in sorted(os.listdir(others)):
            _write(os.path.join(others, gateway), name, text)
        _write(self.folder, name, text)

    def keep_secret(self, name: str, text: str) -> None:
        """Write a file among the home's keys."""
        files.replace(os.path.join(self.folder, "home", "keys", name), text, 0o600)

    def secret(self, name: str) -> str:
        """A file's text among the home's keys."""
        return files.read(os.path.join(self.folder, "home", "keys", name), FLEET.file_bytes)

    def file(self, name: str) -> str:
        """A file's text among the gateway's."""
        return files.read(os.path.join(self.folder, name), FLEET.file_bytes)

    def system_access(self) -> Access:
        """How to reach the servers with the system account."""
        return Access(
            tuple(server.url for server in self.facts.servers),
            os.path.join(self.folder, CA),
            os.path.join(self.folder, "home", "keys", "system.creds"),
        )

    def issuer(self) -> PrivateKey:
        """The key that signs. Raises ValueError."""
        return PrivateKey.parse(self.file(ISSUER))

    def write_server(self, server: Server, now: float) -> str:
        """Write a server's folder, with new certificates; returns its path."""
        peers = self.facts.servers
        if server not in peers:
            peers = (*peers, server)
            self.save(replace(self.facts, servers=peers))
        folder = self._subfolder("servers", server.folder)
        outward = self._authority("ca").issue([server.name], now)
        inward = self._authority("route-ca").issue([server.name], now, peers=True)
        where = self.facts.server_folder
        text = servers.configuration(server, peers, self._trust(), where, self.facts.server_state)
        for name, content, mode in (
            ("nats-server.conf", text, 0o644),
            ("server.pem", outward.certificate, 0o644),
            ("server.key", outward.private_key, 0o640),
            ("route.pem", inward.certificate, 0o644),
            ("route.key", inward.private_key, 0o640),
            ("route-ca.pem", self.secret("route-ca.pem"), 0o644),
        ):
            files.replace(os.path.join(folder, name), content, mode)
        return folder

    def write_gateway(self, url: str, now: float) -> str:
        """Write a gateway's folder; returns its path. The first gateway's is this one."""
        if url not in self.facts.gateways:
            self.save(replace(self.facts, gateways=(*self.facts.gateways, url)))
        folder = self.folder
        if url != self.facts.gateways[0]:
            folder = self._subfolder("gateways", gateway_name(url))
            for name in _SHARED:
                _write(folder, name, self.file(name))
        host = str(urlsplit(url).hostname)
        shown = self._authority("ca").issue([host], now)
        _write(folder, CERTIFICATE, shown.certificate)
        _write(folder, CERTIFICATE_KEY, shown.private_key)
        user = KeyPair.generate(nkeys.USER)
        token = roles.user(
            KeyPair.parse(self.secret("gateway-signer.nk"), nkeys.ACCOUNT),
            self.facts.account.identity,
            gateway_name(url),
            user.public,
            Times(int(now)),
        )
        _write(folder, CREDS, jwt.creds(token, user))
        return folder

    def revoked(self) -> Mapping[str, int]:
        """The removed hosts by nkey, with the time (s) up to which what they have is void."""
        signer = self.facts.operator_signer
        return roles.revocations(jwt.decode(self.file(ACCOUNT), signer, "account"))

    def irrevocable(self, wanted: Iterable[Any]) -> dict[Any, str]:
        """Those that `revoke` refuses, with the reason: not users' nkeys, or a gateway's own."""
        others = os.path.join(self.folder, "home", "gateways")
        own = set()
        for folder in (self.folder, *(os.path.join(others, each) for each in os.listdir(others))):
            # An operator may have moved the credentials to their gateway.
            with contextlib.suppress(FileNotFoundError):
                text = files.read(os.path.join(folder, CREDS), FLEET.file_bytes)
                own.add(jwt.read_creds(text)[1].public)
        return revocation.irrevocable(wanted, own)

    def revoke(self, gone: Iterable[str], now: float, most: int = FLEET.account_bytes) -> str:
        """Revoke these nkeys for good: writes and returns the account's new token.

        Raises ValueError, and changes nothing: one of them is irrevocable, or the token would be
        larger than `most` bytes.
        """
        gone = list(gone)
        for reason in self.irrevocable(gone).values():
            raise ValueError(f"cannot revoke: {reason}")
        signer = KeyPair.parse(self.secret("operator-signer.nk"), nkeys.OPERATOR)
        with files.locked(self.folder):
            before = jwt.decode(self.file(ACCOUNT), signer.public, "account")
            revoked = revocation.update(roles.revocations(before), gone, now)
            # Servers keep the newer of two tokens, so the new one must have a later second.
            made_at = max(int(now), before.times.issued_at + 1)
            token = roles.account(signer, self.facts.account, revoked, made_at)
            revocation.check_size(token, len(revoked), most)
            self.keep_secret(_UNSENT, "")
            self.write(ACCOUNT, token)
        return token

    def unsent(self) -> Optional[str]:
        """The account's token, if no server of the bus has been sent it yet."""
        kept = os.path.join(self.folder, "home", "keys", _UNSENT)
        return self.file(ACCOUNT) if os.path.exists(kept) else None

    def mark_sent(self) -> None:
        """Note that a server has the account's token; the others get it from there."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self.folder, "home", "keys", _UNSENT))

    def _trust(self) -> Trust:
        system = KeyPair.parse(self.secret("system.nk"), nkeys.ACCOUNT).public
        accounts = {
            system: self.secret("system.jwt"),
            self.facts.account.identity: self.file(ACCOUNT),
        }
        return Trust(self.secret("operator.jwt"), system, accounts)

    def _authority(self, name: str) -> Authority:
        return Authority(Certificate(self.secret(f"{name}.pem"), self.secret(f"{name}.key")))

    def _subfolder(self, kind: str, name: str) -> str:
        folder = os.path.join(self.folder, "home", kind, name)
        os.makedirs(folder, mode=0o700, exist_ok=True)
        return folder


def gateway_name(url: str) -> str:
    """A gateway's name on the bus: letters, digits and hyphens. Raises ValueError."""
    parts = urlsplit(url)
    host = str(parts.hostname)
    servers.host_name(host)
    if parts.scheme != "https" or url != f"https://{parts.netloc}" or parts.username is not None:
        raise ValueError(f"a gateway's URL is https://NAME or https://NAME:PORT, not {url!r}")
    return "-".join([*host.split("."), str(parts.port or 443)])


def _make_keys(folder: str, plan: Plan, now: int) -> None:
    pairs = {
        "operator": KeyPair.generate(nkeys.OPERATOR),
        "operator-signer": KeyPair.generate(nkeys.OPERATOR),
        "system": KeyPair.generate(nkeys.ACCOUNT),
        "system-signer": KeyPair.generate(nkeys.ACCOUNT),
        "account": KeyPair.generate(nkeys.ACCOUNT),
        "gateway-signer": KeyPair.generate(nkeys.ACCOUNT),
    }
    hosts, issuer = KeyPair.generate(nkeys.ACCOUNT), PrivateKey.generate()
    keys = roles.AccountKeys(pairs["account"].public, hosts.public, pairs["gateway-signer"].public)
    signer = pairs["operator-signer"]
    facts = Facts(
        signer.public, keys, (issuer.public,), plan.servers, plan.gateways, plan.server_folder,
        plan.server_state, plan.registry,
    )  # fmt: skip
    secrets = {f"{name}.nk": pair.dump() for name, pair in pairs.items()}
    secrets.update(_system(pairs, now))
    secrets.update(_authorities(now))
    for name, text in secrets.items():
        files.replace(os.path.join(folder, "home", "keys", name), text, 0o600)
    shared: Mapping[str, str] = {
        ACCOUNT: roles.account(signer, keys, {}, now),
        ISSUER: issuer.dump(),
        HOST_SIGNER: hosts.dump(),
        CA: secrets["ca.pem"],
        FACTS: facts.dump(),
    }
    # The facts come last: without them the home does not exist.
    for name in _SHARED:
        _write(folder, name, shared[name])


def _system(pairs: Mapping[str, KeyPair], now: int) -> Mapping[str, str]:
    """The servers' credentials: the operator's token, the system account's, and one user's."""
    operator, signer, account = pairs["operator"], pairs["operator-signer"], pairs["system"].public
    user, by = KeyPair.generate(nkeys.USER), pairs["system-signer"]
    token = roles.system_user(by, account, user.public, now)
    return {
        "operator.jwt": roles.operator(operator, signer.public, account, now),
        "system.jwt": roles.system_account(signer, account, by.public, now),
        "system.creds": jwt.creds(token, user),
    }


def _authorities(now: float) -> Mapping[str, str]:
    """One authority for what clients see, another for the cluster.

    Otherwise a gateway's certificate would be valid for a server of the cluster.
    """
    made = {
        "ca": Authority.create("sixtykey fleet authority", now).pem,
        "route-ca": Authority.create("sixtykey fleet cluster authority", now).pem,
    }
    return {
        **{f"{name}.pem": pem.certificate for name, pem in made.items()},
        **{f"{name}.key": pem.private_key for name, pem in made.items()},
    }


def _write(folder: str, name: str, text: str) -> None:
    """Write a gateway's file, with the gateway's group."""
    mode = 0o644 if name in _PUBLIC else 0o640
    files.replace(os.path.join(folder, name), text, mode, GROUP)
