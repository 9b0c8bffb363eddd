"""Prints the result of an action of `sixtykey fleet`."""

from __future__ import annotations

import json
from typing import Any

from agent.client.trouble import DONE, plain
from agent.commands.options import Options


def print_result(options: Options, result: dict[str, Any], text: str) -> int:
    """Print the result, as JSON or as text; returns the exit code."""
    print(json.dumps(result, indent=2) if options.on("--json") else plain(text))
    return DONE
