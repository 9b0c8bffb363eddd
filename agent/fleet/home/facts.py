"""The fleet's public facts: fleet.json at each gateway. It holds no secret."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.config.document import Problems
from agent.config.fleet_limits import FLEET
from agent.fleet.bus.roles import AccountKeys
from agent.fleet.bus.servers import Server
from agent.fleet.messages.documents import Rejected
from agent.fleet.messages.fields import Fields
from agent.fleet.messages.signing import PublicKey
from agent.host import files


@dataclass(frozen=True)
class Rotation:
    """A change of the issuer in progress: its stage, and when that began (wall clock, ms)."""

    stage: str
    since: int


@dataclass(frozen=True)
class Facts:
    """Public keys and places of a fleet.

    Attributes:
        operator_signer: the nkey that signs the accounts' tokens.
        account: the nkeys of the fleet's account.
        issuers: the keys whose leases hosts accept; the first one signs.
        servers: the servers of the bus.
        gateways: their URLs; hosts join at the first one.
        server_folder: where a server has its files; `server_state`: where it keeps tokens.
        registry: the file at the first gateway that lists the hosts that have joined.
        rotation: None while no change of the issuer is in progress.
    """

    operator_signer: str
    account: AccountKeys
    issuers: tuple[PublicKey, ...]
    servers: tuple[Server, ...]
    gateways: tuple[str, ...]
    server_folder: str
    server_state: str
    registry: str
    rotation: Rotation = field(default=Rotation("none", 0))

    def dump(self) -> str:
        """The file's text."""
        content = {
            "account": {
                "gateway_signer": self.account.gateway_signer,
                "host_signer": self.account.host_signer,
                "identity": self.account.identity,
            },
            "gateways": list(self.gateways),
            "issuers": [str(issuer) for issuer in self.issuers],
            "operator_signer": self.operator_signer,
            "registry": self.registry,
            "rotation": {"since": self.rotation.since, "stage": self.rotation.stage},
            "server_folder": self.server_folder,
            "server_state": self.server_state,
            "servers": [str(server) for server in self.servers],
        }
        return json.dumps(content, indent=2) + "\n"

    @classmethod
    def load(cls, path: str) -> Facts:
        """Read the file. Raises Problems."""
        try:
            return cls._of(json.loads(files.read(path, FLEET.file_bytes)))
        except OSError as error:
            raise Problems([f"{path}: {error.strerror}"]) from None
        except (Rejected, ValueError, RecursionError) as error:
            raise Problems([f"{path}: {error}"]) from None

    @classmethod
    def _of(cls, content: Mapping[str, object]) -> Facts:
        fields = Fields(content, "fleet")
        account, rotation = fields.object("account"), fields.object("rotation")
        facts = cls(
            operator_signer=fields.text("operator_signer"),
            account=AccountKeys(
                account.text("identity"),
                account.text("host_signer"),
                account.text("gateway_signer"),
            ),
            issuers=tuple(map(PublicKey.parse, fields.texts("issuers"))),
            servers=tuple(map(Server.parse, fields.texts("servers"))),
            gateways=fields.texts("gateways"),
            server_folder=fields.text("server_folder"),
            server_state=fields.text("server_state"),
            registry=fields.text("registry"),
            rotation=Rotation(
                rotation.choice("stage", "none", "introduced", "swapped"), rotation.time("since")
            ),
        )
        for each in (account, rotation, fields):
            each.end()
        return facts
