"""Public keys and fingerprints on the command line: by value, or by file."""

from __future__ import annotations

import os
import sys

from agent.client.trouble import REFUSED, Trouble
from agent.commands.options import Usage

# ssh-keygen's default files, the newer types first.
_USUAL = ("id_ed25519.pub", "id_ecdsa.pub", "id_rsa.pub")
_MOST = 64 * 1024


def read_key(name: str) -> tuple[str, str]:
    """The key's text and where it was found. Raises Trouble.

    Args:
        name: a file, `-` for stdin, or empty for the usual file of the user who asks.
    """
    if not name:
        folder = os.path.expanduser("~/.ssh")
        found = [p for p in (os.path.join(folder, f) for f in _USUAL) if os.path.exists(p)]
        if not found:
            raise Usage(f"KEYFILE is missing, and {folder} has none of {', '.join(_USUAL)}")
        name = found[0]
    try:
        if name == "-":
            text = sys.stdin.buffer.read(_MOST)
        else:
            with open(name, "rb") as file:
                text = file.read(_MOST)
    except OSError as error:
        raise Trouble(REFUSED, "KeyFile", f"{name}: {error.strerror}") from None
    if b"PRIVATE KEY-----" in text:
        hint = (
            f"push the public key instead: {name.removesuffix('.pem')}.pub" if name != "-" else ""
        )
        raise Trouble(REFUSED, "PrivateKey", f"{name} is a private key; it was not sent", hint)
    return text.decode("utf-8", "replace").strip(), "stdin" if name == "-" else name


def fingerprint_of(text: str) -> str:
    """`SHA256:...` of a public key's line, or empty if it is not one; the daemon will say why."""
    import base64
    import hashlib

    fields = text.split()
    try:
        blob = base64.b64decode(fields[1], validate=True)
    except (IndexError, ValueError):
        return ""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def named_fingerprint(word: str) -> str:
    """A given fingerprint, or that of a public key file. Raises Usage, Trouble."""
    if word.startswith(("SHA256:", "MD5:")):
        return word.rstrip("=")
    if os.path.exists(word):
        fingerprint = fingerprint_of(read_key(word)[0])
        if fingerprint:
            return fingerprint
    raise Usage(f"{word!r} is neither SHA256:..., nor MD5:..., nor a public key's file")
