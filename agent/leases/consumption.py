"""A one-time key that was used: by which login, and when."""

from __future__ import annotations

from typing import NamedTuple


class Consumption(NamedTuple):
    """One use of one push. `at` and `expires_at` are seconds of CLOCK_BOOTTIME.

    `process` names the sshd process (its id and its start), `source` the address of the login.
    """

    request_id: str
    process: str
    source: str
    at: float
    expires_at: float
