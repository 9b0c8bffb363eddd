"""What can be configured: each setting with its unit.

The settings mirror /etc/sixtykey/config.yaml, which file.py reads, and hold its defaults.
Limits that the administrator cannot set are in limits.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional

DEFAULT_PATH = "/etc/sixtykey/config.yaml"
KEY_TYPES = (
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
)
REFERENCES = ("2021-03-05", "current")
# In a separate folder that the daemon's user owns; the folder of the sockets belongs to root.
JOURNAL = "/run/sixtykey/journal/leases.db"
# Where 0.1.0 had it: still taken for the default where somebody has written it down.
FORMER_JOURNAL = "/run/sixtykey/leases.db"
# How many logins one push is good for.
USES = ("unlimited", "once")


@dataclass(frozen=True)
class Instance:
    """Which instance this host is; `auto` is resolved by identity.py."""

    id: str = "auto"
    availability_zone: str = "auto"
    region: str = "auto"


@dataclass(frozen=True)
class Keys:
    """Which keys are accepted, for how long (seconds), how many at once, and for which users none.

    `deny_users` are patterns (patterns.matches). `uses` is one of USES.
    """

    lifetime: int = 60
    types: tuple[str, ...] = ("ssh-ed25519", "ssh-rsa")
    rsa_min_bits: int = 2048
    per_user: int = 128
    total: int = 10_000
    deny_users: tuple[str, ...] = ()
    uses: str = "unlimited"


@dataclass(frozen=True)
class Lookup:
    """The Unix socket that answers the AuthorizedKeysCommand helper, and the group it is for."""

    socket: str = "/run/sixtykey/lookup.sock"
    group: str = "sixtykey-lookup"


@dataclass(frozen=True)
class Tls:
    """PEM files. With `client_ca`, clients must show a certificate that it signed."""

    certificate: str
    private_key: str
    client_ca: Optional[str] = None


@dataclass(frozen=True)
class Http:
    """The network listener. `plaintext`: the administrator accepts HTTP off loopback."""

    address: str = "127.0.0.1"
    port: int = 8060
    tls: Optional[Tls] = None
    plaintext: bool = False


@dataclass(frozen=True)
class Rate:
    """Pushes a second, with a burst of as many."""

    per_credential: int = 20
    total: int = 200


@dataclass(frozen=True)
class Push:
    """Who may push, over what."""

    socket: str = "/run/sixtykey/push.sock"
    group: str = "sixtykey-push"
    http: Optional[Http] = None
    credentials: str = "/etc/sixtykey/credentials.yaml"
    reference: str = "2021-03-05"
    rate: Rate = field(default_factory=Rate)


@dataclass(frozen=True)
class Source:
    """The Unix socket on which sixtykeyd-ec2 and sixtykeyd-fleet offer leases, and its group."""

    socket: str = "/run/sixtykey/source.sock"
    group: str = "sixtykey-source"


@dataclass(frozen=True)
class Ec2:
    """EC2's metadata service: its URL, and the trusted roots (a folder, or a file in PEM)."""

    metadata: str = "http://169.254.169.254"
    roots: str = "/etc/ssl/certs"


@dataclass(frozen=True)
class Fleet:
    """The bus of a fleet.

    Attributes:
        servers: URLs, `tls://HOST:PORT`; `nats://ADDRESS:PORT` on loopback.
        issuers: `ed25519:` and base64: the public keys of the gateways whose leases are accepted.
        ca: the CA certificate of the servers, a PEM file.
        identity: the file with this host's own credentials on the bus.
        key: the file with the key that signs answers; the daemon reads it, and not the connector.
        certificate: the file with the issuer's certificate for that key.
        gateways: URLs, where the host renews its membership.
        host_keys: sshd's public host keys, as glob patterns of files; clients get them.
    """

    servers: tuple[str, ...]
    issuers: tuple[str, ...]
    ca: str = "/etc/sixtykey/fleet/ca.pem"
    identity: str = "/etc/sixtykey/fleet/host.creds"
    key: str = "/etc/sixtykey/fleet/host.key"
    certificate: str = "/etc/sixtykey/fleet/host.cert"
    gateways: tuple[str, ...] = ()
    host_keys: tuple[str, ...] = ("/etc/ssh/ssh_host_*_key.pub",)


@dataclass(frozen=True)
class Config:
    """The whole configuration. `journal` is a path, or None: leases end with the process.

    Without `ec2`, AWS's own pushes are not asked for; without `fleet`, the host is in none.
    """

    instance: Instance = field(default_factory=Instance)
    keys: Keys = field(default_factory=Keys)
    lookup: Lookup = field(default_factory=Lookup)
    push: Push = field(default_factory=Push)
    journal: Optional[str] = JOURNAL
    source: Source = field(default_factory=Source)
    ec2: Optional[Ec2] = None
    fleet: Optional[Fleet] = None
