"""The hosts that a gateway or EC2 lists, and which of them a name means."""

from __future__ import annotations

from collections import namedtuple
from types import MappingProxyType

from agent.client import limits
from agent.client.patterns import matches

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, NamedTuple

    class Reach(NamedTuple):
        """How to reach a host: its addresses, and its host keys, each its type and base64."""

        addresses: tuple[str, ...] = ()
        host_keys: tuple[str, ...] = ()

    class Terms(NamedTuple):
        """The uses and the lifetime (seconds) of a host's leases, as far as they are known."""

        uses: str = ""
        lifetime: int = 0

    class _Host(NamedTuple):
        instance: str
        zone: str
        name: str = ""
        tags: Mapping[str, str] = MappingProxyType({})
        reach: Reach = Reach()
        terms: Terms = Terms()
        single: bool = False
else:
    # The same without `typing`, which takes longer to import than the rest of this module.
    Reach = namedtuple("Reach", "addresses host_keys", defaults=((), ()))
    Terms = namedtuple("Terms", "uses lifetime", defaults=("", 0))
    _FIELDS = "instance zone name tags reach terms single"
    _Host = namedtuple(
        "_Host", _FIELDS, defaults=("", MappingProxyType({}), Reach(), Terms(), False)
    )


class Host(_Host):
    """One instance. `single`: it is the only one at its endpoint, so every name means it."""

    __slots__ = ()

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where it may be reached, in the order to try."""
        return self.reach.addresses

    @property
    def host_keys(self) -> tuple[str, ...]:
        """Its public host keys."""
        return self.reach.host_keys

    @property
    def uses(self) -> str:
        """`once` or `unlimited`; empty if unknown."""
        return self.terms.uses

    @property
    def lifetime(self) -> int:
        """How long a lease lives there (s); 0 if unknown."""
        return self.terms.lifetime

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
            "Addresses": list(self.addresses),
            "HostKeys": list(self.host_keys),
            "Tags": dict(self.tags),
            "Uses": self.uses,
            "Lifetime": self.lifetime,
        }

    def with_addresses(self, addresses: Sequence[str], terms: Terms) -> Host:
        """The same host at these addresses, with leases on these terms."""
        return self._replace(reach=Reach(tuple(addresses), self.host_keys), terms=terms)

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
        addresses = [_word(each) for each in found.get("Addresses") or ()]
        return cls(
            _word(found.get("InstanceId")),
            _word(found.get("AvailabilityZone")),
            _word(found.get("Name") or ""),
            {_printable(key): _printable(value) for key, value in tags.items()},
            Reach(tuple(addresses[: limits.ADDRESSES]), tuple(keys)),
            Terms(_word(found.get("Uses") or ""), lifetime if isinstance(lifetime, int) else 0),
            single,
        )


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
