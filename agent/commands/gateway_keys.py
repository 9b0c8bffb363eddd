"""What `sixtykey credentials --gateway` needs to know of a fleet's gateway."""

from __future__ import annotations

import subprocess

from agent.client.trouble import DONE, REFUSED, Trouble
from agent.commands.options import Options, Usage
from agent.config.document import Problems
from agent.config.settings import Config, Push
from agent.fleet.gateway import settings
from agent.fleet.home.facts import Facts

_RELOAD = ("/usr/bin/systemctl", "try-reload-or-restart", "sixtykey-gateway.service")


def config(options: Options) -> tuple[Config, str]:
    """The gateway's settings, in the form of a host's, and its region. Raises Trouble."""
    path = options.value("--config") or settings.DEFAULT_PATH
    try:
        found = settings.load(path)
    except Problems as problems:
        words = "the gateway's configuration cannot be used: " + "; ".join(problems.problems)
        raise Trouble(REFUSED, "Configuration", words) from None
    push = Push(http=found.http, credentials=found.credentials)
    return Config(push=push, keys=found.keys), found.region


def endpoint(options: Options) -> str:
    """The URL for clients: that of the fleet's first gateway. Raises Trouble."""
    path = options.value("--config") or settings.DEFAULT_PATH
    try:
        return Facts.load(settings.load(path).facts).gateways[0]
    except Problems as problems:
        words = "; ".join(problems.problems)
        raise Trouble(REFUSED, "Fleet", words, "name it by --endpoint URL") from None


def tags(options: Options) -> dict[str, list[str]]:
    """The tags of --tag NAME=PATTERN, by name. Raises Usage."""
    found: dict[str, list[str]] = {}
    for text in options.values("--tag"):
        name, equals, pattern = text.partition("=")
        if not name or not equals or not pattern:
            raise Usage(f"a tag looks like role=web*, and {text!r} does not")
        found.setdefault(name, []).append(pattern)
    return found


def reload() -> tuple[int, str]:
    """Make this machine's gateway reload the file; returns the exit code and a message, or ""."""
    try:
        done = subprocess.run(_RELOAD, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return DONE, f"a running gateway must be reloaded (SIGHUP): {error}"
    if done.returncode:
        return DONE, f"a running gateway must be reloaded (SIGHUP): {done.stderr.strip()}"
    return DONE, ""
