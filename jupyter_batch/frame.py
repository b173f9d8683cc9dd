"""Rows out of a frame and cells back in: one file, because both must agree on a row's key and fingerprint.

A row's key is its label in the index; its fingerprint is a hash of its cells in the columns that the prompt uses. It
knows pandas, and nothing of prompts, requests or jobs.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import orjson
import pandas as pd

from jupyter_batch.cells import column as array_of
from jupyter_batch.cells import content_text
from jupyter_batch.core.errors import AlignmentError, ColumnError
from jupyter_batch.core.schema import Field
from jupyter_batch.labels import index_from_bytes, index_to_bytes, label_hashes

__all__ = [
    "Block",
    "Keys",
    "align",
    "blocks",
    "column_label",
    "fill",
    "fill_all",
    "has_column",
    "index_from_bytes",
    "index_to_bytes",
    "missing_reason",
    "used",
]

if TYPE_CHECKING:
    Array: TypeAlias = np.ndarray[Any, Any]
    Index: TypeAlias = Any  # pandas' own types are not told apart by their stubs in the way that they are at run time
    Series: TypeAlias = Any

BLOCK_ROWS = 512
BLOCK_CHARS = 1 << 22
FINGERPRINT_BYTES = 16

# --- rows out -------------------------------------------------------------------------------------------------------


class Block(NamedTuple):
    """Some rows that follow each other.

    start: the first one's position. values: for each used column a list of plain Python values, None where one is
    missing. missing: offset in the block -> the first column whose cell is missing. fingerprints: 16 bytes a row.
    """

    start: int
    values: list[list[Any]]
    missing: dict[int, Any]
    fingerprints: list[bytes]

    @property
    def rows(self) -> int:
        """How many rows."""
        return len(self.fingerprints)


def used(frame: pd.DataFrame, columns: Sequence[Any]) -> None:
    """Each label stands for exactly one column of the frame, else ColumnError."""
    for label in columns:
        where = _places(frame, label)
        if not where:
            names = ", ".join(map(str, frame.columns[:20]))
            raise ColumnError(f"the frame has no column {label!r}. Columns: {names}")
        if len(where) > 1:
            raise ColumnError(
                f"{len(where)} columns are called {label!r}, so that none can be meant: rename one"
            )


def _places(frame: pd.DataFrame, label: Any) -> list[int]:
    """Where this very label stands among the columns (0 is no False, and a tuple is no path)."""
    label = label.item() if isinstance(label, np.generic) else label
    return [
        at
        for at, name in enumerate(frame.columns)
        if name is label or (type(name) is type(label) and name == label)
    ]


def missing_reason(column: Any) -> str:
    """Why a row was skipped."""
    return f"no value in column {column!r}"


def blocks(frame: pd.DataFrame, columns: Sequence[Any], size: int = BLOCK_ROWS) -> Iterator[Block]:
    """The rows' cells in these columns, a block at a time, in one pass. Raises ColumnError as `used` does.

    A block is of at most `size` rows, and of fewer where cells are long: of some megabytes, or of one row.
    """
    used(frame, columns)
    series: list[Series] = [frame.iloc[:, _places(frame, label)[0]] for label in columns]
    start, rows = 0, min(size, _FIRST_ROWS)
    while start < len(frame):
        stop = min(start + rows, len(frame))
        missing: dict[int, Any] = {}
        values, texts = [], []
        for label, column in zip(columns, series, strict=True):
            cells, absent = _cells(column.iloc[start:stop])
            for offset in absent:
                missing.setdefault(offset, label)
            values.append(cells)
            texts.append(_texts(cells))
        yield Block(start, values, missing, _fingerprints(texts, stop - start))
        chars = sum(len(text) for column in texts for text in column if text is not None)
        chars += sum(len(cell) for cells in values for cell in cells if isinstance(cell, bytes))
        rows = max(1, min(size, rows * 2, rows * BLOCK_CHARS // (chars + 1)))
        start = stop


_FIRST_ROWS = 8  # before it is known how long the cells are


def _cells(column: Series) -> tuple[list[Any], list[int]]:
    """(plain Python values with None for missing ones, the offsets of those)."""
    values: list[Any] = column.tolist()
    absent: list[int] = np.flatnonzero(column.isna().to_numpy(dtype=bool)).tolist()
    kinds = set(map(type, values))
    if float in kinds and not isinstance(
        column.dtype, np.dtype
    ):  # arrow's own NaN, which pandas may not call missing
        nans = (
            at for at, value in enumerate(values) if isinstance(value, float) and math.isnan(value)
        )
        absent = sorted({*absent, *nans})
    if any(issubclass(kind, np.generic) for kind in kinds):
        values = [_own(value) if isinstance(value, np.generic) else value for value in values]
    for at in absent:
        values[at] = None
    return values, absent


def _own(value: np.generic) -> Any:
    """A plain Python value, or pandas' own for a time: numpy makes integers of nanoseconds."""
    if isinstance(value, np.datetime64):
        return pd.Timestamp(value)
    return pd.Timedelta(value) if isinstance(value, np.timedelta64) else value.item()


