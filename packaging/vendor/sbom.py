"""Lists what a package contains: a bill of materials in JSON, CycloneDX 1.5.

https://cyclonedx.org/docs/1.5/json/
"""

from __future__ import annotations

import email.parser
import json
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wheels import LockError, Pin, digest, normal

# Texts that older wheels have instead of an SPDX expression (PEP 639), and the expressions.
_SPDX = {"Apache-2.0": "Apache-2.0", "MIT": "MIT", "LGPL-2.1": "LGPL-2.1-only"}
# C libraries compiled into wheels that have no list of them (PEP 770).
_INSIDE = {
    "cffi": ("libffi", "MIT"),
    "pynacl": ("libsodium", "ISC"),
    "pyyaml": ("libyaml", "MIT"),
}


def describe(
    pins: Mapping[str, Pin], wheels: Sequence[Path], vendor: Path, package: tuple[str, str, str]
) -> dict[str, Any]:
    """The document for a package: name, version, architecture. Equal pins give equal documents."""
    name, version, architecture = package
    components = [_component(pin, wheels, vendor) for _, pin in sorted(pins.items())]
    purl = f"pkg:generic/{name}@{version}?arch={architecture}"
    made = json.dumps(components, sort_keys=True)
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, purl + made)}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application", "bom-ref": purl, "name": name, "version": version,
                "licenses": [{"expression": "Apache-2.0"}], "purl": purl,
            },
        },
        "components": components,
        "dependencies": [{"ref": purl, "dependsOn": [c["bom-ref"] for c in components]}],
    }  # fmt: skip


def _component(pin: Pin, wheels: Sequence[Path], vendor: Path) -> dict[str, Any]:
    mine = [w for w in wheels if normal(w.name.split("-")[0]) == normal(pin.name)]
    (info,) = (
        p for p in vendor.glob("*.dist-info") if normal(p.name.split("-")[0]) == normal(pin.name)
    )
    metadata = email.parser.Parser().parsestr((info / "METADATA").read_text("utf-8"))
    said = metadata["License-Expression"] or metadata["License"]
    purl = f"pkg:pypi/{normal(pin.name)}@{pin.version}"
    return {
        "type": "library",
        "bom-ref": purl,
        "name": pin.name,
        "version": pin.version,
        "purl": purl,
        "licenses": [{"expression": _SPDX.get(said, said)}],
        # With a wheel for each Python, the library has no single hash.
        **({"hashes": [_hash(mine[0])]} if len(mine) == 1 else {}),
        "properties": [
            {"name": "sixtykey:wheel", "value": f"{wheel.name} sha256:{digest(wheel)}"}
            for wheel in mine
        ],
        "components": _inside(pin, info),
    }


def _hash(wheel: Path) -> dict[str, str]:
    return {"alg": "SHA-256", "content": digest(wheel)}


def _inside(pin: Pin, info: Path) -> list[dict[str, Any]]:
    """The libraries compiled into it: from its own lists (PEP 770), or only by name."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for file in sorted((info / "sboms").glob("*.json")):
        document = json.loads(file.read_text("utf-8"))
        if document.get("bomFormat") != "CycloneDX":
            raise LockError(f"{file}: not CycloneDX")
        for part in document["components"]:
            kept = {k: part[k] for k in ("type", "name", "version", "purl", "hashes") if k in part}
            if "licenses" in part:
                kept["licenses"] = part["licenses"]
            found[part["name"], part.get("version", "")] = kept
    if not found and normal(pin.name) in _INSIDE:
        name, spdx = _INSIDE[normal(pin.name)]
        return [{"type": "library", "name": name, "licenses": [{"license": {"id": spdx}}]}]
    return [found[key] for key in sorted(found)]
