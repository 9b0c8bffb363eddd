"""What the parts of one process share: complete when it is made, and immutable."""

from __future__ import annotations

from dataclasses import dataclass

from agent.audit.record import Audit
from agent.config.identity import Identity
from agent.config.settings import Config
from agent.host.clock import Clock
from agent.leases.turns import Turns


@dataclass(frozen=True)
class Context:
    """Settings, identity, clock, audit, and the turns in which leases are changed."""

    config: Config
    identity: Identity
    clock: Clock
    audit: Audit
    turns: Turns
