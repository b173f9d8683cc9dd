"""Merge of a job's answers into a frame that the user holds: the right cells, or a stated refusal.

Works on the frame and the gathered outcomes; the caller decides when it may run (between cells).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from jupyter_batch.core.errors import (
    AlignmentError,
    ColumnError,
    InputError,
    LedgerCorruptError,
)
from jupyter_batch.core.request import ToolCalls
from jupyter_batch.core.schema import Keep, all_columns, kept_columns, listed
from jupyter_batch.core.schema import columns as columns_of
from jupyter_batch.frames import frame as frames
from jupyter_batch.frames.labels import label_hashes
from jupyter_batch.ledger.folder import JobFolder
from jupyter_batch.ledger.records import JobRecord
from jupyter_batch.merging.columns import fill_with
from jupyter_batch.merging.own_cells import ForeignCells, is_written, mark
from jupyter_batch.merging.rendered import Rendered, kept
from jupyter_batch.results.columns import CODES
from jupyter_batch.results.outcomes import GOOD, Outcomes
from jupyter_batch.row_files.row_columns import read_keys, source_index

NOTHING: Keep = MappingProxyType({})
_BLOCK_ROWS = 1 << 16

if TYPE_CHECKING:
    import pandas as pd

    Array: TypeAlias = np.ndarray[Any, Any]
    Foreign: TypeAlias = Callable[[pd.DataFrame, np.ndarray[Any, Any]], ForeignCells]
    Relabelled: TypeAlias = tuple[
        pd.Index[Any], np.ndarray[Any, Any]
    ]  # an index, and each row's position in the job


def by_position(job: JobRecord, frame: pd.DataFrame, out: str) -> Rendered:
    """Match the rows of this frame to the job's by their order, as the user asserts.

    From then on they are recognized by their whole content, so that a frame sorted later is still
    filled correctly. Raises AlignmentError where that is impossible.
    """
    if job.aligned:
        raise AlignmentError(
            f"the rows of job {job.id} are known, so nothing is filled by position: "
            f'df.llm.attach("{job.id}") finds each row'
        )
    rows = frames.row_count(frame)
    if rows != job.frame_rows:
        raise AlignmentError(
            f"the frame has {rows:,} rows, and job {job.id} has {job.frame_rows:,}: it is not the one "
            "that was sent. Nothing was written"
        )
    fills = all_columns(out, job.schema, job.keep)
    columns = [label for label in frames.column_labels(frame) if str(label) not in fills]
    fingerprints = bytearray().join(
        b"".join(block.fingerprints) for block in frames.blocks(frame, columns)
    )
    return Rendered(
        [str(label) for label in columns], frames.Keys.of(frames.row_labels(frame), fingerprints)
    )


def check_aligned(job: JobRecord) -> None:
    """Raise AlignmentError where the job's rows can be identified by position only."""
    if not job.aligned:
        raise AlignmentError(
            f"job {job.id} was taken up from {job.provider}, and the ledger that knew its rows is lost: which of them "
            "is which row of a frame is not known, so nothing was written. Run its cell again: answers whose requests "
            "are at hand land on their rows, and are not paid again. If the rows of your frame surely stand in the "
            f'order in which they were sent, df.llm.attach("{job.id}", by_position=True) fills it so'
        )


