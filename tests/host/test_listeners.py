"""Listening sockets: bound with the right mode, taken from systemd, or refused with a reason."""

from __future__ import annotations

import grp
import logging
import os
import socket
import stat
from pathlib import Path
from typing import Optional

import pytest

from agent.config.document import Problems
from agent.config.settings import Config, Http, Lookup, Push
from agent.host import listeners
from agent.host.listeners import CannotListen

OWN_GROUP = grp.getgrgid(os.getgid()).gr_name


def config(folder: Path, http: Optional[Http] = None) -> Config:
    """A configuration with sockets in a folder, for our own group."""
    return Config(
        lookup=Lookup(str(folder / "lookup.sock"), OWN_GROUP),
        push=Push(socket=str(folder / "push.sock"), group=OWN_GROUP, http=http),
    )


def free_http() -> Http:
    """A port on which nobody listens."""
    with listeners.tcp("127.0.0.1", 0) as sock:
        return Http(port=sock.getsockname()[1])


def test_each_socket_listens_and_is_for_its_group(tmp_path: Path) -> None:
    """Sockets have mode 0660 and the group, below folders of mode 0755, whatever the umask.

    Without a setting there is no HTTP socket.
    """
    before = os.umask(0o077)
    try:
        sockets = listeners.all_listeners(config(tmp_path / "run" / "sixtykey"), {})
    finally:
        os.umask(before)
    assert sorted(sockets) == ["lookup", "push"]
    for name, sock in sockets.items():
        path = tmp_path / "run" / "sixtykey" / f"{name}.sock"
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert path.stat().st_gid == os.getgid()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
        sock.close()
    for folder in (tmp_path / "run", tmp_path / "run" / "sixtykey"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o755


def test_a_group_that_is_missing_leaves_the_socket_to_its_owner(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With a missing group, the socket is only for its owner and a warning is logged."""
    with caplog.at_level(logging.WARNING), listeners.unix(str(tmp_path / "s"), "no-such-group"):
        assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o600
    assert "no-such-group" in caplog.text


def test_the_socket_of_a_daemon_that_is_gone_is_replaced(tmp_path: Path) -> None:
    """A socket at which no daemon listens any more is replaced."""
    path = str(tmp_path / "s")
    listeners.unix(path, OWN_GROUP).close()
    with listeners.unix(path, OWN_GROUP), socket.socket(socket.AF_UNIX) as client:
        client.connect(path)


def test_the_socket_of_a_live_daemon_is_left(tmp_path: Path) -> None:
    """A socket at which another daemon listens is an error, and that daemon stays reachable."""
    path = str(tmp_path / "s")
    with listeners.unix(path, OWN_GROUP):
        with pytest.raises(CannotListen, match="another daemon is listening"):
            listeners.unix(path, OWN_GROUP)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_a_file_that_is_not_a_socket_is_never_removed(kind: str, tmp_path: Path) -> None:
    """A file, folder or link at the socket's path is an error and is not removed."""
    path = tmp_path / "s"
    if kind == "file":
        path.write_text("precious")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CannotListen, match="not a socket"):
        listeners.unix(str(path), OWN_GROUP)
    assert path.is_symlink() or path.exists()


def test_a_port_in_use_and_an_address_that_is_not_ours(tmp_path: Path) -> None:
    """A port in use or a foreign address is an error, and other sockets are closed."""
    with listeners.tcp("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotListen, match=f"port {port}: Address already in use"):
            listeners.all_listeners(config(tmp_path, Http(port=port)), {})
    listeners.unix(str(tmp_path / "lookup.sock"), OWN_GROUP).close()
    with pytest.raises(CannotListen, match=r"203\.0\.113\.1"):
        listeners.tcp("203.0.113.1", 0)
    with pytest.raises(CannotListen):
        listeners.unix("/proc/sixtykey/s", OWN_GROUP)


def test_ipv6_is_an_address_like_another() -> None:
    """A listener on ::1 is an IPv6 socket."""
    with listeners.tcp("::1", 0) as sock:
        assert sock.family == socket.AF_INET6


def _passed(monkeypatch: pytest.MonkeyPatch, **sockets: socket.socket) -> None:
    """Replace the sockets that systemd passes; systemd.py has its own tests with real ones."""
    monkeypatch.setattr(listeners, "listen_fds", lambda _: dict(sockets))


def test_passed_sockets_are_used_and_the_others_are_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A socket passed by systemd is used, and the others are bound."""
    with listeners.unix(str(tmp_path / "theirs"), OWN_GROUP) as theirs:
        _passed(monkeypatch, lookup=theirs)
        sockets = listeners.all_listeners(config(tmp_path), {})
        assert sockets["lookup"] is theirs
        assert not (tmp_path / "lookup.sock").exists()
        sockets["push"].close()


def test_an_https_socket_that_the_configuration_does_not_know_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An https socket from systemd without push.http in the configuration is an error."""
    _passed(monkeypatch, https=listeners.tcp("127.0.0.1", 0))
    with pytest.raises(Problems, match=r"sixtykeyd-https\.socket"):
        listeners.all_listeners(config(tmp_path), {})


def test_a_passed_socket_that_is_not_configured_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A socket from systemd that is outside loopback without TLS, or not TCP, is refused."""
    _passed(monkeypatch, https=listeners.tcp("0.0.0.0", 0))
    with pytest.raises(Problems, match="not loopback"):
        listeners.all_listeners(config(tmp_path, free_http()), {})
    _passed(monkeypatch, https=listeners.unix(str(tmp_path / "s"), OWN_GROUP))
    with pytest.raises(Problems, match="not TCP"):
        listeners.all_listeners(config(tmp_path, free_http()), {})
