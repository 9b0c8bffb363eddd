"""The names of the client's settings, and their defaults."""

from __future__ import annotations

AWS = "aws"
# Settings of a host: as an option, as SIXTYKEY_NAME in the environment, or in the file.
HOST_KEYS = (
    "endpoint", "region", "profile", "ca", "instance", "zone", "address", "network", "jump",
    "uses", "lifetime",
)  # fmt: skip
# These are only in the file, since they are about one host.
FILE_ONLY = ("uses", "lifetime")
AWS_VARIABLES = {
    "endpoint": ("AWS_ENDPOINT_URL_EC2_INSTANCE_CONNECT",),
    "region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
    "profile": ("AWS_PROFILE",),
}
DEFAULTS = {"endpoint": AWS, "network": "any"}
