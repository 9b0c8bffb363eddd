"""The supported systems. Windows gets a clear error instead of a failed import."""

from __future__ import annotations

import sys

from agent.client.trouble import REFUSED, Trouble


def check() -> None:
    """Raise Trouble on a system whose ssh lacks the features that the client needs."""
    if sys.platform in ("win32", "cygwin", "msys"):
        raise Trouble(
            REFUSED,
            "Windows",
            "this does not work on Windows: its ssh-agent accepts no key with a lifetime, and its "
            "ssh no socket from a ProxyCommand",
            "use WSL, where everything works; or push your own key with the AWS CLI",
        )
