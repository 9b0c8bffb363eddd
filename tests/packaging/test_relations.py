"""How the packages relate to others: the deb and the rpm say the same."""

from __future__ import annotations

import re

from tests.parts.host import ROOT


def test_an_sshd_that_cannot_tell_pam_enough_is_excluded() -> None:
    """Both packages exclude the same versions of sshd: those without SSH_AUTH_INFO_0 for PAM.

    On a booted host rpm compares them with the sshd that is there (tests/e2e/hosts/rpm.py).
    """
    spec = (ROOT / "packaging/rpm/sixtykey.spec").read_text("utf-8")
    control = (ROOT / "packaging/debian/control").read_text("utf-8")
    conflicts = re.findall(r"^Conflicts: +openssh-server < (\S+)$", spec, re.MULTILINE)
    breaks = re.findall(r"^Breaks: openssh-server \(<< 1:(\S+)\)$", control, re.MULTILINE)
    assert conflicts == breaks == ["7.6"]
