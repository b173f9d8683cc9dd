"""Snapshot -> View: the words, numbers and colour names that every screen draws. Pure; it must not know any screen.

All text in a View is clean: no control characters (ANSI, bidi), no line breaks, cut to a length. It is not escaped for
HTML: that is html.py's part.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime, tzinfo

import msgspec

from jupyter_batch.core.cost import money
from jupyter_batch.core.status import Snapshot, State

MINUTE, HOUR, DAY = 60, 3600, 86400
REASONS_SHOWN = 5
QUOTA = "waiting for quota"
"""How the notes of shards begin that the provider has no room for."""
ETA_ROWS = 20
"""An eta is told from this many answered rows on (or a fiftieth of all): from fewer it would be a guess."""

ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_])")

HIDDEN = frozenset({"Cc", "Cf", "Cs"})
JOINERS = "\u200c\u200d"
"""Formatting characters that emoji and some scripts are written with; they can't reorder a line."""

COLOURS = {
    State.PLANNED: "idle", State.SUBMITTING: "busy", State.WAITING: "warn", State.RUNNING: "busy",
    State.CANCELLING: "warn", State.COMPLETED: "good", State.FAILED: "bad", State.EXPIRED: "warn",
    State.CANCELLED: "idle",
}


class Segment(msgspec.Struct, frozen=True):
    """One part of the bar: `kind` is also its colour's name, `count` its rows, `word` what a person reads."""

    kind: str
    count: int
    word: str


class View(msgspec.Struct, frozen=True, kw_only=True):
    """A job as a person sees it. Equal views look the same on every screen.

    colour: idle, busy, warn, good or bad. fraction: 0 to 1. percent: whole, 100 only when all is done.
    times: phrases such as "4 min since 12:03". as_of: the moment of it all. cost: a phrase, "" where nothing was paid
    for yet. lines: what there is to say, newest last.
    """

    id: str
    title: str
    state: str
    colour: str
    is_final: bool
    can_cancel: bool
    done: int
    total: int
    fraction: float
    percent: int
    segments: tuple[Segment, ...]
    times: tuple[str, ...]
    eta: str
    as_of: str
    model: str
    batches: tuple[str, ...]
    tokens: str
    cost: str
    lines: tuple[str, ...]
    reasons: tuple[tuple[str, int], ...]
    more_reasons: int
    attach: str

    @property
    def progress(self) -> str:
        """`412 of 1,000 rows`."""
        return f"{self.done:,} of {self.total:,} {'row' if self.total == 1 else 'rows'}"

    @property
    def share(self) -> str:
        """`412 of 1,000 rows (41%)`; of a job that ended with rows lost, how many were answered."""
        answered = sum(part.count for part in self.segments if part.kind in {"succeeded", "reused"})
        if self.done == self.total != answered:
            return f"{answered:,} of {self.total:,} rows answered"
        return f"{self.progress} ({self.percent}%)"

    @property
    def counts(self) -> str:
        """`410 succeeded, 2 failed, 588 running`; empty kinds are left out."""
        return ", ".join(f"{part.count:,} {part.word}" for part in self.segments)


def view(shot: Snapshot, tz: tzinfo | None = None) -> View:
    """What every screen shows of a snapshot; clock times are in `tz`, or in this machine's zone."""
    state, colour = _state(shot)
    eta = _eta(shot)
    return View(
        id=clean(shot.id), title=clean(shot.name or shot.out or shot.id, 80), state=state, colour=colour,
        is_final=shot.is_complete,
        can_cancel=not shot.state.is_ending and shot.state is not State.CANCELLING,
        done=shot.counts.done, total=shot.counts.total, fraction=shot.fraction,
        percent=100 if shot.counts.running == 0 else min(99, int(shot.fraction * 100)),
        segments=_segments(shot), times=_times(shot, eta, tz), eta=eta,
        as_of=clock(shot.now, shot.now, tz, day=True), model=_model(shot),
        batches=tuple(clean(b, 100) for b in shot.batches), tokens=_tokens(shot),
        cost=_cost(shot),
        lines=_lines(shot),
        reasons=tuple((clean(why), count) for why, count in shot.reasons[:REASONS_SHOWN]),
        more_reasons=max(0, len(shot.reasons) - REASONS_SHOWN), attach=clean(shot.attach, 200),
    )


def clean(text: str, limit: int = 300) -> str:
    """One line of visible text: no control, no bidi override, no broken surrogate; at most `limit` characters."""
    flat = " ".join(ANSI.sub("", text).split())
    kept = "".join(char for char in flat if unicodedata.category(char) not in HIDDEN or char in JOINERS)
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


def clock(when: float, now: float, tz: tzinfo | None, *, day: bool = False) -> str:
    """A moment as people say it: `12:03`, and with its day where that is not today (or where `day` asks for it)."""
    there, here = (datetime.fromtimestamp(t, tz=UTC).astimezone(tz) for t in (when, now))
    if there.date() == here.date() and not day:
        return f"{there:%H:%M}"
    return f"{there.day} {there:%b} {there:%H:%M}"