def merge(
    job: JobRecord,
    folder: JobFolder,
    found: Outcomes,
    frame: pd.DataFrame,
    out: str,
    *,
    rendered: Rendered | None = None,
    foreign: Foreign | None = None,
    by_hand: bool = False,
    keep: Keep = NOTHING,
    positions: np.ndarray[Any, Any] | None = None,
) -> str:
    """Fill the column `out` of this very frame, or those of the schema; return a message about it.

    positions: of its rows in the job, where they were found before. foreign: finds the cells that
    are not this package's answers; they are left unchanged, unless it is None. by_hand: they raise
    ColumnError instead. Raises AlignmentError where rows moved or changed, ColumnError where the
    prompt's columns are gone; then nothing was written.
    """
    if positions is None:
        if rendered is None:
            check_aligned(job)
            rendered = kept(job, folder)
        positions = rendered.find(frame)
    columns = list(all_columns(out, job.schema, keep))
    is_there = is_written(job, frame, columns, positions)
    cells = None if foreign is None or is_there else foreign(frame, positions)
    if by_hand and cells is not None and cells.rows:
        raise ColumnError(
            f"{cells.described()}, and nothing was written: job.merge(df, overwrite=True) replaces {cells.them}, "
            "job.results() has the answers"
        )
    spare = {} if cells is None else cells.rows
    others = positions < 0 if job.model_column else np.zeros(0, dtype=bool)
    if others.any():  # rows of other models, which their own jobs fill
        spare = _with_others(spare, np.flatnonzero(others), all_columns(out, job.schema, keep))
    if not is_there:
        fill_with(job, found, frame, out, positions, spare, keep)
        mark(job, frame, columns, positions, spare)
    filled = _answered(found, positions)
    rows = len(positions) - int(others.sum())
    whose = "row has its" if rows == 1 else "rows have their"
    model = f"{job.model}: " if job.model_column else ""
    return (
        f"{model}{filled:,} of {rows:,} {whose} answer in {listed(map(repr, columns_of(out, job.schema)))}"
        + _without(found, out, keep)
        + _calls(job, found)
        + ("" if cells is None else _left(cells))
    )


def _answered(found: Outcomes, positions: Array) -> int:
    """The rows at these positions that have an answer."""
    codes = np.frombuffer(found.status, dtype=np.uint8)
    starts = range(0, len(positions), _BLOCK_ROWS)
    blocks = (positions[start : start + _BLOCK_ROWS] for start in starts)
    return sum(int(np.isin(codes[at[at >= 0]], GOOD).sum()) for at in blocks)


def _calls(job: JobRecord, found: Outcomes) -> str:
    """A hint at answers that call tools; "" for none."""
    calls = sum(isinstance(answer, ToolCalls) for answer in found.answers) if job.tools else 0
    if not calls:
        return ""
    return f"; {calls:,} {'calls' if calls == 1 else 'call'} tools, which job.run_tools() runs"


def _with_others(
    spare: Mapping[str, Array], others: Array, columns: Iterable[str]
) -> dict[str, Array]:
    return {column: np.union1d(spare.get(column, others), others) for column in columns}


def _without(found: Outcomes, out: str, keep: Keep) -> str:
    """A hint at columns of `keep` without a value in any answer; "" where each has some."""
    empty = [
        repr(column)
        for column, field in kept_columns(out, keep).items()
        if all(value is None for value in found.kept[field.key])
    ]
    if not empty:
        return ""
    return f"; no answer holds what {listed(empty)} is for: the model, or the request, has to ask for it"


def _left(cells: ForeignCells) -> str:
    if not cells.rows:
        return ""
    were = "was left as it was" if cells.them == "it" else "were left as they were"
    return f"; {cells.described()} and {were}: job.merge(df, overwrite=True) replaces {cells.them}"


def relabelled(job: JobRecord, folder: JobFolder, frame: pd.DataFrame) -> Relabelled | None:
    """Own labels and row positions of a frame that has the job's rows in other labels or order.

    None also where it does not have exactly the job's rows. Raises AlignmentError where a row can't
    be identified.
    """
    return in_order(job, folder, frame, kept(job, folder).find(frame))


def in_order(
    job: JobRecord, folder: JobFolder, frame: pd.DataFrame, positions: np.ndarray[Any, Any]
) -> Relabelled | None:
    """As `relabelled`, for rows whose positions in the job are known."""
    every = np.arange(job.frame_rows)
    if not np.array_equal(np.sort(positions), every):
        return None
    labels = frames.row_labels(frame)
    try:
        known = read_keys(folder, job).labels
    except LedgerCorruptError:
        return labels, positions
    same = np.array_equal(positions, every) and np.array_equal(known, label_hashes(labels))
    return None if same else (labels, positions)


def index_of(
    job: JobRecord, folder: JobFolder, source: Relabelled | None
) -> tuple[pd.Index[Any], np.ndarray[Any, Any]]:
    """The source's index, and the position of each of its rows in the job."""
    return source or (source_index(job, folder), np.arange(job.frame_rows))


