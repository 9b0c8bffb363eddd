"""paramiko's classes of public keys, imported without invoke.

paramiko uses invoke for one option of ssh_config, and does without it where it is not installed.
invoke is a quarter of what paramiko loads, and the daemon needs none of it.
"""

from __future__ import annotations

import sys

# An import of a name that is None here raises ImportError (Python reference, 5.3.1).
sys.modules["invoke"] = None  # type: ignore[assignment]

from paramiko import ECDSAKey, PKey, RSAKey  # noqa: E402 - after the line above

del sys.modules["invoke"]

__all__ = ["ECDSAKey", "PKey", "RSAKey"]
