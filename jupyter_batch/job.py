"""Job: all the batches of one call. Its state is in the ledger, its answers on this disk."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from jupyter_batch.config.options import AtOnce, RetryParams
from jupyter_batch.core.cost import FLEX, Price
from jupyter_batch.core.errors import JupyterBatchError, OptionError
from jupyter_batch.core.request import Result, Usage
from jupyter_batch.core.status import Snapshot
from jupyter_batch.frames.adapter import as_frame
from jupyter_batch.job_state import _OPEN, _OPENING, JobState
from jupyter_batch.ledger.folder import is_there
from jupyter_batch.monitor.view import sent_again
from jupyter_batch.notebook import waiting
from jupyter_batch.orders import destination_of
from jupyter_batch.providers.table import BATCH, REALTIME, check_live
from jupyter_batch.runner.process import Session, place_of

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from jupyter_batch.planning.escalation import Destination
    from jupyter_batch.results.row import Row
    from jupyter_batch.tool_calls.rounds import Gone, Way

MAX_ROUNDS = 10
FETCH_SECONDS = 60.0
"""The wait of `retry` for a result file that is fetched again first."""


class Job(JobState):
    """All the batches of one call. The ledger has its state: a lost Job is opened again by its id."""

    @property
    def name(self) -> str | None:
        """The user's label, if there is one."""
        return self._record().name

    @property
    def usage(self) -> Usage | None:
        """Tokens of the answers so far; None where the provider reported none."""
        record = self._record()
        return record.usage(self._shards(record.id))

    @property
    def is_successful(self) -> bool:
        """Whether it is complete, each row that was sent has its answer, and none was cut off."""
        seen = self.snapshot()
        counts = seen.counts
        return (
            seen.is_complete
            and not seen.cut_off
            and counts.succeeded + counts.reused + counts.skipped == counts.total
        )

    async def __aiter__(self) -> AsyncIterator[Result]:
        """Each row's Result once, as the batches end; reused answers first."""
        from jupyter_batch.results.stream import News

        self._follow()
        news = News(self._record().rows)
        while True:
            over = self._over.is_set() or self._is_complete()
            for result in news.of(*self._read(), over=over):
                yield result
            if over:
                self._merge_frames()
                return
            if self._idle.is_set() and (error := self._block()) is not None:
                raise error
            await waiting.await_done(self._over, waiting.AWAIT_SLICE)

    def results(self) -> pd.DataFrame:
        """A row for each row of the source, on its index: the column, _status, _error, _finish, _cost and the tokens.

        Where several frames asked for the same, the source is the last. Works at any time, in any process; an open row
        has the status `running`.
        """
        self._fetch_again()
        return self._answers.table()

    def row(self, label: Any = None, *, position: int | None = None) -> Row:
        """All of one row: its request, answer, reasoning, finish reason, tokens, cost, error, and the raw line.

        label: on the source's index; position: counted from 0, where a label is not unique. Works at any time, in any
        process. Raises InputError for an unknown row.
        """
        self._fetch_again()
        return self._answers.row(label, position)

    def vectors(self) -> np.ndarray[Any, Any]:
        """The vectors of `df.llm.embed` as one array of float32, of shape (rows, dim), aligned with the frame.

        NaN in the rows that have none (yet). The frame's cells are views of it, so it can't be written to: `.copy()`
        can. Raises InputError for a job that asked for text.
        """
        self._fetch_again()
        return self._answers.vectors()

    @property
    def files(self) -> list[Path]:
        """Its files on this disk: each batch's requests, and the provider's result files, unchanged."""
        folder = self._folder
        places = (folder.requests, folder.output, folder.errors)
        paths = [place(shard.number) for shard in self._shards() for place in places]
        return [path for path in paths if is_there(path)]

    @property
    def errors(self) -> pd.DataFrame:
        """The rows that ended without an answer, and why."""
        found = self.results()
        return found.loc[
            ~found["_status"].isin(["succeeded", "reused", "running"]), ["_status", "_error"]
        ]

    def merge(self, df: pd.DataFrame | None = None, *, overwrite: bool = False) -> Job:
        """Write the answers so far into `df`, or into the frame that was submitted.

        Raises AlignmentError where rows moved or changed, and ColumnError where a column holds cells that are no
        answers of this ledger, unless overwrite=True replaces them; nothing is written then.
        """
        if self._fetch_again():
            self._follow()
        with self._lock:
            bound = self._answers.targets
            targets = self._answers.asked_for(as_frame(df))
            last = self._is_complete()  # else later answers are merged as they come
            try:
                for target in targets:
                    target.overwrite = target.overwrite or overwrite
                    self._report(self._answers.fill(target, by_hand=True))
                    target.merged = last
            except JupyterBatchError:
                self._answers.targets = bound  # without a frame that is not the job's
                raise
        return self

    def cancel(self) -> Job:
        """Cancel it at the provider; finished rows are kept. Returns at once."""
        if self._salvaged is None and not self._is_complete():
            self._here.ledger.cancel(self.id, time.time())
            self._follow()
        return self

    def retry(
        self,
        *,
        model: str | None = None,
        invalid: bool = False,
        api_key: str | None = None,
        api_base: str | None = None,
        max_cost: float | None = None,
        **params: Unpack[RetryParams],
    ) -> Job:
        """Resend only the rows that failed, expired, were cancelled or have no result, as a linked job.

        It fills the same column; a second call returns the same job. model: another one for these rows, with its
        api_key and api_base where they are not the configured ones. invalid: rows whose answer does not fit the schema
        are asked again with their answer and its error in the conversation. max_cost: US dollars that the retry may
        cost; default: the rest of this job's own. params: chat parameters to change, such as `max_tokens=2000`; then
        answers that were cut off are resent, too, and kept where the new ones are no better. Raises InputError where no
        row is left, and OptionError for an invalid parameter.
        """
        if model is None and api_base is not None:
            raise OptionError("retry: api_base= is the address of another model: give model=, too")
        place = {"model": model, "api_key": api_key, "api_base": api_base}
        to = None if model is None else destination_of(self._record(), place)
        if to is not None:
            self._here.name(api_base, to.provider, with_key=api_key is not None)
        return self._retried(api_key, max_cost, params=params, to=to, invalid=invalid)

    def _retried(
        self,
        api_key: str | None,
        max_cost: float | None = None,
        *,
        at_once: str = "",
        params: Mapping[str, Any] | None = None,
        to: Destination | None = None,
        invalid: bool = False,
        rows: Sequence[int] | None = None,
    ) -> Job:
        from jupyter_batch.planning.resent_lines import changes_of
        from jupyter_batch.planning.retry import plan_again

        changes = changes_of(params or {})
        if self._fetch_again():  # results that the provider still holds are not resent
            self._follow(None if to is not None else api_key)
            self._over.wait(FETCH_SECONDS)
        record, shards, _ = self._read()
        again = plan_again(
            self._here.ledger,
            record,
            shards,
            now=time.time(),
            max_cost=max_cost,
            at_once=at_once,
            changes=changes,
            to=to,
            invalid=invalid,
            rows=rows,
        )
        return self._continue_as(again.id, api_key, to)

    def _continue_as(self, new: str, api_key: str | None, to: Destination | None = None) -> Job:
        """Return the job that continues this one and fills the same frames.

        The key is for this job's place, or for the one that the call named: a ledger names none.
        """
        job = of(self._here, new)
        job._before = self
        job._answers.bind_as(self._answers)
        self._here.lend(new, self._here.functions_of(self.id))
        key = self._here.lend_key(self.id, new, api_key)
        if to is not None and place_of(job._record()) == place_of(to.moved(self._record())):
            key = key or api_key
        job._follow(key)
        if job._over.is_set():  # other jobs had all the answers
            job._merge_frames()
        return job

    def run_tools(
        self,
        tools: Any = None,
        *,
        max_rounds: int = MAX_ROUNDS,
        concurrency: int = 8,
        rerun: bool = False,
        mode: str | None = None,
        max_cost: float | None = None,
        api_key: str | None = None,
    ) -> Job:
        """Run the answers' tool calls and send the results in a follow-up batch, until no call is left.

        tools: functions by the names that the model calls, or a list of them; default: those given as `tools` in this
        process. Each round is a job of its own, linked to the one before; the last one is returned, and it fills the
        same column. Blocks; after Ctrl-C or the kernel's death a second call continues: no call is run twice, no
        follow-up is sent twice. The model gets a tool's exception as its result, and a notice for a call that was
        running when its process died (rerun: such a call is run again). concurrency: the most calls at once, each in a
        thread; a coroutine is awaited. max_rounds: the most follow-ups since the first job; calls that are left then
        are in the column. mode: "realtime" asks the follow-ups at once, at the full price. max_cost: US dollars that a
        follow-up may cost. Raises InputError where a function is missing.
        """
        way = self._way(
            tools,
            max_rounds=max_rounds,
            concurrency=concurrency,
            rerun=rerun,
            mode=mode,
            max_cost=max_cost,
            api_key=api_key,
        )
        job = self
        while job.wait().is_complete and (follow_up := job._run_tools(way).follow_up) is not None:
            job = job._continue_as(follow_up, api_key)
            if not job.is_complete:
                job._ipython_display_()
        return job

    def _way(
        self,
        tools: Any,
        *,
        max_rounds: int = MAX_ROUNDS,
        concurrency: int = 8,
        rerun: bool = False,
        mode: str | None = None,
        max_cost: float | None = None,
        api_key: str | None = None,
    ) -> Way:
        """How to run its tool calls. Raises OptionError for invalid arguments."""
        from jupyter_batch.config.tool_definitions import functions_of
        from jupyter_batch.tool_calls.rounds import Way

        record = self._record()
        at_once = mode if mode in (REALTIME, FLEX) else ""
        if at_once == FLEX:
            from jupyter_batch.planning.target import check_flex

            check_flex(record.model, record.price or Price())
        if at_once and record.mode == BATCH:
            check_live(
                record.model,
                record.provider,
                record.api_base,
                api_key or self._here.key_of(self.id),
            )
        given = self._here.functions_of(self.id) if tools is None else functions_of(tools)
        self._here.lend(self.id, given)
        return Way(
            functions=given,
            max_rounds=max_rounds,
            concurrency=concurrency,
            rerun=rerun,
            max_cost=max_cost,
            at_once=at_once,
        )

    def _run_tools(self, way: Way) -> Gone:
        """One round: run the answers' calls and plan the follow-up. Reports its price, or why there is none."""
        from jupyter_batch.tool_calls.rounds import Gone, step

        gone = (
            Gone()
            if self._salvaged is not None
            else step(self._here.ledger, self._record(), way, now=time.time)
        )
        self._report(gone.message or self._answers.message)
        return gone

    def finish(
        self,
        *,
        mode: AtOnce = "realtime",
        api_key: str | None = None,
        max_cost: float | None = None,
    ) -> Job:
        """Ask the open rows at once, once the batches are surely cancelled.

        Rows that are answered by then are kept, and not paid again. Returns at once. A complete job asks its
        unanswered rows, as `retry()` does. mode: "realtime" at the full price, "flex" at the batch price in the
        provider's flex tier. max_cost: US dollars that the rest may cost; default: the rest of the job's own. Raises
        InputError where no row is left, and OptionError where it may cost more; nothing is cancelled then.
        """
        from jupyter_batch.planning.max_cost import spent

        self._check_finish(api_key, max_cost, mode)
        if self._is_complete():
            return self._retried(api_key, max_cost, at_once=mode)
        record, shards, _ = self._read()
        if record.mode not in (REALTIME, mode):
            if max_cost is not None:
                self._here.ledger.amend(
                    record.id, max_cost=spent(record, shards, of_open=False) + max_cost
                )
            self._here.ledger.rush(record.id, time.time(), to=mode, after_cancel=True)
        self._follow(api_key)
        return self

    def resume(self, *, api_key: str | None = None, send_again: bool = False) -> Job:
        """Continue a job that waits for a key, for quota or for a provider.

        send_again: resend a batch that may have been created before and was not found; it may be paid twice. Without
        it, the batch is searched for again. Missing or damaged result files of a complete job are fetched again.
        """
        if self._is_complete() and self._fetch_again(forced=True):
            self._follow(api_key)
        elif self._salvaged is None and not self._is_complete():
            ledger = self._here.ledger
            self._idle.clear()
            self._here.worker.forgive(self.id)
            self._follow(api_key)  # first, with the key: earlier refusals no longer count
            for job in (self.id, *ledger.joined_by(self.id)):
                ledger.resume(job, send_again=send_again and job == self.id)
            self._here.worker.poke()
        return self

    def _page_functions(self) -> dict[str, Any]:
        from jupyter_batch.viewer.columns import Cells

        return {"retry": self._retry_by_click, "cells": Cells(self._read, self._answers)}

    def _retry_by_click(self, rows: Sequence[int] | None = None, **params: Any) -> str:
        """For a click: retry the unanswered rows of the last retry, and return a sentence about it.

        rows: their positions, where not all. params: chat parameters to change.
        """
        last = self
        while last._next is not None:
            last = last._next
        last._next = last._retried(None, params=params, rows=rows)
        for one in (self, last):
            self._here.move(last._next.id, one._on_retry_change)
        retried = sent_again(self.snapshot().again)
        return f"{retried[:1].upper()}{retried[1:]}."

    def _on_retry_change(self, snapshot: Snapshot) -> None:
        """In the worker's thread: redraw, since the retry has changed."""
        del snapshot
        self._redraw()


def of(here: Session, job: str) -> Job:
    """Return the only Job object of an id in this process, with its screen and frames."""
    with _OPENING:
        found: Job | None = _OPEN.get((str(here.home), job))
        if found is None:
            found = _OPEN[str(here.home), job] = Job(here, job)
        return found