_PLAIN = frozenset({str, int, bool, type(None)})


def _texts(cells: list[Any]) -> list[str | None]:
    """What a fingerprint sees of each cell; None for a missing one.

    1 and 1.0 are the same: pandas turns one into the other as soon as a value is missing somewhere.
    """
    kinds = set(map(type, cells))
    if kinds <= {str, type(None)}:
        return cells
    if kinds <= _PLAIN:
        return [None if cell is None else str(cell) for cell in cells]
    return [_text(cell) for cell in cells]


def _text(cell: Any) -> str | None:
    if cell is None or isinstance(cell, str):
        return cell
    if isinstance(cell, float):
        return str(int(cell)) if math.isfinite(cell) and cell.is_integer() else repr(cell)
    content = content_text(cell)
    if content is not None:
        return content
    if isinstance(cell, (dict, list, tuple, set, frozenset, np.ndarray)):
        try:
            return orjson.dumps(cell, default=_plain, option=_NESTED).decode()
        except (TypeError, ValueError):
            return repr(_plain(cell)) if not isinstance(cell, (dict, list, tuple)) else repr(cell)
    return str(cell)


_NESTED = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS


def _plain(value: Any) -> Any:
    """What orjson does not know: in an order and a form that is the same in every process."""
    content = content_text(value)
    if content is not None:
        return content
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, (set, frozenset)):
        return sorted(map(repr, value))
    return str(value)


_ABSENT = blake2b(b"\xff", digest_size=FINGERPRINT_BYTES).digest()  # no text's: this is no UTF-8


def _fingerprints(columns: list[list[str | None]], rows: int) -> list[bytes]:
    """One hash a row, over each cell's text with its length, so that ("a", "bc") is not ("ab", "c"), nor missing ""."""
    if not columns:
        return [_ABSENT] * rows
    if len(columns) == 1:
        return _hashed(columns[0])
    parts = [
        ["-;" if text is None else f"{len(text)};{text}" for text in column] for column in columns
    ]
    return _hashed(list(map("".join, zip(*parts, strict=True))))


def _hashed(texts: Sequence[str | None]) -> list[bytes]:
    try:
        return [
            _ABSENT
            if text is None
            else blake2b(text.encode(), digest_size=FINGERPRINT_BYTES).digest()
            for text in texts
        ]
    except UnicodeEncodeError:  # lone surrogates
        return [
            _ABSENT
            if text is None
            else blake2b(
                text.encode("utf-8", "surrogatepass"), digest_size=FINGERPRINT_BYTES
            ).digest()
            for text in texts
        ]


# --- keys -----------------------------------------------------------------------------------------------------------

_MAGIC = b"JBK1"


