"""python -m tests.fuzz [--seconds N] [TARGET...]: run every target in a separate process.

libFuzzer ends a process that raises, hangs (10 s for one input) or takes too much memory, and
leaves the input in build/fuzz/, with which the next run starts.
"""

from __future__ import annotations

import argparse
import gc
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Callable

PLACE = Path("build/fuzz")
COMPILED = "helper"
"""The helper in C, whose target is in helper.c."""
SETTLED, EVERY = 50_000, 10_000
"""Executions after which memory is first looked at, and how often from then on."""
GROWTH = 64 * 1024
"""KiB that it may grow by after that: libFuzzer's own corpus is in it."""


def main() -> int:
    """Fuzz; the exit code is the number of targets with a finding."""
    parser = argparse.ArgumentParser(prog="tests.fuzz")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--here", action="store_true", help="the one target, in this process")
    parser.add_argument("target", nargs="*")
    options = parser.parse_args()
    if options.here:
        fuzz(options.target[0], options.seconds)
    from tests.fuzz.targets import TARGETS

    failed = []
    for name in options.target or [*TARGETS, COMPILED]:
        print(f"fuzzing {name} for {options.seconds} s", flush=True)
        command = [sys.executable, "-m", "tests.fuzz", "--here", "--seconds", str(options.seconds)]
        command = compiled(options.seconds) if name == COMPILED else [*command, name]
        if subprocess.run(command, check=False).returncode:
            failed.append(name)
    print(f"found something in: {', '.join(failed)}" if failed else "found nothing")
    return len(failed)


def options_of(name: str, seconds: int, longest: int, seeds: Sequence[bytes]) -> list[str]:
    """libFuzzer's command line, with a corpus that starts with these seeds."""
    corpus = PLACE / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    return [
        f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=1024", f"-max_len={longest}",
        f"-artifact_prefix={PLACE}/{name}-", "-print_final_stats=1", "-verbosity=0", str(corpus),
    ]  # fmt: skip


def compiled(seconds: int) -> list[str]:
    """The command that fuzzes the helper in C, compiled with clang's libFuzzer and sanitizers."""
    from tests.fuzz.targets import HELPER_SEEDS

    PLACE.mkdir(parents=True, exist_ok=True)
    program = PLACE.resolve() / "helper-fuzzer"
    sanitizers = ["-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all"]
    source = str(Path(__file__).parent / "helper.c")
    subprocess.run(["clang", "-g", "-O1", *sanitizers, "-o", str(program), source], check=True)
    return [str(program), *options_of(COMPILED, seconds, 4096, HELPER_SEEDS)]


def fuzz(name: str, seconds: int) -> None:
    """Fuzz one target; never returns."""
    import atheris

    with atheris.instrument_imports(include=["agent", "h11"]):
        from tests.fuzz.targets import TARGETS
    target, seeds = TARGETS[name]
    longest = 20_000 if name == "wire" else 4096
    atheris.Setup(["fuzz", *options_of(name, seconds, longest, seeds)], watched(target))
    atheris.Fuzz()


def watched(target: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """The target, with an assertion on the memory of the process."""
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
