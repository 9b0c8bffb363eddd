"""PyYAML's own parser, and libyaml's if PyYAML was built with it."""

from __future__ import annotations

from typing import Any

import yaml

LOADERS: list[Any] = [yaml.SafeLoader]
if hasattr(yaml, "CSafeLoader"):
    LOADERS.append(yaml.CSafeLoader)
