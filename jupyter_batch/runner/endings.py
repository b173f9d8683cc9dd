"""The policy for a batch that has ended, `on_ending`, its usual action, and files that come late.

Such a job is finished before they come, so that its rows can be retried. The list is kept in memory: after a
restart, a rerun or `resume()` polls again (file_checks/refetch.py).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from jupyter_batch.core.batch import BatchView
from jupyter_batch.core.errors import JobNotFoundError, ProviderError
from jupyter_batch.core.status import State, Step
from jupyter_batch.file_checks.refetch import reopen
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.providers.backoff import poll_pause
from jupyter_batch.providers.protocol import Facts, Provider
from jupyter_batch.runner.refusals import blocking, cutting, quota, same_file
from jupyter_batch.runner.refusals.same_file import Next, next_try

if TYPE_CHECKING:
    from jupyter_batch.runner.context import ShardContext

LATE_FILE_SECONDS = 3600.0
"""The time for which a finished batch may lack the output file that its counts imply."""
SEEN_SECONDS = 60.0
"""A reported end within so many seconds counts as observed at once: clocks differ."""


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """A batch that has ended, and the data of the decision. now: seconds since the epoch."""

    view: BatchView
    job: JobRecord
    facts: Facts
    now: float


Action: TypeAlias = "Callable[[ShardContext, ShardRecord, BatchView], ShardRecord]"
"""Writes a shard's next state to the ledger, and returns it."""
Policy: TypeAlias = Callable[[ShardRecord, Ending], Action]


def on_ending(shard: ShardRecord, ending: Ending) -> Action:
    """Decide what follows when a batch has completed, failed, expired or was cancelled. Pure.

    The user's cancel, and a job of another ledger, forbid that anything is sent again.
    """
    view = ending.view
    may_resend = not (ending.job.cancel_at or ending.job.adopted)
    if view.ending is State.FAILED and may_resend:
        if view.quota:
            return blocking.spent if view.spent else quota.refused_later
        if (resend := _resend(shard, ending)) is not None:
            return resend
    return await_files if _awaits_files(shard, ending) else close


def _resend(shard: ShardRecord, ending: Ending) -> Action | None:
    """The action for a batch that was refused for its file or size; None: its rows have failed."""
    view = ending.view
    if view.completed or view.failed or view.output_file_id:  # paid for, in part
        return None
    if view.input_file is not None:
        match next_try(view.input_file, shard, ending.now):
            case Next.SAME:
                return same_file.send_again
            case Next.UPLOAD:
                return same_file.upload_again
            case Next.GIVE_UP:
                pass
    return cutting.refused_batch if cutting.is_above(shard, view.limit) else None


def _awaits_files(shard: ShardRecord, ending: Ending) -> bool:
    """Whether result files that the batch does not name yet may still come."""
    since = ending.now - (shard.ended_at or ending.now)
    return _is_incomplete(ending) and since < _patience(ending)


def _is_incomplete(ending: Ending) -> bool:
    """Whether its counts, or its completion, imply a file that it does not name."""
    view = ending.view
    lacks_output = bool(view.completed and not view.output_file_id)
    if view.ending is State.FAILED:  # refused as a whole, most often: without any file
        return lacks_output
    if view.ending is State.COMPLETED and not (view.output_file_id or view.error_file_id):
        return True
    if ending.facts.one_file:
        return lacks_output or bool(view.failed and not view.output_file_id)
    return lacks_output or bool(view.failed and not view.error_file_id)


def _patience(ending: Ending) -> float:
    """Seconds from the end for which files are awaited."""
    view, facts = ending.view, ending.facts
    has_no_counts = view.ending is State.COMPLETED and not (view.completed or view.failed)
    if view.output_file_id or not (view.completed or has_no_counts):
        return facts.settle
    if view.ending is State.CANCELLED:
        return patience(facts.late_cancelled, ending.job)
    return LATE_FILE_SECONDS


def await_files(context: ShardContext, shard: ShardRecord, view: BatchView) -> ShardRecord:
    """Poll again for the result files of a batch that has ended."""
    now = context.clock()
    ended_at = shard.ended_at or now
    return context.put(
        shard,
        provider_status=view.status,
        completed=view.completed,
        failed=view.failed,
        ended_at=ended_at,
        due_at=now + poll_pause(context.facts, now - ended_at, context.dice()),
        attempts=0,
        note=f"the provider says {view.status}; its result files are not there yet",
    )


