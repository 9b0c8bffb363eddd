"""Use beside AWS's helper, which asks the metadata itself, in either order."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.parts.ec2_process import RunningEc2
from tests.parts.ec2_signer import Ec2Signer
from tests.parts.host import login_user
from tests.parts.keys import KeyPair, make_key
from tests.parts.metadata import install_metadata_helper
from tests.parts.pushers import Target, push_with_boto3
from tests.parts.sshd import RunningSshd, install_helper
from tests.sources.metadata.whole import Host, host


def ours_first(at: Host, folder: Path) -> Path:
    """Our helper, which runs AWS's after itself with `--chain`."""
    theirs = install_metadata_helper(folder, at.url, at.signer.pem("root"))
    command = f'exec {install_helper(folder)} --chain {shlex.quote(str(theirs))} "$@"'
    return script(folder / "ours-first", command)


def theirs_first(at: Host, folder: Path) -> Path:
    """A shell script that runs AWS's helper, which may fail, and then ours."""
    theirs = install_metadata_helper(folder, at.url, at.signer.pem("root"))
    lines = f'{theirs} "$@" || true\nexec {install_helper(folder)} "$@"'
    return script(folder / "theirs-first", lines)


def script(path: Path, lines: str) -> Path:
    """Make an executable shell script."""
    path.write_text(f"#!/bin/sh\n{lines}\n")
    path.chmod(0o755)
    return path


ORDERS = {"ours first": ours_first, "theirs first": theirs_first}


@contextmanager
def site(signer: Ec2Signer, order: str) -> Iterator[tuple[Host, RunningSshd, str]]:
    """A host whose sshd runs both helpers, and a user of it."""
    with host(signer) as at, login_user() as user:
        folder = at.folder / "sshd"
        folder.mkdir(mode=0o755)
        install = partial(ORDERS[order], at)
        with RunningSshd(folder, at.daemon.lookup_socket, install=install) as sshd:
            yield at, sshd, user


def keys(at: Host) -> tuple[KeyPair, KeyPair]:
    """A key to push locally, and a key to push through EC2's own API."""
    return make_key(at.folder, "here"), make_key(at.folder, "ec2")


@pytest.mark.parametrize("order", ORDERS)
def test_both_helpers_keys_log_in(signer: Ec2Signer, order: str) -> None:
    """Keys of both helpers log in, and a failing metadata service does not stop local keys."""
    with site(signer, order) as (at, sshd, user):
        here, ec2 = keys(at)
        assert push_with_boto3(Target.of(at.daemon), user, here.line).ok
        assert sshd.login(user, here).accepted
        at.data.set_keys(user, signer.block(ec2.line))
        assert sshd.login(user, ec2).accepted
        assert sshd.login(user, here).accepted
        at.data.behave(status=500)
        assert sshd.login(user, here).accepted
        assert sshd.login(user, ec2).refused


@pytest.mark.parametrize("order", ORDERS)
def test_with_sixtykeyd_ec2_both_find_the_same_key(signer: Ec2Signer, order: str) -> None:
    """A key found by both helpers logs in; a revocation here does not affect AWS's helper."""
    with site(signer, order) as (at, sshd, user), RunningEc2(at.daemon):
        _, ec2 = keys(at)
        at.data.set_keys(user, signer.block(ec2.line))
        assert sshd.login(user, ec2).accepted
        assert at.daemon.await_audit(event="push", outcome="allowed")
        at.command("revoke", user)
        assert sshd.login(user, ec2).accepted
        at.data.set_keys(user)
        assert sshd.login(user, ec2).refused
