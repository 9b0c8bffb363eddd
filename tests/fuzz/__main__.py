"""python -m tests.fuzz [--seconds N] [TARGET...]: every target in a process of its own.

libFuzzer ends a process that raises, hangs (10 s for one input) or takes too much memory, and
leaves the input in build/fuzz/, from which it goes on the next time.
"""

from __future__ import annotations

import argparse
import gc
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Callable

PLACE = Path("build/fuzz")
SETTLED, EVERY = 50_000, 10_000
"""Executions after which memory is first looked at, and how often from then on."""
GROWTH = 64 * 1024
"""KiB that it may grow by after that: libFuzzer's own corpus is in it."""


def main() -> int:
    """Fuzz; the exit code is the number of targets in which something was found."""
    parser = argparse.ArgumentParser(prog="tests.fuzz")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--here", action="store_true", help="the one target, in this process")
    parser.add_argument("target", nargs="*")
    options = parser.parse_args()
    if options.here:
        fuzz(options.target[0], options.seconds)
    from tests.fuzz.targets import TARGETS

    failed = []
    for name in options.target or TARGETS:
        print(f"fuzzing {name} for {options.seconds} s", flush=True)
        command = [sys.executable, "-m", "tests.fuzz", "--here", "--seconds", str(options.seconds)]
        if subprocess.run([*command, name], check=False).returncode:
            failed.append(name)
    print(f"found something in: {', '.join(failed)}" if failed else "found nothing")
    return len(failed)


def fuzz(name: str, seconds: int) -> None:
    """Fuzz one target; never returns."""
    import atheris

    with atheris.instrument_imports(include=["agent", "h11"]):
        from tests.fuzz.targets import TARGETS
    target, seeds = TARGETS[name]
    corpus = PLACE / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    atheris.Setup(
        [
            "fuzz", f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=1024",
            "-max_len=20000" if name == "wire" else "-max_len=4096",
            f"-artifact_prefix={PLACE}/{name}-", "-print_final_stats=1", "-verbosity=0",
            str(corpus),
        ],
        watched(target),
    )  # fmt: skip
    atheris.Fuzz()


def watched(target: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """The target, and an assertion on the memory of the process."""
    count = settled = 0

    def one(data: bytes) -> None:
        nonlocal count, settled
        target(data)
        count += 1
        if count >= SETTLED and count % EVERY == 0:
            gc.collect()
            settled = settled or resident()
            assert resident() < settled + GROWTH, f"memory grew from {settled} KiB"

    return one


def resident() -> int:
    """The memory of this process in KiB."""
    status = Path(f"/proc/{os.getpid()}/status").read_text("ascii")
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1])


if __name__ == "__main__":
    sys.exit(main())
