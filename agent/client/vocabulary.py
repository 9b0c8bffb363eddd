"""What the settings of the user's side are called, and their defaults."""

from __future__ import annotations

AWS = "aws"
# What an option, SIXTYKEY_NAME in the environment, or the file can say of a host.
HOST_KEYS = (
    "endpoint", "region", "profile", "ca", "instance", "zone", "address", "network", "jump",
    "uses", "lifetime",
)  # fmt: skip
# Not by an option or the environment: they are about one host.
FILE_ONLY = ("uses", "lifetime")
AWS_VARIABLES = {
    "endpoint": ("AWS_ENDPOINT_URL_EC2_INSTANCE_CONNECT",),
    "region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
    "profile": ("AWS_PROFILE",),
}
DEFAULTS = {"endpoint": AWS, "network": "any"}
