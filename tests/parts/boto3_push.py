"""Push with boto3, as a person would write it: parameters from stdin, the answer to stdout."""

from __future__ import annotations

import json
import sys

import boto3
from botocore.exceptions import ClientError


def main() -> int:
    """Make the one call; an error of the service is printed in the words of botocore, exit 1."""
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
