"""packaging/vendor unpacks exactly what is pinned, with licences and a bill of materials."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.parts.host import ROOT

PURE = {"pure/__init__.py": "", "pure/tests/test_it.py": ""}
LOCK = ROOT / "packaging" / "rpm" / "vendor.lock"


@pytest.fixture(name="registry")
def _registry(tmp_path: Path) -> Path:
    """A folder of wheels that replaces pip's registry, with one library."""
    folder = tmp_path / "registry"
    folder.mkdir()
    wheel(folder, "pure-1.0.0-py3-none-any", PURE)
    return folder


@pytest.fixture(name="locked", scope="module")
def _locked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a lock and a registry of two libraries, one of them with native wheels."""
    locked = tmp_path_factory.mktemp("locked")
    folder = locked / "registry"
    folder.mkdir()
    wheel(folder, "pure-1.0.0-py3-none-any", PURE)
    for python in ("cp39", "cp310", "cp311", "cp312", "cp313", "cp314"):
        for processor in ("x86_64", "aarch64"):
            tag = f"{python}-{python}-manylinux_2_28_{processor}"
            code = {"native.py": "", f"_native.{python}-{processor}.so": f"\x7fELF {tag}"}
            wheel(folder, f"native-2.1.0-{tag}", code)
    done = vendor(locked, "lock", "lock.txt", "pure==1.0.0", "native==2.1.0")
    assert done.returncode == 0, done.stderr
    return locked


def wheel(folder: Path, name: str, files: dict[str, str]) -> Path:
    """Make a wheel with these files, a licence and metadata."""
    library, version, tag = name.split("-", 2)
    info = f"{library}-{version}.dist-info"
    path = folder / f"{name}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in files.items():
            archive.writestr(member, content)
        metadata = f"Metadata-Version: 2.4\nName: {library}\nVersion: {version}\n"
        archive.writestr(f"{info}/METADATA", f"{metadata}License-Expression: MIT\n")
        archive.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nTag: {tag}\n")
        archive.writestr(f"{info}/licenses/LICENSE", f"The licence of {library}.")
        archive.writestr(f"{info}/RECORD", "")
    return path


def vendor(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the script in the folder that contains the registry."""
    environment = {
        **os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder / "registry"),
        "PIP_CONFIG_FILE": "/dev/null",
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, str(ROOT / "packaging" / "vendor"), *words],
        cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip


def unpack(
    folder: Path, processor: str = "x86_64", out: str = "out"
) -> subprocess.CompletedProcess[str]:
    """Unpack what lock.txt pins into a folder."""
    return vendor(folder, "unpack", "lock.txt", processor, out, "sixtykey", "1.2.3")


