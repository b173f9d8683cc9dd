"""Texts, durations and moments as people read them on every screen. Pure; it knows no job."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime, tzinfo

MINUTE, HOUR, DAY = 60, 3600, 86400
MOST = 8
"""Of a longer text so many times what is shown of it is looked at: the rest could only be reached through blanks."""

ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_])")

HIDDEN = frozenset({"Cc", "Cf", "Cs"})
JOINERS = "\u200c\u200d"
"""Formatting characters that emoji and some scripts are written with; they can't reorder a line."""


def clean(text: str, limit: int = 300) -> str:
    """One line of visible text: no control, no bidi override, no broken surrogate; at most `limit` characters."""
    flat = " ".join(ANSI.sub("", text[: MOST * limit]).split())
    if flat.isascii() and flat.isprintable():
        return flat if len(flat) <= limit else flat[: limit - 1].rstrip() + "…"
    kept = "".join(
        char for char in flat if unicodedata.category(char) not in HIDDEN or char in JOINERS
    )
    return kept if len(kept) <= limit else kept[: limit - 1].rstrip() + "…"


def span(seconds: float) -> str:
    """A duration in words, to two units: `12 s`, `4 min`, `2 h 5 min`, `1 day 3 h`."""
    whole = max(0, int(seconds))
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return f"{whole // MINUTE} min"
    if whole < DAY:
        return _two(whole // HOUR, "h", whole % HOUR // MINUTE, "min")
    days = whole // DAY
    return _two(days, "day" if days == 1 else "days", whole % DAY // HOUR, "h")


def roughly(seconds: float) -> str:
    """A guess in words, no finer than it can be known: `under a minute`, `about 6 min`, `about 3 h`."""
    if seconds < MINUTE:
        return "under a minute"
    if seconds < 10 * MINUTE:
        return f"about {round(seconds / MINUTE)} min"
    if seconds < HOUR - 150:
        return f"about {5 * round(seconds / MINUTE / 5)} min"
    if seconds < DAY:
        hours = round(seconds / HOUR * 2) / 2 if seconds < 3 * HOUR else round(seconds / HOUR)
        return f"about {hours:g} h"
    days = round(seconds / DAY)
    return f"about {days} {'day' if days == 1 else 'days'}"


def clock(when: float, now: float, tz: tzinfo | None, *, year: bool = False) -> str:
    """A moment as people say it: `12:03`, with its day where that is not today; with `year` for who reads it later."""
    there, here = (datetime.fromtimestamp(t, tz=UTC).astimezone(tz) for t in (when, now))
    if year:
        return f"{there.day} {there:%b %Y, %H:%M}"
    if there.date() == here.date():
        return f"{there:%H:%M}"
    return f"{there.day} {there:%b} {there:%H:%M}"


def _two(big: int, big_unit: str, small: int, small_unit: str) -> str:
    return f"{big} {big_unit} {small} {small_unit}" if small else f"{big} {big_unit}"


def usually(low: float, high: float) -> str:
    """The usual range of a wait: `usually 4 to 20 min`, `usually under a minute`, `usually 50 min to 3 h`."""
    ends = roughly(low), roughly(high)
    if ends[0] == ends[1]:
        return f"usually {ends[0]}"
    first, last = (one.removeprefix("about ") for one in ends)
    number, _, unit = first.partition(" ")
    return f"usually {number if last.endswith(f' {unit}') else first} to {last}"
