"""SplitJob: one call whose rows name their own models or endpoints. A job for each, used as a single job.

All of them fill the same columns; each writes the cells of its own rows only.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jupyter_batch.core.errors import InputError, JobNotFoundError
from jupyter_batch.group.models import Group
from jupyter_batch.handle import Handle
from jupyter_batch.job import Job
from jupyter_batch.ledger.linked_jobs import name_of
from jupyter_batch.merging.labelled import as_examples, merge_into
from jupyter_batch.runner.process import Session

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from jupyter_batch.results.row import Row

    Array = np.ndarray[Any, Any]

NUMBERS = "<u4"


class SplitJob(Group):
    """The jobs of `model=col(...)` or `endpoint=col(...)`: one column, one monitor, the source's order.

    numbers: for each row of the source the number of its job; None to read them from the ledger.
    """

    def __init__(
        self,
        here: Session,
        jobs: Sequence[Job],
        name: str | None = None,
        numbers: Array | None = None,
    ) -> None:
        super().__init__(here, jobs, name)
        self._row_numbers = numbers

    @classmethod
    def keep(cls, here: Session, jobs: Sequence[Job], numbers: Array) -> SplitJob:
        """Store these jobs as one, which can be opened by its id."""
        name = name_of([job.id for job in jobs])
        folder = here.ledger.folders.of(jobs[0].id)
        folder.write(folder.row_numbers(name), numbers.astype(NUMBERS).tobytes())
        here.ledger.keep_group(name, [job.id for job in jobs], time.time())
        return cls(here, jobs, name, numbers)

    def _continued(self, jobs: Sequence[Job]) -> Group:
        return SplitJob.keep(self._here, jobs, self._numbers())

    def _numbers(self) -> Array:
        """The job's number of each row; without the ledger's data, job by job."""
        import numpy as np

        rows = [job._record().frame_rows for job in self.jobs]
        found = self._row_numbers
        if found is None:
            folder = self._here.ledger.folders.of(self.jobs[0].id)
            with contextlib.suppress(OSError):
                found = np.frombuffer(folder.row_numbers(self.id).read_bytes(), dtype=NUMBERS)
        if found is None or np.bincount(found, minlength=len(rows)).tolist() != rows:
            found = np.repeat(np.arange(len(rows)), rows)
        self._row_numbers = found
        return found

    def _places(self) -> Array:
        """For each row of the source its place among the rows of all jobs, job by job."""
        import numpy as np

        by_job = np.argsort(self._numbers(), kind="stable")
        places = np.empty(len(by_job), dtype=np.int64)
        places[by_job] = np.arange(len(by_job))
        return places

    def results(self) -> pd.DataFrame:
        """A row for each row of the source, on its index, as for a single job; `_model` has each row's model."""
        import pandas as pd

        tables = [self._with_models(job, job.results()) for job in self.jobs]
        index = tables[0].index.append([table.index for table in tables[1:]])
        names = dict.fromkeys(name for table in tables for name in table.columns)
        every = {name: _joined([table.get(name) for table in tables], tables) for name in names}
        made = pd.DataFrame({name: pd.Series(cells) for name, cells in every.items()})
        made.index = index
        return made.iloc[self._places()]

    def _with_models(self, job: Job, found: pd.DataFrame) -> pd.DataFrame:
        """A job's results with `_model`: of a retry at another model, the answers before have the model before."""
        import numpy as np

        record, model = job._record(), job.snapshot().model
        before = model
        if record.parent is not None:
            with contextlib.suppress(JobNotFoundError):
                before = self._here.ledger.job(record.parent).model
        models = np.where(found["_status"] == "reused", before, model).astype(object)
        return found.assign(_model=models)

    @property
    def errors(self) -> pd.DataFrame:
        """The rows that ended without an answer, with the model and the reason."""
        found = self.results()
        failed = ~found["_status"].isin(["succeeded", "reused", "running"])
        return found.loc[failed, ["_status", "_error", "_model"]]

    def row(self, label: Any = None, *, position: int | None = None) -> Row:  # type: ignore[override]
        """All of one row; see Job.row."""
        from jupyter_batch.merging.merge import position_in

        at, _ = position_in(self.id, self._index(), label, position)
        place = int(self._places()[at])
        for job in self.jobs:
            rows = job._record().frame_rows
            if place < rows:
                return job.row(position=place)
            place -= rows
        raise InputError(f"{self.id} has no row {label!r}")

    def _index(self) -> pd.Index[Any]:
        """The row labels of the source, in its order."""
        indexes = [job._answers.index() for job in self.jobs]
        made: pd.Index[Any] = indexes[0].append(indexes[1:])[self._places()]
        return made

    def vectors(self) -> Array:  # type: ignore[override]
        """One array of all vectors, in the order of the source; see Job.vectors.

        Raises InputError where a row asked for text, or the models' vectors differ in length.
        """
        import numpy as np

        arrays = [job.vectors() for job in self.jobs]
        lengths = sorted({array.shape[1] for array in arrays})
        if len(lengths) > 1:
            raise InputError(
                f"the models' vectors have different lengths ({', '.join(map(str, lengths))}): "
                "results() has them row by row"
            )
        return np.concatenate(arrays)[self._places()]

    def answers(self) -> list[Any]:
        """The answers in the order of the source, None where there is none."""
        every = [answer for job in self.jobs for answer in job._answers.outcomes().answers]
        return [every[place] for place in self._places().tolist()]

    def labels(self) -> pd.DataFrame:  # type: ignore[override]
        """The rows labelled in `view()`, in the order of the source; see Job.labels."""
        import numpy as np
        import pandas as pd

        made = pd.concat([job.labels() for job in self.jobs])
        index = self._index()
        if not index.is_unique:  # the order of the jobs
            return made
        return made.iloc[np.argsort(index.get_indexer(made.index))]

    def merge_labels(self, df: pd.DataFrame | None = None) -> Group:
        """Write all labels into the frame at once: each job's own would clear those of the others."""
        merge_into(self.jobs[0]._answers.frame(df), self.labels())
        return self

    def examples(self, df: pd.DataFrame | None = None) -> pd.DataFrame:  # type: ignore[override]
        """The labelled rows for `examples=`, of all models; see Job.examples."""
        labels, records = self.labels(), [job._record() for job in self.jobs]
        fits = (one for one in records if set(one.fills) & set(labels.columns))
        job = next(fits, records[0])
        made: pd.DataFrame = as_examples(job, self.jobs[0]._answers.frame(df), labels)
        return made

    def choose(self, *_: Any, **__: Any) -> Group:
        """Raises InputError: each row has a model of its own."""
        raise InputError(
            "choose() is for several models over the same rows; here each row has one model, and "
            "its answer is in the column already"
        )

    def _compared(self) -> list[list[Any]]:
        return [[] for _ in self.jobs]  # no row has two answers

    def _in_words(self) -> str:
        return Handle._in_words(self)

    def _show(self) -> None:
        Handle._show(self)


def _joined(columns: Sequence[Any], tables: Sequence[pd.DataFrame]) -> Any:
    """The cells of all columns, in their dtype where it is one; None for a column that is not there."""
    import numpy as np
    import pandas as pd

    if all(column is not None for column in columns) and len({c.dtype for c in columns}) == 1:
        return pd.concat(list(columns), ignore_index=True).array
    cells = [
        cell
        for column, table in zip(columns, tables, strict=True)
        for cell in ([None] * len(table) if column is None else column.tolist())
    ]
    return np.fromiter(cells, dtype=object, count=len(cells))
