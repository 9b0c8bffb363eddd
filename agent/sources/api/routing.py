"""Which action a request asks for: method, path, query string, X-Amz-Target, Action, Version."""

from __future__ import annotations

from agent.sources.api import authentication, query
from agent.sources.api.actions import ACTION, TARGET, VERSION
from agent.sources.api.errors import (
    InvalidAction,
    InvalidParameterCombination,
    InvalidParameterValue,
    MissingAction,
)
from agent.sources.api.message import Request

# Actions for the operator, on the local push socket only; see agent/operations.py.
OPERATOR_PREFIX = "Sixtykey."
METRICS = "Sixtykey.Metrics"


def is_operators(request: Request) -> bool:
    """Whether a local user asks for an operator's action, or for one that looks like it."""
    target = request.text(b"x-amz-target") or ""
    return request.peer.uid is not None and (
        target.startswith(OPERATOR_PREFIX) or is_scrape(request)
    )


def is_scrape(request: Request) -> bool:
    """Whether this is GET /metrics: Prometheus and its kin can ask in no other way."""
    return request.method == b"GET" and request.target == b"/metrics"


def route(request: Request) -> tuple[str, dict[str, str]]:
    """The action's name and the query parameters.

    The local push socket knows the operator's actions as well, and pushes when no action is named:
    its callers type curl commands.

    Raises:
        MissingAction, MalformedQueryString, InvalidQueryParameter, InvalidParameterCombination,
        InvalidAction, InvalidParameterValue: in this order.
    """
    local = request.peer.uid is not None
    path, raw_query = query.split(request.target)
    targets = request.values(b"x-amz-target")
    named = any(targets) or any(p.startswith(b"Action=") for p in raw_query.split(b"&"))
    # An endpoint with a base path asks for /base/: whatever mounted us there passes it on.
    if request.method != b"POST" or not path.startswith(b"/") or not path.endswith(b"/"):
        raise MissingAction
    if not named and not local:
        raise MissingAction
    parameters = query.parse(raw_query)
    authentication.check_single(request)
    authentication.check_combination(request, parameters)
    action = _action(request, parameters) if named else ACTION
    if action != ACTION and not (local and action.startswith(OPERATOR_PREFIX)):
        raise InvalidAction(f"The action {action[:64]!r} is not known here. {ACTION} is.")
    if parameters.get("Version", VERSION) != VERSION:
        raise InvalidParameterValue(f"Version must be {VERSION}.")
    return action, parameters


def _action(request: Request, parameters: dict[str, str]) -> str:
    """The one action that is named, by header, by query, or by both alike."""
    target = request.text(b"x-amz-target")
    named = {ACTION if target == TARGET else target, parameters.get("Action")} - {None}
    if len(named) > 1:
        raise InvalidParameterCombination("X-Amz-Target and Action name different actions.")
    if target == ACTION:
        raise InvalidAction(f"X-Amz-Target must name the service too: {TARGET}.")
    return str(named.pop())
