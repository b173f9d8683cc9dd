"""Job: all the batches of one call. Its state is in the ledger, its answers on this disk."""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from jupyter_batch.config.options import EVERY
from jupyter_batch.config.resolved import checked
from jupyter_batch.core.errors import LedgerReadOnlyError, OptionError
from jupyter_batch.core.result import Result, Usage
from jupyter_batch.core.status import Block, Snapshot, reopen
from jupyter_batch.handle import Standing
from jupyter_batch.ledger.history import History
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.merging.bound_frames import Answers, Standpoint
from jupyter_batch.notebook import kernel
from jupyter_batch.providers.table import BATCH, REALTIME, check_live
from jupyter_batch.results.actions import offers, sent_again, to_attach
from jupyter_batch.results.glimpse import Glimpse
from jupyter_batch.results.stream import News
from jupyter_batch.runner.process import Session

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from jupyter_batch.results import timeline
    from jupyter_batch.results.row import Row
    from jupyter_batch.tool_calls.rounds import Gone, Way

MAX_ROUNDS = 10
FETCH_SECONDS = 60.0
"""How long `retry` waits for a result file that is fetched again first."""


class Job(Standing):
    """All the batches of one call. Its state is in the ledger: this object can be lost, and opened again by its id."""

    def __init__(
        self,
        here: Session,
        job: str,
        *,
        salvaged: tuple[JobRecord, list[ShardRecord]] | None = None,
    ) -> None:
        super().__init__()
        self.id = job
        self._here = here
        self._salvaged = salvaged
        self._following = False
        self._in_group = False  # whose screen tells of it
        self._answers = Answers(
            self._read, self._lock, None if salvaged is not None else here.ledger
        )
        self._glimpse = Glimpse()
        self._history = History()
        self._next: Job | None = None  # what a click sent again
        self._before: Job | None = (
            None  # what it goes on from, whose frames are known as long as it is held
        )

    # -- how it stands --------------------------------------------------------------------------------------

    @property
    def name(self) -> str | None:
        """The label for people, if one was given."""
        return self._record().name

    @property
    def usage(self) -> Usage | None:
        """Tokens of the answers that are here; None where the provider told of none."""
        record = self._record()
        return record.usage(self._shards(record.id))

    @property
    def is_complete(self) -> bool:
        """It has ended, and all that came back is on this disk."""
        record, shards, _ = self._read()
        complete = record.snapshot(shards, time.time()).is_complete
        if complete and self._answers.landings and not self._over.is_set():
            kernel.on_main(
                self._land
            )  # who was told so has the column in the next cell, if the worker is slow, too
        return complete

    @property
    def is_successful(self) -> bool:
        """Complete, each row that was sent has its answer, and none was cut off."""
        seen = self.snapshot()
        counts = seen.counts
        return (
            seen.is_complete
            and not seen.cut_off
            and counts.succeeded + counts.reused + counts.skipped == counts.total
        )

    def snapshot(self) -> Snapshot:
        """How it stands at this moment, all of it, frozen."""
        return self._with_words()

    async def __aiter__(self) -> AsyncIterator[Result]:
        """Each row's Result once, as the batches come in; first those that were answered before."""
        self._follow()
        news = News(self._record().rows)
        while True:
            over = self._over.is_set() or self.is_complete
            for result in news.of(*self._read(), over=over):
                yield result
            if over:
                self._land()
                return
            if self._still.is_set() and (error := self._block()) is not None:
                raise error
            await kernel.await_done(self._over, kernel.AWAIT_SLICE)

    # -- what came of it ------------------------------------------------------------------------------------

    def results(self) -> pd.DataFrame:
        """One row for each row of the source, on its index: the column, _status, _error, _finish, _cost and the tokens.

        Of several frames that asked for the same, the source is the last.

        Works at any time, in any process; what is still open has the status `running`.
        """
        self._fetch_again()
        return self._answers.table()

    def row(self, label: Any = None, *, position: int | None = None) -> Row:
        """One row whole: its request, answer, reasoning, finish reason, tokens, cost, error, and the raw line.

        label: on the source's index; position: counted from 0, where a label is not unique. Works at any time, in any
        process. Raises InputError for a row that is not there.
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
        """Its files on this disk: of each batch the requests, and what the provider gave, as they came."""
        folder = self._folder
        places = (folder.requests, folder.output, folder.errors)
        paths = [place(shard.number) for shard in self._shards() for place in places]
        return [path for path in paths if path.exists()]

    @property
    def errors(self) -> pd.DataFrame:
        """The rows without an answer that are not open any more, and why."""
        found = self.results()
        return found.loc[
            ~found["_status"].isin(["succeeded", "reused", "running"]), ["_status", "_error"]
        ]

    def merge(self, df: pd.DataFrame | None = None, *, overwrite: bool = False) -> Job:
        """Put what there is so far onto `df`, or onto the frame that was submitted.

        Raises AlignmentError where rows moved or changed, and ColumnError where a column holds cells that are no
        answers of this ledger, unless overwrite=True replaces them; nothing is written then.
        """
        if self._fetch_again():
            self._follow()
        with self._lock:
            landings = self._answers.asked_for(df)
            last = (
                self.is_complete
            )  # else the answers that are still to come will land by themselves
            for landing in landings:
                landing.overwrite = landing.overwrite or overwrite
                self._say(self._answers.fill(landing, by_hand=True))
                landing.landed = last
        return self

    def cancel(self) -> Job:
        """Ask the provider to end it; rows that are finished are kept. Returns at once."""
        if self._salvaged is None and not self.is_complete:
            self._here.ledger.cancel(self.id, time.time())
            self._follow()
        return self

    def retry(
        self, *, api_key: str | None = None, max_cost: float | None = None, **params: Any
    ) -> Job:
        """Send the rows again that failed, expired, were cancelled or came back without a line: those alone.

        A linked job, into the same column; asked twice, it is the same one. max_cost: US dollars that it may cost by
        itself; else what this job has left of its own. params: chat parameters to send them with, such as
        `max_tokens=2000`; then the answers that were cut off are sent again too, and stay where nothing better comes.
        Raises InputError where nothing is left to be sent, and OptionError for a parameter that can't be given.
        """
        return self._again(api_key, max_cost, params=params)

    def _again(
        self,
        api_key: str | None,
        max_cost: float | None = None,
        *,
        at_once: bool = False,
        params: Mapping[str, Any] | None = None,
    ) -> Job:
        from jupyter_batch.planning.changed_lines import changes_of
        from jupyter_batch.planning.retry import plan_again

        changes = changes_of(params or {})
        if self._fetch_again():  # what the provider holds is not asked again
            self._follow(api_key)
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
        )
        return self._pass_on(again.id, api_key)

    def _pass_on(self, new: str, api_key: str | None) -> Job:
        """The job that goes on from this one: its answers land where this one's do."""
        job = of(self._here, new)
        job._before = self
        job._answers.bind_as(self._answers)
        self._here.lend(new, self._here.functions_of(self.id))
        job._follow(self._here.lend_key(self.id, new, api_key))
        if job._over.is_set():  # others had the answers: they merge at once
            job._land()
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
        """Run the tool calls that came back, send what they told in a follow-up batch, until no call is left.

        tools: functions by the names that the model calls, or a list of them; else those that were given as `tools` in
        this process. Each round is a job of its own, linked to the one before; the last one is returned, and its
        answers are in the same column. It blocks; Ctrl-C ends it, and once more it goes on, as it does after the
        kernel died: no call is run twice, no follow-up is sent twice. What a tool raises is told to the model, and so
        is a call that was under way when its process died (rerun: such a call is run again). concurrency: how many
        calls at once, each in a thread; a coroutine is awaited. max_rounds: the most follow-ups since the first job;
        calls that are left then are in the column. mode: "realtime" asks the follow-ups at once, at the full price.
        max_cost: US dollars that a follow-up may cost. Raises InputError where a function is missing.
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
            job = job._pass_on(follow_up, api_key)
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
        """How its tool calls are to be run. Raises OptionError where that can't be."""
        from jupyter_batch.config.tool_definitions import functions_of
        from jupyter_batch.tool_calls.rounds import Way

        if concurrency < 1:
            raise OptionError(f"`concurrency` takes a whole number above 0, not {concurrency}")
        record = self._record()
        at_once = mode is not None and checked(EVERY["mode"], mode) == REALTIME
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
        """One round: run what the answers call, and plan what asks further. At the end it is said why."""
        from jupyter_batch.tool_calls.rounds import Gone, step

        gone = (
            Gone()
            if self._salvaged is not None
            else step(self._here.ledger, self._record(), way, now=time.time)
        )
        if gone.follow_up is None:
            self._say(gone.said or self._answers.said)
        return gone

    def finish(self, *, api_key: str | None = None, max_cost: float | None = None) -> Job:
        """The rest in real time, now, at its full price: what is open is cancelled, and asked when that is sure.

        Rows that the batch has answered by then are kept, and not paid again. Returns at once. A job that is over asks
        what it missed, as `retry()` does. max_cost: US dollars that the rest may cost; else what the job has left of
        its own. Raises InputError where nothing is left, and OptionError where it may cost more: the batch goes on
        then.
        """
        from jupyter_batch.planning.max_cost import spent

        if self.is_complete:
            return self._again(api_key, max_cost, at_once=True)
        self._check_finish(api_key, max_cost)
        record, shards, _ = self._read()
        if record.mode == BATCH:
            if max_cost is not None:
                self._here.ledger.amend(
                    record.id, max_cost=spent(record, shards, of_open=False) + max_cost
                )
            self._here.ledger.rush(record.id, time.time(), after_cancel=True)
        self._follow(api_key)
        return self

    def _check_finish(self, api_key: str | None = None, max_cost: float | None = None) -> None:
        """Raise where what is open can't be asked in real time, before it is cancelled."""
        from jupyter_batch.planning.retry import check_rest

        record, shards, _ = self._read()
        if record.mode == BATCH and not record.finished_at:
            check_live(
                record.model,
                record.provider,
                record.api_base,
                api_key or self._here.key_of(self.id),
            )
            check_rest(self._here.ledger, record, shards, max_cost)

    def resume(self, *, api_key: str | None = None, send_again: bool = False) -> Job:
        """Go on now with a job that waits: for a key that was refused or missing, for quota, for a provider.

        send_again: what may have been created before, and was not found, is sent again; it may be paid twice. Without
        it, it is looked for again. Of a job that is over, result files that are missing or damaged are fetched again.
        """
        if self.is_complete and self._fetch_again(forced=True):
            self._follow(api_key)
        elif self._salvaged is None and not self.is_complete:
            ledger = self._here.ledger
            self._still.clear()
            self._here.worker.forgive(self.id)
            self._follow(api_key)  # first: what a look with another key comes to, counts no more
            for job in (self.id, *ledger.joined_by(self.id)):
                ledger.resume(job, send_again=send_again and job == self.id)
            self._here.worker.poke()
        return self

    # -- inside ---------------------------------------------------------------------------------------------

    @property
    def _folder(self) -> Any:
        return self._here.ledger.folders.of(self.id)

    def _read(self) -> Standpoint:
        record = self._record()
        return Standpoint(record, self._shards(record.id), self._here.ledger.folders.of(record.id))

    def _record(self) -> JobRecord:
        if self._salvaged:
            return self._salvaged[0]
        record = self._here.ledger.job(self.id)
        return self._gone_on(record) if record.rush_at and record.finished_at else record

    def _gone_on(self, was: JobRecord) -> JobRecord:
        """The job that asks the rest in real time is what this one is from now on."""
        child = self._here.ledger.child(was.id)
        if child is None:  # nothing was left
            return was
        with self._lock:
            if self.id != was.id:  # another thread was first
                return self._record()
            self.id = child.id
            following, self._following = self._following, False
        with _OPENING:
            _OPEN[str(self._here.home), child.id] = self
        if following:
            self._follow(self._here.lend_key(was.id, child.id))
        return child

    def _shards(self, job: str | None = None) -> list[ShardRecord]:
        return self._salvaged[1] if self._salvaged else self._here.ledger.shards(job or self.id)

    def _job_events(self) -> list[timeline.JobEvents]:
        from jupyter_batch.results import timeline

        record = self._record()
        if self._salvaged is not None:
            return [timeline.JobEvents(record, self._shards(), [])]
        return timeline.read(self._here.ledger, [record.id])

    def _with_words(self, seen: Snapshot | None = None) -> Snapshot:
        """How it stands now, or stood when the worker looked, with what this process knows beside the ledger."""
        record, shards, folder = self._read()
        seen = seen or record.snapshot(shards, time.time())
        found = self._glimpse.look(record, shards, folder)
        again = None if self._next is None else self._next.snapshot()
        return msgspec.structs.replace(
            seen,
            attach=reopen(self.id),
            merged=self._answers.said or self._unbound(record, seen),
            answers=found.answers,
            examples=found.examples,
            reasons=(*found.reasons, *seen.reasons),
            again=sent_again(again),
            offers=()
            if self._salvaged
            else offers(
                record, seen, again, fillable=self._answers.waited_for or self._answers.refused
            ),
            history=() if self._salvaged else self._history.look(self._here.ledger, record),
        )

    def _unbound(self, record: JobRecord, seen: Snapshot) -> str:
        """Of a job that was opened by its id: how its answers come onto a frame. An adopted one says so itself."""
        held = (
            bool(self._answers.landings)
            or not record.framed
            or record.adopted
            or self._salvaged is not None
        )
        return "" if held or not seen.is_complete else to_attach(record.id)

    def _begin(self, api_key: str | None) -> None:
        """It was just asked for: have it go on now. One that is over already merges at once."""
        self._follow(api_key)
        if not self.is_complete:  # it may have waited for just this, a key above all
            self.refresh()
        if self._over.is_set():
            self._land()

    def _fetch_again(self, *, forced: bool = False, whole: bool = True) -> bool:
        """Have result files fetched again that came short, or are gone or damaged on this disk; whether there are any.

        forced: those too that were fetched again a moment ago. whole: their bytes are compared; else their size alone,
        until they are read.
        """
        from jupyter_batch.file_checks import refetch

        if self._salvaged is not None:
            return False
        record, shards, _ = self._read()
        with contextlib.suppress(LedgerReadOnlyError):
            if not refetch.reopen(
                self._here.ledger, record, shards, now=time.time(), forced=forced, whole=whole
            ):
                return False
            with self._lock:
                self._over.clear()
                self._following = False
                self._answers.reopen()
            return True
        return False

    def _follow(self, api_key: str | None = None, *, whole: bool = True) -> None:
        """Have the worker move it and tell us; create nothing that needs a screen. whole: as for `_fetch_again`."""
        self._fetch_again(whole=whole)
        if self._salvaged is not None or self.is_complete:
            self._here.know(self.id, api_key)  # what goes on from it may need it
            if not self._over.is_set():  # the worker, which looks for this too, comes too late now
                self._ends()
                kernel.on_main(self._land)
            return
        watcher = None if self._following else self._on_change
        if watcher is not None:
            self._following = True
            kernel.between()  # made on the main thread, within a cell
            if self.blocked in (
                Block.KEY,
                Block.QUOTA,
            ):  # by what another process met; this one may do better
                self._here.ledger.resume(self.id)
        self._here.move(self.id, watcher, api_key)
        for other in self._here.ledger.joined_by(self.id):  # what it waits for has to be moved too
            lent = None if api_key is None else self._here.lend_key(self.id, other)
            self._here.move(other, api_key=lent)

    def _blocked_here(self, seen: Snapshot) -> Block | None:
        of_a_key = seen.blocked is Block.KEY and not any(block.unseen for block in seen.blocks)
        if of_a_key and not self._here.worker.lacks_key(self.id):
            return None
        if seen.blocked is not None and self._ends_unsent(seen):
            return None
        return seen.blocked

    def _ends_unsent(self, seen: Snapshot) -> bool:
        """Whether a cancelled job has batches that were never sent: the worker ends these without a key."""
        unsent = any(shard.ending is None and not shard.batch_id for shard in seen.shards)
        return unsent and bool(self._record().cancel_at)

    def _on_change(self, seen: Snapshot) -> None:
        """In the worker's thread: draw, and when it is over, have the answers land between two cells."""
        if self._over.is_set() and not seen.is_complete and not self.is_complete:
            self._over.clear()  # a result file came late
            self._answers.reopen()
        over = seen.is_complete and not self._over.is_set() and self._record().id == seen.id
        if over and not self._in_group:
            self._tell_end()
        if self._monitor is not None:  # first: who waits is shown the end before the wait is over
            self._monitor.update(self._with_words(seen))
        if not over:
            self._stands(seen)
            return
        self._ends()
        kernel.on_main(self._land)

    def _land(self) -> None:
        """The answers into the frames that are bound; each once. A refusal is said, in the monitor."""
        with self._lock:
            try:
                for said in self._answers.land():
                    self._say(said)
            except KeyboardInterrupt:
                kernel.on_main(self._land)  # once more, before the next cell
                raise

    def _say(self, sentence: str) -> None:
        self._answers.said = sentence
        self._redraw()

    def _send_again(self) -> str:
        """For a click: retry what the last one of the jobs that go on from this one missed, and show how it goes."""
        last = self
        while last._next is not None:
            last = last._next
        last._next = last.retry()
        for one in (self, last):
            self._here.move(last._next.id, one._on_next)
        said = sent_again(None if self._next is None else self._next.snapshot())
        return f"{said[:1].upper()}{said[1:]}."

    def _on_next(self, seen: Snapshot) -> None:
        """In the worker's thread: the job that goes on from this one stands otherwise."""
        del seen
        self._redraw()


_OPEN: weakref.WeakValueDictionary[tuple[str, str], Job] = weakref.WeakValueDictionary()
_OPENING = threading.Lock()


def of(here: Session, job: str) -> Job:
    """The one Job object of an id in this process: its screen and its frames belong together."""
    with _OPENING:
        found = _OPEN.get((str(here.home), job))
        if found is None:
            found = _OPEN[str(here.home), job] = Job(here, job)
        return found
