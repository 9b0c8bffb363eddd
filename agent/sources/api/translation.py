"""Translates the intake's errors into the API's.

Source: API Reference, Errors. The intake knows no HTTP.
"""

from __future__ import annotations

from typing import Callable

from agent.leases.keys import KeyRejected
from agent.leases.lease import NotDurable, TableFull
from agent.sources.api.errors import (
    AccessDeniedException,
    ApiError,
    EC2InstanceNotFoundException,
    InvalidArgsException,
    RequestExpired,
    ServiceException,
    ServiceUnavailable,
    ThrottlingException,
)
from agent.sources.intake import NotThisHost, UserDenied
from agent.sources.readiness import NotReady
from agent.sources.replay import ReplayMemoryFull, TooOld
from agent.sources.throttle import TooMany


def _table_full(error: TableFull) -> ApiError:
    words = f"No room for one more key: {error}. Wait until one has expired."
    return ThrottlingException(words, error.wait)


_ANSWERS: dict[type[Exception], Callable[..., ApiError]] = {
    KeyRejected: lambda error: InvalidArgsException(f"SSHPublicKey: {error}."),
    UserDenied: lambda error: AccessDeniedException(str(error)),
    NotThisHost: lambda error: EC2InstanceNotFoundException(str(error)),
    TooOld: lambda _: RequestExpired(
        "The request is as old as others that have expired. Sign it again."
    ),
    TooMany: lambda error: ThrottlingException(str(error), error.wait),
    ReplayMemoryFull: lambda error: ThrottlingException(
        "This host's replay memory is full. Wait a while and try again.",
        error.wait,
    ),
    TableFull: _table_full,
    NotReady: lambda error: ServiceUnavailable(str(error)),
    # The caller does not learn why the store failed; the log has the reason.
    NotDurable: lambda _: ServiceException(),
}
# The errors that `api_error` translates; any other error is a bug.
REFUSALS = tuple(_ANSWERS)


def api_error(refusal: Exception) -> ApiError:
    """The reference's error for one of REFUSALS. Raises KeyError for anything else."""
    return _ANSWERS[type(refusal)](refusal)
