"""Snapshot -> View: the words, numbers and colour names that every screen draws. Pure; it must not know any screen.

All text in a View is clean: no control characters (ANSI, bidi), no line breaks, cut to a length. It is not escaped for
HTML: that is html.py's part.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo

import msgspec

from jupyter_batch.core.status import Answer, ShardView, Snapshot, State, Step
from jupyter_batch.monitor import words
from jupyter_batch.monitor.words import clean, clock, span, usually

REASONS_SHOWN = 5
LINE = 1200
"""Characters of a line that says what happened and what to do: its advice, which comes last, is never cut off."""
ETA_ROWS = 20
"""Answered rows (or a fiftieth of all) from which an ETA is shown: from fewer it would be a guess."""
TEXT, ANSWER = 80, 160
"""Characters that are shown of a row, and of its answer: a schema's fields take more than a word."""
SHARDS_SHOWN = 200

COLOURS = {
    State.PLANNED: "idle",
    State.SUBMITTING: "busy",
    State.WAITING: "warn",
    State.RUNNING: "busy",
    State.CANCELLING: "warn",
    State.COMPLETED: "good",
    State.FAILED: "bad",
    State.EXPIRED: "warn",
    State.CANCELLED: "idle",
}


class Segment(msgspec.Struct, frozen=True):
    """One part of the bar: `kind` is also its colour's name, `count` its rows, `word` what a person reads."""

    kind: str
    count: int
    word: str


class Sight(msgspec.Struct, frozen=True):
    """A row and what came for it: `asked` and `answer` as texts, `of` the model, where several are shown as one."""

    row: int
    asked: str
    answer: str
    of: str = ""

    @property
    def words(self) -> str:
        """`row 17: "the screen broke"`."""
        return f"row {self.row:,}: “{self.asked}”" if self.asked else f"row {self.row:,}"


class Part(msgspec.Struct, frozen=True):
    """One batch of a job. progress: `40,000 of 50,000`; note: the reason of its wait, or the last message about it."""

    number: int
    state: str
    colour: str
    progress: str
    failed: int
    note: str
    batch: str


class View(msgspec.Struct, frozen=True, kw_only=True):
    """A job as a person sees it. Equal views look the same on every screen.

    colour: idle, busy, warn, good or bad. fraction: 0 to 1. percent: whole, 100 only when all is done. times:
    phrases such as "4 min since 12:03". as_of: the moment of it all. cost: a phrase, "" where nothing was paid for
    yet. lines: what there is to say, newest last. blocked: of these a sentence for each cause of a block. estimate:
    the expected and the highest cost of the whole job. prices: (action, "36 rows, about $0.02 (at most $0.05)") for
    each of `offers` that costs money. examples: a row of each reason, or None. more_parts: batches
    that are not among `parts`. offers: what may be done now, out of retry, finish and merge. curve: rows done over
    the job's time, in percent of all, at moments of equal distance; curve_words: the same as a sentence's part.
    cut_off: `3 cut off`, "" for none. unit: what is counted, a row or an answer.
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
    blocked: tuple[str, ...] = ()
    estimate: str = ""
    prices: tuple[tuple[str, str], ...] = ()
    answers: tuple[Sight, ...] = ()
    examples: tuple[Sight | None, ...] = ()
    parts: tuple[Part, ...] = ()
    more_parts: int = 0
    offers: tuple[str, ...] = ()
    curve: tuple[int, ...] = ()
    curve_words: str = ""
    cut_off: str = ""
    unit: str = "row"

    @property
    def progress(self) -> str:
        """`412 of 1,000 rows`."""
        return f"{self.done:,} of {self._rows}"

    @property
    def share(self) -> str:
        """`412 of 1,000 rows (41%)`; of a job that ended with rows lost, how many were answered."""
        answered = sum(part.count for part in self.segments if part.kind in {"succeeded", "reused"})
        if self.done == self.total != answered:
            return f"{answered:,} of {self._rows} answered"
        return f"{self.progress} ({self.percent}%)"

    @property
    def _rows(self) -> str:
        return f"{self.total:,} {_plural(self.unit, self.total)}"

    @property
    def counts(self) -> str:
        """`410 succeeded, 2 failed, 588 running`; empty kinds are left out."""
        parts = [f"{part.count:,} {part.word}" for part in self.segments]
        return ", ".join([*parts, *filter(None, [self.cut_off])])

    @property
    def asides(self) -> list[str]:
        """The kinds of rows next to the number done: `2 failed`, `3 cut off`."""
        quiet = {"succeeded", "running"}
        parts = [f"{part.count:,} {part.word}" for part in self.segments if part.kind not in quiet]
        return [*parts, *filter(None, [self.cut_off])]


def view(snapshot: Snapshot, tz: tzinfo | None = None) -> View:
    """What every screen shows of a snapshot; clock times are in `tz`, or in this machine's zone."""
    state, colour = _state(snapshot)
    eta = _eta(snapshot)
    return View(
        id=clean(snapshot.id),
        title=clean(snapshot.name or snapshot.out or snapshot.id, 80),
        state=state,
        colour=colour,
        is_final=snapshot.is_complete,
        can_cancel=not snapshot.state.is_ending and snapshot.state is not State.CANCELLING,
        done=snapshot.counts.done,
        total=snapshot.counts.total,
        fraction=snapshot.fraction,
        percent=100 if snapshot.counts.running == 0 else min(99, int(snapshot.fraction * 100)),
        segments=_segments(snapshot),
        times=_times(snapshot, eta, tz),
        eta=eta,
        as_of=clock(snapshot.now, snapshot.now, tz, year=True),
        model=_model(snapshot),
        batches=tuple(filter(None, map(_batch, snapshot.shards))),
        tokens=_tokens(snapshot),
        cost=words.cost(snapshot),
        lines=_lines(snapshot, tz),
        blocked=tuple(clean(line, LINE) for line in words.blocks(snapshot, tz)),
        reasons=tuple((clean(why), count) for why, count in snapshot.reasons[:REASONS_SHOWN]),
        more_reasons=max(0, len(snapshot.reasons) - REASONS_SHOWN),
        attach=clean(snapshot.attach, 200),
        estimate=words.estimate(snapshot),
        prices=tuple((one.action, words.price(one)) for one in snapshot.prices),
        answers=tuple(map(_sight, snapshot.answers)),
        examples=_examples(snapshot),
        parts=_parts(snapshot),
        offers=snapshot.offers,
        more_parts=max(0, len(snapshot.shards) - SHARDS_SHOWN),
        unit="row" if snapshot.samples == 1 else "answer",
        cut_off=f"{snapshot.cut_off:,} cut off" if snapshot.cut_off else "",
        **words.curve(snapshot),
    )


