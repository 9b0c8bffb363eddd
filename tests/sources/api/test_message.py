"""agent/sources/api/message.py: requests and responses as values."""

from __future__ import annotations

import json

import pytest

from agent.sources.api.errors import AuthException, ThrottlingException, ValidationError
from agent.sources.api.message import Peer, Request, one_source, read_members, refusal, success


def test_headers_are_found_by_name() -> None:
    """All values of a header are found in order, and the first as text whatever its bytes are."""
    request = Request(
        b"POST", b"/", ((b"a", b"1"), (b"b", b"\xff\n"), (b"a", b"2")), b"", Peer("x")
    )
    assert request.values(b"a") == [b"1", b"2"]
    assert (request.text(b"a"), request.text(b"b")) == ("1", "\\xff\n")
    assert request.text(b"c") is None


def test_a_target_is_split_as_sent() -> None:
    """A target is split at the first question mark, and nothing is decoded."""
    for target, path, query in ((b"/a%2F/?x=%41?y", b"/a%2F/", b"x=%41?y"), (b"/", b"/", b"")):
        request = Request(b"POST", target, (), b"", Peer("x"))
        assert (request.path, request.query) == (path, query)


def test_success_says_the_request_id_twice() -> None:
    """A success response has the request id in a header and in the body."""
    answer = success("id", {"RequestId": "id", "Success": True})
    assert (answer.status, answer.headers) == (200, (("x-amzn-RequestId", "id"),))
    assert json.loads(answer.content) == {"RequestId": "id", "Success": True}


def test_a_refusal_is_readable_for_every_client() -> None:
    """A refusal has the error code in the body and in a header, and the text as Message."""
    answer = refusal(AuthException("words"), "id")
    assert answer.status == 400
    assert json.loads(answer.content) == {"__type": "AuthException", "Message": "words"}
    assert dict(answer.headers) == {"x-amzn-RequestId": "id", "x-amzn-ErrorType": "AuthException"}


@pytest.mark.parametrize(("seconds", "said"), [(0.0, "1"), (0.5, "501"), (3.0001, "3001")])
def test_throttling_says_when_to_come_back(seconds: float, said: str) -> None:
    """The retry delay is sent in whole milliseconds, rounded up."""
    headers = dict(refusal(ThrottlingException("", seconds), "id").headers)
    assert headers["x-amz-retry-after"] == said


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("10.0.0.1", "10.0.0.1"), ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"), ("::1", "::/64"), ("::ffff:10.0.0.1", "10.0.0.1"),
    ],
)  # fmt: skip
def test_an_ipv4_address_and_an_ipv6_64_are_one_source(address: str, source: str) -> None:
    """An IPv4 address is one source, and so is an IPv6 /64."""
    assert one_source(address) == source


def test_an_actions_members_are_read_as_they_are() -> None:
    """Known members are returned whatever their values are, and no body is no member."""
    assert read_members(b'{"A": null, "B": [1]}', "A", "B", "C") == {"A": None, "B": [1]}
    assert read_members(b"", "A") == {}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "is not JSON"), (b"\xff", "is not JSON"), (b"[" * 100_000, "is not JSON"),
        (b"null", "must be a JSON object"), (b'["A"]', "must be a JSON object"),
        (b'{"A": 1, "a": 2}', "'a' is not a member of this action"),
    ],
)  # fmt: skip
def test_a_body_that_is_no_object_of_known_members_is_refused(body: bytes, words: str) -> None:
    """What is not JSON, not an object, or has another member, is a ValidationError that says so."""
    with pytest.raises(ValidationError) as refused:
        read_members(body, "A")
    assert words in refused.value.message
