"""sixtykey revoke: a revoked key is refused by the next lookup, and only root may revoke."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.parts.command import run, run_as
from tests.parts.daemon import RunningDaemon
from tests.parts.helper import ask_helper
from tests.parts.host import IS_ROOT, helper_group
from tests.parts.keys import KeyPair, make_key


@pytest.fixture
def keys(daemon: RunningDaemon, directory: Path, key: KeyPair) -> list[KeyPair]:
    """Two live keys for alice, and one for bob."""
    second = make_key(directory, f"second{len(list(directory.iterdir()))}")
    for os_user, pair in (("alice", key), ("alice", second), ("bob", key)):
        assert run("push", os_user, str(pair.public), "--socket", daemon.push_socket).code == 0
    return [key, second]


def test_revoke_ends_one_key_or_all_of_a_user(daemon: RunningDaemon, keys: list[KeyPair]) -> None:
    """Revoking ends the key named by fingerprint or file, or else all keys of the user.

    Other users' keys stay.
    """
    done = run("revoke", "alice", keys[0].fingerprint(), "--socket", daemon.push_socket)
    assert done.code == 0
    assert done.out.startswith(f"revoked  alice  {keys[0].fingerprint()}  ")
    (line,) = ask_helper(daemon.lookup_socket, "alice")
    assert line.split(" ")[1] == keys[1].base64
    assert run("revoke", "alice", "--socket", daemon.push_socket).code == 0
    assert ask_helper(daemon.lookup_socket, "alice") == []
    assert len(ask_helper(daemon.lookup_socket, "bob")) == 1
    done = run("revoke", "bob", str(keys[0].public), "--json", "--socket", daemon.push_socket)
    assert [lease["OSUser"] for lease in done.json["Revoked"]] == ["bob"]


def test_revoke_all_ends_every_key(daemon: RunningDaemon, keys: list[KeyPair]) -> None:
    """--all ends every key; without any live key it gives exit code 1."""
    assert keys
    assert run("revoke", "--all", "--socket", daemon.push_socket).code == 0
    assert ask_helper(daemon.lookup_socket, "bob") == []
    done = run("revoke", "--all", "--socket", daemon.push_socket)
    assert (done.code, done.out) == (1, "nothing to revoke: there is no such live key\n")
    record = daemon.await_audit(event="revoke", outcome="allowed")
    assert record["reason"] == "no keys of all users"


@pytest.mark.skipif(not IS_ROOT, reason="only root can become somebody else")
def test_the_group_may_not_revoke(daemon: RunningDaemon, keys: list[KeyPair], user: str) -> None:
    """A group member may not revoke: exit code 4, an audit record, and the key stays live."""
    assert keys
    words = ("revoke", "bob", "--socket", daemon.push_socket)
    done = run_as(user, *words, group=helper_group())
    assert done.code == 4
    assert done.err == "sixtykey: only root may revoke\n  run it as root: sudo sixtykey ...\n"
    assert len(ask_helper(daemon.lookup_socket, "bob")) == 1
    assert daemon.await_audit(event="revoke", outcome="AccessDeniedException")["os_user"] == "bob"
