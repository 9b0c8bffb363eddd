"""The clients that log in: OpenSSH's ssh, and paramiko."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import paramiko

from tests.parts.host import tool
from tests.parts.keys import KeyPair

COMMAND = "echo logged in as $(id -un)"
TIMEOUT = 60.0
"""Seconds for a whole login; a client that takes longer has failed."""


@dataclass(frozen=True)
class Login:
    """The result of an attempt to log in.

    `accepted`: the command ran as that user. `refused`: sshd refused the key. Neither: something
    else failed, and `message` (the client's stderr) says what.
    """

    accepted: bool
    refused: bool
    exit_code: int
    output: str
    message: str


def login_with_ssh(port: int, user: str, key: KeyPair, known_hosts: Path) -> Login:
    """Log in to 127.0.0.1 with OpenSSH and only this key, and run a command."""
    options = {
        "BatchMode": "yes",
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "PreferredAuthentications": "publickey",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": str(known_hosts),
        "GlobalKnownHostsFile": "/dev/null",
        "LogLevel": "ERROR",
    }
    done = subprocess.run(
        [
            tool("ssh", "openssh-client"), "-F", "none", "-p", str(port), "-i", str(key.private),
            *[f"-o{name}={value}" for name, value in options.items()],
            "-l", user, "127.0.0.1", COMMAND,
        ],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=TIMEOUT,
    )  # fmt: skip
    return Login(
        accepted=done.returncode == 0 and done.stdout == f"logged in as {user}\n",
        refused=done.returncode == 255 and "Permission denied (publickey)" in done.stderr,
        exit_code=done.returncode,
        output=done.stdout.strip(),
        message=done.stderr.strip(),
    )


def _load(key: KeyPair) -> paramiko.PKey:
    # By its type: given a file, paramiko tries each class, and reports the last one's error.
    if key.type == "ssh-ed25519":
        return paramiko.Ed25519Key.from_private_key_file(str(key.private))
    if key.type == "ssh-rsa":
        return paramiko.RSAKey.from_private_key_file(str(key.private))
    return paramiko.ECDSAKey.from_private_key_file(str(key.private))


def login_with_paramiko(port: int, user: str, key: KeyPair, known_hosts: Path) -> Login:
    """Log in to 127.0.0.1 with paramiko and only this key, and run a command."""
    with paramiko.SSHClient() as client:
        client.load_host_keys(str(known_hosts))
        client.set_missing_host_key_policy(paramiko.RejectPolicy())
        try:
            client.connect(
                "127.0.0.1",
                port=port,
                username=user,
                pkey=_load(key),
                allow_agent=False,
                look_for_keys=False,
                timeout=TIMEOUT,
            )
        except paramiko.AuthenticationException as error:
            return Login(False, True, 255, "", str(error))
        except (paramiko.SSHException, OSError) as error:
            return Login(False, False, 255, "", f"{type(error).__name__}: {error}")
        _, stdout, stderr = client.exec_command(COMMAND, timeout=TIMEOUT)
        output, message = stdout.read().decode(), stderr.read().decode()
        code = stdout.channel.recv_exit_status()
    accepted = code == 0 and output == f"logged in as {user}\n"
    return Login(accepted, False, code, output.strip(), message.strip())


CLIENTS = {"ssh": login_with_ssh, "paramiko": login_with_paramiko}
