"""The definition of a figure, and the list of all figures.

To add one, write a function in a new file of this package: `@figure`, no parameters, returns a
Figure.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable

import tests.benchmarks


@dataclass(frozen=True)
class Figure:
    """One measured number. `unit` is "ratio", "ms", …; `floor_or_peer` is what it is compared with.

    `detail` is all else that was measured, as JSON; its `words`, if any, are printed.
    """

    name: str
    value: float
    unit: str
    floor_or_peer: str
    detail: Mapping[str, Any]


Measure = Callable[[], Figure]

_MEASURES: dict[str, Measure] = {}


def figure(measure: Measure) -> Measure:
    """Put a function on the list; its name should be the figure's."""
    _MEASURES[measure.__name__] = measure
    return measure


def measures() -> Mapping[str, Measure]:
    """Every measure of every module of this package, by name. Raises ImportError."""
    for module in pkgutil.iter_modules(tests.benchmarks.__path__):
        # __main__ runs already, and would run again.
        if module.name != "__main__":
            importlib.import_module(f"tests.benchmarks.{module.name}")
    return _MEASURES
