"""More unmodified clients that push: curl's own signer, the JavaScript SDK, and mssh."""

from __future__ import annotations

import json
import os
import re
import subprocess
from functools import cache
from pathlib import Path

from tests.parts.host import ROOT, MissingToolError, free_port, tool
from tests.parts.pushers import Pushed, Target, _refusal, _run, parameters

SDK = "@aws-sdk/client-ec2-instance-connect"
_TARGET = "AWSEC2InstanceConnectService.SendSSHPublicKey"


def push_with_curl(target: Target, user: str, key: str) -> Pushed:
    """Push with curl's own Signature Version 4; AWS_CA_BUNDLE of the target is its --cacert."""
    bundle = target.environment.get("AWS_CA_BUNDLE")
    done = _run(
        [
            tool("curl", "curl"), "--silent", "--show-error",
            *(["--cacert", bundle] if bundle else []),
            "--aws-sigv4", f"aws:amz:{target.region}:ec2-instance-connect",
            "--user", f"{target.access_key_id}:{target.secret_access_key}",
            "--header", "Content-Type: application/x-amz-json-1.1",
            "--header", f"X-Amz-Target: {_TARGET}",
            "--data-binary", "@-", f"{target.endpoint}/",
        ],
        target.client_environment(), parameters(target, user, key),
    )  # fmt: skip
    if done.returncode != 0:
        return Pushed(False, f"exit {done.returncode}", done.stderr, output=done.stderr)
    answer = json.loads(done.stdout)
    if "__type" in answer:
        return Pushed(False, answer["__type"], answer["Message"], output=done.stdout)
    return Pushed(answer["Success"], "", "", answer["RequestId"], done.stdout)


@cache
def javascript_sdk() -> Path:
    """The folder below build/ where npm installs the SDK; MissingToolError if npm cannot."""
    npm, node = tool("npm", "npm"), tool("node", "nodejs")
    folder = ROOT / "build" / "javascript"
    if not (folder / "node_modules" / SDK / "package.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text('{"private": true}\n')
        said = subprocess.run([node, "--version"], capture_output=True, text=True, check=True)
        # Debian 12 has Node 18, for which 3.968 is too new.
        version = "latest" if int(said.stdout[1:].partition(".")[0]) >= 20 else "<3.968.0"
        done = subprocess.run(
            [npm, "install", "--no-audit", "--no-fund", "--no-save", f"{SDK}@{version}"],
            cwd=folder, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        if done.returncode != 0:
            raise MissingToolError(f"npm could not install {SDK}: {done.stderr.strip()}")
    return folder


def push_with_javascript(target: Target, user: str, key: str) -> Pushed:
    """Push with the JavaScript SDK; an error must have the SDK's class for it, if it has one.

    AWS_CA_BUNDLE of the target is passed as NODE_EXTRA_CA_CERTS.
    """
    environment = target.client_environment()
    if "AWS_CA_BUNDLE" in environment:
        environment["NODE_EXTRA_CA_CERTS"] = environment["AWS_CA_BUNDLE"]
    done = subprocess.run(
        [tool("node", "nodejs"), str(Path(__file__).with_name("push.mjs"))],
        input=parameters(target, user, key), env=environment, cwd=javascript_sdk(),
        capture_output=True, text=True, check=False, timeout=90,
    )  # fmt: skip
    lines = (done.stdout or done.stderr).strip().splitlines()
    if done.returncode == 0:
        answer = json.loads(lines[-1])
        return Pushed(answer["Success"], "", "", answer["RequestId"], done.stdout)
    found = [line for line in lines if re.match(r'\{"name"', line)]
    if not found:
        return Pushed(False, f"exit {done.returncode}", done.stderr, output=done.stderr)
    error = json.loads(found[-1])
    code = error["name"] if error["known"] else f"{error['name']} of no class"
    return Pushed(False, code, error["message"], output=done.stderr)


def push_with_mssh(target: Target, user: str, key: str) -> Pushed:
    """Push a key that mssh makes; its ssh then fails to connect, and reports it."""
    del key
    done = _run(
        [
            tool("mssh", "ec2instanceconnectcli (PyPI)"),
            "-r", target.region, "-t", target.instance_id, "-z", target.availability_zone,
            "-p", str(free_port()), "-F", os.devnull, "-o", "BatchMode=yes",
            "-o", "IdentityAgent=none", f"{user}@127.0.0.1", "true",
        ],
        target.client_environment(),
    )  # fmt: skip
    output = done.stdout + done.stderr
    if "Connection refused" in output:
        return Pushed(True, "", "", output=output)
    return _refusal(done)
