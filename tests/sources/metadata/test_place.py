"""The region of a zone, and the signer's name."""

from __future__ import annotations

import pytest

from agent.sources.metadata.place import region_of, signer_name
from agent.sources.metadata.refusal import Refused


@pytest.mark.parametrize(
    ("zone", "region"),
    [
        ("us-east-2b", "us-east-2"),
        ("us-gov-west-1a", "us-gov-west-1"),
        ("ap-southeast-11c", "ap-southeast-11"),
        ("cn-north-1a", "cn-north-1"),
        ("us-iso-east-1a", "us-iso-east-1"),
        ("us-isob-east-1a", "us-isob-east-1"),
        ("us-west-2-lax-1a", "us-west-2"),
        ("us-east-1-bos-1a", "us-east-1"),
        ("us-east-1-wl1-bos-wlz-1", "us-east-1"),
        ("eu-west-2-wl1-lon-wlz-1", "eu-west-2"),
    ],
)
def test_the_region_is_the_head_of_the_zone(zone: str, region: str) -> None:
    """The region is found for Availability, Local and Wavelength Zones in every partition."""
    assert region_of(zone) == region


@pytest.mark.parametrize(
    "zone",
    [
        "", "us-east-2", "us-east", "useast2b", "US-EAST-2B", "us-east-2b\n", " us-east-2b",
        "us-east-2b.evil.example", "us-east-2/b", "us-east-2bb", "us-east-2-", "us-east-2-a.b",
        "us-east-2-lax-1a-" + "x" * 64, "us-eäst-2b", "us-east-²b", "on-prem-1-a b",
    ],
)  # fmt: skip
def test_an_invalid_zone_is_refused(zone: str) -> None:
    """A malformed zone is refused, since it becomes part of the signer's name."""
    with pytest.raises(Refused, match="not a zone"):
        region_of(zone)


@pytest.mark.parametrize(
    "domain", ["amazonaws.com", "amazonaws.com.cn", "c2s.ic.gov", "sc2s.sgov.gov"]
)
def test_the_signer_is_named_for_region_and_domain(domain: str) -> None:
    """The signer's name consists of the region and the partition's domain."""
    assert signer_name("eu-west-3a", domain) == f"managed-ssh-signer.eu-west-3.{domain}"


@pytest.mark.parametrize(
    "domain", ["", "evil.example", "amazonaws.com.evil.example", "Amazonaws.com", "amazonaws.com."]
)
def test_no_other_domain_is_believed(domain: str) -> None:
    """A domain that is not a partition's is refused."""
    with pytest.raises(Refused, match="domain"):
        signer_name("us-east-2b", domain)
