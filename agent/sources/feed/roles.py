"""The daemon's role towards each source that its configuration names.

The code of the others is not loaded: it would take a megabyte. What is configured is loaded at the
start, so that no login and no push waits for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional

from agent.leases.lease import Lease
from agent.sources.context import Context
from agent.sources.steps import Steps

if TYPE_CHECKING:
    from agent.sources.feed.ec2 import Ec2Role
    from agent.sources.feed.fleet import FleetRole


def ec2_role(context: Context, steps: Steps[Lease]) -> Optional[Ec2Role]:
    """The role towards sixtykeyd-ec2; None if AWS's own pushes are not asked for."""
    if context.config.ec2 is None:
        return None
    from agent.sources.feed.ec2 import Ec2Role

    return Ec2Role(context, steps)


def fleet_role(context: Context, steps: Steps[Lease], version: str) -> Optional[FleetRole]:
    """The role towards sixtykeyd-fleet; None if this host belongs to no fleet.

    Raises Problems: the host's key, or its certificate, cannot be used.
    """
    if context.config.fleet is None:
        return None
    from agent.fleet.host.signer import HostSigner
    from agent.sources.feed.fleet import FleetRole

    return FleetRole(context, steps, HostSigner(context.config.fleet), version)