def place_in(
    job: JobRecord,
    folder: JobFolder,
    source: Relabelled | None,
    label: Any,
    position: int | None,
) -> tuple[int, Any]:
    """(position in the job of the source's row with this label, or at this position; its label).

    Raises InputError for a label that no row has, or several have.
    """
    index, order = index_of(job, folder, source)
    at, name = position_in(job.id, index, label, position)
    return int(order[at]), name


def position_in(
    job: str, index: pd.Index[Any], label: Any, position: int | None
) -> tuple[int, Any]:
    """(position in this index of the row with this label, or at this position; its label).

    Raises InputError for a label that no row has, or several have.
    """
    from pandas.errors import InvalidIndexError

    if position is not None:
        if not -len(index) <= position < len(index):
            raise InputError(f"job {job} has {len(index):,} rows: there is none at {position}")
        return range(len(index))[position], index[position]
    try:
        found = index.get_loc(label)
    except (KeyError, TypeError, ValueError, InvalidIndexError):
        raise InputError(
            f"job {job} has no row {_plain(label)!r}: its rows are labelled as its frame's index was, "
            f"from {_plain(index[0])!r} on; job.row(position=0) is the first"
        ) from None
    if isinstance(found, int | np.integer):
        return int(found), label
    places = np.arange(len(index))[found].tolist()
    if len(places) == 1:  # a partial date, such as "2024-05", that identifies one row
        return places[0], index[places[0]]
    raise InputError(
        f"{len(places):,} rows of job {job} have the label {label!r}: give one of their positions, "
        f"job.row(position={places[0]})"
    )


def _plain(label: Any) -> Any:
    """A label whose repr has no numpy type: np.int64(1) as 1, also inside a MultiIndex's tuple."""
    if isinstance(label, tuple):
        return tuple(map(_plain, label))
    return label.item() if isinstance(label, np.generic) else label


def table(
    job: JobRecord,
    folder: JobFolder,
    found: Outcomes,
    source: Relabelled | None,
    out: str,
    keep: Keep,
) -> pd.DataFrame:
    """All outcomes on the source's index.

    The columns, _status, _error, _finish, _cost, _input_tokens, _output_tokens. out, keep: the
    columns' names, as in the frame, and the further content of answers that has one.
    _input_tokens: all that were sent, with those written to and read from the provider's cache,
    whatever the provider calls them. _cached_tokens: those read from the cache. _finish: why the
    model stopped (core/request.py). _cost: US dollars, NaN where it is not known, or not yet.
    With a schema _raw too: the text of an answer that violates the schema. With tools _tool_calls:
    the open calls, a list for each unfinished row.
    """
    import pandas as pd

    index, order = index_of(job, folder, source)
    words = np.array([str(status) for status in CODES], dtype=object)
    codes = np.frombuffer(found.status, dtype=np.uint8)
    made = pd.DataFrame(index=index)
    fill_with(job, found, made, out, order, keep=keep)
    made["_status"] = words[codes[order]]
    made["_error"] = np.array([found.reasons.get(at) for at in order.tolist()], dtype=object)
    finishes = np.array(found.finishes, dtype=object)
    made["_finish"] = finishes[np.frombuffer(found.finish, dtype=np.uint8)[order]]
    made["_cost"] = np.array(found.costs.paid, dtype=np.float64)[order]
    for name, tokens in (
        ("_input_tokens", found.input_tokens),
        ("_output_tokens", found.output_tokens),
        ("_cached_tokens", found.cached_tokens),
    ):
        counted = np.array(tokens, dtype=np.int64)[order]
        made[name] = pd.arrays.IntegerArray(counted, counted < 0)
    if job.schema is not None:
        made["_raw"] = pd.array([found.raws.get(at) for at in order.tolist()], dtype="string")
    if job.tools:
        calls = [answer if isinstance(answer, ToolCalls) else np.nan for answer in found.answers]
        made["_tool_calls"] = np.fromiter(calls, dtype=object, count=len(calls))[order]
    return made
