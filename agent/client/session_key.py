"""The session's key: Ed25519, made in memory, held by ssh-agent for a time; only its .pub on disk.

A key that an agent already holds is reused, so each agent holds one. The key's comment states its
end, since the agent protocol cannot ask for it (draft-miller-ssh-agent).
"""

from __future__ import annotations

import os
import time

from agent.client import folders, limits, private_agent, ssh_agent, utc
from agent.client.ssh_agent import SshAgent, string
from agent.client.trouble import REFUSED, Trouble

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

    from agent.client.folders import Environment

PREFIX = "sixtykey until "
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_TYPE = b"ssh-ed25519"


class SessionKey:
    """A key of ours in an agent. `ends` is in seconds since 1970."""

    def __init__(self, blob: bytes, comment: str, agent: SshAgent) -> None:
        self.blob = blob
        self.comment = comment
        self.agent = agent
        self.ends = _end(comment)

    @property
    def line(self) -> str:
        """The line that ssh-add -L prints, and that the .pub file holds."""
        return f"{self.public} {self.comment}"

    @property
    def public(self) -> str:
        """Type and base64, the form that is pushed."""
        import binascii

        return f"{_TYPE.decode()} {binascii.b2a_base64(self.blob, newline=False).decode()}"

    @property
    def fingerprint(self) -> str:
        """SHA256:..., as ssh-keygen -l prints it."""
        import binascii
        import hashlib

        digest = binascii.b2a_base64(hashlib.sha256(self.blob).digest(), newline=False)
        return "SHA256:" + digest.decode().rstrip("=")

    def seconds_left(self, now: float) -> float:
        """Seconds until its end."""
        return self.ends - now


def _end(comment: str) -> float:
    """The end in our key's comment; 0, which means ended, when there is none."""
    if not comment.startswith(PREFIX):
        return 0.0
    try:
        return utc.of_iso(comment[len(PREFIX) :])
    except ValueError:
        return 0.0


def public_file(environ: Environment) -> str:
    """The path of the public key, which ssh gets as IdentityFile."""
    return os.path.join(folders.settings_folder(environ), "id.pub")


def agents(environ: Environment) -> list[SshAgent]:
    """The running agents: the user's, and the one that we start when there is none."""
    users = environ.get("SSH_AUTH_SOCK", "")
    # gpg-agent stores every added key in files, permanently (gpg-agent(1), --enable-ssh-support).
    if os.path.basename(os.path.realpath(users)) == "S.gpg-agent.ssh":
        users = ""
    paths = [users, private_agent.socket_path(environ)]
    return [found for found in map(ssh_agent.find, dict.fromkeys(paths)) if found]


def keys_of(agent: SshAgent) -> list[SessionKey]:
    """Our keys in this agent, the latest end first. Raises NoAgent."""
    found = [SessionKey(blob, comment, agent) for blob, comment in agent.identities()]
    ours = [key for key in found if key.ends]
    return sorted(ours, key=lambda key: -key.ends)


def find_loaded(environ: Environment) -> Optional[SessionKey]:
    """The key in the .pub file, which ssh has already read, if an agent still holds it."""
    line = folders.read(public_file(environ), limits.FILE_BYTES)
    for agent in agents(environ) if line else ():
        for key in keys_of(agent):
            if key.line == (line or "").rstrip("\n"):
                return key
    return None


def ensure(environ: Environment, lifetime: int, confirm: bool, fresh: float) -> SessionKey:
    """Return a key that an agent holds for at least `fresh` seconds; writes its .pub file.

    Raises Trouble: there is no agent, or it refuses the key.
    """
    folder = folders.make_private(folders.settings_folder(environ))
    with folders.FileLock(os.path.join(folder, "key.lock")):
        # Parallel connections share one key: look again under the lock.
        found = agents(environ)
        held = [
            key
            for agent in found
            for key in keys_of(agent)
            if key.seconds_left(time.time()) > fresh
        ]
        key = held[0] if held else _make_somewhere(environ, found, lifetime, confirm)
        path = public_file(environ)
        if folders.read(path, limits.FILE_BYTES) != key.line + "\n":
            folders.write(path, key.line + "\n")
    return key


def _make_somewhere(
    environ: Environment, found: list[SshAgent], lifetime: int, confirm: bool
) -> SessionKey:
    """Make a key in the first agent that accepts one: some refuse keys, or a lifetime."""
    for agent in found:
        try:
            return make(agent, lifetime, confirm)
        except ssh_agent.NoAgent:
            continue
    return make(private_agent.start(environ), lifetime, confirm)


def margin(lifetime: int) -> float:
    """How long before its end a key of this lifetime is replaced (both in seconds)."""
    return min(limits.KEY_RENEW_SECONDS, lifetime / 4)


def make(agent: SshAgent, lifetime: int, confirm: bool) -> SessionKey:
    """Make a key in the agent, for `lifetime` seconds. Raises Trouble."""
    import resource

    # A core file would contain the private key.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    try:
        from nacl.bindings import crypto_sign_seed_keypair
    except ImportError:
        raise Trouble(
            REFUSED,
            "NotInstalled",
            "PyNaCl is not installed; it is needed to make the key",
            "pip install 'sixtykey[client]'",
        ) from None
    public, private = crypto_sign_seed_keypair(os.urandom(32))
    comment = PREFIX + time.strftime(_TIME, time.gmtime(time.time() + lifetime))
    agent.add_ed25519(public, private, comment, lifetime, confirm)
    return SessionKey(string(_TYPE) + string(public), comment, agent)


def forget(environ: Environment) -> list[SessionKey]:
    """Remove our keys from every agent, stop our agent, delete the .pub. Returns the keys."""
    gone = []
    for agent in agents(environ):
        gone += [key for key in keys_of(agent) if agent.remove(key.blob)]
    private_agent.stop(environ)
    try:
        os.unlink(public_file(environ))
    except OSError:
        pass
    return gone
