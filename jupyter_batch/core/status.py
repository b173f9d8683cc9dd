"""State and its legal moves, Counts, and the frozen Snapshot that every screen draws. It must not know a clock."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import msgspec

from jupyter_batch.core.cost import Bill
from jupyter_batch.core.finish import Cuts
from jupyter_batch.core.history import Points, pace_of


class State(StrEnum):
    """Where a job stands, as a person sees it (`job.state`)."""

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
        """One of the four endings."""
        return self in ENDINGS

    __repr__ = str.__repr__  # as the last expression of a cell it is the word


LIVE = "realtime-"
"""How our own names begin of what is asked in real time, where a batch has its id: no provider knows them."""
ENDINGS = frozenset({State.COMPLETED, State.FAILED, State.EXPIRED, State.CANCELLED})


class Block(StrEnum):
    """Why a shard can't go on now (`job.blocked`); `budget` passes by itself, the others take the user."""

    KEY = "key"
    QUOTA = "quota"
    NO_BATCH_API = "no batch API"
    BUDGET = "budget"
    UNKNOWN_CREATE = "unknown create"

    __repr__ = str.__repr__


class Blocked(msgspec.Struct, frozen=True, kw_only=True):
    """A block as data; monitor/blocked.py renders its sentence.

    why: the cause in the provider's words, or in ours. key: the environment variable of the key, if one is missing or
    was refused. until: when it gives up, in seconds since the epoch; 0 for never. of: the model, in a group. unseen:
    the batch is not found under the key.
    """

    by: Block
    why: str = ""
    key: str = ""
    until: float = 0.0
    of: str = ""
    unseen: bool = False


class Step(StrEnum):
    """Where one shard stands on its way; `ended` and `collected` come with an ending beside them."""

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
"""Which step may follow which.

`planned`, `submitting` and `waiting` end directly when they are cancelled or refused; what another job has asked for
waits for that one from the plan on; `running` goes back to `waiting`
when the provider took a batch and then refused it for its quota.
"""


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """Rows by what became of them; `total` is always the sum of the others."""

    succeeded: int = 0
    failed: int = 0
    expired: int = 0
    cancelled: int = 0
    running: int = 0
    reused: int = 0
    skipped: int = 0

    @property
    def total(self) -> int:
        """All rows, those without a request too."""
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
        """Rows that nothing more will happen to."""
        return self.total - self.running

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            **{name: getattr(self, name) + getattr(other, name) for name in self.__struct_fields__}
        )


