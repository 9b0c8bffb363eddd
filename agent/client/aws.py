"""The part that needs botocore: credentials of every kind, and EC2's list of instances.

botocore takes a quarter of a second to import, so import this module only when it is needed.
"""

from __future__ import annotations

from typing import Any

from agent.client import third_party
from agent.client.hosts import Host, Reach
from agent.client.settings import Settings
from agent.client.sigv4 import Credential
from agent.client.trouble import REFUSED, Trouble

_STATES = ["running"]


def _session(settings: Settings) -> Any:
    third_party.enable()
    try:
        import botocore.session
    except ImportError:
        raise Trouble(
            REFUSED,
            "NotInstalled",
            "botocore is not installed; it is needed to find AWS credentials and instances",
            "pip install 'sixtykey[client]'",
        ) from None
    session = botocore.session.Session(profile=settings.get("profile"))
    region = settings.get("region")
    if region:
        # A request for a role needs a region too, and AWS's files may name none.
        session.set_config_variable("region", region)
    return session


def credential(settings: Settings) -> Credential:
    """The credential that AWS's tools would use. Raises Trouble."""
    session = _session(settings)
    from botocore.exceptions import BotoCoreError, ClientError

    hint = "aws sso login, aws configure, or `profile` in client.yaml"
    try:
        found = session.get_credentials()
        frozen = None if found is None else found.get_frozen_credentials()
    except (BotoCoreError, ClientError, OSError) as error:
        raise Trouble(REFUSED, "NoCredentials", f"AWS's credentials: {error}", hint) from None
    if found is None or frozen is None or not frozen.access_key:
        raise Trouble(REFUSED, "NoCredentials", "there are no AWS credentials", hint)
    # botocore shows a credential's end only in this private attribute.
    ends = getattr(found, "_expiry_time", None)
    profile = settings.get("profile") or "default"
    return Credential(
        frozen.access_key,
        frozen.secret_key,
        frozen.token or "",
        None if ends is None else ends.timestamp(),
        f"botocore, {found.method}, profile {profile}",
    )


def instances(settings: Settings, region: str, name: str) -> list[Host]:
    """EC2's running instances with this name: an id, tag (KEY=VALUE or Name), DNS name or address.

    An empty name means all instances. Raises Trouble.
    """
    session = _session(settings)
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        client = session.create_client("ec2", region_name=region)
        found: dict[str, Host] = {}
        for filters in _filters(name):
            pages = client.get_paginator("describe_instances").paginate(Filters=filters)
            for page in pages:
                for reservation in page["Reservations"]:
                    for instance in reservation["Instances"]:
                        host = _host(instance, settings.get("network") or "any")
                        found.setdefault(host.instance, host)
            if found and name:
                break
    except (BotoCoreError, ClientError, OSError) as error:
        hint = "ec2:DescribeInstances is needed; or set instance, zone and address in client.yaml"
        raise Trouble(REFUSED, "DescribeInstances", f"EC2: {error}", hint) from None
    return list(found.values())


def _filters(name: str) -> list[list[dict[str, Any]]]:
    """EC2's filters for a name, in the order in which to try them."""
    running = {"Name": "instance-state-name", "Values": _STATES}
    if not name:
        return [[running]]
    tag, equals, value = name.partition("=")
    if equals:
        return [[running, {"Name": f"tag:{tag}", "Values": [value]}]]
    if name.startswith("i-"):
        return [[running, {"Name": "instance-id", "Values": [name]}]]
    if name.replace(".", "").isdigit() or ":" in name:
        keys = ("private-ip-address", "ip-address", "network-interface.ipv6-addresses.ipv6-address")
    else:
        keys = ("tag:Name", "private-dns-name", "dns-name")
    return [[running, {"Name": key, "Values": [name]}] for key in keys]


def _host(instance: dict[str, Any], network: str) -> Host:
    tags = {tag["Key"]: tag["Value"] for tag in instance.get("Tags", [])}
    known = {
        "ipv6": [
            each["Ipv6Address"]
            for interface in instance.get("NetworkInterfaces", [])
            for each in interface.get("Ipv6Addresses", [])
        ],
        "public": [instance.get("PublicIpAddress")],
        "private": [instance.get("PrivateIpAddress")],
    }
    kinds = known if network == "any" else [network]
    return Host(
        instance["InstanceId"],
        instance["Placement"]["AvailabilityZone"],
        tags.get("Name", ""),
        tags,
        Reach(tuple(address for kind in kinds for address in known[kind] if address)),
    )
