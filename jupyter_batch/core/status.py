"""State and its transitions, Counts, and the frozen Snapshot that monitors display. No clock."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import msgspec

from jupyter_batch.core.cost import Bill, Spend
from jupyter_batch.core.history import Points, Wait, pace_of
from jupyter_batch.core.request import Cuts


class State(StrEnum):
    """A job's state as shown to the user (`job.state`)."""

    PLANNED = "planned"
    SUBMITTING = "submitting"
    WAITING = "waiting"
    RUNNING = "running"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"

    @property
    def is_ending(self) -> bool:
        """Whether this is one of the four endings."""
        return self in ENDINGS

    __repr__ = str.__repr__  # displayed as the plain word in a cell


ENDINGS = frozenset({State.COMPLETED, State.FAILED, State.EXPIRED, State.CANCELLED})


class Block(StrEnum):
    """Why a shard is blocked (`job.blocked`); `budget` passes, the others need the user."""

    KEY = "key"
    QUOTA = "quota"
    NO_BATCH_API = "no batch API"
    BUDGET = "budget"
    UNKNOWN_CREATE = "unknown create"

    __repr__ = str.__repr__


class Blocked(msgspec.Struct, frozen=True, kw_only=True):
    """A block as data; monitor/words.py renders its sentence.

    why: the cause in the provider's or our own words. key: the key's environment variable, if it is
    missing or was refused. until: when it gives up, in seconds since the epoch; 0 for never. of:
    the model, in a group. unseen: the batch is not found with the key.
    """

    by: Block
    why: str = ""
    key: str = ""
    until: float = 0.0
    of: str = ""
    unseen: bool = False


class Step(StrEnum):
    """The step of a shard; `ended` and `collected` are stored with an ending."""

    PLANNED = "planned"
    SUBMITTING = "submitting"
    WAITING = "waiting"
    RUNNING = "running"
    CANCELLING = "cancelling"
    ENDED = "ended"
    COLLECTED = "collected"


MOVES: dict[Step, frozenset[Step]] = {
    Step.PLANNED: frozenset({Step.SUBMITTING, Step.WAITING, Step.ENDED}),
    Step.SUBMITTING: frozenset({Step.RUNNING, Step.WAITING, Step.ENDED}),
    Step.WAITING: frozenset({Step.SUBMITTING, Step.ENDED}),
    Step.RUNNING: frozenset({Step.CANCELLING, Step.WAITING, Step.ENDED}),
    Step.CANCELLING: frozenset({Step.ENDED}),
    Step.ENDED: frozenset({Step.COLLECTED}),
    Step.COLLECTED: frozenset(),
}
"""The valid transitions between steps.

`planned`, `submitting` and `waiting` end directly when cancelled or refused; a request that another
job has sent is `waiting` for it from the plan on; `running` returns to `waiting` when the provider
accepted a batch and then refused it for its quota.
"""


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """Rows by status; `total` is always the sum of the others."""

    succeeded: int = 0
    failed: int = 0
    expired: int = 0
    cancelled: int = 0
    running: int = 0
    reused: int = 0
    skipped: int = 0

    @property
    def total(self) -> int:
        """Return the number of all rows, including those without a request."""
        return (
            self.succeeded
            + self.failed
            + self.expired
            + self.cancelled
            + self.running
            + self.reused
            + self.skipped
        )

    @property
    def done(self) -> int:
        """Return the number of rows in a final status."""
        return self.total - self.running

    def __add__(self, other: Counts) -> Counts:
        return Counts(  # spelled out: each snapshot adds up those of all shards
            succeeded=self.succeeded + other.succeeded,
            failed=self.failed + other.failed,
            expired=self.expired + other.expired,
            cancelled=self.cancelled + other.cancelled,
            running=self.running + other.running,
            reused=self.reused + other.reused,
            skipped=self.skipped + other.skipped,
        )


class Unanswered(msgspec.Struct, frozen=True, kw_only=True):
    """A call that the provider has not answered yet.

    call: upload, create, find, poll, cancel or fetch. since: seconds since the epoch. bytes: of a
    result file, received so far.
    """

    call: str
    since: float
    bytes: int = 0


