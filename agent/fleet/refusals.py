"""Why a host refuses a lease, over the bus: the intake's errors by name, there and back.

A gateway raises what the host's intake raised, so the API says the same of a push through a gateway
as of one to the host itself.
"""

from __future__ import annotations

from typing import Union

from agent.config.fleet_limits import FLEET
from agent.fleet.clocks import NotForThisHost
from agent.fleet.documents import Rejected
from agent.fleet.messages import Refusal
from agent.leases.keys import KeyRejected
from agent.leases.lease import NotDurable, TableFull
from agent.sources.intake import NotReady, NotThisHost, UserDenied
from agent.sources.replay import ReplayMemoryFull, TooOld

_PLAIN = (KeyRejected, UserDenied, NotThisHost, TooOld, NotDurable, NotReady)
_WAITING = (ReplayMemoryFull, TableFull)
_BY_CODE = {kind.__name__: kind for kind in _PLAIN}
_WAITING_BY_CODE = {kind.__name__: kind for kind in _WAITING}
# What a host can raise that a gateway is to hear of; anything else is a defect of the host's.
REFUSALS = (*_PLAIN, *_WAITING, Rejected)


def refuse(error: Exception, lease: bytes, host: str) -> Refusal:
    """The refusal that tells of one of REFUSALS; `lease` is the lease's digest."""
    code, wait = type(error).__name__, 0
    if isinstance(error, NotForThisHost):
        code = NotThisHost.__name__
    elif isinstance(error, Rejected):
        # The gateway's clock or its key, or this host's: another try may find it mended.
        code = NotReady.__name__
    if isinstance(error, _WAITING):
        wait = min(max(int(error.wait * 1000), 0), FLEET.wait_ms)
    return Refusal(lease, host, code, _printable(str(error)), wait)


def reason(refusal: Refusal) -> Exception:
    """What the host's intake raised; NotReady for a name that is not known here."""
    if refusal.code in _WAITING_BY_CODE:
        return _WAITING_BY_CODE[refusal.code](refusal.words, refusal.wait / 1000)
    kind: Union[type[Exception], None] = _BY_CODE.get(refusal.code)
    return NotReady(refusal.words) if kind is None else kind(refusal.words)


def _printable(words: str) -> str:
    """The words in the form that a document takes."""
    plain = "".join(letter if letter.isprintable() else "?" for letter in words)
    return plain[: FLEET.text_characters] or "refused"
