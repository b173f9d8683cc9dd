"""Extraction of the limit that an error states: enqueued tokens, requests in a batch, file bytes.

Texts seen: "Enqueued token limit reached for gpt-4o in organization org-x. Limit: 90,000 enqueued tokens." (OpenAI),
"The number of enqueued tokens has surpassed the configured limit of 30K for the deployment" (Azure).
"""

from __future__ import annotations

import re
from enum import StrEnum

import msgspec


class Unit(StrEnum):
    """The unit that a limit counts."""

    TOKENS = "tokens"
    REQUESTS = "requests"
    BYTES = "bytes"


class StatedLimit(msgspec.Struct, frozen=True):
    """The maximum of a unit for a batch, or for all that is enqueued."""

    unit: Unit
    most: int


_NUMBER = r"(?<![\w.,-])(\d[\d,_.]*\d|\d)\s?(k|m|b|thousand|million|billion)?(?![\w-])"
_SIZE = (
    r"(?<![\w.,-])(\d[\d,_.]*\d|\d)\s?(bytes?|ki?b|mi?b|gi?b|kilobytes?|megabytes?|gigabytes?)\b"
)
_TIMES = {
    "k": 10**3,
    "thousand": 10**3,
    "m": 10**6,
    "million": 10**6,
    "b": 10**9,
    "billion": 10**9,
}
_LIMIT = (
    r"(?:limit|maximum|max|at most|up to|no more than|more than|exceed(?:s|ed|ing)?|surpass(?:es|ed)?|above|quota|cap"
    r"|allowed|allows)"
)
_ENQUEUED = re.compile(
    r"token_limit_exceeded|enqueued[ _-]?(?:prompt[ _-])?tokens?|queued tokens?|batch queue (?:limit|quota)"
)
_ROWS = r"(?:requests|tasks|lines|rows|records|entries|prompts)"
_MANY = re.compile(
    rf"too[ _]many[ _]{_ROWS}"
    rf"|{_ROWS}\b.{{0,80}}(?:exceed|limit|maximum|more than|at most|up to)"
    rf"|(?:exceed|limit|maximum|max|more than|at most|up to)\b.{{0,80}}{_ROWS}"
)
_RATE = re.compile(r"per[ _-]?(?:second|minute|hour|day)|rate[ _-]?limit|\b[rt]p[md]\b")
_LARGE = re.compile(
    r"too[ _]large|file[ _]?size|size[ _](?:limit|exceed)|(?:exceed|limit|maximum|max)\b.{0,60}\bsize|larger than"
)
_NAMED = re.compile(rf"limit(?:ed)?\W{{0,3}}(?:of|is|was|to|set to|at)?\W{{0,3}}{_NUMBER}")
_AFTER = re.compile(rf"{_LIMIT}\b\D{{0,60}}?{_NUMBER}")
_TOKENS = re.compile(rf"{_NUMBER}\s?(?:enqueued |queued |prompt |batch |input )*tokens")
_AFTER_SIZE = re.compile(rf"(?:{_LIMIT}|larger than)\b\D{{0,60}}?{_SIZE}")
_PATH = re.compile(r"\b[a-z_]\w*(?:\[\d+\]|\.\w+)+")
"""An error in one field: "requests.2.params.temperature: Input should be at most 1"."""
_ANY_SIZE = re.compile(_SIZE)


def stated_limit(message: str) -> StatedLimit | None:
    """Return the limit that a refusal (code and message) states; None without one or for a rate."""
    text = _PATH.sub("", " ".join(message.lower().split()))
    if _ENQUEUED.search(text):
        found = _NAMED.search(text) or _TOKENS.search(text) or _AFTER.search(text)
        return _limit(Unit.TOKENS, found)
    if _RATE.search(text):
        return None
    if _LARGE.search(text):
        sizes = _AFTER_SIZE.findall(text) or _ANY_SIZE.findall(text)
        most = min((_size(*size) for size in sizes), default=0)
        return StatedLimit(Unit.BYTES, most) if most else None
    if _MANY.search(text):
        return _limit(Unit.REQUESTS, _NAMED.search(text) or _AFTER.search(text))
    return None


def _limit(unit: Unit, found: re.Match[str] | None) -> StatedLimit | None:
    most = 0 if found is None else round(_number(found[1]) * _TIMES.get(found[2] or "", 1))
    return StatedLimit(unit, most) if most > 0 else None


def _number(text: str) -> float:
    """Parse a number with separators: "90,000", "1.000.000", "2.5"."""
    plain = text.replace(",", "").replace("_", "")
    if re.fullmatch(r"\d{1,3}(?:\.\d{3})+", plain):
        return float(plain.replace(".", ""))
    try:
        return float(plain)
    except ValueError:
        return 0.0


def _size(number: str, unit: str) -> int:
    """Return the size in bytes; an ambiguous unit has the smaller of its two meanings."""
    power = {"k": 1, "m": 2, "g": 3}.get(unit[0], 0)
    plain = number.replace(",", "").replace("_", "")
    try:
        return int(float(plain) * 1000**power)
    except ValueError:
        return 0
