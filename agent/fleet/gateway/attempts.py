"""A gateway's memory of refused and repeated pushes: it answers "why was my push refused?".

In memory only, and of this gateway only. Each principal has a memory of its own, which no other
principal can fill. Accepted pushes are not here: the host explains those, and their logins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional

from agent.audit.recent import Recent
from agent.audit.record import Record
from agent.config.fleet_limits import FLEET


@dataclass
class _Attempt:
    """A decision, when it was taken last (CLOCK_BOOTTIME, s), and how many times in a row."""

    outcome: str
    reason: Optional[str]
    os_user: str
    instance: Optional[str]
    fingerprint: Optional[str]
    replay: bool
    request_id: Optional[str]
    at: float
    times: int = 1

    def repeats(self, other: _Attempt) -> bool:
        """Whether it differs from another one in nothing but the time and the request."""
        return _kind(self) == _kind(other)


def _kind(each: _Attempt) -> tuple[object, ...]:
    return each.outcome, each.reason, each.os_user, each.instance, each.fingerprint, each.replay


def _size(each: _Attempt) -> int:
    """The memory that it takes (bytes)."""
    texts = (each.reason or "", each.os_user, each.instance or "")
    return FLEET.attempt_bytes + sum(map(len, texts))


class Attempts:
    """The latest attempts of each verified principal: `each` of them, `room` bytes for all."""

    def __init__(self, each: int = FLEET.attempts, room: int = FLEET.attempts_bytes) -> None:
        self._recent: Recent[_Attempt] = Recent(each, room, _size)

    def note(self, record: Record, now: float) -> None:
        """Remember a push that was refused or repeated. `now`: CLOCK_BOOTTIME, s.

        Nothing is remembered of an unverified sender, or of a request that names no OS user.
        """
        os_user = record.os_user or record.claimed_os_user
        if record.event != "push" or record.principal is None or os_user is None:
            return
        attempt = _Attempt(
            record.outcome,
            _cut(record.reason),
            os_user[: FLEET.text_characters],
            _cut(record.instance),
            record.fingerprint,
            bool(record.replay),
            record.request_id,
            now,
        )
        before = self._recent.latest(record.principal)
        if before is not None and before.repeats(attempt):
            attempt.times += before.times
            self._recent.replace_latest(record.principal, attempt)
        else:
            self._recent.add(record.principal, attempt)

    def of(self, principal: str, instance: str, os_user: str, now: float) -> list[dict[str, Any]]:
        """The principal's attempts at this instance and OS user, newest first.

        Also those refused before the instance was read, as above the rate: their `instance` is
        missing. Members are as in an audit record, with `age` (s) and `times`.
        """
        return [
            _describe(each, principal, now)
            for each in reversed(self._recent.of(principal))
            if each.os_user == os_user and each.instance in (None, instance)
        ]


def merge(told: dict[str, Any], own: list[dict[str, Any]]) -> dict[str, Any]:
    """The host's answer with the gateway's attempts among its decisions, newest first.

    What the host itself tells of a request is not told twice.
    """
    known = {each.get("request_id") for each in told["Decisions"]}
    more = [each for each in own if each.get("replay") or each.get("request_id") not in known]
    decisions = sorted([*told["Decisions"], *more], key=lambda each: float(each["age"]))
    return {**told, "Decisions": decisions}


def _describe(each: _Attempt, principal: str, now: float) -> dict[str, Any]:
    members = {
        "event": "push",
        "at": "gateway",
        "outcome": each.outcome,
        "age": round(now - each.at, 3),
        "times": each.times,
        "principal": principal,
        "os_user": each.os_user,
        "instance": each.instance,
        "reason": each.reason,
        "fingerprint": each.fingerprint,
        "request_id": each.request_id,
        "replay": each.replay or None,
    }
    return {name: value for name, value in members.items() if value is not None}


def _cut(text: Optional[str]) -> Optional[str]:
    return None if text is None else text[: FLEET.text_characters]
