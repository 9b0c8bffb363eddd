"""agent/sources/api/authentication.py: both forms of signing; ambiguous requests are refused."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any, Optional
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sources.api import authentication, query, sigv4
from agent.sources.api.claim import Claim
from agent.sources.api.errors import (
    ApiError,
    IncompleteSignature,
    MissingAuthenticationToken,
)
from tests.parts.signed import Call, Signer, presign, push, sign, sign_by_hand

SIGNED = sign(push(), Signer(at=1_800_000_000))
PRESIGNED = presign(push(), Signer(token="token", at=1_800_000_000), expires=30)


def read(call: Call) -> Claim:
    """The authentication that the module reads from a request."""
    request = call.request()
    return authentication.read(request, query.parse(request.query))


def authorization(
    algorithm: str = "AWS4-HMAC-SHA256",
    credential: str = "AKIA/20270115/us-east-2/ec2-instance-connect/aws4_request",
    signed: str = "content-type;host;x-amz-date;x-amz-target",
    signature: str = "0" * 64,
) -> str:
    """An Authorization header with these parts."""
    return f"{algorithm} Credential={credential}, SignedHeaders={signed}, Signature={signature}"


def test_the_header_form_is_read() -> None:
    """Key, scope, signed headers and date are read from a header that botocore made."""
    got = read(sign(push(), Signer(token="token", at=1_800_000_000)))
    assert (got.access_key_id, "/".join(got.scope)) == (
        "AKIAIOSFODNN7EXAMPLE", "20270115/us-east-2/ec2-instance-connect/aws4_request",
    )  # fmt: skip
    assert got.signed_headers == (
        "content-type", "host", "x-amz-date", "x-amz-security-token", "x-amz-target",
    )  # fmt: skip
    assert (got.date, got.token, got.expires) == ("20270115T080000Z", "token", None)


def test_the_query_form_is_read() -> None:
    """Date, token, expiry and signed headers are read from a presigned request."""
    got = read(PRESIGNED)
    assert (got.date, got.token, got.expires) == ("20270115T080000Z", "token", 30)
    assert got.signed_headers == ("content-type", "host", "x-amz-target")


def test_a_presigned_request_need_not_say_for_how_long() -> None:
    """Without X-Amz-Expires a presigned request is valid for the reference's 15 minutes."""
    assert (
        read(replace(PRESIGNED, target=PRESIGNED.target.replace("&X-Amz-Expires=30", ""))).expires
        == 900
    )


def test_a_date_header_replaces_x_amz_date() -> None:
    """A Date header in ISO 8601 basic format is used if there is no X-Amz-Date header."""
    call = Call().plus("Authorization", authorization(signed="content-type;host;x-amz-target"))
    assert read(call.plus("Date", "20270115T080000Z")).date == "20270115T080000Z"
    both = SIGNED.plus("Date", "20260101T000000Z")
    assert read(both).date == "20270115T080000Z"


def test_a_request_without_authentication_is_refused() -> None:
    """A request without authentication is refused with MissingAuthenticationToken."""
    with pytest.raises(MissingAuthenticationToken):
        read(push())


BAD_HEADERS = {
    "empty": "",
    "basic": "Basic dXNlcjpwYXNz",
    "algorithm alone": "AWS4-HMAC-SHA256",
    "another algorithm": authorization(algorithm="AWS4-ECDSA-P256-SHA256"),
    "algorithm in lower case": authorization(algorithm="aws4-hmac-sha256"),
    "no signature": authorization().rpartition(",")[0],
    "no credential": "AWS4-HMAC-SHA256 SignedHeaders=host, Signature=" + "0" * 64,
    "a part twice": authorization() + ", Signature=" + "0" * 64,
    "a part of its own": authorization() + ", Extra=1",
    "no equals sign": authorization() + ", Extra",
    "an empty part": authorization() + ",",
    "scope of four": authorization(credential="AKIA/20270115/us-east-2/aws4_request"),
    "scope of six": authorization(credential="AKIA/x/20270115/us-east-2/service/aws4_request"),
    "empty key": authorization(credential="/20270115/us-east-2/ec2-instance-connect/aws4_request"),
    "headers unsorted": authorization(signed="host;content-type;x-amz-date;x-amz-target"),
    "header twice": authorization(signed="content-type;host;host;x-amz-date;x-amz-target"),
    "header in upper case": authorization(signed="Content-Type;host;x-amz-date;x-amz-target"),
    "header's name odd": authorization(signed="a b;content-type;host;x-amz-date;x-amz-target"),
    "no header": authorization(signed=""),
    "host unsigned": authorization(signed="content-type;x-amz-date;x-amz-target"),
    "date unsigned": authorization(signed="content-type;host;x-amz-target"),
    "target unsigned": authorization(signed="content-type;host;x-amz-date"),
    "absent header signed": authorization(signed="content-type;host;via;x-amz-date;x-amz-target"),
    "signature short": authorization(signature="0" * 63),
    "signature long": authorization(signature="0" * 65),
    "signature in upper case": authorization(signature="A" * 64),
    "signature not hexadecimal": authorization(signature="g" * 64),
    "not ASCII": authorization(signature="\xe9" * 64),
}


