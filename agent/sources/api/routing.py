"""Which action a request asks for: method, path, query string, X-Amz-Target, Action, Version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Optional

from agent.sources.api import query
from agent.sources.api.actions import ACTION, TARGET, VERSION
from agent.sources.api.errors import (
    InvalidAction,
    InvalidParameterCombination,
    InvalidParameterValue,
    InvalidQueryParameter,
    MissingAction,
)
from agent.sources.api.message import DECIDING, Request


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


def route_local(request: Request, wanted: Optional[str] = ACTION) -> str:
    """The action that a local user asks for; SendSSHPublicKey if none is named.

    Its callers type curl commands. `wanted` None: any action, the caller knows which there are.
    Raises the same errors as `route`, in the same order.
    """
    _check_endpoint(request)
    parameters = _parameters(request)
    action = _action(request, parameters) if _names_action(request) else ACTION
    if wanted is not None:
        _check_known(action, wanted)
    _check_version(parameters)
    return action


def check_single(request: Request) -> None:
    """Raise InvalidQueryParameter if one of DECIDING is repeated."""
    for name in DECIDING:
        if len(request.values(name)) > 1:
            raise InvalidQueryParameter(f"The header {name.decode()} is given twice.")


def check_combination(request: Request, parameters: Mapping[str, str]) -> None:
    """Raise InvalidParameterCombination if header and query both authenticate."""
    in_query = [name for name in query.AUTHENTICATION if name in parameters]
    if not in_query:
        return
    for name in (b"authorization", b"x-amz-date", b"x-amz-security-token"):
        if request.values(name):
            raise InvalidParameterCombination(
                f"The query string has {in_query[0]} and there is a header {name.decode()}: "
                "use only one of them."
            )


def _check_endpoint(request: Request) -> None:
    # With a base path in the endpoint, clients ask for /base/, and a reverse proxy may pass it on.
    path = request.path
    if request.method != b"POST" or not path.startswith(b"/") or not path.endswith(b"/"):
        raise MissingAction


def _names_action(request: Request) -> bool:
    in_query = request.query.split(b"&")
    return any(request.values(b"x-amz-target")) or any(p.startswith(b"Action=") for p in in_query)


def _parameters(request: Request) -> dict[str, str]:
    parameters = query.parse(request.query)
    check_single(request)
    check_combination(request, parameters)
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


def _check_known(action: str, wanted: str) -> None:
    if action != wanted:
        raise InvalidAction(f"The action {action[:64]!r} is not known here. {ACTION} is.")


def _check_version(parameters: dict[str, str]) -> None:
    if parameters.get("Version", VERSION) != VERSION:
        raise InvalidParameterValue(f"Version must be {VERSION}.")
