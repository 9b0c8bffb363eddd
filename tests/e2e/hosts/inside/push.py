"""Run on a host by its own Python: push keys to the local socket, ask the lookup socket.

load.py and the steps use it; it needs only the standard library.
"""

import base64
import hashlib
import json
import os
import socket
import struct
from typing import Any

PUSH, LOOKUP = "/run/sixtykey/push.sock", "/run/sixtykey/lookup.sock"


def new_key() -> "tuple[str, str, str]":
    """A public key without a private key: (line, base64 part, fingerprint)."""
    blob = b"".join(struct.pack(">I", len(p)) + p for p in (b"ssh-ed25519", os.urandom(32)))
    text = base64.b64encode(blob).decode()
    digest = base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
    return "ssh-ed25519 " + text, text, "SHA256:" + digest


def push(
    instance: str, zone: str, user: str, key: str, timeout: float = 10.0
) -> "tuple[int, dict[str, Any]]":
    """Push a key: (HTTP status, body). Raises OSError when there was no whole answer."""
    body = {"InstanceId": instance, "AvailabilityZone": zone, "InstanceOSUser": user}
    data = json.dumps({**body, "SSHPublicKey": key}).encode()
    head = (
        "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        "Content-Type: application/x-amz-json-1.1\r\n"
        "X-Amz-Target: AWSEC2InstanceConnectService.SendSSHPublicKey\r\n"
        f"Content-Length: {len(data)}\r\n\r\n"
    ).encode()
    answer = exchange(PUSH, head + data, timeout)
    status, _, rest = answer.partition(b"\r\n")
    _, separator, text = rest.partition(b"\r\n\r\n")
    if not separator or not status.startswith(b"HTTP/1.1 "):
        raise ConnectionError("no whole answer")
    return int(status.split()[1]), json.loads(text)


def lookup(user: str, fingerprint: str = "", timeout: float = 1.0) -> str:
    """The daemon's answer to sshd's helper, which waits for a second at most."""
    request = f"{user} {fingerprint}\n" if fingerprint else f"{user}\n"
    answer = exchange(LOOKUP, request.encode(), timeout).decode()
    if not answer.endswith("\n"):
        raise OSError("an answer without its end mark")
    return answer[:-1]


def exchange(path: str, request: bytes, timeout: float) -> bytes:
    """Send all of it, and read to the end. Raises OSError."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(timeout)
        sock.connect(path)
        sock.sendall(request)
        answer = b""
        while True:
            chunk = sock.recv(65536)
            if not chunk:
                return answer
            answer += chunk
