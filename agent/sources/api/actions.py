"""The parameters of SendSSHPublicKey, from the body's bytes to checked values.

Source: API Reference, SendSSHPublicKey, Request Parameters. Two differences are intended: the OS
user's pattern includes the hyphen, and the minimum length of a key depends on its type.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Optional

from agent.config import patterns
from agent.config.settings import Keys
from agent.leases.keys import PublicKey
from agent.sources.api.errors import InvalidArgsException, MissingParameter, ValidationError

TARGET = "AWSEC2InstanceConnectService.SendSSHPublicKey"
ACTION = "SendSSHPublicKey"
VERSION = "2018-04-02"

_MEMBERS = ("AvailabilityZone", "InstanceId", "InstanceOSUser", "SSHPublicKey")
# The reference's minimum of 256 characters is RSA's; today EC2 accepts Ed25519 keys of 80.
_LEAST = {"ssh-rsa": 256}
_LEAST_OTHERS = 80
_MOST = 4096
# Finds the OS user of a request without parsing it; only characters that the API allows.
_CLAIM = re.compile(rb'"InstanceOSUser"\s*:\s*"([A-Za-z0-9_@.$-]{1,32})"')


@dataclass(frozen=True)
class SendSSHPublicKey:
    """The action's parameters: present and of the right type, their values not yet checked."""

    instance_id: str
    os_user: str
    ssh_public_key: str
    availability_zone: Optional[str]

    @classmethod
    def parse(cls, body: bytes, reference: str) -> SendSSHPublicKey:
        """Parse the request body. `reference` is push.reference of the configuration.

        Raises:
            ValidationError: not a JSON object, or a member is repeated or not a string.
            MissingParameter: a required member is absent.
        """
        members = _members(body)
        required = [n for n in _MEMBERS if n != "AvailabilityZone" or reference != "current"]
        missing = [name for name in required if members.get(name) is None]
        if missing:
            raise MissingParameter(f"Missing: {', '.join(missing)}.")
        return cls(
            members["InstanceId"],
            members["InstanceOSUser"],
            members["SSHPublicKey"],
            members.get("AvailabilityZone"),
        )

    def check(self, reference: str, types: tuple[str, ...]) -> None:
        """Check lengths and patterns; `types` are the key types that the host accepts.

        Raises:
            InvalidArgsException: it names the member, and what is wrong with it.
        """
        os_user = patterns.os_user_current if reference == "current" else patterns.os_user
        _check("InstanceId", self.instance_id, patterns.instance_id)
        if self.availability_zone is not None:
            _check("AvailabilityZone", self.availability_zone, patterns.availability_zone)
        _check("InstanceOSUser", self.os_user, os_user)
        length = len(self.ssh_public_key)
        least = min(_LEAST.get(name, _LEAST_OTHERS) for name in types)
        if not least <= length <= _MOST:
            raise InvalidArgsException(
                f"SSHPublicKey must have {least} to {_MOST} characters, not {length}."
            )

    def public_key(self, rules: Keys) -> PublicKey:
        """The key. Raises KeyRejected, or InvalidArgsException: too short for a key of its type."""
        key = PublicKey.parse(self.ssh_public_key, rules)
        if len(self.ssh_public_key) < _LEAST.get(key.type, _LEAST_OTHERS):
            raise InvalidArgsException(f"SSHPublicKey is too short for an {key.type} key.")
        return key


def claimed_os_user(body: bytes) -> Optional[str]:
    """The OS user that a refused request claims, for `sixtykey why`.

    The sender is not verified, so nothing is decided by it, and finding it must be cheap.
    """
    found = _CLAIM.search(body)
    return None if found is None else found[1].decode()


def _members(body: bytes) -> dict[str, Any]:
    try:
        document = _DECODER.decode(body.decode())
    except (ValueError, RecursionError):
        raise ValidationError("The request body is not JSON.") from None
    if not isinstance(document, dict):
        raise ValidationError("The request body must be a JSON object.")
    for name in _MEMBERS:
        value = document.get(name)
        if value is not None and not isinstance(value, str):
            raise ValidationError(f"{name} must be a string.")
    return document


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object with unique names: two parsers must not see two different requests."""
    document: dict[str, Any] = {}
    for name, value in pairs:
        if name in document:
            raise ValidationError(f"The member {name[:64]!r} is given twice.")
        document[name] = value
    return document


def _constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


# Made once: making it takes as long as decoding.
_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)


def _check(member: str, value: str, check: patterns.Check) -> None:
    try:
        check(value)
    except ValueError as error:
        raise InvalidArgsException(f"{member}: {error}.") from None
