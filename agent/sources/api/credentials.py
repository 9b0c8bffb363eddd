"""Access keys, and the file that has them.

The file is a YAML list (sixtykey.yaml(5)) with secrets: only its owner and group may read it.
"""

from __future__ import annotations

import ipaddress
import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Optional, Union

from agent.config import checks, document, patterns
from agent.config.document import Problems, Section
from agent.config.key_policy import KEY_OPTIONS, KeyPolicy, order_options
from agent.config.settings import USES, Keys
from agent.sources.api.allow import Allow

# The first part of a credential scope, up to the slash.
_ACCESS_KEY_ID = re.compile(r"[A-Za-z0-9_]{4,128}", re.ASCII)
# A tag's name, as in EC2.
_TAG = re.compile(r"[A-Za-z0-9 _.:/=+@-]{1,128}", re.ASCII)
_TIME = "%Y-%m-%dT%H:%M:%SZ"
# 32 letters and digits are 190 bits. A captured request allows offline guessing, so a short secret
# that a person made up would be found.
_SECRET_LENGTH = 32
# The most that any host allows, for a gateway, which does not know the host's rules.
_WIDEST = Keys()


@dataclass(frozen=True)
class Credential:
    """One access key. `expires` is in seconds since the Unix epoch."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    allow: Allow
    session_token: Optional[str] = field(default=None, repr=False)
    enabled: bool = True
    expires: Optional[float] = None
    keys: KeyPolicy = field(default_factory=KeyPolicy)


class Credentials:
    """All access keys, by id."""

    def __init__(self, credentials: Iterable[Credential]) -> None:
        self._by_id = {credential.access_key_id: credential for credential in credentials}

    def __len__(self) -> int:
        """The number of access keys."""
        return len(self._by_id)

    def __iter__(self) -> Iterator[Credential]:
        """All access keys, in the file's order."""
        return iter(self._by_id.values())

    def find(self, access_key_id: str) -> Optional[Credential]:
        """The credential with this id; None if there is none."""
        return self._by_id.get(access_key_id)


def load(path: str, host: Keys = _WIDEST) -> Credentials:
    """Read the credentials file.

    Args:
        path: the file.
        host: the host's rules for keys, which no credential may widen.
    Raises:
        Problems: others may read or change it, it cannot be read, or something in it is wrong.
            The messages do not quote the file.
    """
    try:
        # Opened before it is checked, so that the checked file is the one that is read.
        with open(path, "rb") as file:
            found = os.fstat(file.fileno())
            text = file.read(document.MAX_BYTES + 1)
    except OSError as error:
        raise Problems([f"{path}: {error.strerror}"]) from None
    mode = found.st_mode
    if found.st_uid not in {0, os.geteuid()}:
        raise Problems([f"{path}: belongs to another user; run: chown root {path}"])
    if not stat.S_ISREG(mode) or mode & 0o027:
        raise Problems([f"{path}: others may read or change it; run: chmod 0640 {path}"])
    return parse(text, path, host)


def parse(text: Union[str, bytes], name: str, host: Keys = _WIDEST) -> Credentials:
    """Parse YAML text; messages use `name` for the file. Raises Problems."""
    entries: Any = document.parse(text, name)
    if entries is None:
        entries = []
    if not isinstance(entries, list):
        raise Problems([f"{name}: must be a list of credentials"])
    problems: list[str] = []
    credentials: dict[str, Credential] = {}
    for index, entry in enumerate(entries):
        section = Section(entry, f"[{index}]", problems, secret=True)
        credential = _credential(section, host)
        if credential.access_key_id in credentials:
            section.problem("access_key_id", "is repeated")
        credentials[credential.access_key_id] = credential
    if problems:
        raise Problems(f"{name}: {problem}" for problem in problems)
    return Credentials(credentials.values())


def _credential(section: Section, host: Keys) -> Credential:
    access_key_id = section.text("access_key_id", "", _access_key_id)
    secret = section.text("secret_access_key", "", _secret)
    for key, value in (("access_key_id", access_key_id), ("secret_access_key", secret)):
        section.require(key, value)
    expires = section.text("expires", None, _expires)
    credential = Credential(
        access_key_id or f"({section.path})",
        secret,
        _allow(section.section("allow")),
        session_token=section.text("session_token", None),
        enabled=section.boolean("enabled", True),
        expires=None if expires is None else _expires(expires),
        keys=_keys(section.section("keys"), host),
    )
    section.end()
    return credential


def _allow(section: Section) -> Allow:
    os_users = section.texts("os_users", (), patterns.glob)
    section.require("os_users", os_users)
    instances = section.texts("instances", ("*",), patterns.glob)
    sources = section.texts("sources", (), checks.network)
    tags = section.optional_section("tags")
    allow = Allow(
        os_users,
        instances,
        tuple(map(ipaddress.ip_network, sources)),
        () if tags is None else tags.named_lists(_tag, patterns.glob),
    )
    section.end()
    return allow


def _keys(section: Section, host: Keys) -> KeyPolicy:
    """The credential's own rules; none may be wider than the host's."""
    uses = section.text("uses", None, document.one_of(*USES))
    if uses == "unlimited" and host.uses == "once":
        section.problem("uses", "must be once, or left out: keys.uses of this host is once")
    options = section.texts("options", (), document.one_of(*KEY_OPTIONS), different=True)
    try:
        options = order_options(options)
    except ValueError as error:
        section.problem("options", str(error))
    policy = KeyPolicy(
        lifetime=section.integer("lifetime", None, 1, host.lifetime),
        uses=uses,
        pin_source=section.boolean("pin_source", False),
        options=options,
    )
    section.end()
    return policy


def _access_key_id(value: str) -> None:
    if not _ACCESS_KEY_ID.fullmatch(value):
        raise ValueError("must be 4 to 128 letters, digits and _")


def _secret(value: str) -> None:
    if len(value) < _SECRET_LENGTH:
        raise ValueError(
            f"must have at least {_SECRET_LENGTH} characters; `openssl rand -hex 20` prints 40 "
            "random ones"
        )


def _tag(value: str) -> None:
    if not _TAG.fullmatch(value):
        raise ValueError("a tag's name has 1 to 128 letters, digits, spaces and _ . : / = + @ -")


def _expires(value: str) -> float:
    try:
        return datetime.strptime(value, _TIME).replace(tzinfo=timezone.utc).timestamp()
    except ValueError:
        raise ValueError("must be a UTC time such as 2027-01-01T00:00:00Z") from None
