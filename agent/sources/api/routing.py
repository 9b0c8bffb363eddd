"""Which action a request asks for: method, path, query string, X-Amz-Target, Action, Version."""

from __future__ import annotations

from typing import Optional

from agent.sources.api import authentication, query
from agent.sources.api.actions import ACTION, TARGET, VERSION
from agent.sources.api.errors import (
    InvalidAction,
    InvalidParameterCombination,
    InvalidParameterValue,
    MissingAction,
)
from agent.sources.api.message import Request

# Operator's actions, on the local push socket only; see agent/operations.py.
OPERATOR_PREFIX = "Sixtykey."
METRICS = "Sixtykey.Metrics"


def route(request: Request, wanted: str = ACTION) -> dict[str, str]:
    """The query parameters of a request for SendSSHPublicKey; another action is refused.

    `wanted`: the action of a door that has a different one.

    Raises:
        MissingAction, MalformedQueryString, InvalidQueryParameter, InvalidParameterCombination,
        InvalidAction, InvalidParameterValue: in this order.
    """
    _check_endpoint(request)
    if not _names_action(request):
        raise MissingAction
    parameters = _parameters(request)
    _check_known(_action(request, parameters), wanted)
    _check_version(parameters)
    return parameters


def route_local(request: Request) -> str:
    """The action that a local user asks for; SendSSHPublicKey if none is named.

    Its callers type curl commands. Raises the same errors as `route`, in the same order.
    """
    _check_endpoint(request)
    parameters = _parameters(request)
    action = _action(request, parameters) if _names_action(request) else ACTION
    if operators_action(request) is None:
        _check_known(action)
    _check_version(parameters)
    return action


def operators_action(request: Request) -> Optional[str]:
    """The operator's action in X-Amz-Target, or Metrics for a scrape; else None."""
    if is_scrape(request):
        return METRICS
    target = request.text(b"x-amz-target") or ""
    return target if target.startswith(OPERATOR_PREFIX) else None


def is_scrape(request: Request) -> bool:
    """Whether this is GET /metrics, the only request that Prometheus can send."""
    return request.method == b"GET" and request.target == b"/metrics"


def _check_endpoint(request: Request) -> None:
    # With a base path in the endpoint, clients ask for /base/, and a reverse proxy may pass it on.
    path = query.split(request.target)[0]
    if request.method != b"POST" or not path.startswith(b"/") or not path.endswith(b"/"):
        raise MissingAction


def _names_action(request: Request) -> bool:
    in_query = query.split(request.target)[1].split(b"&")
    return any(request.values(b"x-amz-target")) or any(p.startswith(b"Action=") for p in in_query)


def _parameters(request: Request) -> dict[str, str]:
    parameters = query.parse(query.split(request.target)[1])
    authentication.check_single(request)
    authentication.check_combination(request, parameters)
    return parameters


def _action(request: Request, parameters: dict[str, str]) -> str:
    """The action, named in the header, in the query, or the same in both."""
    target = request.text(b"x-amz-target")
    named = {ACTION if target == TARGET else target, parameters.get("Action")} - {None}
    if len(named) > 1:
        raise InvalidParameterCombination("X-Amz-Target and Action name different actions.")
    if target == ACTION:
        raise InvalidAction(f"X-Amz-Target must name the service too: {TARGET}.")
    return str(named.pop())


def _check_known(action: str, wanted: str = ACTION) -> None:
    if action != wanted:
        raise InvalidAction(f"The action {action[:64]!r} is not known here. {ACTION} is.")


def _check_version(parameters: dict[str, str]) -> None:
    if parameters.get("Version", VERSION) != VERSION:
        raise InvalidParameterValue(f"Version must be {VERSION}.")
