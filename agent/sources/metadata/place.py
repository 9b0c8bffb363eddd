"""The name that the signer's certificate must have, from the instance's zone and domain."""

from __future__ import annotations

import re

from agent.sources.metadata.refusal import Refused, shown

# us-east-2b, us-gov-west-1a; a Local Zone (us-west-2-lax-1a) and a Wavelength Zone
# (us-east-1-wl1-bos-wlz-1) begin with their region too.
_ZONE = re.compile(
    r"([a-z]{2,8}(?:-[a-z]{2,16}){1,3}-[0-9]{1,2})(?:[a-z]|(?:-[a-z0-9]{1,16}){1,4})"
)
# Only the AWS partitions' own domains. With any domain accepted, an attacker could get a valid
# certificate for managed-ssh-signer.<region>.<the attacker's domain>.
DOMAINS = ("amazonaws.com", "amazonaws.com.cn", "c2s.ic.gov", "sc2s.sgov.gov")


def region_of(zone: str) -> str:
    """The region of an Availability, Local or Wavelength Zone. Raises Refused."""
    match = _ZONE.fullmatch(zone)
    if match is None or len(zone) > 64:
        raise Refused(f"the metadata's zone is {shown(zone)}, which is not a zone of EC2")
    return match[1]


def signer_name(zone: str, domain: str) -> str:
    """The name that the signer's certificate must have. Raises Refused."""
    if domain not in DOMAINS:
        raise Refused(f"the metadata's domain is {shown(domain)}, which is not a domain of EC2")
    return f"managed-ssh-signer.{region_of(zone)}.{domain}"
