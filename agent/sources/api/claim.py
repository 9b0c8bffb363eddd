"""What a signed request claims: who sent it, when, for which scope. Nothing of it is verified yet.

Source: AWS General Reference, Signature Version 4 signing process; API Reference, Common
Parameters.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import lru_cache
from typing import NamedTuple, Optional

from agent.sources.api.errors import IncompleteSignature, RequestExpired

ALGORITHM = "AWS4-HMAC-SHA256"
SERVICE = "ec2-instance-connect"
TERMINATOR = "aws4_request"
_DATE = re.compile(r"\d{8}T\d{6}Z", re.ASCII)


class Scope(NamedTuple):
    """The credential scope: day (YYYYMMDD), region, service and terminator."""

    day: str
    region: str
    service: str
    terminator: str


@dataclass(frozen=True)
class Claim:
    """The claimed sender and its signature: parsed, not yet verified.

    `date` is X-Amz-Date's text (YYYYMMDDTHHMMSSZ); `expires` the seconds that a presigned request
    is good for, None with an Authorization header; `signed_headers` are lower-case names.
    """

    access_key_id: str
    scope: Scope
    signed_headers: tuple[str, ...]
    signature: str
    date: str
    token: Optional[str] = None
    expires: Optional[int] = None

    @property
    def signed_at(self) -> float:
        """The date in seconds since the Unix epoch. Raises IncompleteSignature if it is none."""
        return parse_date(self.date)

    def check_scope(self, region: str) -> None:
        """Raise IncompleteSignature unless the scope has the date's day, our region and service."""
        scope, day = self.scope, self.date[:8]
        if scope == Scope(day, region, SERVICE, TERMINATOR):
            return
        wrong = [
            f"{what} {found[:32]!r} must be {words}"
            for what, found, right, words in (
                # The message omits the region: an unverified sender must learn nothing of this
                # host.
                ("region", scope.region, region, "this host's"),
                ("day", scope.day, day, "that of X-Amz-Date"),
                ("service", scope.service, SERVICE, SERVICE),
                ("terminator", scope.terminator, TERMINATOR, TERMINATOR),
            )
            if found != right
        ]
        raise IncompleteSignature(f"In the credential scope, {', '.join(wrong)}.")

    def check_date(self, now: float, skew: float) -> None:
        """Raise RequestExpired if too old, too new, or past X-Amz-Expires. All in seconds."""
        age = now - self.signed_at
        if abs(age) > skew:
            side = "behind" if age > 0 else "ahead of"
            raise RequestExpired(
                f"The request's date {self.date} is {abs(age):.0f} s {side} this host's clock; "
                f"{skew:.0f} s is the maximum. Check both clocks."
            )
        if self.expires is not None and age > self.expires:
            raise RequestExpired(
                f"The request was presigned for {self.expires} s, {age:.0f} s ago."
            )


# Cached: it is asked for more than once for a request, and many requests have the same second.
@lru_cache(maxsize=128)
def parse_date(date: str) -> float:
    """ISO 8601 basic format, YYYYMMDDTHHMMSSZ, as seconds since the Unix epoch.

    Raises:
        IncompleteSignature: it is something else.
    """
    try:
        if not _DATE.fullmatch(date):
            raise ValueError
        parts = (date[:4], date[4:6], date[6:8], date[9:11], date[11:13], date[13:15])
        year, month, day, hour, minute, second = map(int, parts)
        moment = datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc)
        return moment.timestamp()
    except ValueError:
        raise IncompleteSignature(
            f"X-Amz-Date must be a time such as 20120325T120000Z, not {date[:32]!r}."
        ) from None
