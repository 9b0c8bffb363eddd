"""Fetches wheels with pip, compares them with their pins, and unpacks them."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ARCHITECTURES = ("x86_64", "aarch64")
# The interpreters that a package runs on, with their patch version: pip reads 3.9 as 3.9.0, and
# then silently chooses a cryptography that is years old.
PYTHONS = ("3.9.25", "3.10.20", "3.11.15", "3.12.13", "3.13.12", "3.14.3")
# The oldest glibc that all of the libraries support is 2.28: auditwheel's names for it and older.
_PLATFORMS = ("manylinux_2_28", "manylinux_2_26", "manylinux_2_17", "manylinux2014")
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})\b")
# Files that an installed library does not need: an installer's records, and tests.
_LEFT_OUT = re.compile(
    r"\.dist-info/(RECORD|WHEEL|top_level\.txt|entry_points\.txt|INSTALLER)$|(^|/)tests?/|/$"
)
_LICENSE = re.compile(
    r"\.dist-info/(?:licenses/)?((?:.*/)?(?:LICEN[CS]E|COPYING|AUTHORS|NOTICE)[^/]*)$"
)
# Where fetched wheels are kept for the next build.
_CACHE = Path("build/wheels")


class LockError(Exception):
    """A wheel is missing, or is not the pinned one; the text says what to do."""


@dataclass(frozen=True)
class Pin:
    """One library: its name, its version, and the SHA-256 (hex) of each wheel of it."""

    name: str
    version: str
    hashes: frozenset[str]


def normal(name: str) -> str:
    """The name in the form in which an index compares names (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read(text: str) -> dict[str, Pin]:
    """The pins of a lock, by normal name. Raises LockError: one of them has no hash."""
    pins = {}
    begins = list(_PIN.finditer(text))
    for number, begin in enumerate(begins):
        end = begins[number + 1].start() if number + 1 < len(begins) else len(text)
        hashes = frozenset(_HASH.findall(text, begin.start(), end))
        if not hashes:
            raise LockError(f"{begin[0]} has no hash: python3 packaging/vendor lock writes them")
        pins[normal(begin[1])] = Pin(begin[1], begin[2], hashes)
    return pins


def write(versions: Mapping[str, str], folder: Path) -> str:
    """The text of a lock, from the wheels of a folder."""
    lines = ["# Written by `python3 packaging/vendor lock`: not by hand.\n"]
    for name, version in sorted(versions.items(), key=lambda item: normal(item[0])):
        mine = [w for w in folder.rglob("*.whl") if normal(w.name.split("-")[0]) == normal(name)]
        hashes = sorted({digest(wheel) for wheel in mine})
        if not hashes:
            raise LockError(f"no wheel of {name} {version}")
        lines.append(f"{name}=={version}")
        lines.extend(f" \\\n    --hash=sha256:{value}" for value in hashes)
        lines.append("\n")
    return "".join(lines)


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def fetch(requirements: Sequence[str], architecture: str, folder: Path, *options: str) -> None:
    """Fetch the wheels into a folder: for each Python if they differ, else the oldest one."""
    target = folder / architecture
    _download(requirements, architecture, PYTHONS[0], target, options)
    # A wheel for one version of Python only (cp39-cp39, unlike cp39-abi3 and py3-none) has a
    # counterpart for each of the others.
    several = {normal(w.name.split("-")[0]) for w in target.glob("*-cp39-cp39-*.whl")}
    mine = [r for r in requirements if normal(r.partition("==")[0]) in several]
    for python in PYTHONS[1:] if mine else ():
        _download(mine, architecture, python, target, options)


def _download(
    requirements: Sequence[str],
    architecture: str,
    python: str,
    folder: Path,
    options: Sequence[str],
) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", "--implementation=cp", f"--dest={folder}"]
    command += [f"--python-version={python}", *options]
    command += [f"--platform={name}_{architecture}" for name in _PLATFORMS]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(requirements))
        file.flush()
        done = subprocess.run([*command, f"--requirement={file.name}"], check=False)
    if done.returncode:
        raise LockError(f"pip did not get the pinned wheels for Python {python} on {architecture}")


def fetch_pinned(lock: Path, pins: Mapping[str, Pin], architecture: str) -> list[Path]:
    """The pinned wheels for an architecture; kept ones are used again if they match the pins.

    Raises:
        LockError: one cannot be fetched, or is not the pinned one.
    """
    folder = _CACHE / digest(lock)[:16]
    whole = folder / architecture / "whole"
    if not whole.exists():
        wanted = [
            f"{pin.name}=={pin.version}"
            + "".join(f" --hash=sha256:{h}" for h in sorted(pin.hashes))
            for pin in pins.values()
        ]
        fetch(wanted, architecture, folder, "--require-hashes")
        whole.touch()
    found = sorted(whole.parent.glob("*.whl"))
    for wheel in found:
        pin = pins.get(normal(wheel.name.split("-")[0]))
        if pin is None or digest(wheel) not in pin.hashes:
            raise LockError(f"{wheel} is not the pinned wheel: remove it")
    missing = pins.keys() - {normal(wheel.name.split("-")[0]) for wheel in found}
    if missing:
        raise LockError(f"{whole.parent} has no {', '.join(sorted(missing))}: remove that folder")
    return found


def unpack(wheel: Path, folder: Path, licenses: Path) -> None:
    """Unpack a wheel into a folder, and its licences into another one.

    Raises:
        LockError: another wheel has a different file of the same name.
    """
    library = "-".join(wheel.name.split("-")[:2])
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            license_file = _LICENSE.search(name)
            target = licenses / library / license_file[1] if license_file else folder / name
            if _LEFT_OUT.search(name):
                continue
            content = archive.read(name)
            if target.exists() and target.read_bytes() != content:
                raise LockError(f"{wheel.name}: another wheel has a different {name}")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            target.chmod(0o755 if name.endswith(".so") else 0o644)


def find_newer(pins: Mapping[str, Pin]) -> Iterator[tuple[Pin, str]]:
    """The pins that have a newer patch release (~=, PEP 440), each with its version."""
    wanted = [f"{pin.name}~={pin.version}" for pin in pins.values()]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["--dry-run", "--ignore-installed", "--no-deps", "--only-binary=:all:", "--report=-"]
    command += ["--target=/nonexistent", "--implementation=cp", f"--python-version={PYTHONS[0]}"]
    command += [f"--platform={name}_{ARCHITECTURES[0]}" for name in _PLATFORMS]
    done = subprocess.run([*command, *wanted], capture_output=True, text=True, check=False)
    if done.returncode:
        print("note: no registry to ask for newer patch releases", file=sys.stderr)
        return
    for item in json.loads(done.stdout)["install"]:
        metadata = item["metadata"]
        pin = pins[normal(metadata["name"])]
        if metadata["version"] != pin.version:
            yield pin, metadata["version"]
