"""The vectors of a job: one float32 array, of which each row's cell is a view.

For a million rows of 1536 numbers the array takes 6 GB: it exists once, for all readers; as lists
of Python floats it would take eight times as much.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

from jupyter_batch.core.errors import InputError
from jupyter_batch.ledger.records import JobRecord

if TYPE_CHECKING:
    import numpy as np

    Array: TypeAlias = np.ndarray[Any, Any]


class Vectors:
    """Vectors of all rows by position, None where there is none; parsed input, float32 out."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._array: Array | None = None
        self._there = bytearray(rows)
        self._odd: dict[int, Array] = {}

    def __len__(self) -> int:
        return self._rows

    def __setitem__(self, at: int, value: Any) -> None:
        import numpy as np

        if value is None:
            self._there[at] = 0
            return
        vector = np.asarray(value, dtype=np.float32)
        if self._array is None and vector.ndim == 1:
            self._array = np.empty(
                (self._rows, len(vector)), dtype=np.float32
            )  # untouched: no memory yet
        if self._array is None or vector.shape != self._array.shape[1:]:
            self._odd[at] = vector
        else:
            self._odd.pop(at, None)
            self._array[at] = vector
        self._there[at] = 1

    def __getitem__(self, at: int) -> Array | None:
        if not self._there[at] or self._array is None:
            return self._odd.get(at) if self._there[at] else None
        return self._odd[at] if at in self._odd else self._array[at]

    def __iter__(self) -> Iterator[Array | None]:
        return (self[at] for at in range(self._rows))

    def array(self) -> Array:
        """(rows, dim) of float32, read-only; NaN in rows with no vector or another length."""
        import numpy as np

        if self._array is None:
            return np.empty((self._rows, 0), dtype=np.float32)
        missing = np.frombuffer(self._there, dtype=np.uint8) == 0
        missing[list(self._odd)] = True
        self._array[missing] = np.nan
        whole = self._array.view()
        whole.flags.writeable = False
        return whole


def array_of(job: JobRecord, answers: Any, order: Array | None) -> Array:
    """A job's vectors in the order of its frame. order: each row's position, if not the job's own.

    Raises InputError for a job that asked for no vectors.
    """
    if not isinstance(answers, Vectors):
        raise InputError(
            f"job {job.id} asked {job.model} for text, not for vectors: df.llm.embed(...) makes them"
        )
    whole = answers.array()
    return whole if order is None else whole[order]
