"""`python -m tests.benchmarks [NAME...]`: measure, print a table, write build/bench.json.

With names, only figures whose names contain one of them, and no file. Ends with 1 if one failed.
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
    if "words" in figure.detail:
        return str(figure.detail["words"])
    ours, peer = figure.detail.get("ours_ms"), figure.detail.get("peer_ms")
    if not (isinstance(ours, Mapping) and isinstance(peer, Mapping)):
        return ""
    sides = (
        f"{side['median']:.2f} ({side['p10']:.2f} to {side['p90']:.2f})" for side in (ours, peer)
    )
    return " : ".join(sides) + f" ms, {figure.detail['pairs']} pairs"


def main(names: Sequence[str]) -> int:
    """Measure; return the exit status."""
    print(json.dumps(machine()))
    print(f"{'figure':<40} {'value':>9} {'unit':<6} {'beside':<34} median (p10 to p90)")
    results: dict[str, dict[str, Any]] = {}
    failed = 0
    for name, measure in measures().items():
        if names and not any(part in name for part in names):
            continue
        try:
            found = measure()
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
