"""The Python libraries that a package contains, pinned by version and by hash.

python3 packaging/vendor lock LOCK [NAME==VERSION...]
    Write LOCK again, with these versions in place of its own, and the hash of every wheel.
python3 packaging/vendor unpack LOCK ARCHITECTURE FOLDER NAME VERSION
    Write FOLDER/vendor, for sys.path; FOLDER/licenses; and FOLDER/sbom.cdx.json, which lists
    what the package NAME contains in VERSION for ARCHITECTURE (x86_64, aarch64).
python3 packaging/vendor newer LOCK...
    Warn of each pin that has a newer patch release. This is not an error, even if the registry
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
    """Write the lock: each pin with the hashes of its wheels for every architecture and Python."""
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
    """Unpack exactly the pinned wheels into a folder, with their licences and their list."""
    pins = wheels.read(Path(path).read_text("utf-8"))
    found = wheels.fetch_pinned(Path(path), pins, architecture)
    target = Path(folder)
    for wheel in found:
        wheels.unpack(wheel, target / "vendor", target / "licenses")
    bill = sbom.describe(pins, found, target / "vendor", (name, version, architecture))
    (target / "sbom.cdx.json").write_text(json.dumps(bill, indent=1) + "\n", "utf-8")


def warn_of_newer(*paths: str) -> None:
    """Print the pins that have a newer patch release. Asks the registry once for each lock."""
    for path in paths:
        for pin, patch in wheels.find_newer(wheels.read(Path(path).read_text("utf-8"))):
            print(f"WARNING: {path} has {pin.name} {pin.version}; {patch} is out", file=sys.stderr)


COMMANDS: dict[str, Callable[..., None]] = {
    "lock": lock,
    "unpack": unpack,
    "newer": warn_of_newer,
}


def main() -> int:
    """Run a command; returns the exit code: 1 if a wheel is missing or is not the pinned one."""
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
