"""Rules for keys: a credential's own, tighter ones, and how many keys fit one answer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Optional

from agent.config.limits import LIMITS

# The options of authorized_keys without an argument (sshd(8), AUTHORIZED_KEYS FILE FORMAT), in the
# order in which they are written: `restrict` first, since sshd reads from left to right, then
# sorted. Both helpers have the same list, and accept options only in this order.
KEY_OPTIONS = (
    "restrict",
    "X11-forwarding",
    "agent-forwarding",
    "no-X11-forwarding",
    "no-agent-forwarding",
    "no-port-forwarding",
    "no-pty",
    "no-user-rc",
    "port-forwarding",
    "pty",
    "user-rc",
)

# The longest blob of each type (RFC 8709, RFC 5656); for RSA our own limit.
_BLOB_BYTES = {
    "ssh-ed25519": 51,
    "ssh-rsa": LIMITS.key_blob_bytes,
    "ecdsa-sha2-nistp256": 104,
    "ecdsa-sha2-nistp384": 136,
    "ecdsa-sha2-nistp521": 172,
}
# The comment of every line: a request id, which is a UUID.
_COMMENT_BYTES = 36


@dataclass(frozen=True)
class KeyPolicy:
    """Rules for one credential's keys, never wider than the host's. None: the host's value.

    Attributes:
        lifetime: seconds, at most the host's.
        uses: one of USES; `unlimited` only where the host's is.
        pin_source: whether a key is valid only for logins from the address of its push.
        options: of KEY_OPTIONS, in that order, each at most once.
    """

    lifetime: Optional[int] = None
    uses: Optional[str] = None
    pin_source: bool = False
    options: tuple[str, ...] = ()

    def tighten(self, lifetime: int, uses: str) -> tuple[int, str]:
        """The seconds and uses of a key where it would have these without this policy."""
        once = "once" in (uses, self.uses)
        return min(lifetime, self.lifetime or lifetime), "once" if once else uses


def order_options(options: Iterable[str]) -> tuple[str, ...]:
    """The options in the order of KEY_OPTIONS.

    Raises:
        ValueError: one is given together with its opposite; sshd would use the later one.
    """
    found = tuple(sorted(options, key=KEY_OPTIONS.index))
    both = [option for option in found if f"no-{option}" in found]
    if both:
        raise ValueError(f"has {both[0]} and no-{both[0]}: leave one of them out")
    return found


def longest_line(types: Iterable[str]) -> int:
    """The bytes of the longest authorized_keys line of these types, newline included.

    `OPTIONS TYPE BASE64 COMMENT`, with all options, and the largest key of the largest type.
    """
    key = max(len(name) + 1 + 4 * -(-_BLOB_BYTES[name] // 3) for name in types)
    return LIMITS.key_options_bytes + 1 + key + 1 + _COMMENT_BYTES + 1


def most_per_user(types: Iterable[str]) -> int:
    """How many keys one user may have, so that all of them fit one answer to the helper."""
    end_mark = 1
    return (LIMITS.answer_bytes - end_mark) // longest_line(types)
