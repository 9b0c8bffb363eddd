"""`python -m tests.benchmarks [NAME...]`: measure, print a table, write build/bench.json.

With names, only those figures, and no file; a name that no figure has stands for all whose names
contain it. Ends with 1 if one failed.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.benchmarks.figures import Figure, measures
from tests.parts.host import ROOT

RESULTS = ROOT / "build" / "bench.json"


def machine() -> dict[str, Any]:
    """The machine and the time (UTC) of the measurement."""
    cpu = "unknown"
    for row in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        if row.startswith("model name"):
            cpu = row.partition(":")[2].strip()
            break
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "cpus": os.cpu_count(),
        "cpu": cpu,
        "memory_mib": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20,
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def in_words(figure: Figure) -> str:
    """The figure's own description, or the spread of both sides if there are two."""
    detail = figure.detail
    if "words" in detail:
        return str(detail["words"])
    for unit, times in (("ms", "pairs"), ("per_second", "rounds")):
        ours, peer = detail.get(f"ours_{unit}"), detail.get(f"peer_{unit}")
        if isinstance(ours, Mapping) and isinstance(peer, Mapping):
            sides = (
                f"{side['median']:.2f} ({side['p10']:.2f} to {side['p90']:.2f})"
                for side in (ours, peer)
            )
            return f"{' : '.join(sides)} {unit.replace('_', ' ')}, {detail[times]} {times}"
    return ""


def chosen(names: Sequence[str], known: Sequence[str]) -> list[str]:
    """The figures that are meant, in the order of `known`."""
    parts = [name for name in names if name not in known]
    return [name for name in known if name in names or any(part in name for part in parts)]


def main(names: Sequence[str]) -> int:
    """Measure; return the exit status."""
    print(json.dumps(machine()))
    print(f"{'figure':<40} {'value':>9} {'unit':<6} {'beside':<34} median (p10 to p90)")
    results: dict[str, dict[str, Any]] = {}
    failed = 0
    known = measures()
    for name in chosen(names, list(known)) if names else known:
        try:
            found = known[name]()
        except Exception:  # noqa: BLE001 - the others are still worth measuring
            traceback.print_exc()
            failed += 1
            continue
        results[found.name] = asdict(found)
        print(
            f"{found.name:<40} {found.value:>9.3f} {found.unit:<6} {found.floor_or_peer:<34} "
            f"{in_words(found)}",
            flush=True,
        )
    if not names:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps({"machine": machine(), "figures": results}, indent=2) + "\n")
    return 1 if failed or not results else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
