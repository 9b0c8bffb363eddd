"""Changes the issuer's key in three steps, with two trusted issuers meanwhile and no refused push.

1. introduce: make the next key. Hosts learn to trust it when they renew.
2. swap: once every host has renewed, the next key signs. The old key is still trusted.
3. retire: once every host has renewed again, the new key has signed its certificate. The old key is
   no longer trusted.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from agent.fleet.home.facts import Rotation
from agent.fleet.home.home import ISSUER, NEXT_ISSUER, Home
from agent.fleet.home.registry import Known
from agent.fleet.messages.signing import PrivateKey

NONE, INTRODUCED, SWAPPED = "none", "introduced", "swapped"


class NotYet(Exception):
    """The next step would lock out these hosts, which have not renewed since the last step."""

    def __init__(self, hosts: Sequence[str]) -> None:
        super().__init__(f"{len(hosts)} hosts have not renewed since the last step")
        self.hosts = tuple(hosts)


@dataclass(frozen=True)
class Step:
    """The result of a step: the stage that begins, and the issuers from now on."""

    stage: str
    issuers: tuple[str, ...]


def advance(home: Home, hosts: Sequence[Known], now: float, anyway: bool = False) -> Step:
    """Take the next step. `now` is the wall clock in seconds.

    Args:
        hosts: all hosts of the registry.
        anyway: do not wait for hosts that have not renewed; they must join again.
    Raises:
        NotYet: hosts have not renewed since the last step.
        OSError: a file cannot be written; ValueError: a key cannot be read.
    """
    facts, since = home.facts, home.facts.rotation.since
    late = [] if facts.rotation.stage == NONE else _late(hosts, since)
    if late and not anyway:
        raise NotYet(late)
    begin = int(now * 1000)
    if facts.rotation.stage == NONE:
        made = PrivateKey.generate()
        home.keep_secret(NEXT_ISSUER, made.dump())
        issuers = (*facts.issuers, made.public)
        home.save(replace(facts, issuers=issuers, rotation=Rotation(INTRODUCED, begin)))
    elif facts.rotation.stage == INTRODUCED:
        # Write the key first: while the facts' first issuer is not the key that signs, every host
        # is refused.
        home.write(ISSUER, home.secret(NEXT_ISSUER))
        issuers = facts.issuers[::-1]
        home.save(replace(facts, issuers=issuers, rotation=Rotation(SWAPPED, begin)))
    else:
        issuers = facts.issuers[:1]
        home.save(replace(facts, issuers=issuers, rotation=Rotation(NONE, 0)))
        os.unlink(os.path.join(home.folder, "home", "keys", NEXT_ISSUER))
    return Step(home.facts.rotation.stage, tuple(map(str, home.facts.issuers)))


def _late(hosts: Sequence[Known], since: int) -> list[str]:
    """Members whose certificate is older than `since` (wall clock, ms)."""
    return [
        known.certificate.host
        for known in hosts
        if known.gone_at is None and known.certificate.issued_at < since
    ]
