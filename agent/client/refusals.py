"""Explains the API's errors to the user, and says what to do."""

from __future__ import annotations

from agent.client.trouble import AWAY, FORBIDDEN, REFUSED, Trouble

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

    from agent.client.sigv4 import Credential

_EXPIRED = (
    "your credentials have expired: run aws sso login, or renew them in another way, and try again"
)
_UNKNOWN = "the endpoint does not know these credentials: check the profile and the endpoint"
_HINTS = {
    "AccessDeniedException": "ask whoever manages the access key to allow this OS user "
    "(allow.os_users, or the condition ec2:osuser), or log in as another one",
    "AccessDenied": "ask whoever manages the access key to allow this",
    "UnauthorizedOperation": "ask whoever manages the access key to allow this",
    "AuthException": "the secret is wrong, or this access key may not push to that instance",
    "NotAuthorized": "the access key may not be used from your address: do you need a VPN?",
    "InvalidClientTokenId": _UNKNOWN,
    "UnrecognizedClientException": _UNKNOWN,
    "OptInRequired": "the access key is disabled or expired: ask whoever manages it",
    "ExpiredToken": _EXPIRED,
    "ExpiredTokenException": _EXPIRED,
    "RequestExpired": "set this machine's clock: timedatectl set-ntp true",
    "EC2InstanceNotFoundException": "the host is gone, not connected, or has another id: "
    "sixtykey hosts",
    "EC2InstanceStateInvalidException": "the instance is not running",
    "EC2InstanceTypeInvalidException": "EC2 cannot push to this type of instance",
    "EC2InstanceUnavailableException": "the instance cannot be reached at present; try again",
    "InvalidArgsException": "the host may not take Ed25519 keys: keys.types of its configuration "
    "needs ssh-ed25519",
    "ThrottlingException": "too many pushes at once: try again, or ask for a higher push.rate",
    "ServiceUnavailable": "the host or its gateway is stopping or unreachable: try again soon",
    "IncompleteSignature": "is `region` the one that the endpoint expects?",
    "InvalidAction": "this endpoint does not list hosts: set instance, zone and address of "
    "the host in client.yaml",
}
# Hints for a question that differ from those for a push.
_QUESTIONS = {
    "InvalidAction": "it has an older version, or is not sixtykey; ask its administrator: "
    "sixtykey why USER",
    "InvalidArgsException": "",
}
_FORBIDDEN = frozenset({
    "AccessDeniedException", "AccessDenied", "UnauthorizedOperation", "AuthException",
    "NotAuthorized", "InvalidClientTokenId", "UnrecognizedClientException", "OptInRequired",
})  # fmt: skip
_TEMPORARY = frozenset({"ThrottlingException", "ServiceUnavailable", "ServiceException"})
# Report a difference of clocks above this (seconds). An answer itself takes some of it.
_CLOCK_OFFSET = 60.0


def explain_refusal(
    code: str,
    message: str,
    clock_offset: Optional[float],
    credential: Credential,
    url: str,
    what: str = "push",
) -> Trouble:
    """The Trouble for an API error.

    Args:
        clock_offset: how far this clock is ahead, in seconds.
        what: what was refused, a push or a question.
    """
    hint = _HINTS.get(code, "") if what == "push" else _QUESTIONS.get(code, _HINTS.get(code, ""))
    if code in ("RequestExpired", "AuthException", "SignatureDoesNotMatch"):
        hint = _clock_hint(clock_offset) or hint
    exit_code = FORBIDDEN if code in _FORBIDDEN else AWAY if code in _TEMPORARY else REFUSED
    said = "" if message in ("", "None") else f": {message}"
    words = f"the {what} was refused, {code}{said}"
    who = f"asked: {url} as {credential.access_key_id} ({credential.origin})"
    return Trouble(exit_code, code, words, f"{hint}\n  {who}" if hint else who)


def _clock_hint(clock_offset: Optional[float]) -> str:
    if clock_offset is None or abs(clock_offset) < _CLOCK_OFFSET:
        return ""
    side = "ahead of" if clock_offset > 0 else "behind"
    apart = f"{abs(clock_offset):.0f} s {side} the other's"
    return f"this machine's clock is {apart}: {_HINTS['RequestExpired']}"
