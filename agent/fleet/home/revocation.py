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


def updated(revoked: Mapping[str, int], gone: Iterable[str], now: float) -> dict[str, int]:
    """The revocations, without those that have become useless, and with these nkeys."""
    # A gateway that does not have the new token yet may renew what they have. So what is issued
    # later is void, too; a host that joins again has new keys.
    until = int(now) + _RENEWABLE
    # What such a gateway issued just before `end` can be renewed until much later, and no sooner
    # is the revocation useless. The registry does not know such renewals, so the end of its
    # certificate says nothing. Drop what is useless, or the token would grow for ever.
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
