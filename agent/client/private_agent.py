"""Starts an ssh-agent(1) for sessions that have none, so that no key is ever in a file."""

from __future__ import annotations

import os
import time

from agent.client import folders, limits, ssh_agent
from agent.client.ssh_agent import NoAgent, SshAgent
from agent.client.trouble import REFUSED, Trouble

TYPE_CHECKING = False
if TYPE_CHECKING:
    from agent.client.folders import Environment

# A socket's path has at most 104 bytes on macOS, 108 on Linux, with the final NUL (unix(4), (7)).
_PATH_MOST = 103


def socket_path(environ: Environment) -> str:
    """The path of its socket, which ssh's configuration names. It need not exist."""
    return os.path.join(folders.settings_folder(environ), "agent.sock")


def start(environ: Environment) -> SshAgent:
    """Return the running agent, or start one. The caller holds the lock. Raises Trouble."""
    folder, path = folders.make_private(folders.settings_folder(environ)), socket_path(environ)
    if len(os.fsencode(path)) > _PATH_MOST:
        raise Trouble(
            REFUSED, "NoAgent", f"no ssh-agent is running, and the path {path} is too long to "
            "start one",
            "start one: eval $(ssh-agent)",
        )  # fmt: skip
    return ssh_agent.find(path) or _start(folder, path)


def _start(folder: str, path: str) -> SshAgent:
    import subprocess

    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    # With a command, the agent ends when the command does (ssh-agent(1)), so none stays for ever.
    command = ["ssh-agent", "-a", path, "sleep", str(limits.KEY_SECONDS_MOST)]
    quiet = subprocess.DEVNULL
    try:
        child = subprocess.Popen(
            command, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True, cwd="/"
        )
    except OSError as error:
        raise NoAgent(f"no ssh-agent is running, and none can be started: {error}") from None
    end = time.monotonic() + limits.AGENT_SECONDS
    while child.poll() is None and time.monotonic() < end:
        agent = ssh_agent.find(path)
        if agent is not None:
            folders.write(os.path.join(folder, "agent.pid"), f"{child.pid}\n")
            # It outlives this process, so do not wait for it.
            child.returncode = 0
            return agent
        time.sleep(0.005)
    raise NoAgent("no ssh-agent is running, and the one that was started does not answer")


def stop(environ: Environment) -> None:
    """Stop it if it still runs, which an answer on its socket shows."""
    path = socket_path(environ)
    record = os.path.join(os.path.dirname(path), "agent.pid")
    number = (folders.read(record, 32) or "").strip()
    if ssh_agent.find(path) is not None and number.isdigit() and int(number) > 1:
        import signal

        try:
            os.kill(int(number), signal.SIGTERM)
        except OSError:
            pass
    for name in (path, record):
        try:
            os.unlink(name)
        except OSError:
            pass
