"""PyYAML's parsers: its own, and libyaml's where it was built with that."""

from __future__ import annotations

from typing import Any

import yaml

LOADERS: list[Any] = [yaml.SafeLoader]
if hasattr(yaml, "CSafeLoader"):
    LOADERS.append(yaml.CSafeLoader)
