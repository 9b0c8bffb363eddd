"""A single host's door to the network: pushes, and two actions for principals that may push here.

Sixtykey.Hosts describes this host: a client with an endpoint and a credential learns what a push
must name, and whether a lease serves more than one login. A fleet's gateway answers the same action
with its hosts. Sixtykey.Explain reports what became of the principal's own pushes.
"""

from __future__ import annotations

import json
from typing import Any

from agent import __version__
from agent.audit.record import Record
from agent.sources.api.credentials import Credential
from agent.sources.api.errors import ApiError, MissingParameter, ValidationError
from agent.sources.api.message import Request, Response, one_source, success
from agent.sources.api.routing import operators_action
from agent.sources.api.service import NetworkDoor

HOSTS, EXPLAIN = "Sixtykey.Hosts", "Sixtykey.Explain"
# What a gateway's action takes; here there is nothing to choose from.
_PAGING = frozenset({"Names", "MaxResults", "NextToken"})
# Of a decision: not where somebody else's login came from, and no process of the host's.
_SHOWN_MEMBERS = (
    "event", "outcome", "reason", "age", "times", "fingerprint", "request_id", "principal",
    "os_user", "instance",
)  # fmt: skip
# How the reason begins when the key that was pushed last is another one, perhaps somebody else's.
_ANOTHER = "another fingerprint"


class HostDoor(NetworkDoor):
    """Answers any client of the port of a host that is no gateway."""

    async def _serve(self, request: Request, record: Record) -> Response:
        action = operators_action(request) or ""
        if action not in (HOSTS, EXPLAIN):
            return await super()._serve(request, record)
        record.event = action.partition(".")[2].lower()
        async with self._context.turns:
            try:
                principal = self._identify(request, record, action)
            except ApiError as error:
                source = one_source(request.peer.source)
                return self._refuse_stranger(error, request, record, source)
            self._throttle.take(principal.name, self._context.clock.boottime())
        if action == EXPLAIN:
            body = self._explain(principal.credential, request, record)
        else:
            _members(request.body, _PAGING)
            principal.credential.check_source(request.peer.source)
            # `Single`: whatever a client calls this host, it is the one at this endpoint.
            body = {"Hosts": self._visible(principal.credential), "Single": True}
        record.outcome = "allowed"
        self._sample(record, ("operator", principal.name))
        return success(record.request_id or "", body)

    def _explain(self, credential: Credential, request: Request, record: Record) -> dict[str, Any]:
        """The recent decisions about OSUser that are about this credential's own pushes."""
        os_user = _members(request.body, frozenset({"OSUser"})).get("OSUser")
        if not isinstance(os_user, str):
            raise MissingParameter("OSUser is a required parameter: a text.")
        record.os_user = os_user
        identity = self._context.identity
        credential.check_allowed(request.peer.source, identity.instance_id, os_user)
        decisions = self._context.audit.history.of(os_user, self._context.clock.boottime())
        own = [each for each in decisions if each.get("principal") == credential.access_key_id]
        return {
            "Decisions": [
                {name: each[name] for name in _SHOWN_MEMBERS if name in each}
                for each in decisions
                if each in own or _follows(each, own)
            ],
            "InstanceId": identity.instance_id,
            "AvailabilityZone": identity.availability_zone,
            "Region": identity.region,
        }

    def _visible(self, credential: Credential) -> list[dict[str, Any]]:
        """This host, if the credential may push to it: who may not learns nothing of it."""
        identity, keys = self._context.identity, self._context.config.keys
        if not credential.may_reach(identity.instance_id, {}):
            return []
        lifetime, uses = credential.keys.tighten(keys.lifetime, keys.uses)
        return [
            {
                "InstanceId": identity.instance_id,
                "AvailabilityZone": identity.availability_zone,
                "Lifetime": lifetime,
                "Uses": uses,
                "Version": __version__,
            }
        ]


def _follows(decision: dict[str, Any], pushes: list[dict[str, Any]]) -> bool:
    """Whether it is a lookup or an admission of a key that one of these pushes brought."""
    if decision["event"] not in ("lookup", "admission"):
        return False
    if decision.get("request_id"):
        return decision["request_id"] in {each.get("request_id") for each in pushes}
    if str(decision.get("reason")).startswith(_ANOTHER):
        return False
    keys = {each.get("fingerprint") for each in pushes} - {None}
    return decision.get("fingerprint") in keys


def _members(body: bytes, known: frozenset[str]) -> dict[str, Any]:
    """The body's members. Raises ValidationError unless it is an object of these."""
    try:
        members = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        raise ValidationError("The request body is not JSON.") from None
    if not isinstance(members, dict) or not members.keys() <= known:
        raise ValidationError(f"The body must be an object of {', '.join(sorted(known))}.")
    return members
