"""Run on a host inside the service's own sandbox: what a compromised daemon could do.

Prints one word for each thing that it could do and must not; nothing when all are refused.
"""

import os
import socket
from typing import Any, Callable

TRIES: "dict[str, Callable[[], Any]]" = {
    "internet-socket": lambda: socket.socket(socket.AF_INET),
    "ipv6-socket": lambda: socket.socket(socket.AF_INET6),
    "netlink-socket": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
    "connect-unix": lambda: socket.socket(socket.AF_UNIX).connect("/run/sixtykey/push.sock"),
    "connect-dbus": lambda: socket.socket(socket.AF_UNIX).connect("/run/dbus/system_bus_socket"),
    "write-etc": lambda: os.open("/etc/sixtykey/x", os.O_WRONLY | os.O_CREAT),
    "write-usr": lambda: os.open("/usr/lib/sixtykey/x", os.O_WRONLY | os.O_CREAT),
    "write-run": lambda: os.open("/run/x", os.O_WRONLY | os.O_CREAT),
    "write-sockets": lambda: os.open("/run/sixtykey/x", os.O_WRONLY | os.O_CREAT),
    "read-shadow": lambda: os.open("/etc/shadow", os.O_RDONLY),
    "read-host-key": lambda: os.open("/etc/ssh/ssh_host_ed25519_key", os.O_RDONLY),
    "see-homes": lambda: os.open("/home/alice/.profile", os.O_RDONLY),
}

for name, attempt in TRIES.items():
    try:
        attempt()
    except OSError:
        continue
    print(name)
