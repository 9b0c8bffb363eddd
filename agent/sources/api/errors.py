"""Every error of the API reference: its name, its HTTP status, and its default message.

Source: EC2 Instance Connect API Reference, SendSSHPublicKey (Errors) and Common Errors. The class's
name is the code that clients read. Messages say what to change; never a secret, never the
signature that would have been right.
"""

from __future__ import annotations

from typing import ClassVar


class ApiError(Exception):
    """A request is refused. `message` is for the caller and the audit record."""

    status: ClassVar[int] = 400
    words: ClassVar[str]

    def __init__(self, message: str = "") -> None:
        self.message = message or self.words
        super().__init__(self.message)

    @property
    def code(self) -> str:
        """The error's name, as clients read it."""
        return type(self).__name__


# Errors of the action SendSSHPublicKey.


class AuthException(ApiError):
    """Signature wrong, or no access to the instance."""

    words = "The credentials are not valid, or may not push to this instance."


class EC2InstanceNotFoundException(ApiError):
    """Another instance's id or zone."""

    words = "This host is not that instance, or not in that Availability Zone."


class InvalidArgsException(ApiError):
    """A parameter's value cannot be used."""

    words = "One of the parameters is not valid."


class ServiceException(ApiError):
    """The lease could not be kept."""

    status = 500
    words = "The key could not be stored, and was not accepted. Try again."


class ThrottlingException(ApiError):
    """Too many requests, or too many live keys. `retry_after` is in seconds."""

    words = "Too many requests. Wait a while and try again."

    def __init__(self, message: str = "", retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


# Errors common to all actions.


class AccessDeniedException(ApiError):
    """This credential may not push for that OS user."""

    words = "The credentials may not push a key for this OS user."


class IncompleteSignature(ApiError):
    """The authentication cannot be read, or signs too little."""

    words = "The request signature does not conform to Signature Version 4."


class InternalFailure(ApiError):
    """A bug in this program."""

    status = 500
    words = "The request failed for an internal reason, and was not carried out."


class InvalidAction(ApiError):
    """Another action."""

    words = "The action is not known here. SendSSHPublicKey is."


class InvalidClientTokenId(ApiError):
    """Unknown access key or client certificate."""

    status = 403
    words = "The access key ID or client certificate is not known here."


class InvalidParameterCombination(ApiError):
    """Mutually exclusive parameters."""

    words = "Parameters that must not be used together were used together."


class InvalidParameterValue(ApiError):
    """A common parameter has an impossible value."""

    words = "An invalid value was supplied for a parameter."


class InvalidQueryParameter(ApiError):
    """An unknown or repeated parameter."""

    words = "The query string has an unknown or repeated parameter."


class MalformedQueryString(ApiError):
    """The query string cannot be parsed."""

    status = 404
    words = "The query string contains a syntax error."


class MissingAction(ApiError):
    """No action, or not the way to ask for one."""

    words = "The request names no action: POST / with X-Amz-Target, or Action in the query."


class MissingAuthenticationToken(ApiError):
    """Nothing says who is asking."""

    status = 403
    words = "The request is not signed: Signature Version 4 is required."


class MissingParameter(ApiError):
    """A required parameter is absent."""

    words = "A required parameter is missing."


class NotAuthorized(ApiError):
    """Not from this source address."""

    words = "These credentials may not be used from this source address."


class OptInRequired(ApiError):
    """The access key is disabled or has expired."""

    status = 403
    words = "The access key is disabled or has expired."


class RequestExpired(ApiError):
    """The request's date is too far off, or it was presigned for a shorter time."""

    words = "The request's date is more than 15 minutes off, or it has expired."


class ServiceUnavailable(ApiError):
    """Temporarily unavailable: draining, or the store of leases cannot be used."""

    status = 503
    words = "The service is not available for the moment. Try again."


class ValidationError(ApiError):
    """The body is not what the action takes."""

    words = "The request body must be a JSON object with the action's parameters."


# Errors of the connection, before there is a request. The reference has no names for them; they
# keep its form, with HTTP's status (RFC 9110 section 15.5, RFC 6585).


class RequestTimeout(ApiError):
    """The request did not arrive in time."""

    status = 408
    words = "The request did not arrive in time."


class BadRequest(ApiError):
    """Not HTTP, or HTTP that two parsers could read in two ways."""

    words = "The request is not well-formed HTTP."


class LengthRequired(ApiError):
    """A body in chunks."""

    status = 411
    words = "The request needs a Content-Length: chunked bodies are not accepted."


class PayloadTooLarge(ApiError):
    """More body than any push has."""

    status = 413
    words = "The request body is too large."


class HeadersTooLarge(ApiError):
    """More headers than any push has."""

    status = 431
    words = "The request headers are too large."
