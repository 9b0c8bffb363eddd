"""A single host's door to the network: pushes, and two actions for principals that may push here.

Sixtykey.Hosts describes this host: a client with an endpoint and a credential learns what a push
must name, and whether a lease serves more than one login. A fleet's gateway answers the same action
with its hosts. Sixtykey.Explain reports what became of the principal's own pushes.
"""

from __future__ import annotations

from typing import Any

from agent import __version__
from agent.audit import visible
from agent.audit.record import Record
from agent.sources.api.errors import EC2InstanceNotFoundException, MissingParameter
from agent.sources.api.message import Request, read_members
from agent.sources.api.network_door import NetworkDoor
from agent.sources.api.principal import Principal

# What a gateway's action takes; here there is nothing to choose from.
_PAGING = ("Names", "MaxResults", "NextToken")


class HostDoor(NetworkDoor):
    """Answers clients of the network listener of a single host."""

    async def _list(self, request: Request, principal: Principal, record: Record) -> dict[str, Any]:
        del record
        read_members(request.body, *_PAGING)
        principal.allow.check_source(request.peer.source)
        # `Single`: whatever a client calls this host, it is the one at this endpoint.
        return {"Hosts": self._visible(principal), "Single": True}

    async def _explain(
        self, request: Request, principal: Principal, record: Record
    ) -> dict[str, Any]:
        """The recent decisions about OSUser that are about this principal's own pushes."""
        members = read_members(request.body, "OSUser", "InstanceId")
        os_user = members.get("OSUser")
        if not isinstance(os_user, str):
            raise MissingParameter("OSUser is a required parameter: a text.")
        record.os_user = os_user
        identity = self._context.identity
        principal.allow.check(request.peer.source, identity.instance_id, os_user, {})
        # A client need not know whether a gateway or the host itself answers.
        if members.get("InstanceId", identity.instance_id) != identity.instance_id:
            raise EC2InstanceNotFoundException
        decisions = self._context.audit.history.of(os_user, self._context.clock.boottime())
        return {
            "Decisions": visible.own_decisions(decisions, principal.name, by_fleet=False),
            "InstanceId": identity.instance_id,
            "AvailabilityZone": identity.availability_zone,
            "Region": identity.region,
        }

    def _visible(self, principal: Principal) -> list[dict[str, Any]]:
        """This host, if the principal may push to it: who may not learns nothing of it."""
        identity, keys = self._context.identity, self._context.config.keys
        if not principal.allow.may_reach(identity.instance_id, {}):
            return []
        lifetime, uses = principal.policy.tighten(keys.lifetime, keys.uses)
        return [
            {
                "InstanceId": identity.instance_id,
                "AvailabilityZone": identity.availability_zone,
                "Lifetime": lifetime,
                "Uses": uses,
                "Version": __version__,
            }
        ]
