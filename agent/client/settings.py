"""The client's settings: options, environment, the file, defaults; and each value's origin.

The first of these that has a value wins: an option; SIXTYKEY_... in the environment; the first
section of `hosts` whose pattern matches HOST; the top of client.yaml; AWS's own variables, which
are set for many programs; the default.
"""

from __future__ import annotations

import os

from agent.client import folders, limits, quickjson
from agent.client.patterns import matches
from agent.client.trouble import REFUSED, Trouble
from agent.client.vocabulary import AWS, AWS_VARIABLES, DEFAULTS, FILE_ONLY, HOST_KEYS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any, Optional

    from agent.client.folders import Environment


class Settings:
    """The settings for one host, or without a host. Values are texts and lists of texts.

    `patterns`: the host names and patterns that have a section in the file.
    """

    def __init__(self, environ: Environment, patterns: Iterable[str]) -> None:
        self.environ = environ
        self.origins: dict[str, str] = {}
        self._values: dict[str, Any] = {}
        self.patterns = list(patterns)

    def put(self, name: str, value: Any, origin: str) -> None:
        """Set a value, unless an origin with higher priority has set it."""
        if value not in (None, "") and name not in self._values:
            self._values[name] = value
            self.origins[name] = origin

    def get(self, name: str) -> Optional[str]:
        """A text, or None."""
        value = self._values.get(name)
        return None if value is None else str(value)

    def addresses(self) -> list[str]:
        """The setting `address`, as a list."""
        value = self._values.get("address", [])
        return [value] if isinstance(value, str) else list(value)

    @property
    def key_seconds(self) -> int:
        """How long the session's key lives in the agent (s)."""
        return int(self._values["key.lifetime"])

    @property
    def key_confirm(self) -> bool:
        """Whether the agent asks the user at each use of the key."""
        return self._values["key.confirm"] is True

    @property
    def endpoint(self) -> str:
        """The URL of a host or gateway, or AWS."""
        return self.get("endpoint") or AWS

    def describe(self) -> list[str]:
        """Each value with its origin, for --debug."""
        return [f"{name} = {self._values[name]!s} ({self.origins[name]})" for name in self.origins]


def load(environ: Environment, given: Mapping[str, Optional[str]], host: str = "") -> Settings:
    """The settings for this host. Raises Trouble, with every problem of the file.

    Args:
        given: options by name, such as "endpoint". "config" names another file, as SIXTYKEY_CONFIG.
    """
    named = given.get("config") or environ.get("SIXTYKEY_CONFIG")
    path = named or os.path.join(folders.settings_folder(environ), "client.yaml")
    document = _document(path, environ, must=bool(named))
    sections = document.get("hosts") or {}
    settings = Settings(environ, sections)
    for name in HOST_KEYS:
        if name not in FILE_ONLY:
            settings.put(name, given.get(name), f"option --{name}")
            variable = f"SIXTYKEY_{name.upper()}"
            settings.put(name, environ.get(variable), f"environment, {variable}")
    for pattern in sections:
        if host and matches(pattern, host):
            for name, value in sections[pattern].items():
                settings.put(name, value, f"{path}, hosts: {pattern}")
            break
    for name in HOST_KEYS:
        settings.put(name, document.get(name), path)
        for variable in AWS_VARIABLES.get(name, ()):
            settings.put(name, environ.get(variable), f"environment, {variable}")
        settings.put(name, DEFAULTS.get(name), "default")
    key = document.get("key") or {}
    for name, default in (("lifetime", limits.KEY_SECONDS), ("confirm", False)):
        settings.put(f"key.{name}", key.get(name), path)
        settings.put(f"key.{name}", default, "default")
    return settings


def _document(path: str, environ: Environment, must: bool) -> dict[str, Any]:
    """The checked file. A cached copy in JSON saves parsing YAML, which is slow."""
    try:
        found = os.stat(path)
    except OSError as error:
        if must:
            raise Trouble(REFUSED, "Configuration", f"{path}: {error.strerror}") from None
        return {}
    if found.st_uid not in (0, os.geteuid()) or found.st_mode & 0o022:
        # The same rule as in ssh_config(5): who can write the file decides where you push and whom
        # you trust.
        raise Trouble(
            REFUSED, "Configuration", f"{path} can be written by others, or belongs to "
            "another user",
            f"chmod go-w {path}; chown it to you, or to root",
        )  # fmt: skip
    stamp = f"{path} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_size} {found.st_ino}"
    copy = os.path.join(folders.cache_folder(environ), "client.json")
    kept = folders.read(copy, limits.FILE_BYTES)
    try:
        known = quickjson.loads(kept) if kept else {}
    except ValueError:
        known = {}
    if known.get("stamp") == stamp:
        return dict(known["document"])
    from agent.client import settings_file

    document = settings_file.load(path)
    folders.write(copy, quickjson.dumps({"stamp": stamp, "document": document}))
    return document
