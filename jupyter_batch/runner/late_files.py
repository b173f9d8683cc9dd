"""Polling for the result files of cancelled batches that counted answers and named no file.

The job is finished by then, so that its rows can be retried. The list is kept in memory: after a
restart, a rerun or `resume()` polls again (file_checks/refetch.py).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import msgspec

from jupyter_batch.core.errors import JobNotFoundError, ProviderError
from jupyter_batch.file_checks.refetch import reopen
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.providers.backoff import poll_pause
from jupyter_batch.providers.protocol import Provider

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
