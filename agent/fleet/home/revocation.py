"""Which nkeys may be revoked, for how long, and how many: times are seconds of the wall clock.

A revocation in an account's token makes void what was issued for an nkey up to a time; the nkey "*"
means all users. Source: github.com/nats-io/jwt/v2, revocation_list.go.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import Any

from agent.config.fleet_limits import FLEET
from agent.fleet.messages.certificates import user_nkey
from agent.fleet.messages.fields import printable

# What is issued at a time can be renewed for this long.
_RENEWABLE = FLEET.membership_seconds + FLEET.grace_seconds


def irrevocable(wanted: Iterable[Any], gateways: Container[str]) -> dict[Any, str]:
    """Those of the texts that must not be revoked, with the reason.

    The registry, from which they come, belongs to the gateway's user. It must not have the
    operator's key revoke everybody ("*"), or the gateways' own nkeys.
    """
    found = {}
    for each in wanted:
        shown = printable(str(each))[:64]
        try:
            if not isinstance(each, str):
                raise ValueError("not a text")
            user_nkey(each)
        except ValueError:
            found[each] = f"{shown} is not the public nkey of a user"
        else:
            if each in gateways:
                found[each] = f"{shown} is the nkey of a gateway"
    return found


def update(revoked: Mapping[str, int], gone: Iterable[str], now: float) -> dict[str, int]:
    """Add these nkeys to the revocations, and drop those that have become useless."""
    # A gateway that does not have the new token yet may renew a removed host's membership, so
    # memberships that are issued later are void too. A host that joins again has new keys.
    until = int(now) + _RENEWABLE
    # A membership that was issued just before `end` can itself be renewed for some time; only after
    # that is its revocation useless. The registry does not know such renewals. Without dropping
    # useless revocations, the token would grow without limit.
    kept = {nkey: end for nkey, end in revoked.items() if end > now - _RENEWABLE}
    return {**kept, **dict.fromkeys(gone, until)}


def check_size(token: str, count: int, most: int) -> None:
    """Raise ValueError when the account's token, with `count` revocations, is too large."""
    if len(token) > most:
        raise ValueError(
            f"nothing is revoked: the account's token would have {len(token)} bytes for {count} "
            f"removed hosts, and {most} is the limit; a removal is dropped after "
            f"{2 * _RENEWABLE // 86_400} days"
        )


def warning(token: str) -> str:
    """What to tell an operator about the token's size; empty below half of the limit."""
    if len(token) <= FLEET.account_bytes // 2:
        return ""
    return (
        f"warning: removed hosts take {len(token)} of {FLEET.account_bytes} bytes of the account's "
        f"token; each is dropped after {2 * _RENEWABLE // 86_400} days"
    )
