"""agent/sources/api/routing.py: the requested action, from X-Amz-Target, Action, or both."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.sources.api import query
from agent.sources.api.errors import (
    ApiError,
    InvalidAction,
    InvalidParameterCombination,
    InvalidParameterValue,
    InvalidQueryParameter,
    MalformedQueryString,
    MissingAction,
)
from agent.sources.api.operators import operators_action
from agent.sources.api.routing import (
    check_combination,
    check_single,
    route,
    route_local,
)
from tests.parts.signed import TARGET, Call, Signer, presign, push, sign

PLAIN = Call().without("X-Amz-Target")
SIGNED = sign(push(), Signer(at=1_800_000_000))
PRESIGNED = presign(push(), Signer(token="token", at=1_800_000_000), expires=30)


@pytest.mark.parametrize(
    "call",
    [
        Call(),
        Call(target="/base/"),
        Call(target="/a/b/?Version=2018-04-02"),
        replace(PLAIN, target="/?Action=SendSSHPublicKey"),
        Call(target="/?Action=SendSSHPublicKey&Version=2018-04-02"),
    ],
)
def test_the_action_is_recognised(call: Call) -> None:
    """X-Amz-Target, Action or both name the action, with a base path or the right version."""
    assert "Action" in route(call.request()) or call.value("X-Amz-Target") == TARGET
    assert route_local(call.request()) == "SendSSHPublicKey"


WRONG: dict[str, tuple[Call, type[ApiError]]] = {
    "GET": (Call(method="GET"), MissingAction),
    "HEAD": (Call(method="HEAD"), MissingAction),
    "post": (Call(method="post"), MissingAction),
    "another path": (Call(target="/send"), MissingAction),
    "no path": (Call(target="*"), MissingAction),
    "a whole URL": (Call(target="http://127.0.0.1/"), MissingAction),
    "nothing named": (PLAIN, MissingAction),
    "an empty target": (PLAIN.plus("X-Amz-Target", ""), MissingAction),
    "Action without a value": (replace(PLAIN, target="/?Action"), MissingAction),
    "a bad escape": (Call(target="/?Action=%"), MalformedQueryString),
    "unknown parameter": (Call(target="/?Other=1"), InvalidQueryParameter),
    "target twice": (Call().plus("X-Amz-Target", TARGET), InvalidQueryParameter),
    "both disagree": (Call(target="/?Action=Other"), InvalidParameterCombination),
    "both ways to sign": (
        Call(target="/?X-Amz-Algorithm=x").plus("Authorization", "x"), InvalidParameterCombination,
    ),
    "another target": (Call().having("X-Amz-Target", "Other.Send"), InvalidAction),
    "no service": (Call().having("X-Amz-Target", "SendSSHPublicKey"), InvalidAction),
    "another action": (replace(PLAIN, target="/?Action=SendSerialKey"), InvalidAction),
    "an empty action": (replace(PLAIN, target="/?Action="), InvalidAction),
    "an operator's": (Call().having("X-Amz-Target", "Sixtykey.List"), InvalidAction),
    "another version": (Call(target="/?Version=2014-11-15"), InvalidParameterValue),
    "an empty version": (Call(target="/?Version="), InvalidParameterValue),
}  # fmt: skip


@pytest.mark.parametrize(("call", "error"), WRONG.values(), ids=list(WRONG))
def test_a_wrong_action_or_version_is_refused(call: Call, error: type[ApiError]) -> None:
    """A wrongly named action or malformed query is refused with the reference's error."""
    with pytest.raises(error) as caught:
        route(call.request())
    assert type(caught.value) is error


def test_a_local_user_need_not_name_the_action() -> None:
    """On the push socket a POST without an action pushes, and operator actions are known."""
    assert route_local(PLAIN.request()) == "SendSSHPublicKey"
    assert route_local(PLAIN.plus("X-Amz-Target", "").request()) == "SendSSHPublicKey"
    listing = PLAIN.plus("X-Amz-Target", "Sixtykey.List").request()
    assert route_local(listing, None) == operators_action(listing) == "Sixtykey.List"
    for call, error in (
        (PLAIN.plus("X-Amz-Target", "Other.List"), InvalidAction),
        (replace(PLAIN, target="/?Action=Sixtykey.Why"), InvalidAction),
        (replace(PLAIN, method="GET"), MissingAction),
    ):
        assert operators_action(call.request()) is None
        with pytest.raises(error):
            route_local(call.request())


def test_a_scrape_is_an_operators_action() -> None:
    """Only `GET /metrics`, exactly, is routed to the metrics action."""
    scrape = replace(PLAIN, method="GET", target="/metrics")
    assert operators_action(scrape.request()) == "Sixtykey.Metrics"
    for call in (replace(scrape, target="/metrics?x"), replace(scrape, method="POST")):
        assert operators_action(call.request()) is None


def test_the_parameters_are_handed_on() -> None:
    """Routing returns the decoded query parameters."""
    assert route(Call(target="/?Version=2018%2D04-02").request()) == {"Version": "2018-04-02"}


@pytest.mark.parametrize(
    "name", ["X-Amz-Date", "X-Amz-Target", "X-Amz-Security-Token", "X-Amz-Content-SHA256"]
)
def test_a_header_that_decides_may_be_there_once(name: str) -> None:
    """A repeated header that affects the decision is refused; other headers may be repeated."""
    check_single(SIGNED.plus("X-Other", "1").plus("X-Other", "2").request())
    with pytest.raises(InvalidQueryParameter, match=name.lower()):
        check_single(SIGNED.without(name).plus(name, "1").plus(name, "1").request())


@pytest.mark.parametrize("name", ["Authorization", "X-Amz-Date", "X-Amz-Security-Token"])
def test_header_and_query_must_not_both_authenticate(name: str) -> None:
    """A request that authenticates in both header and query is refused; either one is accepted."""
    parameters = query.parse(PRESIGNED.request().query)
    check_combination(PRESIGNED.request(), parameters)
    check_combination(SIGNED.request(), {"Action": "SendSSHPublicKey"})
    with pytest.raises(InvalidParameterCombination, match=name.lower()):
        check_combination(PRESIGNED.plus(name, "x").request(), parameters)
