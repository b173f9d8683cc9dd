"""Words that every screen shows: texts, durations and moments, costs, blocks, the progress curve. Pure."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime, tzinfo
from itertools import pairwise
from typing import TypedDict

from jupyter_batch.core.cost import Spend, money
from jupyter_batch.core.history import Points, done_at
from jupyter_batch.core.request import Finish
from jupyter_batch.core.status import Block, Blocked, ShardView, Snapshot, Unanswered

MINUTE, HOUR, DAY = 60, 3600, 86400
MOST = 8
"""Of a longer text so many times what is shown of it is looked at: the rest could only be reached through blanks."""

PACE_SPREAD = 0.1
"""A pace is never shown more exactly than this: batches are answered in bursts."""

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


def spread(eta: float, answered: int) -> str:
    """` (5 to 8 min)`: two standard errors of a pace estimated from so many rows; "" where both ends read alike."""
    left = max(0.25, 1 - max(PACE_SPREAD, 2 / answered**0.5))
    low, high = roughly(eta * left), roughly(eta / left)
    if low == high or eta < MINUTE:
        return ""
    low, high = low.removeprefix("about "), high.removeprefix("about ")
    number, _, unit = low.partition(" ")
    return f" ({number if high.endswith(f' {unit}') else low} to {high})"


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


_CUT = {
    Finish.LENGTH: "allow more (max_tokens)",
    Finish.CONTENT_FILTER: "the provider's filter held back the rest; reword the prompt, or ask another model",
    Finish.CONTEXT_WINDOW: "the model's context was full; send less, or ask a model with a larger one",
    Finish.PAUSE: "the provider paused a long turn; ask for less, or allow fewer tool uses",
    Finish.REFUSAL: "the model refused to go on; reword the prompt, or ask another model",
    Finish.ERROR: "the provider broke them off; send them again with job.retry(...) and a changed parameter",
}
_FINISHES = frozenset(map(str, Finish))


def cuts(snapshot: Snapshot) -> list[str]:
    """`3 answers were cut off: allow more (max_tokens); ...`, for each finish reason."""
    phrases = []
    for word, answers in snapshot.cuts:
        finish = Finish(word) if word in _FINISHES else Finish.ERROR
        were = "answer was" if answers == 1 else "answers were"
        them = "it" if answers == 1 else "them"
        again = f"; job.retry(max_tokens=...) sends {them} again" if finish is Finish.LENGTH else ""
        phrases.append(
            f"{answers:,} {were} cut off: {_CUT[finish]}{again if snapshot.is_complete else ''}"
        )
    return phrases


def cost(snapshot: Snapshot) -> str:
    """`cost $0.0123, saved $0.0123`: of the results so far, and against realtime."""
    bill = snapshot.bill
    if bill is None:
        return ""
    so_far = "" if snapshot.is_complete else " so far"
    if bill.cost is not None:
        saved = f", saved {money(bill.saved)}" if bill.saved and bill.saved > 0 else ""
        return f"cost {money(bill.cost)}{so_far}{saved}"
    if not bill.known:
        return f"cost unknown{so_far}"
    rows = "row" if bill.unknown == 1 else "rows"
    return f"cost at least {money(bill.known)}{so_far}, unknown for {bill.unknown:,} {rows}"


def estimate(snapshot: Snapshot) -> str:
    """`about $0.12, at most $0.40 in all`; "" where neither is known, or the job is complete."""
    if snapshot.is_complete:
        return ""
    about = f"about {money(snapshot.expected)}" if snapshot.expected else ""
    most = f"at most {money(snapshot.most)}" if snapshot.most else ""
    both = ", ".join(filter(None, (about, most)))
    without = "" if snapshot.limited or not snapshot.most else " without max_tokens"
    return f"{both} in all{without}" if both else ""


def price(spend: Spend) -> str:
    """`36 rows, about $0.02 (at most $0.05)`."""
    rows = f"{spend.rows:,} {'row' if spend.rows == 1 else 'rows'}"
    about, most = spend.about, spend.most
    if most == 0 or (about == 0 and most is None):
        return f"{rows}, free of charge"
    bound = "" if most is None else f"at most {money(most)}"
    if bound and not spend.limited:
        bound += " without max_tokens"
    if about is None:
        return f"{rows}, {bound or 'price unknown'}"
    return f"{rows}, about {money(about)}" + (f" ({bound})" if bound else "")


QUOTA = "waiting for quota"
WAYS = {"batch": "in a batch", "flex": "on the flex tier", "realtime": "in real time"}
"""How requests are asked, by mode."""
_NO_BATCH_API = (
    "the server has no batch API at this address{why}. If api_base lacks its /v1, or names a path such as "
    '/v1/chat/completions, correct it; else mode="realtime" asks request by request, and `jupyter batch serve '
    "--upstream MODEL --api-base URL` gives that server a batch API. Correct the call and run the cell again, or "
    "job.resume()"
)
_UNKNOWN_CREATE = (
    "it is not known whether the provider created the batch{why}. Look for it in the provider's own list; "
    "job.resume() searches again, job.resume(send_again=True) sends it again, which may be paid twice, and "
    "job.cancel() gives it up"
)
_SOUGHT = (
    "it is not known yet whether the provider created the batch ({why}): it is looked for, and nothing is sent again "
    "before that is known"
)
_UNSEEN = (
    "the provider does not find the batch under this key{why}. It may belong to another key's organization or "
    "project: give the key that it was sent with, job.resume(api_key=...) or {key}. It is looked for again from time "
    "to time; job.cancel() gives it up, and job.finish() asks its rows in real time, which pays for them again"
)
_SENTENCES = {
    Block.KEY: "the key was refused{why}. Set {key} and run the cell again, or job.resume() (either takes "
    "api_key=); nothing was lost",
    Block.QUOTA: "the account's quota is used up{why}. Add credit or have the limit raised, then job.resume(); "
    "it is tried again from time to time",
    Block.NO_BATCH_API: _NO_BATCH_API,
    Block.BUDGET: "held back until other batches have ended: {why}",
    Block.UNKNOWN_CREATE: _UNKNOWN_CREATE,
}


def sentence(block: Blocked, gives_up: str = "") -> str:
    """Cause, remedy, and when it gives up (a moment in words, if there is any)."""
    if block.unseen:
        key = f"set {block.key}" if block.key else "the environment's"
        text = _UNSEEN.format(why=f" ({block.why})" if block.why else "", key=key)
    elif (
        block.by is Block.KEY and not block.key
    ):  # of a process that has none: the cause names the remedy
        text = f"{block.why}; then run the cell again, or job.resume(api_key=...). Nothing was lost"
    else:
        text = _SENTENCES[block.by].format(
            why=f" ({block.why})" if block.why else "", key=block.key
        )
    name = f"{block.of}: " if block.of else ""
    return f"{name}blocked: {text}{_until(gives_up)}"


def waits(why: str, *, alone: bool = False, gives_up: str = "", batches: int = 1) -> str:
    """A wait for a limit that passes. alone: no other batch of this ledger is under way."""
    many = f" ({batches:,} batches)" if batches > 1 else ""
    text = f"{QUOTA}{many}{f': {why}' if why else ''}"
    if alone:
        text += ". No batch of this ledger is in its way: if it never fits, cancel it and give a smaller shard_size"
    return f"{text}{_until(gives_up)}"


def _until(moment: str) -> str:
    return f". It gives up {moment}" if moment else ""


def blocks(snapshot: Snapshot, tz: tzinfo | None) -> list[str]:
    """A sentence for each cause of a block."""
    return [sentence(block, _moment(block.until, snapshot, tz)) for block in snapshot.blocks]


def limits(snapshot: Snapshot, tz: tzinfo | None) -> list[str]:
    """A sentence about the shards that wait for a limit, and one about those that may never fit."""
    lines = []
    for alone in (False, True):
        held = [shard for shard in snapshot.shards if shard.held and shard.alone is alone]
        if held:
            first = held[0]
            many = len(held) if len({shard.note for shard in held}) > 1 else 1
            gives_up = _moment(first.until, snapshot, tz)
            lines.append(waits(first.note, alone=alone, gives_up=gives_up, batches=many))
    if shed := sum(shard.shed for shard in snapshot.shards):
        lines.append(_waits_for_tier(shed))
    return lines


_UNANSWERED = {
    "upload": "a request file has been on its way to the provider for {time}: nothing is paid before it has arrived",
    "create": "{silent} to the order of a batch: if no answer comes, the batch is looked for before anything is sent "
    "again",
    "find": "{silent} to the search for a batch: nothing is sent again before that is known",
    "poll": "{silent} to the question for a batch's state: it is asked again, and nothing is lost",
    "cancel": "{silent} to the cancel of a batch: it is asked again",
    "fetch": "a result file has been on its way for {time} ({bytes:,} bytes so far): it is fetched again if it does "
    "not arrive, and nothing is lost",
}


def unanswered(snapshot: Snapshot) -> list[str]:
    """A sentence for each kind of call in progress that has had no answer for long."""
    longest: dict[str, Unanswered] = {}
    for shard in snapshot.shards:
        if (call := shard.unanswered) is not None:
            longest[call.call] = min(call, longest.get(call.call, call), key=lambda one: one.since)
    return [
        _UNANSWERED[one.call].format(
            silent=f"the provider has not answered for {span(snapshot.now - one.since)}",
            time=span(snapshot.now - one.since),
            bytes=one.bytes,
        )
        for one in longest.values()
        if one.call in _UNANSWERED
    ]


def _waits_for_tier(requests: int) -> str:
    rows = "1 request waits" if requests == 1 else f"{requests:,} requests wait"
    return (
        f"{rows} for the flex tier, which has no room now: nothing is billed for that, and it is asked again until it "
        "has; job.finish() asks the rest in real time, at the full price"
    )


def note_of(shard: ShardView) -> str:
    """A shard's message."""
    if shard.shed:
        return f"waiting for the flex tier ({shard.shed:,})"
    if shard.blocked is not None:
        return f"blocked ({shard.blocked}): {shard.note}"
    if shard.sought:
        return _SOUGHT.format(why=shard.note)
    return waits(shard.note) if shard.held else shard.note


