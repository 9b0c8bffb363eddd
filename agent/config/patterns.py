r"""The API's patterns, in one place: what an instance id, a zone and an OS user look like.

`matches` is for the patterns that an administrator writes.

Every check takes the value, returns nothing, and raises ValueError with a message for people.
All use `fullmatch` and ASCII: `$` accepts a trailing newline, and `\w` other alphabets.
Source: EC2 Instance Connect API Reference, SendSSHPublicKey, request parameters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Callable

Check = Callable[[str], None]

_INSTANCE_ID = re.compile(r"i-[a-f0-9]+", re.ASCII)
_ZONE = re.compile(r"(\w+-){2,3}\d+\w+", re.ASCII)
_REGION = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*", re.ASCII)
# The published pattern lost a hyphen: its own example, ec2-user, would not match.
_OS_USER = re.compile(r"[A-Za-z_][A-Za-z0-9@._-]{0,30}[A-Za-z0-9$_-]?", re.ASCII)
# EC2 also accepts names that begin with digits today (`push.reference: current`).
_OS_USER_DIGITS = re.compile(
    r"(?=.{2,32}\Z)[0-9]{1,32}[A-Za-z@._-][A-Za-z0-9@._-]*[A-Za-z0-9$_-]?", re.ASCII
)

# In a glob pattern: a set of characters, and a range within it.
_SET, _RANGE = re.compile(r"\[(!?\]?[^]]*)\]"), re.compile(r"(.)-(.)", re.DOTALL)


def _length(what: str, value: str, low: int, high: int) -> None:
    if not low <= len(value) <= high:
        raise ValueError(f"{what} must have {low} to {high} characters, not {len(value)}")


def instance_id(value: str) -> None:
    """`i-` and hexadecimal digits, 10 to 32 characters."""
    _length("an instance id", value, 10, 32)
    if not _INSTANCE_ID.fullmatch(value):
        raise ValueError(f"an instance id is i- and lower-case hexadecimal digits, not {value!r}")


def availability_zone(value: str) -> None:
    """Such as us-east-2b, 6 to 32 characters."""
    _length("an Availability Zone", value, 6, 32)
    if not _ZONE.fullmatch(value):
        raise ValueError(f"an Availability Zone looks like us-east-2b, not {value!r}")


def region(value: str) -> None:
    """A region such as us-east-2, as it appears in a credential scope."""
    if len(value) > 32 or not _REGION.fullmatch(value):
        raise ValueError(f"a region looks like us-east-2, not {value!r}")


def os_user(value: str) -> None:
    """An OS user as published on 2021-03-05, with the hyphen added; 1 to 32 characters."""
    _length("an OS user", value, 1, 32)
    if not _OS_USER.fullmatch(value):
        raise ValueError(
            "an OS user begins with a letter or _ and goes on with letters, digits, @ . _ -, "
            f"not {value!r}"
        )


def os_user_current(value: str) -> None:
    """An OS user as EC2 accepts it today: names may begin with digits."""
    if not _OS_USER_DIGITS.fullmatch(value):
        os_user(value)


def glob(value: str) -> None:
    """A pattern for `matches`. Until Python 3.10 that fails with a range from high to low."""
    for each in _SET.findall(value):
        # The `!` that negates a set is no start of a range.
        if any(low > high for low, high in _RANGE.findall(each[each.startswith("!") :])):
            raise ValueError("a range such as [a-z] must run from low to high")


def matches(value: str, globs: Iterable[str]) -> bool:
    """Whether a glob pattern (`*`, `?`, `[…]`) matches the whole value; case-sensitive."""
    return any(fnmatchcase(value, glob) for glob in globs)
