"""A push is remembered for as long as its lease is certain to live, by both clocks."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from agent.client import leases
from agent.client.leases import Lease


@pytest.fixture
def lease(tmp_path: Path) -> Lease:
    """A lease for root on one host."""
    return Lease({"HOME": str(tmp_path)}, "https://x", "AKIA", "i-1", "root", "SHA256:x")


def test_a_lease_lives_while_a_login_fits(lease: Lease, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a 60 s lease the last 15 s are not used, so that a login can finish."""
    lease.record_push(1000.0, 50_000.0)
    for age, lives in ((0, True), (44, True), (45, False), (-1, False)):
        monkeypatch.setattr(leases, "boottime", lambda age=age: 1000.0 + age)
        monkeypatch.setattr(time, "time", lambda age=age: 50_000.0 + age)
        assert lease.is_live(60) is lives


def test_both_clocks_have_to_agree(lease: Lease, monkeypatch: pytest.MonkeyPatch) -> None:
    """A remembered lease is live only if both the boot clock and the wall clock say so."""
    lease.record_push(1000.0, 50_000.0)
    monkeypatch.setattr(leases, "boottime", lambda: 1001.0)
    monkeypatch.setattr(time, "time", lambda: 90_000.0)
    assert not lease.is_live(60)
    monkeypatch.setattr(leases, "boottime", lambda: 3.0)
    monkeypatch.setattr(time, "time", lambda: 50_001.0)
    assert not lease.is_live(60)


def test_a_lease_is_for_one_key_user_host_and_pusher(tmp_path: Path) -> None:
    """A lease is not found for another endpoint, credential, host, user or key."""
    which = ["https://x", "AKIA", "i-1", "root", "SHA256:x"]
    environ = {"HOME": str(tmp_path)}
    Lease(environ, *which).record_push(leases.boottime(), time.time())
    assert Lease(environ, *which).is_live(60)
    for place in range(len(which)):
        other = [*which[:place], "other", *which[place + 1 :]]
        assert not Lease(environ, *other).is_live(60)


def test_damage_means_that_it_is_pushed_again(lease: Lease, tmp_path: Path) -> None:
    """An empty, damaged or missing file counts as no lease."""
    lease.record_push(leases.boottime(), time.time())
    (path,) = (tmp_path / ".config" / "sixtykey").glob("lease-*")
    for text in ("", "x y", "1", "nan nan", "1 2 3"):
        path.write_text(text)
        assert not lease.is_live(60)
    lease.forget()
    assert not lease.is_live(60)