def _state(snapshot: Snapshot) -> tuple[str, str]:
    counts = snapshot.counts
    if snapshot.state.is_ending and not snapshot.collected:
        return "collecting", "busy"
    lost = counts.failed + counts.expired + counts.cancelled
    if snapshot.state is State.COMPLETED and lost + snapshot.cut_off:
        return str(snapshot.state), "warn"
    return str(snapshot.state), COLOURS[snapshot.state]


def _segments(snapshot: Snapshot) -> tuple[Segment, ...]:
    counts = snapshot.counts
    parts = [
        Segment("succeeded", counts.succeeded, "succeeded"),
        Segment("reused", counts.reused, _reused(snapshot)),
        Segment("failed", counts.failed, "failed"),
        Segment("expired", counts.expired, "expired"),
        Segment("cancelled", counts.cancelled, "cancelled"),
        Segment("skipped", counts.skipped, "skipped"),
        Segment(
            "running", counts.running, "running" if snapshot.state is State.RUNNING else "open"
        ),
    ]
    return tuple(part for part in parts if part.count)


def _reused(snapshot: Snapshot) -> str:
    """`reused`, and of what: in a first run nothing was answered before, but rows may be alike."""
    if not snapshot.equal:
        return "reused"
    how_many = "" if snapshot.equal == snapshot.counts.reused else f"{snapshot.equal:,} "
    return f"reused ({how_many}equal {'row' if snapshot.equal == 1 else 'rows'})"


def _eta(snapshot: Snapshot) -> str:
    counts = snapshot.counts
    own = counts.total - counts.reused - counts.skipped
    answered = own - counts.running
    if (
        snapshot.state is not State.RUNNING
        or snapshot.eta is None
        or counts.running == 0
        or snapshot.pace is None
    ):
        return ""
    if answered < min(ETA_ROWS, max(2, own / 50)):
        return ""
    left = f"{words.roughly(snapshot.eta)} left{words.spread(snapshot.eta, snapshot.pace[1])}"
    if (
        snapshot.expires_at is not None
        and snapshot.now < snapshot.expires_at < snapshot.now + snapshot.eta
    ):
        return f"{left} at this pace, which is after it expires"
    return left


def _usual(snapshot: Snapshot) -> str:
    """`usually 4 to 20 min`, of earlier batches like its own, until it has a pace; "" once that has passed."""
    wait = snapshot.usual
    if wait is None or snapshot.state.is_ending or snapshot.blocked or snapshot.elapsed > wait.high:
        return ""
    return usually(wait.low, wait.high)


