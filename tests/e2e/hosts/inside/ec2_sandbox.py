"""Run on a host inside sixtykeyd-ec2's own sandbox: what it could do if it were compromised.

Prints a word for each thing that can be done; only the metadata's addresses should be there. The
arguments are addresses and ports, as 10.60.1.1=8080, at which something answers.
"""

import os
import socket
import sys
from typing import Any, Callable


def connect(address: str, port: int) -> None:
    """Try to connect by TCP."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as sock:
        sock.settimeout(3)
        sock.connect((address, port))


def send(address: str) -> None:
    """Try to send a datagram, as to a name server."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"anything", (address, 53))


def listen() -> None:
    """Try to listen."""
    with socket.socket() as sock:
        sock.bind(("0.0.0.0", 4711))


def write(path: str) -> None:
    """Try to make a file, and remove it again."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT))
    os.unlink(path)


def try_address(text: str) -> Callable[[], None]:
    """Try to connect to the address of an argument."""
    address, _, port = text.rpartition("=")
    return lambda: connect(address, int(port))


TRIES: "dict[str, Callable[[], Any]]" = {
    **{text: try_address(text) for text in sys.argv[1:]},
    "datagram": lambda: send(sys.argv[1].partition("=")[0]),
    "listen": listen,
    "netlink-socket": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
    "packet-socket": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
    "lookup-socket": lambda: socket.socket(socket.AF_UNIX).connect("/run/sixtykey/lookup.sock"),
    "push-socket": lambda: socket.socket(socket.AF_UNIX).connect("/run/sixtykey/push.sock"),
    "read-journal": lambda: os.listdir("/run/sixtykey/journal"),
    "read-credentials": lambda: os.open("/etc/sixtykey/credentials.yaml", os.O_RDONLY),
    "write-sockets": lambda: write("/run/sixtykey/x"),
    "write-etc": lambda: write("/etc/sixtykey/x"),
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
