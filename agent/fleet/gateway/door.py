"""A gateway's door: pushes as on a single host, with tags; the list of hosts; and why."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from agent.audit.record import Record
from agent.config import patterns
from agent.config.fleet_limits import FLEET
from agent.config.key_policy import KeyPolicy
from agent.fleet.bus.caller import NoAnswer
from agent.fleet.directory import listing
from agent.fleet.directory.directory import Directory, KnownHost
from agent.fleet.gateway.attempts import Attempts, merge
from agent.fleet.gateway.explain import Explainer, ExplainRequest, unanswered
from agent.fleet.gateway.metrics import Histogram
from agent.sources.api.actions import SendSSHPublicKey
from agent.sources.api.allow import Tags
from agent.sources.api.errors import ApiError, InvalidAction, InvalidArgsException
from agent.sources.api.message import Request, Response, read_members
from agent.sources.api.network_door import NetworkDoor
from agent.sources.api.principal import Authenticator, Principal
from agent.sources.context import Context
from agent.sources.intake import NotThisHost
from agent.sources.readiness import NotReady
from agent.sources.steps import Steps, Taken
from agent.sources.throttle import Throttle


@dataclass(frozen=True)
class Question:
    """A request for a list of hosts: patterns of ids or names, the page's size, its start."""

    names: tuple[str, ...] = ()
    most: int = FLEET.page
    after: str = ""

    @classmethod
    def parse(cls, body: bytes) -> Question:
        """Read the body of Sixtykey.Hosts. Raises ValidationError and InvalidArgsException."""
        members = read_members(body, "Names", "MaxResults", "NextToken")
        names, most = members.get("Names", []), members.get("MaxResults", FLEET.page)
        after = members.get("NextToken", "")
        if (
            not isinstance(names, list)
            or len(names) > FLEET.list_items
            or not all(
                isinstance(each, str) and 0 < len(each) <= FLEET.text_characters for each in names
            )
        ):
            raise InvalidArgsException(f"Names must be at most {FLEET.list_items} texts.")
        try:
            for each in names:
                patterns.glob(each)
        except ValueError as error:
            raise InvalidArgsException(f"Names: {error}.") from None
        if type(most) is not int or not 1 <= most <= FLEET.page:
            raise InvalidArgsException(f"MaxResults must be a number from 1 to {FLEET.page}.")
        if not isinstance(after, str) or len(after) > 64:
            raise InvalidArgsException("NextToken must be that of the previous page.")
        return cls(tuple(names), most, after)


class GatewayDoor(NetworkDoor):
    """Answers requests to a gateway. `latency` records how long accepted pushes took."""

    def __init__(
        self,
        context: Context,
        steps: Steps[Taken],
        throttle: Throttle,
        authenticator: Authenticator,
        directory: Directory,
        explainer: Explainer,
    ) -> None:
        super().__init__(context, steps, throttle, authenticator)
        self._directory = directory
        self._explainer = explainer
        self._attempts = Attempts()
        self.latency = Histogram()

    async def _serve(self, request: Request, record: Record) -> Response:
        began = self._context.clock.boottime()
        response = await super()._serve(request, record)
        if (record.event, record.outcome) == ("push", "allowed"):
            self.latency.add(self._context.clock.boottime() - began)
        return response

    async def _tags(self, principal: Principal, source: str, instance: str) -> Tags:
        allow = principal.allow
        # No host is asked about its tags for a principal whom the other rules refuse anyway.
        allow.check_source(source)
        if not allow.tags or not patterns.matches(instance, allow.instances):
            return {}
        try:
            return await self._directory.tags(instance)
        except NoAnswer as error:
            raise NotReady(f"The instance {instance} did not answer: {error}.") from None

    def _tighten(self, host: dict[str, Any], policy: KeyPolicy) -> dict[str, Any]:
        """Lifetime and uses of this principal's keys on that host: the tightest limits apply."""
        own = self._context.config.keys
        lifetime, uses = KeyPolicy(own.lifetime, own.uses).tighten(host["Lifetime"], host["Uses"])
        lifetime, uses = policy.tighten(lifetime, uses)
        return {"Lifetime": lifetime, "Uses": uses}

    async def _answer_action(self, action: str, request: Request, record: Record) -> Response:
        # These actions need the bus, too.
        self._steps.readiness.check()
        return await super()._answer_action(action, request, record)

    async def _explain(
        self, request: Request, principal: Principal, record: Record
    ) -> dict[str, Any]:
        """What host and gateway know of the principal's own pushes, if it may push there."""
        asked = ExplainRequest.parse(request.body)
        record.instance, record.os_user = asked.instance, asked.os_user
        tags = await self._tags(principal, request.peer.source, asked.instance)
        principal.allow.check(request.peer.source, asked.instance, asked.os_user, tags)
        now, instance = self._context.clock.boottime(), asked.instance
        own = self._attempts.of(principal.name, instance, asked.os_user, now)
        try:
            told = await self._explainer.ask(asked, principal.name)
        except (InvalidAction, NotReady, NotThisHost) as error:
            if not own:
                raise
            told = unanswered(asked, str(error))
        return {**merge(told, own), "Region": self._context.identity.region}

    def _refuse(self, error: ApiError, request: Request, record: Record) -> Response:
        response = super()._refuse(error, request, record)
        self._attempts.note(record, self._context.clock.boottime())
        return response

    async def _push(self, request: Request, principal: Principal, record: Record) -> Response:
        response = await super()._push(request, principal, record)
        if record.replay:
            # Its body was accepted before, so it can be read.
            action = SendSSHPublicKey.parse(request.body, self._context.config.push.reference)
            told = replace(record, instance=action.instance_id, os_user=action.os_user)
            self._attempts.note(told, self._context.clock.boottime())
        return response

    async def _list(self, request: Request, principal: Principal, record: Record) -> dict[str, Any]:
        """A page of the hosts that the principal may push to."""
        del record
        asked = Question.parse(request.body)
        principal.allow.check_source(request.peer.source)

        def visible(known: KnownHost) -> bool:
            certificate = known.certificate
            return principal.allow.may_reach(certificate.host, certificate.tags)

        try:
            shown, last = await listing.page(
                self._directory, asked.names, asked.after, asked.most, visible
            )
        except NoAnswer as error:
            raise NotReady(f"The hosts cannot be listed: {error}.") from None
        for host in shown:
            host.update(self._tighten(host, principal.policy))
        return {"Hosts": shown, "NextToken": last} if last else {"Hosts": shown}