def close(context: ShardContext, shard: ShardRecord, view: BatchView) -> ShardRecord:
    """Record the ending; the next step collects the results. A waiting batch may take its place."""
    now = context.clock()
    ended = context.put(
        shard,
        Step.ENDED,
        ending=view.ending,
        provider_status=view.status,
        bad_lines=view.bad_lines,
        reported=view.usage,
        output_file_id=view.output_file_id,
        error_file_id=view.error_file_id,
        completed=view.completed,
        failed=view.failed,
        note=view.errors or _not_given(view),
        attempts=0,
        due_at=0.0,
        ended_at=now,
        over_at=_long_over(shard, view, now),
        keeps_until=context.facts.keeps_until(
            view.created_at or shard.sent_at, view.ended_at or now
        ),
    )
    quota.make_way(context)
    return ended


def _long_over(shard: ShardRecord, view: BatchView, now: float) -> float:
    """When it ended, if no poll observed it for a while; 0 if observed at once, by our clock."""
    over = view.ended_at or now
    return over if shard.sent_at <= over < now - SEEN_SECONDS else 0.0


def _not_given(view: BatchView) -> str:
    """The message about a batch with counted answers that were never available."""
    if not view.completed or view.output_file_id:
        return ""
    missing = f"the provider counted {view.completed:,} answers, and named no file that holds them"
    if view.ending is not State.CANCELLED:
        return missing
    return (
        f"{missing} yet: it is looked for again. job.retry() sends the rows again without waiting, "
        "and they may be paid twice"
    )


# --- files of cancelled batches that counted answers and named no file ---------------------------------------------

LOOK_SECONDS = 3600.0
"""The time for which such a file is awaited once its batch has ended."""
_GRACE = 1 / 60
"""The share of `Facts.late_cancelled` for which a job stays open for such a file."""


def patience(late_cancelled: float, job: JobRecord) -> float:
    """Seconds for which a cancelled batch's shard waits for the file that its counts imply.

    A job that is finished in realtime automatically waits the whole time: its rows would be paid
    twice.
    """
    return late_cancelled if job.rush_at else late_cancelled * _GRACE


class _Expected(msgspec.Struct):
    provider: Provider
    batches: dict[str, float]  # id -> when it ended
    due_at: float


class LateFiles:
    """The finished jobs of one worker whose files may still come.

    clock: seconds since the epoch; dice: 0 to 1, for jitter.
    """

    def __init__(
        self, ledger: Ledger, *, clock: Callable[[], float], dice: Callable[[], float]
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._dice = dice
        self._jobs: dict[str, _Expected] = {}

    def __contains__(self, job: str) -> bool:
        return job in self._jobs

    def expect(self, job: JobRecord, shards: list[ShardRecord], provider: Provider) -> None:
        """Poll for the files of a job that has just ended, if any are expected."""
        batches = {str(one.batch_id): one.ended_at for one in shards if one.awaits_file}
        if batches:
            first = self._clock() + provider.facts.poll_first
            self._jobs[job.id] = _Expected(provider, batches, first)

    async def look(self) -> None:
        """Poll the batches that are due, and reopen the jobs whose files are available now."""
        now = self._clock()
        for job, expected in list(self._jobs.items()):
            if expected.due_at <= now:
                await self._look(job, expected, now)

    def pause(self) -> float:
        """Seconds until the next poll; infinite where nothing is expected."""
        if not self._jobs:
            return float("inf")
        return min(one.due_at for one in self._jobs.values()) - self._clock()

    async def _look(self, job: str, expected: _Expected, now: float) -> None:
        facts = expected.provider.facts
        for batch, ended_at in list(expected.batches.items()):
            if now - ended_at > LOOK_SECONDS:
                del expected.batches[batch]
                continue
            try:
                view = await expected.provider.poll(batch)
            except ProviderError:
                continue
            if view.output_file_id:
                self._reopen(job, now)
                del self._jobs[job]
                return
        since = min(expected.batches.values(), default=now)
        expected.due_at = now + poll_pause(facts, now - since, self._dice())
        if not expected.batches:
            del self._jobs[job]

    def _reopen(self, job: str, now: float) -> None:
        with contextlib.suppress(JobNotFoundError):  # forgotten since
            record, shards = self._ledger.job(job), self._ledger.shards(job)
            reopen(self._ledger, record, shards, now=now, forced=True, whole=False)
