"""Every key of both files, found by walking their classes, refuses every wrong value.

A key that is added to a class is tested without further change. A wrong value has the whole file
refused, and the error names the key's path.
"""

from __future__ import annotations

import dataclasses
import json
import re
import typing
from collections.abc import Iterator
from typing import Any, Callable, Optional

import pytest

from agent.config import file as config_file
from agent.config.document import Problems
from agent.config.settings import Config, Fleet, Tls
from agent.sources.api import credentials
from agent.sources.api.allow import Allow
from agent.sources.api.credentials import Credential
from tests.parts.host import ROOT

pytestmark = pytest.mark.usefixtures("loader")

# The keys without a default, as the files write them.
REQUIRED: dict[type, dict[str, Any]] = {
    Tls: {"certificate": "/c.pem", "private_key": "/k.pem"},
    Fleet: {"servers": ["tls://bus.example:4222"], "issuers": ["ed25519:" + "A" * 43 + "="]},
    Credential: {"access_key_id": "AKIAEXAMPLE", "secret_access_key": "x" * 32},
    Allow: {"os_users": ["*"]},
}
# Keys whose type in the files differs from the type in the classes.
WRITTEN = {"push.http.plaintext": str, "journal": str, "expires": str, "allow.tags": dict}
# An empty list is valid here: nobody is denied.
MAY_BE_EMPTY = {"keys.deny_users"}

WRONG: dict[type, list[Any]] = {
    int: ["12", "x", True, [1], {"a": 1}, 10**9, -1],
    bool: ["true", "yes", 1, 0, [True], {"a": True}],
    str: [12, True, ["a"], {"a": "b"}],
    list: ["a", 12, True, {"a": "b"}, [""], [12], [True], [["a"]], [{"a": "b"}], ["a", None]],
    dict: ["a", 12, True, ["a"], [{}]],
}  # fmt: skip
EMPTY: list[Any] = [None, [], "", [None], [[]]]


@dataclasses.dataclass(frozen=True)
class Key:
    """One key: its path, how its value is written, and the classes of the mappings above it."""

    path: tuple[str, ...]
    kind: type
    above: tuple[type, ...]

    @property
    def name(self) -> str:
        """The path as in error messages."""
        return ".".join(self.path)

    def wrong(self) -> Iterator[Any]:
        """Every value that the key must refuse."""
        yield from (value for value in EMPTY if value != [] or self.name not in MAY_BE_EMPTY)
        yield from WRONG[self.kind]

    def document(self, value: Any) -> dict[str, Any]:
        """A file in which this key has the value, and all other required keys are right."""
        whole = inner = dict(REQUIRED.get(self.above[0], {}))
        for name, kind in zip(self.path, self.above[1:]):
            inner[name] = inner = dict(REQUIRED.get(kind, {}))
        inner[self.path[-1]] = value
        return whole


def section_of(kind: Any) -> Optional[type]:
    """The class of a nested mapping, even an optional one; None for a plain value."""
    inner = [each for each in (kind, *typing.get_args(kind)) if dataclasses.is_dataclass(each)]
    return inner[0] if inner and typing.get_origin(kind) is not tuple else None  # type: ignore[return-value]


def written_as(name: str, kind: Any) -> type:
    """How a value of this type is written: int, bool, str or list."""
    if name in WRITTEN:
        return WRITTEN[name]
    if typing.get_origin(kind) is tuple:
        return list
    plain = [each for each in (kind, *typing.get_args(kind)) if each in (int, bool, str)]
    return typing.cast("type", plain[0])


def walk(kind: type, path: tuple[str, ...] = (), above: tuple[type, ...] = ()) -> Iterator[Key]:
    """Every key below a class, mappings themselves included."""
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        here, inner = (*path, field.name), section_of(hints[field.name])
        if inner is None:
            name = ".".join(here)
            yield Key(here, written_as(name, hints[field.name]), (*above, kind))
        else:
            yield Key(here, dict, (*above, kind))
            yield from walk(inner, here, (*above, kind))


def problems(parse: Callable[[str, str], object], document: Any) -> list[str]:
    """The problems of a file, which is refused as a whole."""
    with pytest.raises(Problems) as caught:
        parse(json.dumps(document), "f")
    return [problem.removeprefix("f: ") for problem in caught.value.problems]


CONFIG, CREDENTIALS = list(walk(Config)), list(walk(Credential))


@pytest.mark.parametrize("key", CONFIG, ids=lambda key: key.name)
def test_no_key_of_the_configuration_takes_what_is_wrong(key: Key) -> None:
    """Every wrong value of a configuration key is refused with the key's path."""
    for value in key.wrong():
        found = problems(config_file.parse, key.document(value))
        assert found, value
        assert all(told.startswith((f"{key.name}:", f"{key.name}[")) for told in found), value


@pytest.mark.parametrize("key", CREDENTIALS, ids=lambda key: key.name)
def test_no_key_of_the_credentials_takes_what_is_wrong(key: Key) -> None:
    """A wrong value in the second of two credentials has the file refused, with its path."""
    right = {**REQUIRED[Credential], "access_key_id": "AKIARIGHT", "allow": REQUIRED[Allow]}
    for value in key.wrong():
        wrong = {"allow": REQUIRED[Allow], **key.document(value)}
        found = problems(credentials.parse, [right, wrong])
        at = f"[1].{key.name}"
        assert found, value
        assert all(told.startswith((f"{at}:", f"{at}[", f"{at}.(line 1)")) for told in found), value


def test_the_documents_are_right_but_for_the_value() -> None:
    """The documents of the tests above are valid when the wrong value is left out."""
    for key in CONFIG:
        document = key.document("left out")
        inner = document
        for name in key.path[:-1]:
            inner = inner[name]
        del inner[key.path[-1]]
        if key.path[-1] not in REQUIRED.get(key.above[-1], {}):
            config_file.parse(json.dumps(document), "f")
    credentials.parse(json.dumps([{**REQUIRED[Credential], "allow": REQUIRED[Allow]}]), "f")


def test_the_walk_finds_the_keys_that_once_failed_open() -> None:
    """The walk finds the keys for which 0.1.0 took a null as no restriction."""
    names = {key.name for key in CONFIG} | {key.name for key in CREDENTIALS}
    assert {
        "push.http.tls.client_ca", "keys.deny_users", "keys.uses", "fleet.issuers", "ec2.metadata",
        "allow.sources", "allow.instances", "allow.tags", "enabled", "expires", "keys.options",
    } <= names  # fmt: skip


@pytest.mark.parametrize("key", CONFIG + CREDENTIALS, ids=lambda key: key.name)
def test_the_manual_has_every_key(key: Key) -> None:
    """sixtykey.yaml(5) names every key."""
    manual = (ROOT / "packaging" / "man" / "sixtykey.yaml.5").read_text("utf-8")
    assert re.search(rf"\b{key.path[-1]}\b", manual)


def test_required_keys_are_reported_as_missing() -> None:
    """A missing required key is reported with its path."""
    for kind, path in ((Tls, ("push", "http", "tls")), (Fleet, ("fleet",))):
        document: dict[str, Any] = {}
        inner = document
        for name in path:
            inner[name] = inner = {}
        found = problems(config_file.parse, document)
        assert found == [f"{'.'.join(path)}.{name}: required" for name in REQUIRED[kind]]
