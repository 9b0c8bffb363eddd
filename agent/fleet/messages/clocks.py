"""Checks that a signed message is for this host, and recent."""

from __future__ import annotations

from agent.config.fleet_limits import FLEET
from agent.fleet.messages.documents import Rejected


class NotForThisHost(Rejected):
    """The lease is for another host."""


class NotNow(Rejected):
    """The lease has ended, or its times contradict this host's clock."""


def check_clocks(named: str, issued_at: int, host: str, now: float) -> None:
    """Check that a message is for this host, and was signed about now.

    Args:
        named: the host that it names.
        issued_at: by the gateway's clock, in milliseconds.
        host, now: this host, and its wall clock in seconds.
    Raises:
        NotForThisHost: checked first.
        NotNow: the message is too old, or from the future.
    """
    if named != host:
        raise NotForThisHost(f"the message is for {named}, and this is {host}")
    age = now - issued_at / 1000
    apart = FLEET.clocks_apart_seconds
    if not -apart <= age <= apart + FLEET.transit_seconds:
        when = f"{age:.1f} s ago" if age > 0 else f"{-age:.1f} s from now"
        raise NotNow(
            f"by this host's clock the gateway signed this {when}: their clocks are more than "
            f"{apart:.0f} s apart, or it was delayed; synchronize both with NTP"
        )
