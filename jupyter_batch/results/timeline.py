"""The history of a job and the jobs linked with it, from the ledger: the data of `job.plot()`.

One pass over the events; the size of the output is bounded, however many there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import tzinfo
from textwrap import wrap

import msgspec

from jupyter_batch.core.cost import FLEX, Bill
from jupyter_batch.core.history import Curve, Points, done_at, thinned
from jupyter_batch.core.request import Usage
from jupyter_batch.core.status import Snapshot, Step
from jupyter_batch.ledger.records import JobRecord, ShardRecord, bill_of
from jupyter_batch.ledger.snapshots import OUTSIDE
from jupyter_batch.ledger.store import Event, Ledger
from jupyter_batch.monitor.graph import (
    FETCHING,
    GIVEN,
    THERE,
    WAITING,
    Band,
    Batch,
    Graph,
    Line,
    Spent,
    Stage,
)
from jupyter_batch.monitor.view import COLOURS, View, view
from jupyter_batch.monitor.words import clean, span
from jupyter_batch.providers.table import REALTIME

POINTS = 200
ALL_POINTS = 3000
"""The most points of each line, and of all lines."""
BANDS = 20
"""Above this many, batches are drawn as one area."""
MOMENTS = 100
BATCHES = 40
"""Above this many, only the slowest batches are drawn."""
_AT_ONCE = {REALTIME: "in real time", FLEX: "on the flex tier"}
NAME, WIDEST = 48, 90
"""Characters of a name, and of a line over the figure."""
SLIVER = 0.004
"""A share of the whole time: a shorter stage would be invisible."""
FURTHEST = 2.0
"""The remaining time is drawn up to this multiple of the elapsed time."""


class JobEvents(msgspec.Struct, frozen=True):
    """The ledger's data about one job."""

    job: JobRecord
    shards: list[ShardRecord]
    events: list[Event]


def read(ledger: Ledger, jobs: Sequence[str]) -> list[JobEvents]:
    """The data about these jobs and all linked with them: retries, realtime finishes, tool rounds.

    In the order of submission. Raises LedgerError.
    """
    records = {record.id: record for record in ledger.jobs()}
    of_parent: dict[str, list[str]] = {}
    for record in records.values():
        if record.parent in records:
            of_parent.setdefault(record.parent, []).append(record.id)
    found: dict[str, None] = {}
    for job in jobs:
        first = job
        while (parent := records[first].parent) in records:
            first = str(parent)
        way = [first]
        for one in way:  # the list grows during the loop
            way.extend(of_parent.get(one, ()))
        found.update(dict.fromkeys(way))
    linked = sorted((records[job] for job in found), key=lambda record: record.created_at)
    return [
        JobEvents(record, ledger.shards(record.id), ledger.events(record.id)) for record in linked
    ]