class Keys:
    """What is remembered of the submitted rows, 24 bytes and a bit each: label hash, fingerprint, whether skipped.

    labels: uint64. prints: uint64 of shape (rows, 2). skipped: bool; these rows have no request.
    """

    def __init__(self, labels: Array, prints: Array, skipped: Array) -> None:
        self.labels = labels
        self.prints = prints
        self.skipped = skipped

    @classmethod
    def of(cls, index: Index, fingerprints: bytes | bytearray, skipped: Sequence[int] = ()) -> Keys:
        """Out of the frame's index, all its blocks' fingerprints joined, and the positions of the skipped rows."""
        flags = np.zeros(len(index), dtype=bool)
        flags[np.asarray(skipped, dtype=np.int64)] = True
        return cls(label_hashes(index), _prints(fingerprints), flags)

    def __len__(self) -> int:
        return len(self.labels)

    def to_bytes(self) -> bytes:
        """For the ledger; the same in every process and on every machine."""
        return b"".join(
            [
                _MAGIC,
                len(self).to_bytes(8, "little"),
                self.labels.astype("<u8").tobytes(),
                self.prints.astype("<u8").tobytes(),
                np.packbits(self.skipped).tobytes(),
            ]
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Keys:
        """What `to_bytes` wrote. Raises ValueError for anything else."""
        rows = int.from_bytes(data[4:12], "little")
        if data[:4] != _MAGIC or len(data) != 12 + rows * 24 + (rows + 7) // 8:
            raise ValueError("these are no row keys")
        labels = np.frombuffer(data, "<u8", rows, 12).astype(np.uint64, copy=False)
        prints = (
            np.frombuffer(data, "<u8", rows * 2, 12 + rows * 8)
            .astype(np.uint64, copy=False)
            .reshape(rows, 2)
        )
        flags = np.unpackbits(
            np.frombuffer(data, np.uint8, offset=12 + rows * 24), count=rows
        ).astype(bool)
        return cls(labels, prints, flags)


def _prints(fingerprints: bytes | bytearray) -> Array:
    return np.frombuffer(bytes(fingerprints), "<u8").astype(np.uint64, copy=False).reshape(-1, 2)


# --- cells in -------------------------------------------------------------------------------------------------------


def align(frame: pd.DataFrame, columns: Sequence[Any], keys: Keys, *, alike: bool = False) -> Array:
    """For each row of the frame the position that it was submitted at, as int64; -1 for a row that is new.

    `columns` are the labels that the fingerprints were taken over. Label and content together tell a row; content alone
    does where labels were dealt anew and no two rows read the same. Raises AlignmentError, with how many rows moved or
    changed, wherever it can't be told: no answer ever lands on another row.

    alike: rows that read the same may take each other's answers, since just the same was asked for each; so it is when
    the person asks anew for the answers to these very rows, and not when a frame only happens to hold them.
    """
    try:
        prints = _prints(b"".join(b"".join(block.fingerprints) for block in blocks(frame, columns)))
    except ColumnError as error:
        raise AlignmentError(
            f"the frame's columns are not those that were submitted: {error}"
        ) from None
    labels = label_hashes(frame.index)
    rows = len(frame)
    if (
        rows == len(keys)
        and np.array_equal(prints, keys.prints)
        and (np.array_equal(labels, keys.labels) or not np.isin(labels, keys.labels).any())
    ):
        return np.arange(rows, dtype=np.int64)
    positions = _match(labels ^ prints[:, 0], keys.labels ^ keys.prints[:, 0])
    right = (
        (keys.labels[positions] == labels) & (keys.prints[positions] == prints).all(axis=1)
        if len(keys)
        else False
    )
    positions[~(np.asarray(right) & (positions >= 0))] = -1
    if (positions < 0).any():
        _settle(positions, labels, prints, keys, alike=alike)
    return positions


def _settle(positions: Array, labels: Array, prints: Array, keys: Keys, *, alike: bool) -> None:
    """What label and content together did not find: by content alone, or new, or (AlignmentError) not to be told."""
    left = positions < 0
    free = np.ones(len(keys), dtype=bool)
    free[positions[~left]] = False
    known = left & np.isin(
        labels, keys.labels[free]
    )  # the label is an old row's, and the content is not that row's
    there = left & np.isin(
        prints[:, 0], keys.prints[free, 0]
    )  # the content is an old row's that is still to be found
    single = ~_repeated(prints[:, 0])
    if (
        known & there
    ).any():  # labels were dealt anew: they tell nothing, not even where they seem right
        there |= ~left
    found = np.flatnonzero(there & single)
    candidates = np.flatnonzero(~_repeated(keys.prints[:, 0]))
    matched = (
        candidates[_match(prints[found, 0], keys.prints[candidates, 0])]
        if len(candidates)
        else found[:0]
    )
    sure = (
        (keys.prints[matched] == prints[found]).all(axis=1)
        if len(matched)
        else np.zeros(len(found), dtype=bool)
    )
    positions[there] = -1
    if len(matched):
        positions[found[sure]] = matched[sure]
    if alike:
        _pair(positions, np.flatnonzero(there & (positions < 0)), prints, keys)
    unclear = int((there & (positions < 0)).sum())
    changed = int((known & ~there).sum())
    if unclear or changed:
        raise AlignmentError(_refusal(changed, unclear, len(labels)))
    if (positions < 0).all():
        raise AlignmentError(
            f"none of the frame's {len(labels):,} rows was submitted with this job. {_WAY_OUT}"
        )


def _pair(positions: Array, rest: Array, prints: Array, keys: Keys) -> None:
    """Give the n-th row of a content the n-th submitted row of that content that is still free."""
    free = np.ones(len(keys), dtype=bool)
    free[positions[positions >= 0]] = False
    candidates = np.flatnonzero(free)
    at = _match(prints[rest, 0], keys.prints[candidates, 0])
    rest, at = rest[at >= 0], candidates[at[at >= 0]] if len(candidates) else at[:0]
    same = (keys.prints[at] == prints[rest]).all(axis=1)
    positions[rest[same]] = at[same]


_WAY_OUT = (
    "Nothing was written. `job.merge(df)` fills the frame that was submitted, in any order and with its index; "
    "running the cell again sends this one."
)


def _refusal(changed: int, unclear: int, rows: int) -> str:
    parts = [f"{changed:,} changed"] if changed else []
    parts += (
        [f"{unclear:,} moved and can't be told from others with the same text"] if unclear else []
    )
    return f"{changed + unclear:,} of {rows:,} rows are not as they were submitted ({', '.join(parts)}). {_WAY_OUT}"


def _repeated(values: Array) -> Array:
    """Which values are there more than once."""
    _, where, counts = np.unique(values, return_inverse=True, return_counts=True)
    repeated: Array = counts[where.reshape(-1)] > 1
    return repeated


def _match(wanted: Array, held: Array) -> Array:
    """For each wanted value its index in `held`, the n-th of a value to the n-th, -1 where there is none."""
    if not len(held):
        return np.full(len(wanted), -1, dtype=np.int64)
    order = np.argsort(held, kind="stable")
    mine = np.argsort(wanted, kind="stable")
    ordered = wanted[mine]
    first = (
        np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
        if len(ordered)
        else np.zeros(0, np.int64)
    )
    nth = np.arange(len(ordered)) - np.repeat(first, np.diff(np.append(first, len(ordered))))
    places = np.searchsorted(held[order], ordered) + nth
    inside = np.minimum(places, len(held) - 1)
    out = np.empty(len(wanted), dtype=np.int64)
    out[mine] = np.where((places < len(held)) & (held[order][inside] == ordered), order[inside], -1)
    return out


def column_label(frame: pd.DataFrame, out: Any) -> Any:
    """The label that `out` stands for: with several levels of columns it is the first, or the first few as a tuple."""
    levels = frame.columns.nlevels
    if levels == 1:
        return out
    parts = out if isinstance(out, tuple) else (out,)
    if len(parts) > levels:
        raise ColumnError(
            f"out={out!r} has {len(parts)} levels, and the frame's columns have {levels}"
        )
    return (*parts, *[""] * (levels - len(parts)))


def has_column(frame: pd.DataFrame, out: Any) -> bool:
    """Whether the column that `out` stands for is there. Raises ColumnError where there are several."""
    where = _places(frame, column_label(frame, out))
    if len(where) > 1:
        raise ColumnError(
            f"{len(where)} columns are called {out!r}, so that none can be filled: rename one"
        )
    return bool(where)


def fill(frame: pd.DataFrame, out: Any, values: Sequence[Any], positions: Array) -> None:
    """Put the answers into the column, in this very frame and at one stroke; a column that is there keeps its place.

    values: by submitted position, None where there is none. positions: as `align` gives them. A text column gets the
    dtype that this pandas gives to texts; missing cells are its missing value.
    """
    fill_all(frame, {out: None}, lambda _: values, positions)


def fill_all(
    frame: pd.DataFrame,
    columns: Mapping[Any, Field | None],
    values: Callable[[Any], Sequence[Any]],
    positions: Array,
) -> None:
    """The same for several columns: nothing is written before all of them are made.

    columns: each with the field that says of what dtype it is. values: a column's values, as `fill` takes them.
    """
    at = positions.tolist()
    made = []
    for out, field in columns.items():
        held = values(out)
        cells = [held[position] if position >= 0 else None for position in at]
        made.append((out, column_label(frame, out), has_column(frame, out), array_of(cells, field)))
    for out, label, there, array in made:
        if there:
            frame.isetitem(_places(frame, column_label(frame, out))[0], array)
            continue
        if isinstance(frame.columns, pd.CategoricalIndex) and label not in frame.columns.categories:
            frame.columns = frame.columns.add_categories([label])
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", pd.errors.PerformanceWarning
            )  # many columns: that is not our business
            frame.insert(len(frame.columns), label, array)
