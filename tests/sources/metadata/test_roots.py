"""The trusted roots, from a file or from a folder with other files in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.sources.metadata import roots
from agent.sources.metadata.certificates import common_name
from agent.sources.metadata.refusal import Refused
from tests.parts.ec2_signer import Ec2Signer, openssl


def test_a_file_has_some_and_a_folder_has_more(signer: Ec2Signer, tmp_path: Path) -> None:
    """Roots are read from a file or a folder, and each is returned once."""
    both = tmp_path / "both.pem"
    both.write_bytes(b"Root 1\n" + signer.chain("root", "old-root"))
    (tmp_path / "0a1b2c3d.0").symlink_to(signer.pem("root"))
    (tmp_path / "broken.0").symlink_to(tmp_path / "nowhere")
    (tmp_path / "folder").mkdir()
    for path in (both, tmp_path):
        assert {common_name(each) for each in roots.load(str(path))} == {"'Root 1'", "'Old Root'"}
        assert len(roots.load(str(path))) == 2


def test_only_plain_certificates_are_trusted(signer: Ec2Signer, tmp_path: Path) -> None:
    """OpenSSL's trusted certificates, damaged ones and keys are not taken as roots."""
    trusted = openssl(
        "x509", "-in", str(signer.pem("old-root")), "-trustout", "-addreject", "serverAuth"
    )
    damaged = signer.chain("old-root").replace(b"MII", b"AII", 1)
    key = (signer.folder / "old-root.key").read_bytes()
    file = tmp_path / "roots.pem"
    file.write_bytes(trusted + damaged + key + signer.chain("root"))
    assert [common_name(each) for each in roots.load(str(file))] == ["'Root 1'"]


def test_no_roots_at_all_are_refused(tmp_path: Path) -> None:
    """An empty or absent file or folder is refused, and the error names the setting."""
    (tmp_path / "empty.pem").touch()
    (tmp_path / "folder").mkdir()
    for name in ("empty.pem", "folder", "absent"):
        with pytest.raises(Refused, match=r"no trusted roots at .*ec2\.roots"):
            roots.load(str(tmp_path / name))


def test_more_than_any_store_has_is_not_read(tmp_path: Path) -> None:
    """A folder with too much data is refused."""
    with (tmp_path / "large").open("wb") as file:
        file.truncate(9 * 1024 * 1024)
    with pytest.raises(Refused, match="larger than"):
        roots.load(str(tmp_path))
