"""ShardContext: the inputs of a shard's step, and the writes of its outcome to the ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from jupyter_batch.core.errors import AuthenticationError, ProviderError, RateLimitError
from jupyter_batch.core.status import Block, State, Step
from jupyter_batch.file_checks import request_checks
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.providers.backoff import DICE, retry_pause
from jupyter_batch.providers.protocol import Facts, Provider

_SMALL = 1 << 16
"""Bytes of a request file that is read in less time than a thread takes to start."""
SOON = 60.0
"""Seconds to a poll whose time need not be known to other processes."""


class LostError(Exception):
    """Another process has taken the lease or the step; nothing was written, nothing is wrong."""


class Wait(NamedTuple):
    """A shard as it is in the ledger, and the time of its next poll."""

    shard: ShardRecord
    due_at: float


_CLEARED: dict[str, Any] = {
    "blocked_by": None,
    "blocked_until": 0.0,
    "key": "",
    "unseen": False,
    "unanswered": None,
}
"""The fields of a block or a call in progress, which a step that passes no other one clears."""


class ShardContext:
    """A job's shards, with write access for the holder of its lease.

    clock: seconds since the epoch. dice: 0 to 1, for jitter.
    """

    def __init__(
        self,
        ledger: Ledger,
        provider: Provider,
        job: JobRecord,
        holder: str,
        *,
        clock: Callable[[], float],
        dice: Callable[[], float] = DICE,
    ) -> None:
        self.ledger = ledger
        self.provider = provider
        self.job = job
        self.holder = holder
        self.clock = clock
        self.dice = dice
        self.key_refused = False
        self.unwritten: Wait | None = None

    @property
    def facts(self) -> Facts:
        """The provider's facts."""
        return self.provider.facts

    def put(self, shard: ShardRecord, to: Step | None = None, **changes: Any) -> ShardRecord:
        """Write the new state; a block not passed is cleared. Raises LostError if not ours."""
        changes = {**_CLEARED, **changes}
        if to is Step.ENDED:
            changes["why"] = changes["note"]
        return self.amend(shard, to, **changes)

    def wait(self, shard: ShardRecord, due_at: float, **changes: Any) -> ShardRecord:
        """As `put`; a next poll within SOON that is the only change is kept in memory alone.

        A process that finds the last one in the ledger polls at once. A shard that was woken is
        written: its zero is how others know that it has not been polled since.
        """
        changes = {**_CLEARED, **changes}
        is_soon = bool(shard.due_at) and due_at - self.clock() < SOON
        if is_soon and all(getattr(shard, name) == value for name, value in changes.items()):
            self.unwritten = Wait(shard, due_at)
            return msgspec.structs.replace(shard, due_at=due_at)
        return self.put(shard, due_at=due_at, **changes)

    def end(self, shard: ShardRecord, ending: State, note: str, **changes: Any) -> ShardRecord:
        """Write the end of the shard's batch, without further results, and its reason."""
        return self.put(
            shard,
            Step.ENDED,
            ending=ending,
            note=note,
            attempts=0,
            due_at=0.0,
            ended_at=self.clock(),
            **changes,
        )

    async def end_if_damaged(self, shard: ShardRecord) -> ShardRecord | None:
        """End a shard with a damaged request file before its upload; None: it may be sent."""
        folder = self.ledger.folders.of(self.job.id)
        if shard.bytes <= _SMALL:
            damaged = request_checks.is_damaged(folder, shard)
        else:
            damaged = await asyncio.to_thread(request_checks.is_damaged, folder, shard)
        if not damaged:
            return None
        return self.end(shard, State.FAILED, request_checks.reason(folder, shard))

    def amend(self, shard: ShardRecord, to: Step | None = None, **changes: Any) -> ShardRecord:
        """Write only these changes. Raises LostError where another process has the shard."""
        moved = self.ledger.move(shard, to or shard.step, self.holder, self.clock(), **changes)
        if moved is None:
            raise LostError
        return moved

    def later(
        self,
        shard: ShardRecord,
        error: ProviderError,
        note: str = "",
        to: Step | None = None,
        **changes: Any,
    ) -> ShardRecord:
        """Retry after a pause that grows with the failures in a row."""
        if isinstance(error, AuthenticationError):
            self.key_refused = True
            note = str(error)
            changes["blocked_by"] = changes.get("blocked_by") or Block.KEY
            changes["key"] = self.facts.key or "api_key"
        if isinstance(error, RateLimitError) and error.spent:
            changes["blocked_by"] = Block.QUOTA
        attempts = shard.attempts + 1
        return self.put(
            shard,
            to,
            note=note or str(error),
            attempts=attempts,
            **changes,
            due_at=self.clock() + retry_pause(self.facts, error, attempts, self.dice()),
        )
