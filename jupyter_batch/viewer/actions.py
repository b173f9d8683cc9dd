"""The actions of the row view and of JupyterLab's panel on a job: their prices, and what a click does.

Without the kernel's objects they act on the ledger; a frame is filled when the cell is run again.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from jupyter_batch.core.cost import added_spends
from jupyter_batch.core.errors import InputError, JobNotFoundError, NothingToRetryError
from jupyter_batch.core.group_snapshot import group_snapshot
from jupyter_batch.core.status import Snapshot
from jupyter_batch.ledger.linked_jobs import Lines, whole
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.ledger.snapshots import snapshot_of
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.monitor.words import estimate, price
from jupyter_batch.planning.action_prices import ActionPrices, offers, with_prices
from jupyter_batch.planning.files.left_rows import rows_to_send
from jupyter_batch.planning.resent_lines import changes_of
from jupyter_batch.planning.retry import check_finish, last_retry, plan_again
from jupyter_batch.providers.table import REALTIME
from jupyter_batch.row_files.row_columns import places_of
from jupyter_batch.runner.process import session
from jupyter_batch.viewer.columns import Cells

Deed = Callable[[], str]
NAMES = ("retry", "finish", "cancel", "forget")


class Held(NamedTuple):
    """Functions of the kernel's object of a job, which also fill its frames.

    deeds: its actions by name. retry: of the rows at some positions, with changed parameters.
    choose: a model of a group by its name. cells: see viewer/columns.py.
    """

    deeds: Mapping[str, Deed] = {}
    retry: Callable[..., str] | None = None
    choose: Callable[[str], str] | None = None
    cells: Cells | None = None

    def for_retry(self) -> Held:
        """Those that hold for a retry of the job, too: `retry` goes on from the last one."""
        return Held({name: self.deeds[name] for name in ("retry",)}, self.retry, cells=self.cells)


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """A retry of the rows of a selection. rows: the number that would be sent. cut: of answers that were cut off."""

    rows: int
    price: str
    cut: bool


class JobActions:
    """The actions on a job or a group."""

    def __init__(self, ledger: Ledger, name: str, held: Held | None = None) -> None:
        self._ledger, self._name = ledger, name
        self._held = held or Held()
        self._prices: dict[str, ActionPrices] = {}

    def offered(self) -> list[dict[str, Any]]:
        """Each action that is possible now, with its price; "" where it costs nothing.

        "estimate" is none of them: the expected and the highest cost of a job that is open.
        """
        found: dict[str, list[Any]] = {}
        snapshots: list[Snapshot] = []
        open_now = over = False
        for record, shards in self._standing():
            seen = snapshot_of(record, shards, time.time())
            names = (
                () if self._ledger.child(record.id) else offers(record, seen, None, fillable=False)
            )
            prices = self._prices.setdefault(record.id, ActionPrices())
            seen = with_prices(seen, prices.look(self._ledger, record, shards), names)
            snapshots.append(seen)
            open_now |= not seen.state.is_ending
            over |= seen.is_complete
            for name in names:
                found.setdefault(name, []).extend(one for one in seen.prices if one.action == name)
        made = [
            {"name": name, "price": price(added_spends(found[name])) if found[name] else ""}
            for name in ("retry", "finish")
            if name in found
        ]
        if open_now:
            made.append({"name": "cancel", "price": ""})
        if over and not open_now:
            made.append({"name": "forget", "price": ""})
        if expected := estimate(group_snapshot(self._name, snapshots)):
            made.append({"name": "estimate", "price": expected})
        return made

    def do(self, name: str) -> str:
        """Carry out an action, and return a sentence about it. Raises JupyterBatchError."""
        if name in self._held.deeds:
            return self._held.deeds[name]()
        deeds = {
            "retry": self._retry,
            "finish": self._finish,
            "cancel": self._cancel,
            "forget": self._forget,
        }
        return deeds[name]()

    def chosen(self, rows: Sequence[int] | None, max_tokens: int | None, *, cut: bool) -> Chosen:
        """The price of a retry of the rows at some positions, None for all. cut: of cut off answers, too."""
        record, shards = self._last()
        sent: Any = ()
        with contextlib.suppress(NothingToRetryError):
            sent = rows_to_send(self._ledger, record, shards, rows, cut_off=cut)
        if not len(sent):
            return Chosen(rows=0, price="", cut=cut)
        places = places_of(record, shards, self._ledger.folders.of(record.id)).array[sent]
        prices = self._prices.setdefault(record.id, ActionPrices())
        spend = prices.retry_of(self._ledger, record, shards, places, max_tokens if cut else None)
        shown = price(spend) if max_tokens or not cut else ""
        return Chosen(rows=len(sent), price=shown, cut=cut)

    def retry(self, rows: Sequence[int], max_tokens: int | None) -> str:
        """Send the unanswered rows at some positions again, with another limit those that were cut off, too."""
        changes = {} if max_tokens is None else {"max_tokens": max_tokens}
        if self._held.retry is not None:
            return self._held.retry(rows, **changes)
        record, shards = self._last()
        again = plan_again(
            self._ledger, record, shards, now=time.time(), rows=rows, changes=changes_of(changes)
        )
        self._move(again.id)
        return f"Sent again as {again.id}. The frame is filled when its cell is run again."

    def latest(self) -> str:
        """The id of the job that continues it now; "" where it is forgotten."""
        with contextlib.suppress(JobNotFoundError):
            return self._last()[0].id
        return ""

    def _last(self) -> tuple[JobRecord, list[ShardRecord]]:
        """The last retry of the first of its jobs, whose rows have the same positions."""
        record = last_retry(self._ledger, self._standing()[0][0])
        return record, self._ledger.shards(record.id)

    def choose(self, model: str) -> str:
        """Copy a model's answers into the frame of the kernel. Raises InputError without one."""
        if self._held.choose is None:
            raise InputError(
                "this page has no kernel with the frame: copy the code, and run it in the notebook"
            )
        return self._held.choose(model)

    def _standing(self) -> list[tuple[JobRecord, list[ShardRecord]]]:
        names = self._ledger.groups().get(self._name, [self._name])
        lines = Lines(self._ledger.jobs())
        records = [record for record in map(lines.last, names) if record is not None]
        if not records:
            raise JobNotFoundError(f"there is no job {self._name!r}")
        return [(record, self._ledger.shards(record.id)) for record in records]

    def _retry(self) -> str:
        sent: list[str] = []
        refused: list[InputError] = []
        for record, shards in self._standing():
            try:
                again = plan_again(self._ledger, record, shards, now=time.time())
            except InputError as error:  # no row is left, say
                refused.append(error)
                continue
            sent.append(again.id)
            self._move(again.id)
        if not sent:
            raise refused[0]
        return f"Sent again as {', '.join(sent)}. The frame is filled when its cell is run again."

    def _finish(self) -> str:
        rest = [
            (one, shards)
            for one, shards in self._standing()
            if not one.finished_at and one.mode != REALTIME
        ]
        if not rest:
            raise InputError(f"nothing of {self._name} is open in a batch or on the flex tier")
        for record, shards in rest:
            check_finish(self._ledger, record, shards, mode=REALTIME)
        for record, _ in rest:
            self._ledger.rush(record.id, time.time(), after_cancel=True)
            self._move(record.id)
        return "What is open is being cancelled, then asked in real time."

    def _cancel(self) -> str:
        for record, _ in self._standing():
            if not record.finished_at:
                self._ledger.cancel(record.id, time.time())
                self._move(record.id)
        return "The provider is asked to cancel. Rows that are finished are kept."

    def _forget(self) -> str:
        names = self._ledger.groups().get(self._name, [self._name])
        for record in sorted(whole(self._ledger, names), key=lambda one: bool(one.finished_at)):
            self._ledger.forget(record.id)
        return f"{self._name} is forgotten."

    def _move(self, job: str) -> None:
        """Have this process move it, unless a process has the lease already."""
        session(self._ledger.home).move(job)
