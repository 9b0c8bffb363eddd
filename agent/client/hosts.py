"""The hosts that a gateway or EC2 lists, and which of them a name means."""

from __future__ import annotations

from agent.client import limits
from agent.client.patterns import matches

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, Optional


class Host:
    """One instance. `uses` and `lifetime` (seconds) are those of its leases, if known."""

    def __init__(
        self,
        instance: str,
        zone: str,
        name: str = "",
        addresses: Sequence[str] = (),
        host_keys: Sequence[str] = (),
        tags: Optional[Mapping[str, str]] = None,
        uses: str = "",
        lifetime: int = 0,
    ) -> None:
        self.instance = instance
        self.zone = zone
        self.name = name
        self.addresses = list(addresses)
        self.host_keys = list(host_keys)
        self.tags = dict(tags or {})
        self.uses = uses
        self.lifetime = lifetime
        # The only host at its endpoint: every name means it.
        self.single = False

    def is_called(self, name: str) -> bool:
        """Whether a name means this host: its name, instance id, address, or tag KEY=VALUE."""
        tag, equals, value = name.partition("=")
        if self.single:
            return True
        if equals:
            return self.tags.get(tag) == value
        return name in self.addresses or name.lower() in (self.name.lower(), self.instance)

    def matches(self, pattern: str) -> bool:
        """Whether a pattern matches its name or instance id, or names one of its tags."""
        names = [self.name, self.instance]
        return self.is_called(pattern) or any(matches(pattern, name) for name in names if name)

    def document(self) -> dict[str, Any]:
        """The host as a JSON object; `of` parses it."""
        return {
            "InstanceId": self.instance,
            "AvailabilityZone": self.zone,
            "Name": self.name,
            "Addresses": self.addresses,
            "HostKeys": self.host_keys,
            "Tags": self.tags,
            "Uses": self.uses,
            "Lifetime": self.lifetime,
        }

    def with_addresses(self, addresses: Sequence[str], uses: str, lifetime: int) -> Host:
        """The same host at these addresses, with leases of these uses and this lifetime (s)."""
        return Host(
            self.instance, self.zone, self.name, addresses, self.host_keys, self.tags,
            uses, lifetime,
        )  # fmt: skip

    @classmethod
    def of(cls, found: Any, single: bool = False) -> Host:
        """Parse a host from a JSON object; `single`: every name means it. Raises ValueError."""
        if not isinstance(found, dict):
            raise ValueError("a host is not an object")
        tags = found.get("Tags") or {}
        if not isinstance(tags, dict):
            raise ValueError("a host's tags are not an object")
        lifetime = found.get("Lifetime")
        keys = [_key(each) for each in found.get("HostKeys") or ()]
        if len(keys) > limits.HOST_KEYS_MOST:
            raise ValueError(f"a host has more than {limits.HOST_KEYS_MOST} keys")
        host = cls(
            _word(found.get("InstanceId")),
            _word(found.get("AvailabilityZone")),
            _word(found.get("Name") or ""),
            [_word(each) for each in found.get("Addresses") or ()][: limits.ADDRESSES],
            keys,
            {_printable(key): _printable(value) for key, value in tags.items()},
            _word(found.get("Uses") or ""),
            lifetime if isinstance(lifetime, int) else 0,
        )
        host.single = single
        return host


def is_name(text: str, others: str = ".:%=/") -> bool:
    """Whether it is of letters, digits, - _ + and these, and begins with no mark.

    Names go to ssh, to files of host keys and to completion: none has what one of these would read
    (a wildcard, a quote, $(...), an option's dash).
    """
    good = text[:1].isalnum() or text[:1] in ("_", ":")
    return good and all(each.isalnum() or each in "-_+" or each in others for each in text)


def _printable(value: Any) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError("a host's description contains a value that is not text")
    return value


def _key(value: Any) -> str:
    kind, _, blob = _printable(value).partition(" ")
    if not kind[:1].isalnum() or not blob or " " in blob or len(blob) > limits.HOST_KEY_CHARACTERS:
        raise ValueError("a host's key is not its type and base64")
    return f"{kind} {blob}"


def _word(value: Any) -> str:
    text = _printable(value)
    if " " in text:
        raise ValueError("a host's description has a space in a name")
    return text