class ShardView(msgspec.Struct, frozen=True, kw_only=True):
    """A shard, as a monitor needs it. Times are seconds since the epoch.

    realtime: its batch is a run on this disk, with an id of ours. held: it waits for a transient
    limit ("queue" or "rate"). alone: it was repeatedly refused for
    that with no other open batch in this ledger. until: when it gives up; 0 for never. shed: its
    requests that wait for their service tier to have capacity. sought: its create has no answer, for
    the reason in `note`, and the batch is looked for. unanswered: a call in progress for long.
    """

    number: int
    step: Step
    ending: State | None = None
    batch_id: str | None = None
    realtime: bool = False
    provider_status: str | None = None
    counts: Counts = Counts()
    note: str = ""
    expires_at: float | None = None
    blocked: Block | None = None
    held: str = ""
    alone: bool = False
    until: float = 0.0
    shed: int = 0
    sought: bool = False
    unanswered: Unanswered | None = None


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A row's answer as truncated texts. row: its position; of: the model, if several."""

    row: int
    asked: str
    answer: str
    of: str = ""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A job's data for display at one moment. Times: seconds since the epoch; durations: seconds.

    bill: of collected results; None without any. keeps_until: when the provider deletes what is not
    yet fetched, or its copy if collected. mode: batch, realtime or flex; deadline: when open rows are
    sent in the mode `deadline_mode`. expected,
    most: the cost of the whole job as estimated, and its upper bound, US dollars; limited: as in
    `Spend`. prices: the cost
    of each of `offers` that costs money. answers: the first ones, with their rows. examples: a row
    for a reason in `reasons`. offers: the user's actions besides cancel: `retry`, `finish`,
    `merge`. merged: the merge's outcome. unbound: the job or group whose answers are in no frame
    of this process. again: the jobs that retry its missed rows. notebook: its
    path, where known. equal: the reused rows with the same request as another row of the job.
    samples: answers requested for each row; counts are of answers then. cuts: truncated answers by
    finish reason, which count as succeeded or reused. history: (time, rows done from then on), a
    few dozen points; () where unknown. usual: the usual wait
    for its largest batch. blocks: current blocks, each cause once. blocked: the cause
    where no open shard can continue without the user; `state` is `waiting` then. Of a group: of the
    first blocked job, whatever the others do. message: about the job as a whole, such as why
    its provider can't be connected to.
    """

    id: str
    name: str | None
    state: State
    counts: Counts
    model: str
    called: str = ""
    provider: str
    out: str
    created_at: float
    now: float
    notebook: str | None = None
    finished_at: float | None = None
    collected: bool = False
    expires_at: float | None = None
    keeps_until: float | None = None
    mode: str = "batch"
    deadline: float | None = None
    deadline_mode: str = "realtime"
    shards: tuple[ShardView, ...] = ()
    input_tokens: int | None = None
    output_tokens: int | None = None
    bill: Bill | None = None
    expected: float | None = None
    most: float | None = None
    limited: bool = True
    prices: tuple[Spend, ...] = ()
    message: str = ""
    blocks: tuple[Blocked, ...] = ()
    blocked: Block | None = None
    reasons: tuple[tuple[str, int], ...] = ()
    cuts: Cuts = ()
    answers: tuple[Answer, ...] = ()
    examples: tuple[tuple[str, Answer], ...] = ()
    offers: tuple[str, ...] = ()
    attach: str = ""
    merged: str = ""
    unbound: tuple[str, ...] = ()
    again: tuple[Snapshot, ...] = ()
    equal: int = 0
    samples: int = 1
    history: Points = ()
    usual: Wait | None = None

    @property
    def is_complete(self) -> bool:
        """Whether the job has ended and all results are on this disk."""
        return self.state.is_ending and self.collected

    @property
    def cut_off(self) -> int:
        """Return the number of truncated answers."""
        return sum(answers for _, answers in self.cuts)

    @property
    def cost(self) -> float | None:
        """Return the US dollars of the collected results; None where unknown, even in part."""
        return self.bill.cost if self.bill is not None else None

    @property
    def fraction(self) -> float:
        """Return the share of rows done, 0 to 1."""
        total = self.counts.total
        return self.counts.done / total if total else 1.0

    @property
    def elapsed(self) -> float:
        """Return the seconds from the submission to the end, or until now."""
        return max(0.0, (self.finished_at or self.now) - self.created_at)

    @property
    def pace(self) -> tuple[float, int] | None:
        """Return (rows a second, rows it is based on); None until the first row is done.

        Recent progress, where the history is known, excluding hours in a queue; else since the
        submission.
        """
        given = self.counts.reused + self.counts.skipped
        done = self.counts.done - given
        if self.history and not self.is_complete:
            return pace_of(self.history, self.now, self.counts.done, given)
        return (done / self.elapsed, done) if done > 0 and self.elapsed > 0 else None

    @property
    def rate(self) -> float | None:
        """Return the rows per second; None until the first row is done."""
        pace = self.pace
        return pace[0] if pace else None

    @property
    def eta(self) -> float | None:
        """Return the seconds until the last row at this pace; None where unknown."""
        if self.is_complete:
            return 0.0
        rate = self.rate
        return self.counts.running / rate if rate else None

    @property
    def batches(self) -> tuple[str, ...]:
        """Return the provider's ids of the batches sent so far."""
        return tuple(s.batch_id for s in self.shards if s.batch_id)


def reopen(name: str) -> str:
    """Return the code that reopens a job or group with its monitor, including the import."""
    return f'import jupyter_batch; jupyter_batch.open("{name}")'


def job_state(shards: Iterable[tuple[Step, State | None]], *, cancelling: bool = False) -> State:
    """Return a job's state from its shards' (step, ending).

    While any shard is open, the least advanced step decides; once all ended, the worst ending,
    except that a cancel that came too late for some shards is still `cancelled`.
    """
    pairs = list(shards)
    steps = {step for step, _ in pairs}
    open_steps = steps - {Step.ENDED, Step.COLLECTED}
    if open_steps:
        if cancelling or Step.CANCELLING in open_steps:
            return State.CANCELLING
        for step, state in (
            (Step.RUNNING, State.RUNNING),
            (Step.WAITING, State.WAITING),
            (Step.SUBMITTING, State.SUBMITTING),
        ):
            if step in open_steps:
                return state
        return State.PLANNED if steps == {Step.PLANNED} else State.SUBMITTING
    endings = {ending for _, ending in pairs}
    for ending in (State.CANCELLED, State.EXPIRED, State.FAILED):
        if ending in endings:
            return ending
    return State.COMPLETED
