"""The supported systems. Windows gets a clear error instead of a failed import."""

from __future__ import annotations

import sys

from agent.commands.trouble import REFUSED, Trouble


def check() -> None:
    """Raise Trouble on a system whose ssh lacks the features that the client needs."""
    if sys.platform in ("win32", "cygwin", "msys"):
        raise Trouble(
            REFUSED,
            "Windows",
            "this does not work on Windows: its ssh-agent takes no key for a limited time, and its "
            "ssh no socket from a ProxyCommand",
            "use WSL, where all of it works; or push with the AWS CLI and a key of your own",
        )
