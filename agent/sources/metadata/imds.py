"""EC2's instance metadata, version 2 (IMDSv2): the requests, and what is cached.

The paths are those that AWS's own host scripts read. EC2 does not document the ones below
managed-ssh-keys. Source for the token: EC2 User Guide, "How Instance Metadata Service Version 2
works".
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Optional

from agent.config.limits import LIMITS
from agent.host.clock import Clock
from agent.sources.metadata.http import Answer, Away, Connection
from agent.sources.metadata.place import signer_name
from agent.sources.metadata.refusal import shown

_TOKEN = re.compile(rb"[\x21-\x7e]{1,1024}")
_FINGERPRINT = re.compile(rb"[0-9A-Fa-f]{40,64}")


@dataclass(frozen=True)
class Place:
    """The instance's id according to the metadata, and the name of the signer of its keys."""

    instance: str
    signer: str


class Metadata:
    """Asks the metadata service. Every method raises Away when the service is unreachable."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        self._token: Optional[str] = None
        self._token_ends = 0.0
        self._place: Optional[Place] = None

    async def keys(self, os_user: str) -> Optional[Answer]:
        """The text with the blocks of the user's keys; None when there are none.

        `os_user` must match the API's pattern, since it becomes part of a path.
        """
        return await self._get(f"managed-ssh-keys/active-keys/{os_user}/", LIMITS.metadata_bytes)

    async def place(self, anew: bool = False) -> Place:
        """Which instance this is; cached unless `anew`. Raises Refused for a non-EC2 answer."""
        if self._place is None or anew:
            instance = await self._text("instance-id/")
            zone = await self._text("placement/availability-zone/")
            domain = await self._text("services/domain/")
            self._place = Place(instance, signer_name(zone, domain))
        return self._place

    async def chain(self) -> bytes:
        """The signer's certificate and its chain, in PEM; empty when EC2 has none.

        EC2 has one only after a key was pushed.
        """
        item = await self._get("managed-ssh-keys/signer-cert/")
        if item is not None and not item.complete:
            raise Away("its signer's certificate is too long")
        return b"" if item is None else item.body

    async def ocsp_answers(self) -> list[bytes]:
        """The OCSP answers that EC2 provides, in DER; anything else is left out.

        Each is named by a hash of its certificate. EC2 once changed that hash without notice, so
        the names are not used.
        """
        item = await self._get("managed-ssh-keys/signer-ocsp/")
        listed = b"" if item is None else item.body
        names = [name.decode() for name in listed.split() if _FINGERPRINT.fullmatch(name)]
        answers = []
        for name in names[: LIMITS.ocsp_answers]:
            item = await self._get(f"managed-ssh-keys/signer-ocsp/{name}")
            try:
                answers.append(base64.b64decode(b"" if item is None else item.body))
            except (binascii.Error, ValueError):
                continue
        return answers

    async def renew_token(self, before: float) -> None:
        """Fetch a new token when there is none, or it ends within `before` seconds."""
        if self._token is None or self._clock.boottime() + before >= self._token_ends:
            seconds = LIMITS.metadata_token_seconds
            answer = await self._connection.request(
                "PUT",
                "/latest/api/token",
                {"X-aws-ec2-metadata-token-ttl-seconds": str(seconds), "Content-Length": "0"},
                LIMITS.metadata_item_bytes,
            )
            if answer.status != 200 or not _TOKEN.fullmatch(answer.body):
                raise Away(f"it gave no token, but status {answer.status}")
            self._token = answer.body.decode()
            self._token_ends = self._clock.boottime() + seconds

    async def _text(self, path: str) -> str:
        body = (await self._item(path)).body
        try:
            return body.decode("ascii").strip()
        except UnicodeDecodeError:
            raise Away(f"its {path} is {shown(body)}") from None

    async def _item(self, path: str) -> Answer:
        item = await self._get(path)
        if item is None or not item.complete:
            raise Away(f"it has no {path}, or one that is too long")
        return item

    async def _get(self, path: str, most: int = LIMITS.metadata_item_bytes) -> Optional[Answer]:
        """An item; None when it does not exist."""
        for _ in range(2):
            await self.renew_token(0.0)
            answer = await self._connection.request(
                "GET",
                f"/latest/meta-data/{path}",
                {"X-aws-ec2-metadata-token": self._token or ""},
                most,
            )
            if answer.status != 401:
                break
            self._token = None
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise Away(f"it answered with status {answer.status}")
        return answer