def graph(snapshot: Snapshot, linked: Sequence[JobEvents], tz: tzinfo | None = None) -> Graph:
    """The figure of a job, or of several as one.

    snapshot: its state. linked: its jobs; salvaged ones have no events.
    """
    seen, names = view(snapshot, tz), _names(linked)
    end = snapshot.finished_at or snapshot.now
    most = max(8, min(POINTS, ALL_POINTS // max(1, len(linked))))
    lines = tuple(
        Line(name, _points(one, end, most))
        for name, one in zip(names, linked, strict=True)
        if one.events
    )
    moments, bands = _bands(linked[0], end) if len(linked) == 1 else ((), ())
    begin = min((one.job.created_at for one in linked), default=snapshot.created_at)
    seen_from = SLIVER * (end - begin)
    batches = [
        _batch(shard, one, name, end, seen_from)
        for name, one in zip(names, linked, strict=True)
        if one.events
        for shard in one.shards
    ]
    shown = batches if len(batches) <= BATCHES else _slowest(batches)
    total = max([one.job.rows for one in linked] or [snapshot.counts.total])
    ahead = (
        _ahead(snapshot, seen) if snapshot.counts.total <= total else ()
    )  # several models have no common pace
    latest = max(
        end, *(line.points[-1][0] for line in lines), *(at for at, _ in ahead), begin + 1.0
    )
    latency = _latency(batches)
    spent = _spent(linked)
    return Graph(
        title=clean(f"{seen.title}: {seen.state}, {seen.share}", WIDEST),
        colour=seen.colour,
        begin=begin,
        end=latest,
        subtitle=_subtitle(seen, known=bool(lines)),
        total=total,
        lines=lines,
        moments=moments,
        bands=bands,
        ahead=ahead,
        batches=tuple(shown),
        left_out=len(batches) - len(shown),
        latency=latency,
        spent=spent,
        words=_words(seen, latency, spent),
    )


def _subtitle(seen: View, *, known: bool) -> tuple[str, ...]:
    first = " · ".join(part for part in (seen.model, *seen.times) if part)
    counts = seen.counts if len(seen.segments) > 1 else ""
    unknown = (
        "" if known else "how it went is not in the ledger: what was fetched is all that is known"
    )
    return tuple(line for text in (first, counts, unknown) for line in wrap(text, WIDEST))


def _words(seen: View, latency: str, spent: Iterable[Spent]) -> str:
    """The whole figure in a few sentences."""
    paid = [f"{one.model}: {one.tokens}; cost {one.price}" for one in spent]
    course = f"Rows over time: {seen.curve_words}." if seen.curve_words else ""
    latencies = f"Batches from sent to over: {latency}." if latency else ""
    return " ".join(
        part
        for part in (
            f"{seen.title}: {seen.state}, {seen.share}.",
            course,
            latencies,
            *(f"{one}." for one in paid),
        )
        if part
    )


# -- names -------------------------------------------------------------------------------------------------------------


def _names(linked: Sequence[JobEvents]) -> list[str]:
    """The label of each job: its model if there are several, its purpose if they are linked."""
    jobs = {one.job.id: one.job for one in linked}
    several = len({job.model for job in jobs.values()}) > 1
    names: list[str] = []
    for job in jobs.values():
        link = _link(job, jobs.get(job.parent or ""))
        name = clean(" ".join(part for part in (job.model if several else "", link) if part), NAME)
        name = name or ("rows" if len(jobs) == 1 else "first sent")
        names.append(name)
    return _apart(names)


def _apart(names: Sequence[str]) -> list[str]:
    """The names made unique: the second of equal names is `name (2)`."""
    return [
        f"{name} ({names[:at].count(name) + 1})" if name in names[:at] else name
        for at, name in enumerate(names)
    ]


def _link(job: JobRecord, parent: JobRecord | None) -> str:
    if parent is None:
        return ""
    if job.round > parent.round:
        return f"tool round {job.round}"
    return _AT_ONCE.get(job.mode, "sent again") if job.mode != parent.mode else "sent again"


# -- rows over time ----------------------------------------------------------------------------------------------------


def _points(course: JobEvents, end: float, most: int) -> Points:
    """Rows done over time, from the plan to the job's end, or to now."""
    job = course.job
    curve = Curve(job.created_at, _given(job), most)
    for at, shard, step, done, _ in course.events:
        if shard is not None:
            curve.add(at, shard, done, taken=step not in OUTSIDE)
    points = curve.points()
    last = job.finished_at or end
    return (*points, (last, points[-1][1])) if last > points[-1][0] else points


def _given(job: JobRecord) -> int:
    """The number of rows that were done before anything was sent."""
    return job.reused + job.skipped + job.unsendable


def _bands(course: JobEvents, end: float) -> tuple[tuple[float, ...], tuple[Band, ...]]:
    """Rows done by batch, all at the same moments; empty for too few or too many batches."""
    if not 1 < len(course.shards) <= BANDS:
        return (), ()
    by_shard: dict[int, list[tuple[float, int]]] = {
        shard.number: [(course.job.created_at, 0)] for shard in course.shards
    }
    for at, number, _, done, _ in course.events:
        if number is not None and done != by_shard[number][-1][1]:
            by_shard[number].append((max(at, by_shard[number][-1][0]), done))
    histories = {number: tuple(points) for number, points in by_shard.items()}
    changes = sorted(
        {at for points in histories.values() for at, _ in points} | {course.job.finished_at or end}
    )
    moments = tuple(
        at for at, _ in thinned([(at, number) for number, at in enumerate(changes)], MOMENTS)
    )
    bands = [
        Band(f"batch {number + 1}", tuple(done_at(points, at) for at in moments))
        for number, points in histories.items()
    ]
    given = _given(course.job)
    return moments, (*([Band(GIVEN, (given,) * len(moments))] if given else []), *bands)


def _ahead(snapshot: Snapshot, seen: View) -> Points:
    """From the last point to the last row, where the View has an eta."""
    if not seen.eta or snapshot.eta is None or snapshot.eta > FURTHEST * snapshot.elapsed:
        return ()
    return (snapshot.now, snapshot.counts.done), (
        snapshot.now + snapshot.eta,
        snapshot.counts.total,
    )


# -- batches -----------------------------------------------------------------------------------------------------------


def _batch(shard: ShardRecord, course: JobEvents, name: str, end: float, shortest: float) -> Batch:
    alone = len(course.shards) == 1
    number = f"{shard.number + 1:,}"
    label = (
        (name if name != "rows" else "batch 1")
        if alone
        else f"batch {number}"
        if name == "rows"
        else (f"{name} {number}")
    )
    seconds = (
        max(0.0, (_over_at(shard) or end) - shard.sent_at)
        if shard.sent_at and shard.batch_id
        else None
    )
    return Batch(
        name=label,
        stages=_stages(shard, course, end, shortest),
        seconds=seconds,
        is_over=bool(_over_at(shard)),
        words=_stands(shard, seconds),
        colour=COLOURS[shard.ending] if shard.ending else "busy",
    )


def _stands(shard: ShardRecord, seconds: float | None) -> str:
    ending = f", {shard.ending}" if shard.ending and shard.ending != "completed" else ""
    if shard.joins and not shard.batch_id:
        return (
            f"waits for job {shard.joins}"
            if shard.ending is None
            else f"answered by job {shard.joins}"
        )
    if seconds is None:
        return f"not sent{ending}" if shard.ending else "waiting"
    return f"{span(seconds)}{ending}" if _over_at(shard) else f"{span(seconds)} so far"


def _over_at(shard: ShardRecord) -> float:
    """When the provider finished it; 0 for not yet. `ended_at` is when that was observed."""
    return (shard.over_at or shard.ended_at) if shard.ending is not None else 0.0


def _changes(shard: ShardRecord, course: JobEvents) -> list[tuple[float, str]]:
    """(start, kind) of each stage of a shard, in order of time."""
    own = [(at, _kind(step)) for at, number, step, _, _ in course.events if number == shard.number]
    if not course.job.adopted:
        own.insert(0, (course.job.created_at, WAITING))
    over = _over_at(shard)
    changes: list[tuple[float, str]] = []
    for at, kind in own:
        since = over if kind == FETCHING and over else at
        if not changes or changes[-1][1] != kind:
            changes.append((max(since, changes[-1][0]) if changes else since, kind))
    return changes


def _stages(
    shard: ShardRecord, course: JobEvents, end: float, shortest: float
) -> tuple[Stage, ...]:
    """The stages with start and end, from its events; short ones only at the provider."""
    changes = _changes(shard, course)
    until = [at for at, _ in changes[1:]] + [end]
    last = max((place for place, (_, kind) in enumerate(changes) if kind == THERE), default=0)
    if last and changes[last][0] < shard.sent_at <= until[last]:  # before that, the upload
        changes[last], until[last - 1] = (shard.sent_at, THERE), shard.sent_at
    stages = [
        Stage(kind, at, then) for (at, kind), then in zip(changes, until, strict=True) if kind
    ]
    return tuple(
        stage
        for stage in stages
        if stage.kind == THERE or stage.end - stage.begin > shortest or len(stages) == 1
    )


def _kind(step: str) -> str:
    if step in {Step.PLANNED, Step.WAITING}:
        return WAITING
    return {Step.ENDED: FETCHING, Step.COLLECTED: ""}.get(Step(step), THERE)


def _slowest(batches: list[Batch]) -> list[Batch]:
    """The slowest batches, in their original order."""
    latest = sorted(range(len(batches)), key=lambda at: -(batches[at].seconds or 0.0))[:BATCHES]
    return [batches[at] for at in sorted(latest)]


def _latency(batches: Sequence[Batch]) -> str:
    """`median 42 min, slowest 1 h`; for one batch only its time."""
    took = [batch.seconds for batch in batches if batch.seconds is not None and batch.is_over]
    if not took:
        return ""
    from statistics import median  # takes 5 ms to import

    middle, most = span(median(took)), span(max(took))
    return middle if len(took) == 1 or middle == most else f"median {middle}, slowest {most}"


# -- tokens and cost ---------------------------------------------------------------------------------------------------


def _spent(linked: Sequence[JobEvents]) -> tuple[Spent, ...]:
    """By model.

    Spending carried over from an earlier job counts only where that job is not included.
    """
    there = {one.job.id for one in linked}
    models: dict[str, list[tuple[Bill | None, Usage | None]]] = {}
    for one in linked:
        own = one.job.parent in there
        bill = bill_of(one.shards) if own else one.job.bill(one.shards)
        job = msgspec.structs.replace(one.job, used=None) if own else one.job
        models.setdefault(one.job.model, []).append((bill, job.usage(one.shards)))
    shown = _apart([clean(model, NAME) for model in models])
    return tuple(
        _of_model(name, linked) for name, linked in zip(shown, models.values(), strict=True)
    )


def _of_model(model: str, parts: list[tuple[Bill | None, Usage | None]]) -> Spent:
    bills = [bill for bill, _ in parts if bill is not None]
    used = [usage for _, usage in parts if usage is not None]
    usage = sum(used, Usage()) if used else None
    return Spent(
        model=model,
        bill=sum(bills[1:], bills[0]) if bills else None,
        tokens_in=usage.input_tokens if usage else None,
        tokens_out=usage.output_tokens if usage else None,
    )
