"""Single steps of a shard: network calls guarded, each outcome in the ledger before the next."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import NamedTuple, cast

from jupyter_batch.core.batch import BatchView
from jupyter_batch.core.errors import (
    AuthenticationError,
    LedgerError,
    NotFoundError,
    ProviderError,
    RateLimitError,
)
from jupyter_batch.core.secrets import masked
from jupyter_batch.core.status import State, Step
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.process.ending import is_ending
from jupyter_batch.providers.backoff import in_step, is_lost, poll_pause
from jupyter_batch.providers.protocol import Facts, Provider
from jupyter_batch.providers.table import facts_of
from jupyter_batch.runner import spend_guard
from jupyter_batch.runner.collect import collect
from jupyter_batch.runner.context import LostError, ShardContext
from jupyter_batch.runner.endings import Ending, Policy, on_ending
from jupyter_batch.runner.refusals import blocking, cutting, quota
from jupyter_batch.runner.refusals.same_file import Next, about_file, next_try
from jupyter_batch.runner.submit import adopt, send, sending
from jupyter_batch.telemetry.job import batch_ended
from jupyter_batch.telemetry.spans import is_imported, of_job, of_shard, span, traced

DISK_SECONDS = 30.0
ENDING_SECONDS = 1.0
"""The delay for the next process, when this one is exiting and can't start a thread."""


class Mover(ShardContext):
    """Runs the shards of one job, step by step. on_ending: see endings.py."""

    on_ending: Policy = staticmethod(on_ending)

    async def advance(self, shard: ShardRecord) -> None:
        """Advance a shard until it has to wait; never raises for network or disk errors."""
        with contextlib.suppress(LostError), of_job(traced(self.job)):
            while True:
                before = shard
                shard = await self._ring(shard)
                if shard.step is Step.COLLECTED or shard.due_at > self.clock() or shard == before:
                    return

    async def _ring(self, shard: ShardRecord) -> ShardRecord:
        try:
            return await self._step(shard)
        except ProviderError as e:
            if e.status is None and is_ending(e):
                return self.amend(self._current(shard), due_at=self.clock() + ENDING_SECONDS)
            return self._failed(self._current(shard), e)
        except (
            LedgerError
        ) as e:  # a full disk is temporary; the provider keeps its results until then
            return self.put(self._current(shard), note=str(e), due_at=self.clock() + DISK_SECONDS)
        except LostError:
            raise
        except Exception as e:  # one broken shard must not stop the others, nor be lost
            if isinstance(e, RuntimeError) and is_ending(e):
                return self.amend(self._current(shard), due_at=self.clock() + ENDING_SECONDS)
            note = masked(f"unexpected {type(e).__name__}: {e}")
            return self.put(
                self._current(shard), note=note[:300], due_at=self.clock() + DISK_SECONDS
            )

    def _current(self, shard: ShardRecord) -> ShardRecord:
        found = self.ledger.shard(self.job.id, shard.number)
        if found is None or found.replaced_by:
            raise LostError  # it was cut into smaller shards
        return found

    async def _step(self, shard: ShardRecord) -> ShardRecord:
        if self.job.cancel_at and shard.step in (Step.PLANNED, Step.WAITING):
            return self.end(shard, State.CANCELLED, "")
        match shard.step:
            case Step.PLANNED | Step.WAITING if shard.joins:
                from jupyter_batch.runner.wait_for_job import join

                return await asyncio.to_thread(join, self, shard)
            case Step.PLANNED | Step.WAITING:
                if (held := blocking.hold(self, shard)) is not None:
                    return held
                if (damaged := await self.end_if_damaged(shard)) is not None:
                    return damaged
                if (fitted := await cutting.fit(self, shard)) is not None:
                    return fitted
                if (held := spend_guard.hold(self, shard) or quota.hold(self, shard)) is not None:
                    return held
                shard = self.put(shard, Step.SUBMITTING, **sending(shard, self.facts, self.clock()))
                with span("jupyter_batch.submit", of_shard(shard), client=True):
                    return await send(self, shard)
            case Step.SUBMITTING:
                return await adopt(self, shard)
            case Step.RUNNING if self.job.cancel_at and not shard.ended_at:
                return await self._cancel(shard)
            case Step.RUNNING | Step.CANCELLING:
                return await self._poll(shard)
            case Step.ENDED:
                return await self._collect(shard)
            case _:
                return shard

    async def _collect(self, shard: ShardRecord) -> ShardRecord:
        with span("jupyter_batch.fetch", of_shard(shard), client=True):
            collected = await collect(self, shard)
        if is_imported() and shard.counts is None and collected.step is Step.COLLECTED:
            batch_ended(self.job, collected)
        spend_guard.release(self)
        return collected

    async def _cancel(self, shard: ShardRecord) -> ShardRecord:
        try:
            view = await self.provider.cancel(str(shard.batch_id))
        except RateLimitError:
            raise
        except (
            ProviderError
        ) as e:  # a server without this call, or failing at it: observe the end anyway
            view = await self.provider.poll(str(shard.batch_id))
            if view.ending is None:
                return self.later(shard, e, f"not cancelled yet ({e}): it is asked again")
        if view.ending is not None:
            return self._ended(shard, view)
        return self.put(
            shard,
            Step.CANCELLING,
            provider_status=view.status,
            attempts=0,
            due_at=self.clock() + self.facts.poll_first,
        )

    async def _poll(self, shard: ShardRecord) -> ShardRecord:
        view = await self.provider.poll(str(shard.batch_id))
        if view.ending is not None:
            return self._ended(shard, view)
        if (ended := blocking.overdue(self, shard, view)) is not None:
            return ended
        since = (
            self.job.cancel_at if shard.step is Step.CANCELLING else shard.sent_at
        )  # a cancel is soon over
        pause = poll_pause(self.facts, self.clock() - since, self.dice(), self.job.poll_interval)
        polled = self.wait(
            shard,
            in_step(self.clock() + pause, pause),
            provider_status=view.status,
            completed=view.completed,
            failed=view.failed,
            shed=view.shed,
            expires_at=view.expires_at or shard.expires_at,
            attempts=0,
            note=blocking.of_cancelling(self, shard) or view.errors,
            **quota.let_in(view.status),
        )
        if shard.held and quota.is_in(view.status):
            quota.make_way(self)  # there was room: there may be more
        return polled

    def _ended(self, shard: ShardRecord, view: BatchView) -> ShardRecord:
        ending = Ending(view=view, job=self.job, facts=self.facts, now=self.clock())
        return self.on_ending(shard, ending)(self, shard, view)

    def _failed(self, shard: ShardRecord, error: ProviderError) -> ShardRecord:
        """Handle a refusal or silence at a shard's present step: schedule a retry, or end it."""
        now = self.clock()
        if shard.step is Step.SUBMITTING:
            hopeless = not error.transient and not isinstance(
                error, AuthenticationError | NotFoundError
            )
            return self._not_sent(shard, error, hopeless=hopeless)
        if shard.step not in (Step.RUNNING, Step.CANCELLING):
            return self.later(shard, error)
        if is_lost(error, shard.attempts, now - shard.sent_at):
            return self.end(shard, State.FAILED, str(error), unsure=True)
        return blocking.unseen(self, shard, error) or self.later(shard, error)

    def _not_sent(self, shard: ShardRecord, error: ProviderError, *, hopeless: bool) -> ShardRecord:
        """Handle a failed send: after a refusal wait and resend; after silence search first."""
        if (blocked := blocking.blocked(self, shard, error)) is not None:
            return blocked
        refused = is_refusal(error)
        if shard.create_sent and not refused:
            # It may arrive yet: `settle` counts from the silence's end.
            return self.later(
                shard, error, sent_at=self.clock(), create_answered=is_answered(error.status)
            )
        if refused and isinstance(error, RateLimitError):
            return quota.refused_at_once(self, shard, error)
        state = about_file(error) if shard.file_id is not None and refused else None
        if state is not None:
            match next_try(state, shard, self.clock()):
                case Next.SAME:
                    return self.later(shard, error, to=Step.WAITING)
                case Next.UPLOAD:
                    return self.later(shard, error, to=Step.WAITING, file_id=None)
                case Next.GIVE_UP:
                    hopeless = True
        if refused and (aside := cutting.refused(self, shard, error)) is not None:
            return aside
        if hopeless:
            return self.end(shard, State.FAILED, str(error), bad_lines=error.bad_lines)
        return self.later(shard, error, to=Step.WAITING)


