"""AWS simulated by moto in a separate process on loopback: EC2, STS, EC2 Instance Connect."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, Optional

import boto3

from tests.parts.daemon import CREDENTIAL, REGION
from tests.parts.host import free_port, tool
from tests.parts.part import Part
from tests.parts.waiting import wait_until

PATIENCE = 60.0
"""Seconds until it listens; it imports for some."""


class Moto(Part):
    """moto_server inside the `with` block; its log is in `directory`."""

    def __init__(self, directory: Path) -> None:
        self._log_file = directory / "moto.log"
        self._process: Optional[subprocess.Popen[bytes]] = None
        self.url = ""

    def begin(self) -> None:
        """Start it, and wait until it listens."""
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        with self._log_file.open("wb") as log:
            self._process = subprocess.Popen(
                [tool("moto_server", "moto (PyPI)"), "-p", str(port)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        process = self._process
        wait_until(
            lambda: "Running on" in self.log(),
            lambda: f"moto does not start: {self.log()}",
            gone=lambda: process.poll() is not None,
            seconds=PATIENCE,
        )

    def finish(self) -> None:
        """Stop it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE)

    def client(self, service: str) -> Any:
        """A client of one of its services."""
        return boto3.client(
            service, endpoint_url=self.url, region_name=REGION,
            aws_access_key_id=CREDENTIAL["access_key_id"],
            aws_secret_access_key=CREDENTIAL["secret_access_key"],
        )  # fmt: skip

    def log(self) -> str:
        """Its log so far, with a line for each request."""
        return self._log_file.read_text("utf-8", "replace") if self._log_file.exists() else ""

    def instance(self, name: str, address: str, **tags: str) -> str:
        """Run an instance with this name and private address; return its id."""
        ec2 = self.client("ec2")
        image = ec2.describe_images()["Images"][0]["ImageId"]
        pairs = [{"Key": key, "Value": value} for key, value in {"Name": name, **tags}.items()]
        made = ec2.run_instances(
            ImageId=image, MinCount=1, MaxCount=1, PrivateIpAddress=address,
            TagSpecifications=[{"ResourceType": "instance", "Tags": pairs}],
        )  # fmt: skip
        return str(made["Instances"][0]["InstanceId"])
