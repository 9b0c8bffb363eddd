"""The clients that push: boto3, the AWS CLI and mssh, each in a process with its environment."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from tests.parts.daemon import CREDENTIAL, RunningDaemon
from tests.parts.host import ROOT, tool
from tests.parts.sshd import RunningSshd

TIMEOUT = 90.0
"""Seconds for a whole push, retries included."""

_REFUSAL = re.compile(r"An error occurred \((\w+)\)[^:]*: (.*)", re.DOTALL)


@dataclass(frozen=True)
class Pushed:
    """A client's result. `code` is the error's name, empty on success."""

    ok: bool
    code: str
    message: str
    request_id: str = ""
    output: str = ""


@dataclass(frozen=True)
class Target:
    """Endpoint and credential of a push; `environment` is added to the client's."""

    endpoint: str
    instance_id: str
    availability_zone: str
    region: str
    access_key_id: str = CREDENTIAL["access_key_id"]
    secret_access_key: str = CREDENTIAL["secret_access_key"]
    session_token: Optional[str] = None
    environment: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, daemon: RunningDaemon) -> Target:
        """Return the target for a running daemon with the default credential."""
        return cls(daemon.endpoint, daemon.instance_id, daemon.availability_zone, daemon.region)

    def client_environment(self) -> dict[str, str]:
        """Return a complete environment, without the caller's AWS settings and proxies."""
        token = {"AWS_SESSION_TOKEN": self.session_token} if self.session_token else {}
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            # The place of boto3 on a host whose own Python runs the tests.
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            "LC_ALL": "C.UTF-8",
            "HOME": "/dev/null/nowhere",
            "AWS_CONFIG_FILE": "/dev/null/config",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null/credentials",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_PAGER": "",
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
            **token,
            "AWS_ENDPOINT_URL_EC2_INSTANCE_CONNECT": self.endpoint,
            **self.environment,
        }


def _run(
    command: list[str], environment: dict[str, str], text: str = ""
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env=environment, cwd=ROOT, input=text,
        capture_output=True, text=True, check=False, timeout=TIMEOUT,
    )  # fmt: skip


def _refusal(done: subprocess.CompletedProcess[str]) -> Pushed:
    output = done.stdout + done.stderr
    found = _REFUSAL.search(output)
    if found is None:
        return Pushed(False, f"exit {done.returncode}", output.strip(), output=output)
    return Pushed(False, found[1], found[2].strip(), output=output)


def parameters(target: Target, user: str, key: str) -> str:
    """Return the parameters of a push as JSON; `key` is not checked."""
    members = {
        "InstanceId": target.instance_id,
        "InstanceOSUser": user,
        "SSHPublicKey": key,
        "AvailabilityZone": target.availability_zone,
    }
    return json.dumps(members)


def push_with_boto3(target: Target, user: str, key: str) -> Pushed:
    """Push with boto3."""
    done = _run(
        [sys.executable, "-m", "tests.parts.boto3_push"],
        target.client_environment(),
        parameters(target, user, key),
    )
    if done.returncode != 0:
        return _refusal(done)
    answer = json.loads(done.stdout)
    return Pushed(answer["Success"], "", "", answer["RequestId"], done.stdout)


def aws_command(target: Target, user: str, key: str) -> list[str]:
    """Return the AWS CLI's command line for a push; `key` is text or `file://PATH`."""
    return [
        tool("aws", "awscli"), "ec2-instance-connect", "send-ssh-public-key",
        "--instance-id", target.instance_id,
        "--availability-zone", target.availability_zone,
        "--instance-os-user", user,
        "--ssh-public-key", key,
        "--output", "json",
    ]  # fmt: skip


def push_with_aws_cli(target: Target, user: str, key: str) -> Pushed:
    """Push with the AWS CLI; `key` is text or `file://PATH`."""
    done = _run(aws_command(target, user, key), target.client_environment())
    if done.returncode != 0:
        return _refusal(done)
    answer = json.loads(done.stdout)
    return Pushed(answer["Success"], "", "", answer["RequestId"], done.stdout)


def login_with_mssh(target: Target, user: str, sshd: RunningSshd, command: str) -> Pushed:
    """Push a key that mssh makes, and run a command over its ssh; `output` is all output.

    The result is that of the command: mssh reports only errors of the push.
    """
    done = _run(
        [
            tool("mssh", "ec2instanceconnectcli (PyPI)"),
            "-r", target.region, "-t", target.instance_id, "-z", target.availability_zone,
            "-p", str(sshd.port), "-F", "none", "-o", "BatchMode=yes", "-o", "IdentityAgent=none",
            "-o", f"UserKnownHostsFile={sshd.known_hosts}", "-o", "StrictHostKeyChecking=yes",
            f"{user}@127.0.0.1", command,
        ],
        target.client_environment(),
    )  # fmt: skip
    if done.returncode != 0:
        return _refusal(done)
    return Pushed(True, "", "", output=done.stdout)


PUSHERS = {"boto3": push_with_boto3, "aws": push_with_aws_cli}


def public_key_file(path: Path) -> str:
    """Return the AWS CLI's notation for a parameter that is read from a file."""
    return f"file://{path}"