_TIMED_OUT = 408
_SERVER = 500
_GATEWAY = frozenset({502, 504, *range(520, 528)})
"""Gateway statuses for a silent server that may have accepted the request. 52x: Cloudflare's."""


def is_refusal(error: ProviderError) -> bool:
    """Whether a request surely had no effect: it was refused, or never sent."""
    if error.not_sent:
        return True
    return error.status is not None and error.status < _SERVER and error.status != _TIMED_OUT


def is_answered(status: int | None) -> bool:
    """Whether the server itself returned an error: the request is no longer running."""
    return status is not None and status >= _SERVER and status not in _GATEWAY


class _Unreachable(NamedTuple):
    """A provider that can't be called; only its facts are known."""

    facts: Facts


async def cancel_unsent(
    ledger: Ledger, job: JobRecord, holder: str, clock: Callable[[], float]
) -> bool:
    """End the unsent batches of a cancelled job, which takes no key; return whether all are over.

    The caller holds the job's lease.
    """
    provider = cast("Provider", _Unreachable(facts_of(job.provider, job.api_base)))
    mover = Mover(ledger, provider, job, holder, clock=clock)
    for shard in ledger.shards(job.id):
        if shard.step in (Step.PLANNED, Step.WAITING):
            await mover.advance(shard)
    return all(shard.step is Step.COLLECTED for shard in ledger.shards(job.id))
