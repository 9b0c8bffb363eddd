"""Which decisions a principal may see: those about its own pushes, and logins with their keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

# The visible fields: not the address of somebody else's login, and no process of the host.
SHOWN = (
    "event", "outcome", "reason", "age", "times", "fingerprint", "request_id", "principal",
    "os_user", "instance", "replay",
)  # fmt: skip


def own_decisions(
    decisions: Sequence[dict[str, Any]], principal: str, *, by_fleet: bool
) -> list[dict[str, Any]]:
    """The decisions about this principal's pushes, in the given order, with visible fields only.

    Args:
        decisions: audit records, as History.of returns them.
        by_fleet: the principal is a fleet's. A host's own access key may have the same name; its
            pushes are not shown.
    """
    pushes = [
        each
        for each in decisions
        if each["event"] == "push"
        and each.get("principal") == principal
        and ("issuer" in each) == by_fleet
    ]
    return [
        _select_fields(each) for each in decisions if each in pushes or _is_use_of(each, pushes)
    ]


def _select_fields(decision: dict[str, Any]) -> dict[str, Any]:
    """The visible fields of a decision. A lookup's principal is the helper's user: left out."""
    names = [name for name in SHOWN if (decision["event"], name) != ("lookup", "principal")]
    return {name: decision[name] for name in names if name in decision}


def _is_use_of(decision: dict[str, Any], pushes: list[dict[str, Any]]) -> bool:
    """Whether it is a lookup or an admission of the lease that one of these pushes made.

    The request id decides, not the key: whoever pushes somebody else's public key must not learn
    of that person's logins.
    """
    if decision["event"] not in ("lookup", "admission") or not decision.get("request_id"):
        return False
    accepted = [each for each in pushes if each["outcome"] == "allowed"]
    return decision["request_id"] in {each.get("request_id") for each in accepted}
