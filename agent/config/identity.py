"""Which instance this host is: the id, zone and region that a push must name.

Each value is the configured one; for `auto`, the first source with a value in the API's form wins:

1. cloud-init's instance data (/run/cloud-init/instance-data.json, "v1" keys: cloud-init's
   documentation, "Instance metadata"). EC2's id is used unchanged; another cloud's (a UUID, a
   number) is hashed into the same form.
2. DMI on EC2 (EC2 User Guide, "Detect whether a host is an EC2 instance"): the id alone.
3. /etc/machine-id, hashed so that the result does not reveal it, as machine-id(5) requires.

A source that is absent, damaged or in another form is skipped.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import string
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Optional

from agent.config import patterns
from agent.config.settings import Instance

ON_PREMISES_ZONE = "on-prem-1a"
AUTO = "auto"

# machine-id(5): "a fixed, application-specific key".
_APPLICATION = bytes.fromhex("9c6a2b8f13e44752a7d3c1e05f4b4d0e")
# Platforms whose id comes from a person or an image: many hosts share "iid-local01" or "nocloud".
_IDS_NOT_UNIQUE = ("", "none", "nocloud", "ovf", "vmware", "unknown")
_MACHINE_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)
# cloud-init's data includes user data; a file larger than this is not read.
_MAX_BYTES = 4 * 1024 * 1024


class IdentityError(Exception):
    """This host has no identity, or a configured one is malformed; the message says what to do."""


@dataclass(frozen=True)
class Identity:
    """Values in the API's form: `i-` and hex digits; such as us-east-2b; such as us-east-2."""

    instance_id: str
    availability_zone: str
    region: str


def resolve(instance: Instance, *, root: str = "/") -> Identity:
    """This host's identity.

    Args:
        instance: the configuration; for `auto`, sources are read from files below `root`.
    Raises:
        IdentityError: a configured value is malformed, or no source has an id.
    """
    cloud = _cloud_init(root)
    if instance.availability_zone == AUTO:
        zone = cloud.get("availability_zone", ON_PREMISES_ZONE)
        # cloud-init knows the region: a local zone's name does not contain it.
        region = cloud.get("region", _region_of(zone))
    else:
        zone, region = instance.availability_zone, _region_of(instance.availability_zone)
    found = Identity(
        instance_id=_instance_id(cloud, root) if instance.id == AUTO else instance.id,
        availability_zone=zone,
        region=region if instance.region == AUTO else instance.region,
    )
    try:
        patterns.instance_id(found.instance_id)
        patterns.availability_zone(found.availability_zone)
        patterns.region(found.region)
    except ValueError as error:
        raise IdentityError(f"instance: {error}") from None
    return found


def _instance_id(cloud: dict[str, str], root: str) -> str:
    for candidate in (cloud.get("instance_id"), _dmi(root), _machine(root)):
        if candidate is not None:
            return candidate
    raise IdentityError(
        "instance.id: this host has no id of its own: no cloud-init data, not EC2, and "
        "/etc/machine-id is absent or not initialized. Run systemd-machine-id-setup, or set "
        "instance.id (i- and 17 hexadecimal digits) in the configuration"
    )


def _region_of(zone: str) -> str:
    """The zone without its letter."""
    return zone.rstrip(string.ascii_letters)


def _cloud_init(root: str) -> dict[str, str]:
    """cloud-init's instance_id, availability_zone and region, if they have the API's form."""
    v1 = _v1(_read(root, "run/cloud-init/instance-data.json"))
    found = dict(_select_well_formed(v1))
    platform = _text(v1, "platform") or _text(v1, "cloud_name")
    own_id = _text(v1, "instance_id")
    if "instance_id" not in found and own_id and platform not in _IDS_NOT_UNIQUE:
        found["instance_id"] = _derive_id(f"{platform}\n{own_id}".encode())
    return found


def _v1(content: Optional[str]) -> Any:
    try:
        data = json.loads(content or "{}")
    except (ValueError, RecursionError):
        return {}
    return data.get("v1") if isinstance(data, dict) else {}


def _select_well_formed(v1: Any) -> Iterator[tuple[str, str]]:
    for name, check in (
        ("instance_id", patterns.instance_id),
        ("availability_zone", patterns.availability_zone),
        ("region", patterns.region),
    ):
        value = _text(v1, name)
        try:
            check(value)
        except ValueError:
            continue
        yield name, value


def _text(v1: Any, name: str) -> str:
    value = v1.get(name) if isinstance(v1, dict) else None
    return value if isinstance(value, str) else ""


def _dmi(root: str) -> Optional[str]:
    """EC2's instance id from the firmware's asset tag (Nitro), None elsewhere."""
    if (_read(root, "sys/class/dmi/id/sys_vendor") or "").strip() != "Amazon EC2":
        return None
    tag = (_read(root, "sys/class/dmi/id/board_asset_tag") or "").strip()
    try:
        patterns.instance_id(tag)
    except ValueError:
        return None
    return tag


def _machine(root: str) -> Optional[str]:
    """An id from /etc/machine-id; None if that is absent, empty, all zeros or `uninitialized`."""
    machine_id = (_read(root, "etc/machine-id") or "").strip()
    if not _MACHINE_ID.fullmatch(machine_id) or not machine_id.strip("0"):
        return None
    return _derive_id(_APPLICATION, key=bytes.fromhex(machine_id))


def _derive_id(message: bytes, key: bytes = _APPLICATION) -> str:
    """An id in EC2's present form: HMAC-SHA256, like sd_id128_get_machine_app_specific(3)."""
    return f"i-{hmac.new(key, message, hashlib.sha256).hexdigest()[:17]}"


def _read(root: str, name: str) -> Optional[str]:
    """A file's text, or None if it cannot be read."""
    try:
        with open(os.path.join(root, name), encoding="utf-8") as file:
            text = file.read(_MAX_BYTES + 1)
    except (OSError, UnicodeError):
        return None
    return text if len(text) <= _MAX_BYTES else None
