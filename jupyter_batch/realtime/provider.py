"""A Provider for real time: a shard's requests are called directly, in this process.

The engine's batch is a run in one of our folders (journal.py); each poll, in any process, resumes
it from the files.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from msgspec import structs

from jupyter_batch.core.batch import BatchView
from jupyter_batch.core.errors import BadRequestError, NotFoundError
from jupyter_batch.core.status import State
from jupyter_batch.providers.backoff import DICE
from jupyter_batch.providers.protocol import TAG, Facts
from jupyter_batch.realtime.gate import Gate
from jupyter_batch.realtime.journal import Book
from jupyter_batch.realtime.litellm_call import VERBS, Call
from jupyter_batch.realtime.pacing import NO_TIER, Pacer, ServiceTier
from jupyter_batch.realtime.run import Run, Tries

CONCURRENCY = 64
"""Concurrent calls, unless set by the user."""

_PREFIX = "realtime-"
_NAME = re.compile(_PREFIX + r"[A-Za-z0-9_.-]{1,120}")
_BLOCK = 1 << 20


def realtime_facts(facts: Facts) -> Facts:
    """The facts about a provider in real time: polls and searches only read this disk."""
    return Facts(
        name=facts.name,
        dialect="openai",
        limits=structs.replace(facts.limits, minimum=1),
        key=facts.key,
        poll_first=0.5,
        poll_last=5.0,
        settle=0.0,
        sure=True,
    )


class Realtime:
    """A Provider whose batches run in this process, on the calling event loop.

    folder: of the runs' files; the job's own, so that any process finds them. call: sends a request
    (LitellmCall). concurrency: the limit on calls over all runs of this object. clock: monotonic.
    """

    def __init__(
        self,
        facts: Facts,
        *,
        folder: Path,
        call: Call,
        concurrency: int = CONCURRENCY,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        tries: Tries | None = None,
        tier: ServiceTier = NO_TIER,
        clock: Callable[[], float] = time.monotonic,
        dice: Callable[[], float] = DICE,
    ) -> None:
        self.facts = facts
        self._folder = folder
        self._call = call
        self._tries = tries or Tries()
        self._tier = tier
        self._dice = dice
        self._gate = Gate(
            Pacer(
                concurrency,
                now=clock(),
                requests_per_minute=requests_per_minute,
                tokens_per_minute=tokens_per_minute,
            ),
            clock,
        )
        self._runs: dict[str, Run] = {}
        self.on_end: Callable[[str], object] | None = None
        """Called with a batch's id when it has ended: it need not wait for its next poll."""

    @property
    def busy(self) -> bool:
        """Whether a run of it makes calls: another object could not see or stop it."""
        return any(run.busy for run in list(self._runs.values()))

    async def submit(
        self,
        requests: Path,
        tag: Mapping[str, str],
        *,
        endpoint: str,
        window: str,  # noqa: ARG002
        uploaded: str | None,
        on_upload: Callable[[str], Awaitable[None]],
    ) -> BatchView:
        """Start a run for a request file, after recording it. An existing run is resumed."""
        asked = getattr(self._call, "endpoints", VERBS)
        if endpoint not in asked:
            raise BadRequestError(
                f"{endpoint} can't be asked in real time here, only {' and '.join(asked)}"
            )
        name = _name(tag)
        if uploaded is None:
            # Before the run exists: after a kill it is searched for, not assumed to be missing.
            await on_upload(name)
        await asyncio.to_thread(
            Book(self._folder, name).create, requests, dict(tag), endpoint, time.time()
        )
        return await self.poll(name)

    async def find(
        self,
        tag: Mapping[str, str],
        *,
        since: float,  # noqa: ARG002 - ids are exact
        file_id: str | None = None,  # noqa: ARG002 - nothing is uploaded
    ) -> list[BatchView]:
        """Return the tag's run on this disk: certain immediately, at any age."""
        book = Book(self._folder, _name(tag))
        record = await asyncio.to_thread(book.record)
        if record is None or not tag.items() <= record.tag.items():
            return []
        return [await self.poll(record.id)]

    async def poll(self, batch_id: str) -> BatchView:
        """Return the progress; resume an idle run. Raises the reason of a stop once."""
        run = await self._run(batch_id)
        if run.busy:
            return _view(run, None)
        if run.stopped is not None and (run.owes or not run.book.cancelled):
            why, run.stopped = run.stopped, None
            run.again = True
            raise why
        await asyncio.to_thread(run.book.look)
        if run.book.completed + run.book.failed >= run.record.total:
            return _view(run, State.COMPLETED)
        if run.book.cancelled and not run.owes:
            return _view(run, None if await asyncio.to_thread(run.book.held) else State.CANCELLED)
        run.start()
        return _view(run, None)

    async def fetch(self, file_id: str, write: Callable[[bytes], object]) -> None:
        """Copy a run's output or errors file."""
        name, _, kind = file_id.rpartition("-")
        run = await self._run(name)
        path = {"output": run.book.output, "errors": run.book.errors}.get(kind)
        if path is None or not path.exists():
            raise NotFoundError(f"there is no file {file_id} in {self._folder}")
        with path.open("rb") as file:
            while block := await asyncio.to_thread(file.read, _BLOCK):
                write(block)

    async def cancel(self, batch_id: str) -> BatchView:
        """Start no further call; wait for calls under way, since they are paid for."""
        run = await self._run(batch_id)
        await asyncio.to_thread(run.book.cancel)
        run.stop()
        return await self.poll(batch_id)

    async def aclose(self) -> None:
        """Stop all runs after a grace period for calls under way; a later process resumes them."""
        await asyncio.gather(*(run.aclose() for run in self._runs.values()))
        await self._call.aclose()

    async def _run(self, name: str) -> Run:
        run = self._runs.get(name)
        if run is None:
            book = Book(self._folder, name)
            record = await asyncio.to_thread(book.record) if _NAME.fullmatch(name) else None
            if record is None:
                raise NotFoundError(f"there is no real-time run {name!r} in {self._folder}")
            run = self._runs.setdefault(
                name,
                Run(
                    book,
                    record,
                    self._gate,
                    self._call,
                    tries=self._tries,
                    tier=self._tier,
                    dice=self._dice,
                    on_end=lambda: self.on_end(name) if self.on_end is not None else None,
                ),
            )
        return run


def _name(tag: Mapping[str, str]) -> str:
    text = tag.get(TAG) or "-".join(tag.values())
    return _PREFIX + re.sub(r"[^A-Za-z0-9_.-]", "-", text)[:120]


def _view(run: Run, ending: State | None) -> BatchView:
    book, record = run.book, run.record
    status = str(ending) if ending else "cancelling" if book.cancelled else "in_progress"
    return BatchView(
        id=record.id,
        status=status,
        ending=ending,
        total=record.total,
        completed=book.completed,
        failed=book.failed,
        shed=run.shed,
        errors="" if ending else run.trouble,
        output_file_id=f"{record.id}-output" if ending and book.completed else None,
        error_file_id=f"{record.id}-errors" if ending and book.failed else None,
        created_at=record.created_at,
        tag=record.tag,
    )
