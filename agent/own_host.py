"""A single host's door to the network: pushes, and Sixtykey.Hosts, which tells of this host alone.

A client that has an endpoint and a credential learns from it what a push must name, and whether a
lease serves more than one login. A fleet's gateway answers the same action with its hosts.
"""

from __future__ import annotations

import json
from typing import Any

from agent import __version__
from agent.audit.record import Record
from agent.sources.api.credentials import Credential
from agent.sources.api.errors import ApiError, ValidationError
from agent.sources.api.message import Request, Response, one_source, success
from agent.sources.api.routing import operators_action
from agent.sources.api.service import NetworkDoor

HOSTS = "Sixtykey.Hosts"
# What a gateway's action takes; here there is nothing to choose from.
_MEMBERS = frozenset({"Names", "MaxResults", "NextToken"})


class HostDoor(NetworkDoor):
    """Answers any client of the port of a host that is no gateway."""

    async def _serve(self, request: Request, record: Record) -> Response:
        if operators_action(request) != HOSTS:
            return await super()._serve(request, record)
        record.event = "hosts"
        async with self._context.turns:
            try:
                principal = self._identify(request, record, HOSTS)
            except ApiError as error:
                source = one_source(request.peer.source)
                return self._refuse_stranger(error, request, record, source)
            self._throttle.take(principal.name, self._context.clock.boottime())
        _check_body(request.body)
        principal.credential.check_source(request.peer.source)
        record.outcome = "allowed"
        self._sample(record, ("operator", principal.name))
        # `Single`: whatever a client calls this host, it is the one at this endpoint.
        body = {"Hosts": self._visible(principal.credential), "Single": True}
        return success(record.request_id or "", body)

    def _visible(self, credential: Credential) -> list[dict[str, Any]]:
        """This host, if the credential may push to it: who may not learns nothing of it."""
        identity, keys = self._context.identity, self._context.config.keys
        if not credential.may_reach(identity.instance_id, {}):
            return []
        uses = (keys.uses, credential.keys.uses)
        return [
            {
                "InstanceId": identity.instance_id,
                "AvailabilityZone": identity.availability_zone,
                "Lifetime": min(keys.lifetime, credential.keys.lifetime or keys.lifetime),
                "Uses": "once" if "once" in uses else "unlimited",
                "Version": __version__,
            }
        ]


def _check_body(body: bytes) -> None:
    """Raise ValidationError unless it is what a gateway takes too."""
    try:
        members = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        raise ValidationError("The request body is not JSON.") from None
    if not isinstance(members, dict) or not members.keys() <= _MEMBERS:
        raise ValidationError("The body must be an object of Names, MaxResults and NextToken.")
