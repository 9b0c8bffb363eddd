"""The files that a host of a fleet keeps in /etc/sixtykey/fleet.

host.key: signs the host's answers; for the daemon's group. host.creds: the connector's credentials
for the bus; for the connector's group. host.cert and ca.pem: readable by everybody.
"""

from __future__ import annotations

import contextlib
import os
import ssl

from agent.config.fleet_limits import FLEET
from agent.config.settings import Fleet
from agent.fleet.bus import jwt, nkeys
from agent.fleet.bus.nkeys import KeyPair
from agent.fleet.messages.membership import HostKeys, Membership
from agent.fleet.messages.signing import PrivateKey
from agent.host import files

DAEMON_GROUP, CONNECTOR_GROUP = "sixtykey", "sixtykey-fleet"
# The connector's key before the first token: another attempt to join uses the same key.
_PENDING = "connector.nk"


class HostFiles:
    """The files of one host. Everything raises OSError when a file cannot be read or written."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def paths(self) -> Fleet:
        """The files' paths, as a `fleet` section of the configuration."""
        return Fleet(
            (),
            (),
            ca=self._path("ca.pem"),
            identity=self._path("host.creds"),
            key=self._path("host.key"),
            certificate=self._path("host.cert"),
        )

    @property
    def is_member(self) -> bool:
        """Whether this host is a member of a fleet."""
        return os.path.exists(self._path("host.creds"))

    def make_keys(self) -> HostKeys:
        """Make keys, or reuse those of an earlier attempt to join. Raises ValueError."""
        os.makedirs(self._folder, mode=0o755, exist_ok=True)
        try:
            return HostKeys(self._signing_key(), self._pending())
        except FileNotFoundError:
            made = HostKeys.generate()
        files.replace(self._path(_PENDING), made.connector.dump() + "\n", 0o600)
        files.replace(self._path("host.key"), made.host.dump(), 0o640, DAEMON_GROUP)
        return made

    def keys(self) -> HostKeys:
        """The keys of a member. Raises ValueError."""
        return HostKeys(self._signing_key(), jwt.read_creds(self._read("host.creds"))[1])

    def certificate(self) -> str:
        """The envelope of a member's certificate."""
        return self._read("host.cert").strip()

    def authority(self) -> str:
        """The authority of the fleet's TLS, as PEM."""
        return self._read("ca.pem")

    def keep(self, membership: Membership, keys: HostKeys) -> None:
        """Write a membership, which makes the host a member."""
        pem = ssl.DER_cert_to_PEM_cert(membership.ca)
        files.replace(self._path("ca.pem"), pem, 0o644)
        files.replace(self._path("host.cert"), membership.certificate + "\n", 0o644)
        creds = jwt.creds(membership.token, keys.connector)
        files.replace(self._path("host.creds"), creds, 0o640, CONNECTOR_GROUP)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path(_PENDING))

    def forget(self) -> None:
        """Remove all files of the membership."""
        for name in ("host.creds", _PENDING, "host.key", "host.cert", "ca.pem"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path(name))

    def _signing_key(self) -> PrivateKey:
        return PrivateKey.parse(self._read("host.key"))

    def _pending(self) -> KeyPair:
        return KeyPair.parse(self._read(_PENDING), nkeys.USER)

    def _read(self, name: str) -> str:
        return files.read(self._path(name), FLEET.file_bytes)

    def _path(self, name: str) -> str:
        return os.path.join(self._folder, name)
