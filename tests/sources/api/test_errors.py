"""agent/sources/api/errors.py: all errors of the reference, with their status codes."""

from __future__ import annotations

import pytest

from agent.sources.api import errors
from agent.sources.api.errors import ApiError, ThrottlingException

# From the API Reference: the errors of SendSSHPublicKey, and the common errors.
PUBLISHED = {
    "AuthException": 400, "EC2InstanceNotFoundException": 400, "InvalidArgsException": 400,
    "ServiceException": 500, "ThrottlingException": 400, "AccessDeniedException": 400,
    "IncompleteSignature": 400, "InternalFailure": 500, "InvalidAction": 400,
    "InvalidClientTokenId": 403, "InvalidParameterCombination": 400, "InvalidParameterValue": 400,
    "InvalidQueryParameter": 400, "MalformedQueryString": 404, "MissingAction": 400,
    "MissingAuthenticationToken": 403, "MissingParameter": 400, "NotAuthorized": 400,
    "OptInRequired": 403, "RequestExpired": 400, "ServiceUnavailable": 503, "ValidationError": 400,
}  # fmt: skip
# Refusals at the HTTP level, which the reference does not have.
OURS = {
    "RequestTimeout": 408, "BadRequest": 400, "LengthRequired": 411, "PayloadTooLarge": 413,
    "HeadersTooLarge": 431,
}  # fmt: skip
CLASSES = {kind.__name__: kind for kind in ApiError.__subclasses__()}


def test_there_is_every_error_and_no_other() -> None:
    """The errors are exactly the reference's and five of HTTP, with the same status codes."""
    assert {name: kind.status for name, kind in CLASSES.items()} == {**PUBLISHED, **OURS}


@pytest.mark.parametrize("name", CLASSES)
def test_an_error_has_its_name_and_words(name: str) -> None:
    """An error has a default message, which a given message replaces."""
    error = CLASSES[name]()
    assert (error.code, str(error)) == (name, error.message)
    assert error.message
    assert CLASSES[name]("better").message == "better"


def test_throttling_says_how_long() -> None:
    """A throttling error carries a delay in seconds, 1 by default."""
    assert ThrottlingException().retry_after == 1.0
    assert ThrottlingException("", 2.5).retry_after == 2.5
    assert errors.ThrottlingException("words").message == "words"
