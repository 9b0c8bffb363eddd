"""Carries the errors of a host's intake over the bus, by name.

A gateway raises the same error as the host's intake. So the API gives the same answer to a push
through a gateway as to a push to the host itself.
"""

from __future__ import annotations

from typing import Union

from agent.config.fleet_limits import FLEET
from agent.fleet.messages.clocks import NotForThisHost
from agent.fleet.messages.documents import Rejected
from agent.fleet.messages.fields import printable
from agent.fleet.messages.lease_exchange import Refusal
from agent.leases.keys import KeyRejected
from agent.leases.lease import NotDurable, TableFull
from agent.sources.intake import NotThisHost, UserDenied
from agent.sources.readiness import NotReady
from agent.sources.replay import ReplayMemoryFull, TooOld

_PLAIN = (KeyRejected, UserDenied, NotThisHost, TooOld, NotDurable, NotReady)
_WAITING = (ReplayMemoryFull, TableFull)
_BY_CODE = {kind.__name__: kind for kind in _PLAIN}
_WAITING_BY_CODE = {kind.__name__: kind for kind in _WAITING}
# The host's errors that a gateway may see; any other exception is a bug in the host.
REFUSALS = (*_PLAIN, *_WAITING, Rejected)


def refuse(error: Exception, lease: bytes, host: str) -> Refusal:
    """The message for one of REFUSALS; `lease` is the lease's digest."""
    code, wait = type(error).__name__, 0
    if isinstance(error, NotForThisHost):
        code = NotThisHost.__name__
    elif isinstance(error, Rejected):
        # A wrong clock or key, the gateway's or this host's: it may be right at the next attempt.
        code = NotReady.__name__
    if isinstance(error, _WAITING):
        wait = min(max(int(error.wait * 1000), 0), FLEET.wait_ms)
    return Refusal(lease, host, code, printable(str(error) or "refused"), wait)


def reason(refusal: Refusal) -> Exception:
    """The error of the host's intake; NotReady for an unknown name."""
    if refusal.code in _WAITING_BY_CODE:
        return _WAITING_BY_CODE[refusal.code](refusal.words, refusal.wait / 1000)
    kind: Union[type[Exception], None] = _BY_CODE.get(refusal.code)
    return NotReady(refusal.words) if kind is None else kind(refusal.words)
