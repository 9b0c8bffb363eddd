"""Which decisions a principal may see: those about its own pushes, and what happened to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

# Of a decision: not where somebody else's login came from, and no process of the host's.
SHOWN = (
    "event", "outcome", "reason", "age", "times", "fingerprint", "request_id", "principal",
    "os_user", "instance",
)  # fmt: skip


def own_decisions(
    decisions: Sequence[dict[str, Any]], principal: str, *, by_fleet: bool
) -> list[dict[str, Any]]:
    """The decisions about this principal's pushes, in their order, without what is not its own.

    Args:
        decisions: audit records, as History.of returns them.
        by_fleet: the principal is a fleet's. A host's own access key may have the same name, and
            its pushes are not told.
    """
    pushes = [
        each
        for each in decisions
        if each["event"] == "push"
        and each.get("principal") == principal
        and ("issuer" in each) == by_fleet
    ]
    return [_shown(each) for each in decisions if each in pushes or _follows(each, pushes)]


def _shown(decision: dict[str, Any]) -> dict[str, Any]:
    """What is told of a decision; a lookup's principal is only the helper's user."""
    names = [name for name in SHOWN if (decision["event"], name) != ("lookup", "principal")]
    return {name: decision[name] for name in names if name in decision}


def _follows(decision: dict[str, Any], pushes: list[dict[str, Any]]) -> bool:
    """Whether it is a lookup or an admission of a lease that one of these pushes became.

    Not by the key, which is public: whoever pushes another's would be told of that one's logins.
    """
    if decision["event"] not in ("lookup", "admission") or not decision.get("request_id"):
        return False
    taken = [each for each in pushes if each["outcome"] == "allowed"]
    return decision["request_id"] in {each.get("request_id") for each in taken}