def _moment(when: float, snapshot: Snapshot, tz: tzinfo | None) -> str:
    return clock(when, snapshot.now, tz) if when else ""


COLUMNS = 40
"""Moments at which the curve is drawn."""
CHANGES = 2
"""So often, at least, rows were done: before that there is no course to be seen."""
MARKS = (25, 50, 75)
"""Percentages of all rows whose times are named in words."""


class CurveFields(TypedDict, total=False):
    """The View's fields of these names."""

    curve: tuple[int, ...]
    curve_words: str


def curve(snapshot: Snapshot) -> CurveFields:
    """Rows done in percent of all, from the submission to now or the end; nothing where no course is to be seen yet."""
    points, total = snapshot.history, snapshot.counts.total
    end = snapshot.finished_at or snapshot.now
    if not points or not total or end <= snapshot.created_at:
        return {}
    if points[-1][1] != snapshot.counts.done:
        points = (*points, (max(end, points[-1][0]), snapshot.counts.done))
    if sum(one[1] < other[1] for one, other in pairwise(points)) < CHANGES:
        return {}
    step = (end - snapshot.created_at) / (COLUMNS - 1)
    heights = [
        done_at(points, snapshot.created_at + number * step) for number in range(COLUMNS - 1)
    ]
    heights.append(snapshot.counts.done)
    counted = "rows" if snapshot.samples == 1 else "answers"
    captions = [
        *_marks(points, total, snapshot.created_at),
        f"{snapshot.counts.done:,} of {total:,} {counted} after {span(end - snapshot.created_at)}",
    ]
    return {
        "curve": tuple(round(100 * rows / total) for rows in heights),
        "curve_words": ", ".join(captions),
    }


def _marks(points: Points, total: int, began: float) -> list[str]:
    """`25% after 12 min`: when which part was there, unless it was from the beginning on."""
    found: dict[str, int] = {}
    for percent in MARKS:
        when = next((at for at, rows in points if rows * 100 >= percent * total), None)
        if when is not None and when > began:
            found[span(when - began)] = percent  # of several at one moment, the most
    return [f"{percent}% after {after}" for after, percent in found.items()]
