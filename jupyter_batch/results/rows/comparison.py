"""Several models' answers to the same rows, side by side: disagreements first, agreement and cost by model."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from jupyter_batch.ledger.records import ShardRecord
from jupyter_batch.ledger.snapshots import snapshot_of
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.monitor.table import rows_table
from jupyter_batch.notebook import kernel
from jupyter_batch.results.agreement import plain as comparable
from jupyter_batch.results.outcomes import of_job
from jupyter_batch.results.rows import Rows, views
from jupyter_batch.results.rows.lines import Array

if TYPE_CHECKING:
    import pandas as pd


_ALL = "Every row, and a model's answers into the column"
FIRST = 10
"""Rows that a notebook shows below the table of a comparison."""


class Compared(msgspec.Struct, kw_only=True):
    """A model of a group. agreement: the share of equal answers where another one answered too; None without any."""

    job: str
    model: str
    columns: list[str]
    answered: int
    failed: int
    agreement: float | None
    cost: float | None


class Side(msgspec.Struct, kw_only=True):
    """A model's answer to a row."""

    answer: str | None
    fields: dict[str, str] | None
    error: str | None


class Beside(msgspec.Struct, kw_only=True):
    """A row with the answers of each model, in their order."""

    position: int
    label: str
    prompt: str | None
    differs: bool
    sides: list[Side]


class ComparedPage(msgspec.Struct, kw_only=True):
    """Some rows, and the number of all rows and of those with different answers."""

    rows: list[Beside]
    total: int
    differing: int


class Comparison:
    """The answers of a group's jobs over the same rows. Thread-safe."""

    def __init__(self, jobs: list[Rows]) -> None:
        self._jobs = jobs
        self._lock = threading.Lock()
        self._stamp: object = None
        self._keys: Array = np.zeros((0, 0), dtype=np.int64)

    def models(self) -> list[Compared]:
        """Each model with its counts, agreement and cost."""
        keys = self._read()
        made = []
        for at, rows in enumerate(self._jobs):
            record, shards = rows.standing()
            seen = snapshot_of(record, shards, 0.0)
            counts = seen.counts
            made.append(
                Compared(
                    job=record.id,
                    model=record.model,
                    columns=list(record.fills),
                    answered=counts.succeeded + counts.reused,
                    failed=counts.failed + counts.expired + counts.cancelled,
                    agreement=_share(keys, at),
                    cost=seen.cost,
                )
            )
        return made

    def page(self, offset: int, limit: int, *, only: bool = False) -> ComparedPage:
        """Rows from `offset` on: those with different answers first, or `only` those."""
        keys = self._read()
        differs = differing(keys)
        order = np.flatnonzero(differs)
        if not only:
            order = np.concatenate([order, np.flatnonzero(~differs)])
        chosen = [int(at) for at in order[offset : offset + limit]]
        each = [views(rows.contents(), chosen) for rows in self._jobs]
        return ComparedPage(
            rows=[
                Beside(
                    position=at,
                    label=each[0][number].label,
                    prompt=each[0][number].prompt,
                    differs=bool(differs[at]),
                    sides=[
                        Side(
                            answer=one[number].answer,
                            fields=one[number].fields,
                            error=one[number].error,
                        )
                        for one in each
                    ],
                )
                for number, at in enumerate(chosen)
            ],
            total=len(order) if only else len(differs),
            differing=int(differs.sum()),
        )

    def differing(self) -> Array:
        """Whether two models answered each row differently."""
        return differing(self._read())

    def _read(self) -> Array:
        """A hash of each answer, by model and row; 0 where there is none. Read again where results have come."""
        standing = [rows.standing() for rows in self._jobs]
        stamp = [(record.id, *map(_stamp, shards)) for record, shards in standing]
        with self._lock:
            if stamp != self._stamp:
                rows = min(record.rows for record, _ in standing)
                keys = np.zeros((len(standing), rows), dtype=np.int64)
                for at, (one, (record, shards)) in enumerate(
                    zip(self._jobs, standing, strict=True)
                ):
                    found = of_job(record, shards, one.contents().folder)
                    answers = (found.answers[row] for row in range(rows))
                    keys[at] = np.fromiter(map(_key, answers), np.int64, rows)
                self._keys, self._stamp = keys, stamp
            return self._keys


def differing(keys: Array) -> Array:
    """The rows to which two models gave different answers."""
    lowest = np.where(keys == 0, np.iinfo(np.int64).max, keys).min(axis=0)
    highest = np.where(keys == 0, np.iinfo(np.int64).min, keys).max(axis=0)
    several = (keys != 0).sum(axis=0) > 1
    found: Array = several & (lowest != highest)
    return found


def _share(keys: Array, at: int) -> float | None:
    others = np.delete(keys, at, axis=0)
    both = (others != 0) & (keys[at] != 0)
    return float((both & (others == keys[at])).sum() / both.sum()) if both.any() else None


def _key(answer: Any) -> int:
    value = comparable(answer)
    return 0 if value is None else hash(value) or 1


def _stamp(shard: ShardRecord) -> tuple[object, ...]:
    return shard.number, shard.step, shard.kept


def with_rows(
    table: pd.DataFrame, ledger: Ledger, jobs: Sequence[str], view: Callable[[], Any]
) -> pd.DataFrame:
    """The same frame, whose display in a notebook has the first rows of these jobs below it, and can be unfolded.

    view: the page of all rows, with a button for each model; used where a front end shows it. The jobs of
    `model=col(...)` ask different rows: their frame is returned as it is.
    """
    import pandas as pd

    if ledger.job(jobs[0]).model_column:
        return table

    class ComparedModels(pd.DataFrame):
        """The table of models; what is made from it is a plain frame."""

        _constructor = pd.DataFrame

        def _repr_html_(self) -> str:
            shown = pd.DataFrame(self)._repr_html_()  # type: ignore[operator]  # not in the stubs
            page = Comparison([Rows(ledger, job) for job in jobs]).page(0, FIRST)
            rows, below = rows_html(page, [str(model) for model in table.index]), ""
            if kernel.has_frontend():
                below = f"<details><summary>{_ALL}</summary>{view()._repr_html_()}</details>"
            return f"{shown or ''}{rows}{below}"

    return ComparedModels(table)


def rows_html(page: ComparedPage, models: Sequence[str]) -> str:
    """The rows of a page as a table, and a sentence about the others."""
    rows = [
        (
            row.label,
            row.prompt or "",
            *(side.answer if side.answer is not None else side.error or "" for side in row.sides),
        )
        for row in page.rows
    ]
    differ = f"{page.differing:,} of {page.total:,} rows have different answers"
    more = (
        "group.view() shows every row; group.choose(model) copies a model's answers into the column"
    )
    marked = [row.differs for row in page.rows]
    return rows_table(("row", "prompt", *models), rows, marked, f"{differ}; {more}.")
