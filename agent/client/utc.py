"""Converts a UTC date to seconds since 1970, without `calendar`, which takes long to import."""

from __future__ import annotations

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def seconds(year: int, month: int, day: int, hour: int, minute: int, second: int) -> float:
    """The same as timegm(3). Counts years from March, so that a leap day is a year's last day."""
    year, month = (year - 1, month + 9) if month < 3 else (year, month - 3)
    days = 365 * year + year // 4 - year // 100 + year // 400 + (153 * month + 2) // 5 + day - 1
    # Subtract the days from March 1st of the year 0 to January 1st, 1970.
    return float((days - 719_468) * 86_400 + hour * 3600 + minute * 60 + second)


def of_http(date: str) -> float:
    """Of an HTTP date: `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, 5.6.7). Raises ValueError."""
    fields = date.split()
    if len(fields) != 6 or fields[5] != "GMT" or fields[2] not in _MONTHS:
        raise ValueError("no HTTP date")
    hour, minute, second = map(int, fields[4].split(":"))
    month = _MONTHS.index(fields[2]) + 1
    return seconds(int(fields[3]), month, int(fields[1]), hour, minute, second)


def of_iso(date: str) -> float:
    """Of an ISO 8601 date such as `2026-11-26T12:00:00Z`. Raises ValueError."""
    digits = date.translate({ord(letter): None for letter in "-:TZ"})
    if len(digits) != 14 or not (digits.isascii() and digits.isdigit()):
        raise ValueError("no date")
    parts = (digits[:4], digits[4:6], digits[6:8], digits[8:10], digits[10:12], digits[12:])
    year, month, day, hour, minute, second = map(int, parts)
    return seconds(year, month, day, hour, minute, second)
