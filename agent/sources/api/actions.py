"""SendSSHPublicKey: its parameters, from the body's bytes to values that can be used.

Source: API Reference, SendSSHPublicKey, Request Parameters. Two differences are meant: the OS
user's pattern has its hyphen back, and the least length of a key is that of its type.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Optional

from agent.config import patterns
from agent.leases.keys import PublicKey
from agent.sources.api.errors import InvalidArgsException, MissingParameter, ValidationError

TARGET = "AWSEC2InstanceConnectService.SendSSHPublicKey"
ACTION = "SendSSHPublicKey"
VERSION = "2018-04-02"

_MEMBERS = ("AvailabilityZone", "InstanceId", "InstanceOSUser", "SSHPublicKey")
# The reference's minimum of 256 characters is RSA's; EC2 takes Ed25519 from 80 today.
_LEAST = {"ssh-rsa": 256}
_LEAST_OTHERS = 80
_MOST = 4096
# Whom a request is about, found without reading it: of the API's OS users only.
_CLAIM = re.compile(rb'"InstanceOSUser"\s*:\s*"([A-Za-z0-9_@.$-]{1,32})"')


@dataclass(frozen=True)
class SendSSHPublicKey:
    """The action's parameters: present and of the right type, not yet checked any further."""

    instance_id: str
    os_user: str
    ssh_public_key: str
    availability_zone: Optional[str]

    @classmethod
    def parse(cls, body: bytes, reference: str) -> SendSSHPublicKey:
        """Read the request body. `reference` is that of the configuration, push.reference.

        Raises:
            ValidationError: not a JSON object, or a member is repeated or no string.
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
        """Check lengths and patterns; `types` are the key types that the host takes.

        Raises:
            InvalidArgsException: naming the member, and what is wrong with it.
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

    def check_length(self, key: PublicKey) -> None:
        """Raise InvalidArgsException when the text is too short for a key of this type."""
        if len(self.ssh_public_key) < _LEAST.get(key.type, _LEAST_OTHERS):
            raise InvalidArgsException(f"SSHPublicKey is too short for an {key.type} key.")


def claimed_os_user(body: bytes) -> Optional[str]:
    """The OS user that a refused request seems to be about, for the words of `sixtykey why`.

    Nobody has checked who sent it: it decides nothing, and costs next to nothing to find.
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
    """A JSON object whose names are unique: two readers must not see two different requests."""
    document: dict[str, Any] = {}
    for name, value in pairs:
        if name in document:
            raise ValidationError(f"The member {name[:64]!r} is given twice.")
        document[name] = value
    return document


def _constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


# Made once: that takes as long as decoding.
_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)


def _check(member: str, value: str, check: patterns.Check) -> None:
    try:
        check(value)
    except ValueError as error:
        raise InvalidArgsException(f"{member}: {error}.") from None