def _two(big: int, big_unit: str, small: int, small_unit: str) -> str:
    return f"{big} {big_unit} {small} {small_unit}" if small else f"{big} {big_unit}"


def _state(shot: Snapshot) -> tuple[str, str]:
    counts = shot.counts
    if shot.state.is_ending and not shot.collected:
        return "collecting", "busy"
    if shot.state is State.COMPLETED and counts.failed + counts.expired + counts.cancelled:
        return str(shot.state), "warn"
    return str(shot.state), COLOURS[shot.state]


def _segments(shot: Snapshot) -> tuple[Segment, ...]:
    counts = shot.counts
    parts = [
        Segment("succeeded", counts.succeeded, "succeeded"), Segment("reused", counts.reused, "reused"),
        Segment("failed", counts.failed, "failed"), Segment("expired", counts.expired, "expired"),
        Segment("cancelled", counts.cancelled, "cancelled"), Segment("skipped", counts.skipped, "skipped"),
        Segment("running", counts.running, "running" if shot.state is State.RUNNING else "open"),
    ]
    return tuple(part for part in parts if part.count)


def _eta(shot: Snapshot) -> str:
    counts = shot.counts
    own = counts.total - counts.reused - counts.skipped
    answered = own - counts.running
    if shot.state is not State.RUNNING or shot.eta is None or counts.running == 0:
        return ""
    if answered < min(ETA_ROWS, max(2, own / 50)):
        return ""
    left = f"{roughly(shot.eta)} left"
    if shot.expires_at is not None and shot.now + shot.eta > shot.expires_at:
        return f"{left} at this pace, which is after it expires"
    return left


def _times(shot: Snapshot, eta: str, tz: tzinfo | None) -> tuple[str, ...]:
    def at(when: float) -> str:
        return clock(when, shot.now, tz)

    if shot.finished_at is not None and shot.state.is_ending:
        kept = shot.keeps_until is not None and shot.keeps_until > shot.now
        return (f"took {span(shot.elapsed)}", f"ended {at(shot.finished_at)}",
                *([f"the provider deletes its copy on {at(shot.keeps_until or 0.0)}"] if kept else []))
    spent = f"{span(shot.elapsed)} " if shot.elapsed >= 1 else ""
    parts = [f"{spent}since {at(shot.created_at)}", eta]
    if shot.expires_at is not None and not shot.state.is_ending:
        parts.append(f"expires {at(shot.expires_at)}")
    if shot.keeps_until is not None:  # some batch has ended, and is not collected yet
        parts.append(f"the provider keeps results until {at(shot.keeps_until)}")
    return tuple(part for part in parts if part)


def _model(shot: Snapshot) -> str:
    model, provider = clean(shot.model, 100), clean(shot.provider, 40)
    return model if not provider or model.startswith(f"{provider}/") else f"{model} ({provider})"


def _tokens(shot: Snapshot) -> str:
    if shot.input_tokens is None or shot.output_tokens is None:
        return ""
    return f"{shot.input_tokens:,} tokens in, {shot.output_tokens:,} out"


def _cost(shot: Snapshot) -> str:
    """`cost $0.0123, saved $0.0123`: of what was collected so far, and against real time."""
    bill = shot.bill
    if bill is None:
        return ""
    so_far = "" if shot.is_complete else " so far"
    if bill.cost is not None:
        saved = f", saved {money(bill.saved)}" if bill.saved and bill.saved > 0 else ""
        return f"cost {money(bill.cost)}{so_far}{saved}"
    if not bill.known:
        return f"cost unknown{so_far}"
    return f"cost at least {money(bill.known)}{so_far}, unknown for {bill.unknown:,} {_plural('row', bill.unknown)}"


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"


def _counted(notes: list[str]) -> list[str]:
    """The job's message and the shards' notes; of many that wait for quota one, and how many there are."""
    waiting = [note for note in notes[1:] if note.startswith(QUOTA)]
    if len(set(waiting)) < 2:  # noqa: PLR2004 - one is told as it is
        return notes
    others = [note for note in notes if not note.startswith(QUOTA)]
    return [*others[:1], f"{QUOTA} ({len(waiting):,} batches){waiting[0].removeprefix(QUOTA)}", *others[1:]]


def _lines(shot: Snapshot) -> tuple[str, ...]:
    """The job's own message, what a shard has to say, what became of the merge: each once, and not as a reason too."""
    notes = [*_counted([shot.message, *(shard.note for shard in shot.shards)]), shot.merged]
    told = [clean(why) for why, _ in shot.reasons]
    return tuple(dict.fromkeys(line for line in map(clean, notes) if line and not any(line in why for why in told)))
