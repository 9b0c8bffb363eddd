"""The operator's actions, on the local push socket only: status, list, revoke, why.

The socket's group may ask; only root may revoke. Every one of them is audited.
"""

from __future__ import annotations

from collections.abc import Mapping

from agent.api.service import OperatorAction
from agent.audit import Audit
from agent.clock import Clock
from agent.config import Config
from agent.identity import Identity
from agent.store import LeaseStore


class Operator:
    """What an operator can ask a running daemon."""

    def __init__(
        self, config: Config, identity: Identity, store: LeaseStore, clock: Clock, audit: Audit
    ) -> None:
        self._config = config
        self._identity = identity
        self._store = store
        self._clock = clock
        self._audit = audit

    def actions(self) -> Mapping[str, OperatorAction]:
        """The actions by X-Amz-Target."""
        return {}
