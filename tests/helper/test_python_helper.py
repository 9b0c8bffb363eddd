"""The Python helper's imports, its warnings without descriptors, and its interpreter's digests."""

from __future__ import annotations

import resource
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from agent.helper import authorized_keys
from tests.parts.helper_kinds import PYTHONS
from tests.parts.key_lines import line
from tests.parts.keys import KeyPair
from tests.parts.sshd import HELPER
from tests.parts.stub_lookup import StubLookup, answering

NOT_ON_THE_WAY = {"socket", "json", "argparse", "re", "os", "subprocess", "shlex", "base64", "site"}


@pytest.mark.parametrize("python", PYTHONS.values(), ids=PYTHONS)
def test_loads_nothing_that_takes_long(
    tmp_path: Path, keys: dict[str, KeyPair], python: str
) -> None:
    """A lookup with a fingerprint imports no large module."""
    key = keys["ed25519"]
    with StubLookup(tmp_path, answering(line(key))) as stub:
        command = [python, "-X", "importtime", "-I", "-S", str(HELPER), "--socket", stub.path]
        command += ["root", key.fingerprint()]
        done = subprocess.run(command, capture_output=True, check=True, timeout=60)
    loaded = {row.split(b"|")[-1].strip().decode() for row in done.stderr.splitlines()}
    assert done.stdout == line(key)
    assert "_socket" in loaded
    assert not loaded & NOT_ON_THE_WAY


def test_a_warning_without_descriptors_is_dropped(tmp_path: Path) -> None:
    """A warning is dropped without an exception if no socket can be opened."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        authorized_keys.warn("no descriptor is left", str(tmp_path / "log"))
        with pytest.raises(OSError, match="Too many open files"):
            socket.socket(socket.AF_UNIX)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_openssls_digests_give_the_same_fingerprints(
    monkeypatch: pytest.MonkeyPatch, keys: dict[str, KeyPair]
) -> None:
    """If the interpreter has no built-in digests, OpenSSL's give the same fingerprints."""
    key = keys["ed25519"]
    for module in ("_sha2", "_sha256", "_md5"):
        monkeypatch.setitem(sys.modules, module, None)
    assert authorized_keys.fingerprint_of(key.blob, "SHA2") == key.fingerprint()
    assert authorized_keys.fingerprint_of(key.blob, "MD5:") == key.fingerprint("md5")
