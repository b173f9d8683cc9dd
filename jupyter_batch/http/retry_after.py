"""Seconds to wait before a retry, from response headers; the clock is used only without `date`."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime

_LONGEST_WAIT = 86_400.0
"""The longest wait in seconds: the longest legitimate one is until a daily limit resets."""
_DURATION = re.compile(
    r"(?=\d)(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?",
    re.ASCII,
)
"""`1m30s`, as in OpenAI's `x-ratelimit-reset-requests`; some gateways send it in `retry-after`."""
_SECONDS = (86_400.0, 3600.0, 60.0, 1.0, 0.001)


def seconds_to_wait(headers: Mapping[str, str]) -> float | None:
    """Return the wait from `retry-after-ms` or `retry-after`, at most a day; None without either.

    headers: with lower-case names. `retry-after` is a number of seconds, an RFC 9110 date or a
    duration.
    """
    for seconds in _found(headers):
        if math.isfinite(seconds) and seconds >= 0:
            return min(seconds, _LONGEST_WAIT)
    return None


def _found(headers: Mapping[str, str]) -> Iterator[float]:
    yield _number(headers.get("retry-after-ms", "")) / 1000
    text = headers.get("retry-after", "").strip()
    yield _number(text)
    yield _duration(text)
    until, since = _date(text), _date(headers.get("date", ""))
    # Relative to the server's clock, if it sends its time.
    yield max(until - (time.time() if math.isnan(since) else since), 0.0)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _duration(text: str) -> float:
    match = _DURATION.fullmatch(text)
    if match is None:
        return math.nan
    return sum(
        float(amount) * unit
        for amount, unit in zip(match.groups(), _SECONDS, strict=True)
        if amount
    )


def _date(text: str) -> float:
    """Return an HTTP date as seconds since the epoch; NaN for another text."""
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return math.nan