def _times(snapshot: Snapshot, eta: str, tz: tzinfo | None) -> tuple[str, ...]:
    def at(when: float) -> str:
        return clock(when, snapshot.now, tz)

    if snapshot.finished_at is not None and snapshot.state.is_ending:
        kept = snapshot.keeps_until is not None and snapshot.keeps_until > snapshot.now
        return (
            f"took {span(snapshot.elapsed)}",
            f"ended {at(snapshot.finished_at)}",
            *(
                [f"the provider deletes its copy on {at(snapshot.keeps_until or 0.0)}"]
                if kept
                else []
            ),
        )
    spent = f"{span(snapshot.elapsed)} " if snapshot.elapsed >= 1 else ""
    parts = [f"{spent}since {at(snapshot.created_at)}", eta or _usual(snapshot)]
    if snapshot.deadline is not None:
        parts.append(
            f"the rest {words.WAYS[snapshot.deadline_mode]} from {at(snapshot.deadline)} on"
        )
    if snapshot.expires_at is not None and not snapshot.state.is_ending:
        parts.append(
            f"{'expires' if snapshot.now < snapshot.expires_at else 'was to expire'} {at(snapshot.expires_at)}"
        )
    if snapshot.keeps_until is not None:  # some batch has ended, and is not collected yet
        parts.append(f"the provider keeps results until {at(snapshot.keeps_until)}")
    return tuple(part for part in parts if part)


def _model(snapshot: Snapshot) -> str:
    model, provider = clean(snapshot.model, 100), clean(snapshot.provider, 40)
    name = model if not provider or model.startswith(f"{provider}/") else f"{model} ({provider})"
    name = clean(snapshot.called, 100) or name
    sent = [shard for shard in snapshot.shards if shard.batch_id]
    live = bool(sent) and all(shard.realtime for shard in sent)
    way = words.WAYS["flex" if snapshot.mode == "flex" else "realtime"]
    return f"{name}, {way}" if live else name


def _tokens(snapshot: Snapshot) -> str:
    if snapshot.input_tokens is None or snapshot.output_tokens is None:
        return ""
    return f"{snapshot.input_tokens:,} tokens in, {snapshot.output_tokens:,} out"


def _sight(answer: Answer) -> Sight:
    return Sight(
        answer.row, clean(answer.asked, TEXT), clean(answer.answer, ANSWER), clean(answer.of, 40)
    )


def _examples(snapshot: Snapshot) -> tuple[Sight | None, ...]:
    examples = dict(snapshot.examples)
    return tuple(
        _sight(examples[why]) if why in examples else None
        for why, _ in snapshot.reasons[:REASONS_SHOWN]
    )


def _parts(snapshot: Snapshot) -> tuple[Part, ...]:
    return tuple(_part(shard) for shard in snapshot.shards[:SHARDS_SHOWN])


def _part(shard: ShardView) -> Part:
    counts = shard.counts
    lost = counts.failed + counts.expired + counts.cancelled
    state, colour = str(shard.step), "busy"
    if shard.ending is not None:
        state, colour = str(shard.ending), COLOURS[shard.ending]
        if shard.step is not Step.COLLECTED:
            state, colour = "collecting", "busy"
    elif shard.blocked is not None:
        state, colour = "waiting", "warn"
    elif shard.step in {Step.WAITING, Step.CANCELLING, Step.PLANNED}:
        colour = "idle" if shard.step is Step.PLANNED else "warn"
    return Part(
        shard.number,
        state,
        colour,
        f"{counts.done:,} of {counts.total:,}",
        lost,
        clean(words.note_of(shard), 160),
        _batch(shard),
    )


def _batch(shard: ShardView) -> str:
    """The provider's id of a batch; "" for none, and for a realtime run."""
    return "" if shard.realtime else clean(shard.batch_id or "", 100)


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"


def _lines(snapshot: Snapshot, tz: tzinfo | None) -> tuple[str, ...]:
    """The job's own message, what a shard has to say, what became of the merge: each once, and not as a reason too."""
    free = [
        words.note_of(shard) if shard.sought else shard.note
        for shard in snapshot.shards
        if not (shard.held or shard.blocked)
    ]
    notes = [
        *words.blocks(snapshot, tz),
        snapshot.message,
        *words.limits(snapshot, tz),
        *words.unanswered(snapshot),
        *free,
        *words.cuts(snapshot),
        snapshot.merged,
        *map(to_attach, snapshot.unbound),
        sent_again(snapshot.again),
    ]
    reasons = [clean(why, LINE) for why, _ in snapshot.reasons]
    return tuple(
        dict.fromkeys(
            line
            for line in (clean(note, LINE) for note in notes)
            if line and not any(line in why for why in reasons)
        )
    )


def to_attach(name: str) -> str:
    """Code that merges a job's or group's answers into a frame unknown to this process."""
    return f'df.llm.attach("{name}") puts the answers onto a frame'


def sent_again(again: Sequence[Snapshot]) -> str:
    """`sent again as job jb3f9c2k7a1q: running`, with the state of the retry; "" without one."""
    return f"sent again as {'; '.join(map(_in_short, again))}" if again else ""


def _in_short(snapshot: Snapshot) -> str:
    """The state in short: at the end with the number of answers, then the job that retries it."""
    seen = view(snapshot)
    share = f", {seen.share}" if seen.is_final else ""
    further = "".join(f", then as {_in_short(again)}" for again in snapshot.again)
    return f"job {seen.id}: {seen.state}{share}{further}"
