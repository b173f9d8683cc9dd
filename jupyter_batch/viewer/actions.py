"""The actions of the row view and of JupyterLab's panel on a job: their prices, and what a click does.

Without the kernel's objects they act on the ledger; a frame is filled when the cell is run again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from jupyter_batch.core.errors import InputError, JobNotFoundError
from jupyter_batch.ledger.linked_jobs import Lines, whole
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.ledger.snapshots import snapshot_of
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.monitor.phrases import price
from jupyter_batch.planning.action_prices import ActionPrices, with_prices
from jupyter_batch.planning.retry import check_rest, plan_again
from jupyter_batch.providers.table import BATCH, check_live
from jupyter_batch.results.actions import offers
from jupyter_batch.runner.process import session

Deed = Callable[[], str]
NAMES = ("retry", "finish", "cancel", "forget")


class JobActions:
    """The actions on a job or a group. held: those of the kernel's own object, which also fill its frames."""

    def __init__(self, ledger: Ledger, name: str, held: Mapping[str, Deed] | None = None) -> None:
        self._ledger, self._name = ledger, name
        self._held = held or {}
        self._prices: dict[str, ActionPrices] = {}

    def offered(self) -> list[dict[str, Any]]:
        """Each action that is possible now, with its price; "" where it costs nothing."""
        found: dict[str, list[Any]] = {}
        open_now = over = False
        for record, shards in self._standing():
            seen = snapshot_of(record, shards, time.time())
            names = (
                () if self._ledger.child(record.id) else offers(record, seen, None, fillable=False)
            )
            prices = self._prices.setdefault(record.id, ActionPrices())
            seen = with_prices(seen, prices.look(self._ledger, record, shards), names)
            open_now |= not seen.state.is_ending
            over |= seen.is_complete
            for name in names:
                found.setdefault(name, []).extend(one for one in seen.prices if one.action == name)
        made = [
            {"name": name, "price": "; ".join(map(price, found[name]))}
            for name in ("retry", "finish")
            if name in found
        ]
        if open_now:
            made.append({"name": "cancel", "price": ""})
        if over and not open_now:
            made.append({"name": "forget", "price": ""})
        return made

    def do(self, name: str) -> str:
        """Carry out an action, and return a sentence about it. Raises JupyterBatchError."""
        if name in self._held:
            return self._held[name]()
        deeds = {
            "retry": self._retry,
            "finish": self._finish,
            "cancel": self._cancel,
            "forget": self._forget,
        }
        return deeds[name]()

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
            if not one.finished_at and one.mode == BATCH
        ]
        if not rest:
            raise InputError(f"nothing of {self._name} is open in a batch")
        for record, shards in rest:
            check_live(record.model, record.provider, record.api_base, None)
            check_rest(self._ledger, record, shards)
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
