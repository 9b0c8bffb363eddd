"""Reads and checks client.yaml. Reports every problem at once, with its location."""

from __future__ import annotations

import re
from typing import Any, Callable

from agent.client import limits, third_party
from agent.client.trouble import REFUSED, Trouble
from agent.client.vocabulary import AWS, HOST_KEYS

_LIFETIME = re.compile(r"([1-9][0-9]{0,5})(s|m|h)?", re.ASCII)
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}
_NETWORKS = ("any", "private", "public", "ipv6")
_USES = ("once", "unlimited")
Known = dict[str, Callable[[str, Any], Any]]


def load(path: str) -> dict[str, Any]:
    """The checked document. Raises Trouble."""
    third_party.enable()
    from agent.config import plain_yaml

    try:
        with open(path, "rb") as file:
            found = plain_yaml.parse(file.read(limits.FILE_BYTES + 1), path)
    except OSError as error:
        raise Trouble(REFUSED, "Configuration", f"{path}: {error.strerror}") from None
    except plain_yaml.Problems as problems:
        raise _trouble(path, list(problems.problems)) from None
    checked = _Check()
    document = checked.whole({} if found is None else found)
    if checked.problems:
        raise _trouble(path, checked.problems)
    return document


def _trouble(path: str, problems: list[str]) -> Trouble:
    words = f"{path} cannot be used:\n  " + "\n  ".join(problems)
    return Trouble(REFUSED, "Configuration", words, "docs/client.md explains each key")


class _Check:
    """Checks a document; `problems` lists the errors, each with its path in the file."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def whole(self, found: Any) -> dict[str, Any]:
        known: Known = dict.fromkeys(HOST_KEYS, self.value)
        known["key"] = self.key
        known["hosts"] = self.hosts
        return self.mapping("", found, known)

    def mapping(self, where: str, found: Any, known: Known) -> dict[str, Any]:
        if not isinstance(found, dict):
            self.problems.append(f"{where or 'the file'}: must be a mapping (key: value)")
            return {}
        for name, line in _list_repeated(found):
            self.problems.append(f"{_join_path(where, name)}: is repeated in line {line}")
        checked = {}
        for name, value in found.items():
            if name not in known:
                known_names = ", ".join(known)
                self.problems.append(
                    f"{_join_path(where, name)}: unknown; known keys are {known_names}"
                )
            else:
                checked[name] = known[name](_join_path(where, name), value)
        return checked

    def hosts(self, where: str, found: Any) -> dict[str, Any]:
        checked = {}
        sections: dict[str, Any] = found if isinstance(found, dict) else {}
        for pattern, section in sections.items():
            if not re.fullmatch(r"[A-Za-z0-9._:*?=@/+-]+", pattern, re.ASCII):
                self.problems.append(f"{where}: {pattern!r} is not a pattern of host names")
            keys: Known = dict.fromkeys(HOST_KEYS, self.value)
            # An empty section `web-*:` is useful: it lists the names as hosts of sixtykey.
            checked[pattern] = self.mapping(_join_path(where, pattern), section or {}, keys)
        if not isinstance(found, dict) or _list_repeated(found):
            self.problems.append(f"{where}: must be a mapping, each pattern once")
        return checked

    def key(self, where: str, found: Any) -> dict[str, Any]:
        return self.mapping(where, found, {"lifetime": self.lifetime, "confirm": self.switch})

    def switch(self, where: str, found: Any) -> bool:
        if not isinstance(found, bool):
            self.problems.append(f"{where}: must be true or false")
        return found is True

    def lifetime(self, where: str, found: Any) -> int:
        match = _LIFETIME.fullmatch(str(found))
        seconds = int(match[1]) * _UNITS[match[2] or ""] if match else 0
        least, most = limits.KEY_SECONDS_LEAST, limits.KEY_SECONDS_MOST
        if not least <= seconds <= most:
            self.problems.append(f"{where}: must be {least} s to 24 h, such as 45m or 8h")
        return seconds

    def value(self, where: str, found: Any) -> Any:
        name = where.rpartition(".")[2]
        try:
            check: Callable[[Any], Any] = _CHECKS.get(name) or _text
            return check(found)
        except ValueError as error:
            self.problems.append(f"{where}: {error}")
            return ""


def _list_repeated(found: Any) -> list[tuple[str, int]]:
    """Duplicate keys of mappings, each with its line."""
    return list(getattr(found, "repeated", []))


def _join_path(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _text(found: Any) -> str:
    if not isinstance(found, str) or not found or not found.isprintable():
        raise ValueError("must be a text")
    return found


def _endpoint(found: Any) -> str:
    text = _text(found)
    if text != AWS and not re.fullmatch(r"https?://[^/\s?#@]+(/[^\s?#]*)?", text):
        raise ValueError(f"must be {AWS}, or a URL such as https://keys.example:8060")
    return text


def _one_of(*known: str) -> Callable[[Any], str]:
    def check(found: Any) -> str:
        if found not in known:
            raise ValueError(f"must be one of {', '.join(known)}")
        return str(found)

    return check


def _addresses(found: Any) -> Any:
    each = [found] if isinstance(found, str) else found
    pattern = r"[A-Za-z0-9.:_-]+"
    if not isinstance(each, list) or not each or len(each) > limits.ADDRESSES:
        raise ValueError(f"must be an address, or a list of at most {limits.ADDRESSES}")
    if not all(isinstance(one, str) and re.fullmatch(pattern, one, re.ASCII) for one in each):
        raise ValueError("must be IP addresses or names")
    return each


def _lease(found: Any) -> int:
    if not isinstance(found, int) or isinstance(found, bool) or not 1 <= found <= 60:
        raise ValueError("must be the host's keys.lifetime, 1 to 60")
    return found


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "endpoint": _endpoint,
    "network": _one_of(*_NETWORKS),
    "uses": _one_of(*_USES),
    "address": _addresses,
    "lifetime": _lease,
}