def files(folder: Path) -> set[str]:
    """Every file below a folder, by its relative path."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_lock_has_every_wheel_that_is_wanted(locked: Path) -> None:
    """The lock has the hash of each wheel, for every Python and both processors."""
    hashes = re.findall(r"sha256:(\w+)", (locked / "lock.txt").read_text())
    wheels = (locked / "registry").glob("*.whl")
    assert set(hashes) == {hashlib.sha256(path.read_bytes()).hexdigest() for path in wheels}
    assert len(hashes) == 13


def test_a_lock_is_written_anew_with_a_changed_version(tmp_path: Path, registry: Path) -> None:
    """`lock` keeps all pinned versions, except one that is given as NAME==VERSION."""
    assert vendor(tmp_path, "lock", "lock.txt", "pure==1.0.0").returncode == 0
    before = (tmp_path / "lock.txt").read_text()
    wheel(registry, "pure-1.0.1-py3-none-any", PURE)
    assert vendor(tmp_path, "lock", "lock.txt").returncode == 0
    assert (tmp_path / "lock.txt").read_text() == before
    assert vendor(tmp_path, "lock", "lock.txt", "pure==1.0.1").returncode == 0
    assert "pure==1.0.1 \\\n    --hash" in (tmp_path / "lock.txt").read_text()


def test_unpack_makes_one_folder_for_all_pythons_of_a_processor(locked: Path) -> None:
    """`unpack` gives one folder for all Pythons of a processor, without tests.

    Licences are in a separate folder.
    """
    done = unpack(locked)
    assert (done.returncode, done.stdout) == (0, "")
    assert files(locked / "out" / "vendor") == {
        "pure/__init__.py", "native.py", "pure-1.0.0.dist-info/METADATA",
        "native-2.1.0.dist-info/METADATA",
        *(f"_native.cp{minor}-x86_64.so" for minor in (39, 310, 311, 312, 313, 314)),
    }  # fmt: skip
    assert files(locked / "out" / "licenses") == {"pure-1.0.0/LICENSE", "native-2.1.0/LICENSE"}
    modes = {path.suffix: path.stat().st_mode & 0o777 for path in (locked / "out").rglob("*.*")}
    assert (modes[".so"], modes[".py"]) == (0o755, 0o644)


def test_the_bill_of_materials_is_complete_and_reproducible(locked: Path) -> None:
    """The CycloneDX bill lists package, libraries, licences and wheels, and is reproducible."""
    assert unpack(locked, "aarch64", "arm").returncode == 0
    text = (locked / "arm" / "sbom.cdx.json").read_text()
    bill = json.loads(text)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    assert bill["metadata"]["component"]["purl"] == "pkg:generic/sixtykey@1.2.3?arch=aarch64"
    parts = {part["name"]: part for part in bill["components"]}
    assert {name: part["purl"] for name, part in parts.items()} == {
        "pure": "pkg:pypi/pure@1.0.0", "native": "pkg:pypi/native@2.1.0",
    }  # fmt: skip
    assert parts["pure"]["licenses"] == [{"expression": "MIT"}]
    digest = hashlib.sha256(
        (locked / "registry" / "pure-1.0.0-py3-none-any.whl").read_bytes()
    ).hexdigest()
    assert parts["pure"]["hashes"] == [{"alg": "SHA-256", "content": digest}]
    assert len(parts["native"]["properties"]) == 6
    assert unpack(locked, "aarch64", "again").returncode == 0
    assert (locked / "again" / "sbom.cdx.json").read_text() == text


def test_a_wheel_that_was_exchanged_is_refused(tmp_path: Path, registry: Path) -> None:
    """A wheel that differs from its pinned hash, fetched or cached, is refused."""
    vendor(tmp_path, "lock", "lock.txt", "pure==1.0.0")
    good = wheel(registry, "pure-1.0.0-py3-none-any", {"pure/__init__.py": ""}).read_bytes()
    wheel(registry, "pure-1.0.0-py3-none-any", {"pure/__init__.py": "import os"})
    done = unpack(tmp_path)
    assert done.returncode == 1
    assert "pip did not get the pinned wheels" in done.stderr
    assert not (tmp_path / "out").exists()
    (registry / "pure-1.0.0-py3-none-any.whl").write_bytes(good)
    vendor(tmp_path, "lock", "lock.txt", "pure==1.0.0")
    assert unpack(tmp_path).returncode == 0
    (fetched,) = (tmp_path / "build").rglob("pure-*.whl")
    fetched.write_bytes(fetched.read_bytes() + b"\0")
    (tmp_path / "out").rename(tmp_path / "before")
    done = unpack(tmp_path)
    assert done.returncode == 1
    assert "is not the pinned wheel" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("registry")
def test_a_pin_without_a_hash_is_refused(tmp_path: Path) -> None:
    """A pin without a hash is refused."""
    (tmp_path / "lock.txt").write_text("pure==1.0.0\n")
    done = unpack(tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "pure==1.0.0 has no hash" in done.stderr


def test_a_newer_patch_release_is_a_warning(tmp_path: Path, registry: Path) -> None:
    """`newer` warns about a newer patch release, and not about a newer minor release.

    It ends with 0 in any case, also without a registry.
    """
    vendor(tmp_path, "lock", "lock.txt", "pure==1.0.0")
    wheel(registry, "pure-1.1.0-py3-none-any", {"pure/__init__.py": ""})
    done = vendor(tmp_path, "newer", "lock.txt")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    wheel(registry, "pure-1.0.3-py3-none-any", {"pure/__init__.py": ""})
    done = vendor(tmp_path, "newer", "lock.txt")
    assert (done.returncode, done.stderr) == (0, "WARNING: lock.txt has pure 1.0.0; 1.0.3 is out\n")
    for path in registry.glob("pure-*"):
        path.unlink()
    done = vendor(tmp_path, "newer", "lock.txt")
    assert done.returncode == 0
    assert "no registry to ask" in done.stderr


def test_the_rpm_brings_all_that_the_daemon_imports() -> None:
    """The rpm's lock pins all dependencies of pyproject.toml and what they need."""
    pins = set(re.findall(r"^([\w-]+)==", LOCK.read_text("utf-8"), re.MULTILINE))
    pyproject = (ROOT / "pyproject.toml").read_text("utf-8")
    demanded = re.search(r"^dependencies = \[(.*)\]", pyproject, re.MULTILINE)
    assert demanded
    assert set(re.findall(r'"([\w-]+)', demanded[1])) <= pins
    assert {"cryptography", "PyNaCl", "bcrypt", "cffi"} <= pins
