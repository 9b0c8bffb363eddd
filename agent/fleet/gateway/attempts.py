"""A gateway's memory of refused and repeated pushes: it answers "why was my push refused?".

In memory only, and of this gateway only. The memory is shared fairly: no principal can push out
what another one is told, unless that one takes as much of it. Accepted pushes are not here: the
host explains those, and their logins.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, Optional

from agent.audit.record import Record
from agent.config import patterns
from agent.config.fleet_limits import FLEET
from agent.fleet.gateway.fair_memory import FairMemory


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
    """The memory that it takes (bytes): a character may take four."""
    texts = (each.reason, each.os_user, each.instance, each.fingerprint, each.request_id)
    return FLEET.attempt_bytes + sum(map(sys.getsizeof, texts))


class Attempts:
    """The latest attempts of each verified principal."""

    def __init__(
        self,
        each: int = FLEET.attempts,
        share: int = FLEET.attempts_share,
        room: int = FLEET.attempts_bytes,
    ) -> None:
        """`each` attempts and `share` bytes for one principal, `room` bytes for all."""
        self._memory: FairMemory[_Attempt] = FairMemory(each, share, room, _size)

    def note(self, record: Record, now: float) -> None:
        """Remember a push that was refused or repeated. `now`: CLOCK_BOOTTIME, s.

        Nothing is remembered of an unverified sender, nor of a request that names no OS user or
        instance in the form in which somebody could ask for it.
        """
        os_user, instance = record.os_user or record.claimed_os_user, record.instance
        if record.event != "push" or record.principal is None or os_user is None:
            return
        try:
            patterns.os_user_current(os_user)
            if instance is not None:
                patterns.instance_id(instance)
        except ValueError:
            return
        reason = None if record.reason is None else record.reason[: FLEET.text_characters]
        attempt = _Attempt(
            record.outcome,
            reason,
            os_user,
            instance,
            record.fingerprint,
            bool(record.replay),
            record.request_id,
            now,
        )
        before = self._memory.latest(record.principal)
        if before is not None and before.repeats(attempt):
            attempt.times += before.times
            self._memory.replace_latest(record.principal, attempt)
        else:
            self._memory.add(record.principal, attempt)

    def of(self, principal: str, instance: str, os_user: str, now: float) -> list[dict[str, Any]]:
        """The principal's attempts at this instance and OS user, newest first.

        Also those refused before the instance was read, as above the rate: their `instance` is
        missing. Members are as in an audit record, with `age` (s) and `times`.
        """
        return [
            _describe(each, principal, now)
            for each in reversed(self._memory.of(principal))
            if each.os_user == os_user and each.instance in (None, instance)
        ]


def merge(told: dict[str, Any], own: list[dict[str, Any]]) -> dict[str, Any]:
    """The host's answer with the gateway's attempts among its decisions, newest first.

    A request that the host explains itself is not repeated.
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
