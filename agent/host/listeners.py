"""Listening sockets: passed in by systemd, or bound here as the configuration says."""

from __future__ import annotations

import grp
import ipaddress
import logging
import os
import socket
import stat
from collections.abc import MutableMapping

from agent.config.document import Problems
from agent.config.limits import LIMITS
from agent.config.settings import Config, Http
from agent.host.systemd import listen_fds

log = logging.getLogger("sixtykeyd")


class CannotListen(Exception):
    """A socket cannot be opened; the message says which, why, and what to do."""


def all_listeners(config: Config, environ: MutableMapping[str, str]) -> dict[str, socket.socket]:
    """The sockets by name: lookup, push, https when there is a network listener, source.

    `source` is included if systemd passed it in, or if a source is configured.

    Raises:
        CannotListen: one of them cannot be opened.
        Problems: the configuration contradicts what systemd passed in, or may not listen itself.
        In both cases none is left open.
    """
    passed = listen_fds(environ)
    try:
        if "lookup" not in passed:
            passed["lookup"] = unix(config.lookup.socket, config.lookup.group)
        if "push" not in passed:
            passed["push"] = unix(config.push.socket, config.push.group)
        if "source" not in passed and (config.ec2 or config.fleet):
            passed["source"] = unix(config.source.socket, config.source.group)
        http = config.push.http
        if "https" in passed and http is None:
            raise Problems(
                [
                    "systemd passed in the https socket, but the configuration has no push.http: "
                    "set it, or run: systemctl disable --now sixtykeyd-https.socket"
                ]
            )
        if http is not None and "https" not in passed:
            passed["https"] = tcp(http.address, http.port)
        elif http is not None:
            _check_passed(passed["https"], http)
    except (CannotListen, Problems):
        for sock in passed.values():
            sock.close()
        raise
    return passed


def _check_passed(sock: socket.socket, http: Http) -> None:
    """Refuse a passed socket that the configuration would not be allowed to bind."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        raise Problems(["systemd passed in an https socket that is not TCP"])
    address = sock.getsockname()[0].partition("%")[0]
    if http.tls is None and not http.plaintext and not ipaddress.ip_address(address).is_loopback:
        raise Problems(
            [
                f"systemd passed in an https socket on {address}, which is not loopback, and there "
                "is no push.http.tls: set it, or accept that with `plaintext: accepted`"
            ]
        )


def tcp(address: str, port: int) -> socket.socket:
    """A listening TCP socket. Raises CannotListen; Problems if this process may not make one."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        # The packaged service can make Unix sockets only.
        raise Problems(
            [
                f"push.http: {address} port {port}: {error.strerror}; if this service may not open "
                "network sockets, run: systemctl enable --now sixtykeyd-https.socket"
            ]
        ) from None
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, port))
        sock.listen(LIMITS.backlog)
    except OSError as error:
        sock.close()
        raise CannotListen(f"push.http: {address} port {port}: {error.strerror}") from None
    return sock


def unix(path: str, group: str) -> socket.socket:
    """A listening Unix socket that `group` may use. Raises CannotListen.

    If the group does not exist, only owner and root can use it; that is reported.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # 0755: the socket's own mode says who may use it.
        _make_parents(os.path.dirname(path))
        _remove_stale(path)
        # Nobody can connect before group and mode are set.
        before = os.umask(0o177)
        try:
            sock.bind(path)
        finally:
            os.umask(before)
        _hand_to(path, group)
        sock.listen(LIMITS.backlog)
    except OSError as error:
        sock.close()
        raise CannotListen(f"{path}: {error.strerror or error}") from None
    except CannotListen:
        sock.close()
        raise
    return sock


def _make_parents(folder: str) -> None:
    """Make missing folders, 0755 whatever the umask, so that the helper's user can enter them."""
    if folder and not os.path.exists(folder):
        _make_parents(os.path.dirname(folder))
        os.makedirs(folder, exist_ok=True)
        os.chmod(folder, 0o755)  # noqa: S103 - see above


def _hand_to(path: str, group: str) -> None:
    try:
        gid = grp.getgrnam(group).gr_gid
    except KeyError:
        log.warning("%s: there is no group %s, so only its owner and root can use it", path, group)
        return
    os.chown(path, -1, gid)
    os.chmod(path, 0o660)


def _remove_stale(path: str) -> None:
    """Remove the socket of a daemon that is gone; leave a live one, and anything else."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise CannotListen(f"{path}: exists, and is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except OSError as error:
            raise CannotListen(f"{path}: {error.strerror or error}") from None
    raise CannotListen(f"{path}: another daemon is listening there")
