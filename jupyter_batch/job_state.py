"""The state of a Job: its record in the ledger, the worker that moves it, and the frames it fills."""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, Self

import msgspec

from jupyter_batch.core.errors import LedgerReadOnlyError
from jupyter_batch.core.history import Wait
from jupyter_batch.core.status import Block, Snapshot, reopen
from jupyter_batch.handle import Handle
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.ledger.snapshots import History, is_complete, snapshot_of, wait_like
from jupyter_batch.merging.bound_frames import Answers, Standpoint
from jupyter_batch.merging.labelled import as_examples, labelled, merge_into
from jupyter_batch.notebook import kernel
from jupyter_batch.planning.action_prices import ActionPrices, offers, with_prices
from jupyter_batch.results.result_preview import ResultPreview
from jupyter_batch.runner.process import Session

if TYPE_CHECKING:
    import pandas as pd

    from jupyter_batch.results import timeline

_OPEN: weakref.WeakValueDictionary[tuple[str, str], Any] = weakref.WeakValueDictionary()
_OPENING = threading.Lock()


class JobState(Handle):
    """A job as the ledger and this process have it, followed until it is complete."""

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
        self._in_group = False  # a group's screen shows it
        self._answers = Answers(
            self._read, self._lock, None if salvaged is not None else here.ledger
        )
        self._preview = ResultPreview()
        self._history = History()
        self._prices = ActionPrices()
        self._waits: tuple[str, Wait | None] | None = None
        self._next: Self | None = None  # the retry that a click made
        self._before: Self | None = None  # the job it continues, kept alive for its frames

    @property
    def is_complete(self) -> bool:
        """Whether it has ended and all its results are on this disk."""
        complete = self._is_complete()
        is_script = kernel.between() is None  # with no next cell, before which frames are filled
        if complete and is_script and self._answers.waited_for and kernel.is_main_thread():
            self._merge_frames()
        return complete

    def _is_complete(self) -> bool:
        """As `is_complete`, without a merge in this call."""
        record, shards, _ = self._read()
        complete = is_complete(record, shards)
        if complete and self._answers.targets and not self._over.is_set():
            # The column is there in the next cell, even if the worker is slow.
            kernel.on_main(self._merge_frames)
        return complete

    def snapshot(self) -> Snapshot:
        """Return its present state, frozen."""
        return self._shown()

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
        return self._realtime_rest(record) if record.rush_at and record.finished_at else record

    def _realtime_rest(self, was: JobRecord) -> JobRecord:
        """Become the job that asks the rest in real time, and return its record."""
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

    def labels(self) -> pd.DataFrame:
        """The rows labelled in `view()`, on the source's index: the answers, and the labels as `<out>_human`."""
        return labelled(self._record(), self._folder, self.results())

    def merge_labels(self, df: pd.DataFrame | None = None) -> Self:
        """Write the labels into `df`, or the frame that was submitted, as `<out>_human`, by its index."""
        merge_into(self._answers.frame(df), self.labels())
        return self

    def examples(self, df: pd.DataFrame | None = None) -> pd.DataFrame:
        """The labelled rows as a frame for `examples=`: the prompt's columns, and the labels as answers."""
        made: pd.DataFrame = as_examples(self._record(), self._answers.frame(df), self.labels())
        return made

    def _source_frame(self) -> Any:
        targets = self._answers.targets
        return targets[-1].frame if targets else None

    def _shards(self, job: str | None = None) -> list[ShardRecord]:
        return self._salvaged[1] if self._salvaged else self._here.ledger.shards(job or self.id)

    def _job_events(self) -> list[timeline.JobEvents]:
        from jupyter_batch.results import timeline

        record = self._record()
        if self._salvaged is not None:
            return [timeline.JobEvents(record, self._shards(), [])]
        return timeline.read(self._here.ledger, [record.id])

    def _shown(self, snapshot: Snapshot | None = None) -> Snapshot:
        """Return the snapshot, the worker's or a new one, with what only this process knows."""
        record, shards, folder = self._read()
        snapshot = snapshot or snapshot_of(record, shards, time.time())
        found = self._preview.look(record, shards, folder)
        again = None if self._next is None else self._next.snapshot()
        offered = self._offers(record, shards, snapshot, again)
        snapshot = self._priced(record, shards, snapshot, offered, again)
        return msgspec.structs.replace(
            snapshot,
            attach=reopen(self.id),
            merged=self._answers.message,
            unbound=(self.id,) if self._is_unbound(record, snapshot) else (),
            answers=found.answers,
            examples=found.examples,
            reasons=(*found.reasons, *snapshot.reasons),
            again=() if again is None else (again,),
            offers=offered,
            history=() if self._salvaged else self._history.look(self._here.ledger, record),
            usual=self._usual(record, shards),
        )

    def _offers(
        self,
        record: JobRecord,
        shards: list[ShardRecord],
        snapshot: Snapshot,
        again: Snapshot | None,
    ) -> tuple[str, ...]:
        if self._salvaged is not None:
            return ()
        fillable = self._answers.is_fillable(record, shards)
        return offers(record, snapshot, again, fillable=fillable)

    def _priced(
        self,
        record: JobRecord,
        shards: list[ShardRecord],
        snapshot: Snapshot,
        offered: tuple[str, ...],
        again: Snapshot | None,
    ) -> Snapshot:
        """Add the expected cost and the price of each action; a retry's own retry is its price."""
        if self._salvaged is not None:
            return snapshot
        if again is not None:
            return msgspec.structs.replace(snapshot, prices=again.prices)
        prices = self._prices.look(self._here.ledger, record, shards)
        return with_prices(snapshot, prices, offered)

    def _check_finish(
        self, api_key: str | None, max_cost: float | None, mode: str = "realtime"
    ) -> None:
        """Raise where the open rows can't be asked at once, before they are cancelled."""
        from jupyter_batch.planning.retry import check_finish

        record, shards, _ = self._read()
        api_key = api_key or self._here.key_of(self.id)
        ledger = self._here.ledger
        check_finish(ledger, record, shards, mode=mode, api_key=api_key, max_cost=max_cost)

    def _usual(self, record: JobRecord, shards: list[ShardRecord]) -> Wait | None:
        """The usual wait for its largest batch, read once; None for a complete job."""
        if self._salvaged is not None or record.finished_at:
            return None
        if self._waits is None or self._waits[0] != record.id:
            largest = max((shard.requests for shard in shards), default=0)
            self._waits = record.id, wait_like(self._here.ledger, record, largest)
        return self._waits[1]

    def _is_unbound(self, record: JobRecord, snapshot: Snapshot) -> bool:
        """Whether its answers are for a frame that this process lacks; `adopt` reports that itself."""
        held = bool(self._answers.targets or self._answers.message or self._salvaged is not None)
        return snapshot.is_complete and record.framed and not (held or record.adopted)

    def _begin(self, api_key: str | None) -> None:
        """Start a job that was just submitted; one that is complete already merges at once."""
        self._follow(api_key)
        if not self._is_complete():  # it may have waited for just this, a key above all
            self.refresh()
        if self._over.is_set():
            self._merge_frames()

    def _fetch_again(self, *, forced: bool = False, whole: bool = True) -> bool:
        """Have missing, short or damaged result files fetched again; return whether there are any.

        forced: including those that were fetched again a moment ago. whole: compare their bytes; else their size alone,
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
        """Have the worker move it and report changes; needs no screen. whole: as for `_fetch_again`."""
        self._fetch_again(whole=whole)
        if self._salvaged is not None or self._is_complete():
            self._here.know(self.id, api_key)  # a job that continues it may need the key
            if not self._over.is_set():
                self._note_end()
            return
        watcher = None if self._following else self._on_change
        if watcher is not None:
            self._following = True
            kernel.between()  # made on the main thread, within a cell
            record, shards, _ = self._read()
            blocked = snapshot_of(record, shards, time.time()).blocked
            if blocked in (Block.KEY, Block.QUOTA):  # in another process; this one may have a key
                self._here.ledger.resume(self.id)
        self._here.move(self.id, watcher, api_key)
        for other in self._here.ledger.joined_by(self.id):  # jobs that it waits for
            lent = None if api_key is None else self._here.lend_key(self.id, other)
            self._here.move(other, api_key=lent)

    def _blocked_here(self, snapshot: Snapshot) -> Block | None:
        of_a_key = snapshot.blocked is Block.KEY and not any(
            block.unseen for block in snapshot.blocks
        )
        if of_a_key and not self._here.worker.lacks_key(self.id):
            return None
        if snapshot.blocked is not None and self._ends_unsent(snapshot):
            return None
        return snapshot.blocked

    def _ends_unsent(self, snapshot: Snapshot) -> bool:
        """Whether a cancelled job has batches that were never sent: the worker ends these without a key."""
        unsent = any(shard.ending is None and not shard.batch_id for shard in snapshot.shards)
        return unsent and bool(self._record().cancel_at)

    def _on_change(self, snapshot: Snapshot) -> None:
        """In the worker's thread: draw; when it is complete, have the answers merged between two cells."""
        if self._over.is_set() and not snapshot.is_complete and not self._is_complete():
            self._over.clear()  # a result file came late
            self._answers.reopen()
        over = snapshot.is_complete and not self._over.is_set() and self._record().id == snapshot.id
        if over:
            # Before the end is shown, so that a cell run upon it finds the merge queued. An error here,
            # of any kind (a frame that its user is changing, a full memory), is met again by the merge.
            with contextlib.suppress(Exception):
                self._answers.prepare()
        if over and not self._in_group:
            self._announce_end()
        if self._monitor is not None:  # before the wait ends
            self._monitor.update(self._shown(snapshot))
        self._callbacks.changed()
        if over:
            self._note_end()
        else:
            self._note_blocked(snapshot)

    def _merge_frames(self) -> None:
        """Merge the answers into the bound frames, each once; the monitor shows a refusal."""
        with self._lock:
            try:
                for outcome in self._answers.merge():
                    self._report(outcome)
            except KeyboardInterrupt:
                kernel.on_main(self._merge_frames)  # once more, before the next cell
                raise

    def _report(self, sentence: str) -> None:
        self._answers.message = sentence
        self._redraw()
