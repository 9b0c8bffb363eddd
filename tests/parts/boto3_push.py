"""Push with boto3, as in a user's script: parameters from stdin, the answer to stdout."""

from __future__ import annotations

import json
import sys

import boto3
from botocore.exceptions import ClientError


def main() -> int:
    """Make the one call; a service error is printed as botocore words it, with exit code 1."""
    client = boto3.client("ec2-instance-connect")
    try:
        answer = client.send_ssh_public_key(**json.load(sys.stdin))
    except ClientError as error:
        print(error, file=sys.stderr)
        return 1
    json.dump({name: answer[name] for name in ("RequestId", "Success")}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
