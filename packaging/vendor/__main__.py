"""The Python libraries that a package brings along, pinned by version and by hash.

python3 packaging/vendor lock LOCK [NAME==VERSION...]
    Write LOCK anew: its pins, or these instead, with the hash of every wheel that is wanted.
python3 packaging/vendor unpack LOCK ARCHITECTURE FOLDER NAME VERSION
    FOLDER/vendor, for sys.path; FOLDER/licenses; and FOLDER/sbom.cdx.json, which says what
    the package NAME in VERSION brings for ARCHITECTURE (x86_64, aarch64).
python3 packaging/vendor newer LOCK...
    Warn of each pin that has a newer patch release. It is no failure, nor is a registry that
    cannot be reached.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import sbom
import wheels
from wheels import LockError


def lock(path: str, *changed: str) -> None:
    """Write the pins, each with the hashes of its wheels for every architecture and Python."""
    pins = wheels.read(Path(path).read_text("utf-8")) if Path(path).exists() else {}
    versions = {pin.name: pin.version for pin in pins.values()}
    for word in changed:
        name, _, version = word.partition("==")
        versions[name] = version
    with tempfile.TemporaryDirectory() as folder:
        for architecture in wheels.ARCHITECTURES:
            wheels.fetch([f"{n}=={v}" for n, v in versions.items()], architecture, Path(folder))
        text = wheels.write(versions, Path(folder))
    Path(path).write_text(text, "utf-8")


def unpack(path: str, architecture: str, folder: str, name: str, version: str) -> None:
    """What the pins name, and nothing else, in a folder of its own."""
    pins = wheels.read(Path(path).read_text("utf-8"))
    found = wheels.fetched(Path(path), pins, architecture)
    target = Path(folder)
    for wheel in found:
        wheels.unpack(wheel, target / "vendor", target / "licenses")
    bill = sbom.bill(pins, found, target / "vendor", (name, version, architecture))
    (target / "sbom.cdx.json").write_text(json.dumps(bill, indent=1) + "\n", "utf-8")


def newer(*paths: str) -> None:
    """Say what stands behind, by one question for each lock."""
    for path in paths:
        for pin, patch in wheels.newer(wheels.read(Path(path).read_text("utf-8"))):
            print(f"WARNING: {path} has {pin.name} {pin.version}; {patch} is out", file=sys.stderr)


COMMANDS: dict[str, Callable[..., None]] = {"lock": lock, "unpack": unpack, "newer": newer}


def main() -> int:
    """Run one of them. Exit code 1: what was fetched is not what is pinned, or it cannot be had."""
    try:
        COMMANDS[sys.argv[1]](*sys.argv[2:])
    except (IndexError, KeyError, TypeError):
        print(__doc__, file=sys.stderr)
        return 2
    except LockError as error:
        print(f"packaging/vendor: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