class ShardView(msgspec.Struct, frozen=True, kw_only=True):
    """One shard, as a screen needs it. Times are seconds since the epoch.

    held: it waits for a limit that passes ("queue" or "rate"). alone: it was refused for that again and again with no
    other batch of this ledger under way. until: when it gives up; 0 for never.
    """

    number: int
    step: Step
    ending: State | None = None
    batch_id: str | None = None
    provider_status: str | None = None
    counts: Counts = Counts()
    note: str = ""
    expires_at: float | None = None
    blocked: Block | None = None
    held: str = ""
    alone: bool = False
    until: float = 0.0


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A row and what came for it, as texts that may be cut. row: its position; of: whose answer, where several ask."""

    row: int
    asked: str
    answer: str
    of: str = ""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A job at one moment: all that a screen may draw. Times are seconds since the epoch, durations are seconds.

    bill: of what was collected so far; None where nothing was. keeps_until: when the provider deletes what is still to
    be fetched, or, of a job that is collected, its copy. deadline: when what is open then is asked in real time. most:
    US dollars that it can cost at the most, by the estimate. answers: the first ones, beside their rows. examples: for
    a reason of `reasons`, a row that it was told of. offers: what a person may do now beside cancelling it, out of
    `retry`, `finish` and `merge`. merged: what became of the frame. again: the job that sends its missed rows again.
    notebook: its path, where it is known. equal: of the reused rows those that ask just what another row of it asks.
    samples: answers that are asked for each row; counts are of answers then.
    cuts: answers that were cut off, by finish reason; they count as succeeded or reused.
    history: (when, rows done from then on), from the beginning on, a few dozen points; () where it is not known.
    blocks: what is blocked now, each cause once. blocked: the cause where nothing that is open can go on without the
    user; the state is `waiting` then. Of a group: of the first job that is blocked, whatever the others do.
    message: what there is to say first, without moments;
    of_a_wait: that is the sentence of a block or of a wait for a limit, which are here as fields too.
    """

    id: str
    name: str | None
    state: State
    counts: Counts
    model: str
    provider: str
    out: str
    created_at: float
    now: float
    notebook: str | None = None
    finished_at: float | None = None
    collected: bool = False
    expires_at: float | None = None
    keeps_until: float | None = None
    deadline: float | None = None
    shards: tuple[ShardView, ...] = ()
    input_tokens: int | None = None
    output_tokens: int | None = None
    bill: Bill | None = None
    most: float | None = None
    message: str = ""
    of_a_wait: bool = False
    blocks: tuple[Blocked, ...] = ()
    blocked: Block | None = None
    reasons: tuple[tuple[str, int], ...] = ()
    cuts: Cuts = ()
    answers: tuple[Answer, ...] = ()
    examples: tuple[tuple[str, Answer], ...] = ()
    offers: tuple[str, ...] = ()
    attach: str = ""
    merged: str = ""
    again: str = ""
    equal: int = 0
    samples: int = 1
    history: Points = ()

    @property
    def is_complete(self) -> bool:
        """In one of the four endings, and all that came back is on this disk."""
        return self.state.is_ending and self.collected

    @property
    def cut_off(self) -> int:
        """Answers that are there, and were cut off."""
        return sum(answers for _, answers in self.cuts)

    @property
    def cost(self) -> float | None:
        """US dollars of what was collected so far; None where that, or a part of it, is not known."""
        return self.bill.cost if self.bill is not None else None

    @property
    def fraction(self) -> float:
        """0 to 1: rows that are done, of all rows."""
        total = self.counts.total
        return self.counts.done / total if total else 1.0

    @property
    def elapsed(self) -> float:
        """Seconds from the submission to the end, or to now."""
        return max(0.0, (self.finished_at or self.now) - self.created_at)

    @property
    def pace(self) -> tuple[float, int] | None:
        """(rows a second, how many rows told it); None until the first row is done.

        Of late, where the history is known, so that hours in a queue do not count; else since the submission.
        """
        given = self.counts.reused + self.counts.skipped
        done = self.counts.done - given
        if self.history and not self.is_complete:
            return pace_of(self.history, self.now, self.counts.done, given)
        return (done / self.elapsed, done) if done > 0 and self.elapsed > 0 else None

    @property
    def rate(self) -> float | None:
        """Rows a second; None until the first row is done."""
        told = self.pace
        return told[0] if told else None

    @property
    def eta(self) -> float | None:
        """Seconds until the last row, if it goes on like this; None where that can't be told."""
        if self.is_complete:
            return 0.0
        rate = self.rate
        return self.counts.running / rate if rate else None

    @property
    def batches(self) -> tuple[str, ...]:
        """The provider's ids of the batches sent so far."""
        return tuple(s.batch_id for s in self.shards if s.batch_id)


def reopen(name: str) -> str:
    """The line that brings a job or a group back, with its live monitor, also in a notebook that imported nothing."""
    return f'import jupyter_batch; jupyter_batch.open("{name}")'


def job_state(shards: Iterable[tuple[Step, State | None]], *, cancelling: bool = False) -> State:
    """The state of a job out of its shards' (step, ending).

    While any shard is open, the least advanced decides what is said; of all ended, the worst ending that any has, but
    for this: a cancel that came too late for some shards is still `cancelled`.
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