@pytest.mark.parametrize("value", BAD_HEADERS.values(), ids=list(BAD_HEADERS))
def test_a_header_that_is_unclear_or_signs_too_little_is_refused(value: str) -> None:
    """A malformed or insufficient Authorization header is refused with IncompleteSignature."""
    with pytest.raises(IncompleteSignature):
        read(SIGNED.having("Authorization", value))


@pytest.mark.parametrize("name", ["X-Amz-Target", "X-Amz-Date", "X-Amz-Content-SHA256"])
def test_a_header_that_decides_must_be_signed(name: str) -> None:
    """A header that affects the decision must be signed if present; the error names it."""
    names = ("host", "x-amz-content-sha256", "x-amz-date", "x-amz-target")
    call = push().plus("X-Amz-Content-SHA256", hashlib.sha256(b"").hexdigest())
    assert read(sign_by_hand(call, signed=names)).signed_headers == names
    others = tuple(each for each in names if each != name.lower())
    with pytest.raises(IncompleteSignature, match=name.lower()):
        read(sign_by_hand(call, signed=others))


def test_a_header_that_decides_nothing_may_be_unsigned() -> None:
    """Content-Type, and headers that a proxy adds, may be unsigned."""
    call = sign_by_hand(push()).plus("X-Forwarded-For", "192.0.2.1")
    assert read(call).signed_headers == ("host", "x-amz-date", "x-amz-target")
    sigv4.check_signature(call.request(), read(call), Signer().secret)


def test_a_second_authorization_header_is_refused() -> None:
    """A request with two Authorization headers is refused with IncompleteSignature."""
    with pytest.raises(IncompleteSignature, match="twice"):
        read(SIGNED.plus("Authorization", authorization()))


@pytest.mark.parametrize("date", [None, "20270115", "Fri, 15 Jan 2027 08:00:00 GMT", "\xe9"])
def test_a_request_without_a_usable_date_is_refused(date: Optional[str]) -> None:
    """A missing date, or one in another format, is refused with IncompleteSignature."""
    call = Call().plus("Authorization", authorization(signed="content-type;host;x-amz-target"))
    with pytest.raises(IncompleteSignature):
        read(call if date is None else call.plus("Date", date))


def test_a_session_token_must_be_signed_and_ascii() -> None:
    """An unsigned or non-ASCII session token is refused with IncompleteSignature."""
    with pytest.raises(IncompleteSignature, match="x-amz-security-token"):
        read(SIGNED.plus("X-Amz-Security-Token", "token"))
    with pytest.raises(IncompleteSignature, match="ASCII"):
        read(sign(push(), Signer(token="token")).having("X-Amz-Security-Token", "\xe9"))


@pytest.mark.parametrize("name", ["Algorithm", "Credential", "Date", "Signature", "SignedHeaders"])
def test_a_presigned_request_that_lacks_a_part_is_refused(name: str) -> None:
    """A presigned request needs all five parameters; the error names the missing one."""
    path, _, asked = PRESIGNED.target.partition("?")
    kept = "&".join(p for p in asked.split("&") if not p.startswith(f"X-Amz-{name}="))
    with pytest.raises(IncompleteSignature, match=f"X-Amz-{name}"):
        read(replace(PRESIGNED, target=f"{path}?{kept}"))


@pytest.mark.parametrize("expires", ["0", "-1", "604801", "9999999", "1.5", "", "x", "\u0661"])
def test_an_impossible_expiry_is_refused(expires: str) -> None:
    """X-Amz-Expires other than 1 to 604800 in ASCII digits is refused."""
    target = PRESIGNED.target.replace("X-Amz-Expires=30", f"X-Amz-Expires={quote(expires)}")
    with pytest.raises(IncompleteSignature, match="X-Amz-Expires"):
        read(replace(PRESIGNED, target=target))


@given(st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0")), st.data())
def test_any_header_is_read_or_refused(text: str, data: Any) -> None:
    """Any Authorization header is read, or refused with an error of the reference."""
    good = authorization()
    cut = data.draw(st.integers(0, len(good)))
    for value in (text, good[:cut] + text, good[:cut] + text + good[cut:]):
        try:
            read(SIGNED.having("Authorization", value))
        except ApiError:
            continue
        assert value.startswith("AWS4-HMAC-SHA256 ")
