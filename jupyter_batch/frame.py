"""Rows out of a frame and cells back in: one file, because both must agree on a row's key and fingerprint.

A row's key is its label in the index; its fingerprint is a hash of its cells in the columns that the prompt uses. It
knows pandas, and nothing of prompts, requests or jobs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import orjson
import pandas as pd

from jupyter_batch.core.errors import ColumnError

if TYPE_CHECKING:
    Array: TypeAlias = np.ndarray[Any, Any]
    Index: TypeAlias = Any  # pandas' own types are not told apart by their stubs in the way that they are at run time
    Series: TypeAlias = Any

BLOCK_ROWS = 4096
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
            raise ColumnError(f"{len(where)} columns are called {label!r}, so it can't be told which is meant: rename one")


def _places(frame: pd.DataFrame, label: Any) -> list[int]:
    """Where this very label stands among the columns (0 is no False, and a tuple is no path)."""
    label = label.item() if isinstance(label, np.generic) else label
    return [at for at, name in enumerate(frame.columns)
            if name is label or (type(name) is type(label) and name == label)]


def missing_reason(column: Any) -> str:
    """Why a row was skipped."""
    return f"no value in column {column!r}"


def blocks(frame: pd.DataFrame, columns: Sequence[Any], size: int = BLOCK_ROWS) -> Iterator[Block]:
    """The rows' cells in these columns, a block at a time, in one pass. Raises ColumnError as `used` does."""
    used(frame, columns)
    series: list[Series] = [frame.iloc[:, _places(frame, label)[0]] for label in columns]
    for start in range(0, len(frame), size):
        stop = min(start + size, len(frame))
        missing: dict[int, Any] = {}
        values, texts = [], []
        for label, column in zip(columns, series, strict=True):
            cells, absent = _cells(column.iloc[start:stop])
            for offset in absent:
                missing.setdefault(offset, label)
            values.append(cells)
            texts.append(_texts(cells))
        yield Block(start, values, missing, _fingerprints(texts, stop - start))


def _cells(column: Series) -> tuple[list[Any], list[int]]:
    """(plain Python values with None for missing ones, the offsets of those)."""
    values: list[Any] = column.tolist()
    absent: list[int] = np.flatnonzero(column.isna().to_numpy(dtype=bool)).tolist()
    kinds = set(map(type, values))
    if float in kinds and not isinstance(column.dtype, np.dtype):  # arrow's own NaN, which pandas may not call missing
        nans = (at for at, value in enumerate(values) if isinstance(value, float) and math.isnan(value))
        absent = sorted({*absent, *nans})
    if any(issubclass(kind, np.generic) for kind in kinds):
        values = [value.item() if isinstance(value, np.generic) else value for value in values]
    for at in absent:
        values[at] = None
    return values, absent


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
    if isinstance(cell, (dict, list, tuple, set, frozenset, np.ndarray)):
        try:
            return orjson.dumps(cell, default=_plain, option=_NESTED).decode()
        except (TypeError, ValueError):
            return repr(_plain(cell)) if not isinstance(cell, (dict, list, tuple)) else repr(cell)
    return str(cell)


_NESTED = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS


def _plain(value: Any) -> Any:
    """What orjson does not know: in an order and a form that is the same in every process."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, (set, frozenset)):
        return sorted(map(repr, value))
    return str(value)


def _fingerprints(columns: list[list[str | None]], rows: int) -> list[bytes]:
    """One hash a row, over each cell's text with its length, so that ("a", "bc") is not ("ab", "c"), nor missing ""."""
    if not columns:
        return [bytes(FINGERPRINT_BYTES)] * rows
    if len(columns) == 1:
        texts: list[str] = ["-" if text is None else f"={text}" for text in columns[0]]
    else:
        parts = [["-;" if text is None else f"{len(text)};{text}" for text in column] for column in columns]
        texts = ["".join(row) for row in zip(*parts, strict=True)]
    try:
        return [blake2b(text.encode(), digest_size=FINGERPRINT_BYTES).digest() for text in texts]
    except UnicodeEncodeError:  # lone surrogates
        return [blake2b(text.encode("utf-8", "surrogatepass"), digest_size=FINGERPRINT_BYTES).digest()
                for text in texts]


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
        return b"".join([_MAGIC, len(self).to_bytes(8, "little"), self.labels.astype("<u8").tobytes(),
                         self.prints.astype("<u8").tobytes(), np.packbits(self.skipped).tobytes()])

    @classmethod
    def from_bytes(cls, data: bytes) -> Keys:
        """What `to_bytes` wrote. Raises ValueError for anything else."""
        rows = int.from_bytes(data[4:12], "little")
        if data[:4] != _MAGIC or len(data) != 12 + rows * 24 + (rows + 7) // 8:
            raise ValueError("these are no row keys")
        labels = np.frombuffer(data, "<u8", rows, 12).astype(np.uint64, copy=False)
        prints = np.frombuffer(data, "<u8", rows * 2, 12 + rows * 8).astype(np.uint64, copy=False).reshape(rows, 2)
        flags = np.unpackbits(np.frombuffer(data, np.uint8, offset=12 + rows * 24), count=rows).astype(bool)
        return cls(labels, prints, flags)


def _prints(fingerprints: bytes | bytearray) -> Array:
    return np.frombuffer(bytes(fingerprints), "<u8").astype(np.uint64, copy=False).reshape(-1, 2)


def _mix(values: Array, tag: int) -> Array:
    """splitmix64: spreads integers over 64 bits; overflow is meant."""
    with np.errstate(over="ignore"):
        mixed = values.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15) * np.uint64(tag)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        out: Array = mixed ^ (mixed >> np.uint64(31))
        return out


_INTEGER, _FLOAT, _TIME, _SPAN, _TEXT, _OTHER, _LEVEL = 1, 2, 3, 4, 5, 6, 7
_MISSING = np.uint64(0x6A625F6D697373)


def label_hashes(index: Index) -> Array:
    """A uint64 for each label, by the label alone: the same in every process, in any order, beside any other labels.

    (As soon as a text is appended to whole numbers, pandas keeps them as objects: their hashes stay.)
    """
    if isinstance(index, pd.MultiIndex):
        out = np.zeros(len(index), dtype=np.uint64)
        for level, codes in zip(index.levels, index.codes, strict=True):
            hashed = np.append(label_hashes(level), _MISSING)[np.asarray(codes, dtype=np.int64)]  # code -1 is missing
            out = _mix(out ^ hashed, _LEVEL)
        return out
    if isinstance(index, pd.CategoricalIndex):
        taken: Array = np.append(label_hashes(index.categories), _MISSING)[
            np.asarray(index.codes, dtype=np.int64)]
        return taken
    if isinstance(index, (pd.DatetimeIndex, pd.TimedeltaIndex)):
        return _hash_times(index)
    if isinstance(index.dtype, np.dtype) and index.dtype.kind in "iub":
        return _mix(index.to_numpy().astype(np.int64), _INTEGER)
    if isinstance(index.dtype, np.dtype) and index.dtype.kind == "f":
        return _hash_floats(index.to_numpy().astype(np.float64))
    return _hash_objects(np.asarray(index.astype(object), dtype=object))


_MICROS = {"us": 1, "ms": 1000, "s": 1_000_000}


def _hash_times(index: Any) -> Array:
    """By microseconds, and what is left of nanoseconds: the unit that pandas happens to keep does not matter."""
    ticks = index.asi8
    micros, nanos = (ticks // 1000, ticks % 1000) if index.unit == "ns" else (ticks * _MICROS[index.unit], ticks * 0)
    out = _hash_ticks(micros, nanos, _TIME if isinstance(index, pd.DatetimeIndex) else _SPAN)
    out[index.isna()] = _MISSING
    return out


def _hash_ticks(micros: Array, nanos: Array, tag: int) -> Array:
    out: Array = _mix(micros, tag) ^ np.where(nanos == 0, np.uint64(0), _mix(nanos, tag))
    return out


def _hash_floats(values: Array) -> Array:
    """Whole ones as the integers they are."""
    whole = np.isfinite(values) & (np.floor(values) == values) & (np.abs(values) < 2.0**62)
    out = _mix(np.where(whole, 0.0, values).view(np.uint64), _FLOAT)
    out[whole] = _mix(values[whole].astype(np.int64), _INTEGER)
    out[np.isnan(values)] = _MISSING
    return out


def _hash_objects(values: Array) -> Array:
    """Each kind of object by itself, texts by pandas' own hash of texts."""
    kinds = np.fromiter(map(_kind, values), dtype=np.int8, count=len(values))
    out = np.full(len(values), _MISSING, dtype=np.uint64)
    for kind in np.unique(kinds[kinds != 0]):
        where = kinds == kind
        chosen = values[where]
        if kind == _INTEGER:
            out[where] = _mix(np.array([int(value) & 0xFFFF_FFFF_FFFF_FFFF for value in chosen], np.uint64), _INTEGER)
        elif kind == _FLOAT:
            out[where] = _hash_floats(chosen.astype(np.float64))
        elif kind in (_TIME, _SPAN):
            stamps: list[Any] = [pd.Timestamp(value) if kind == _TIME else pd.Timedelta(value) for value in chosen]
            micros = np.array([stamp.asm8.astype(f"{stamp.asm8.dtype.kind}8[us]") for stamp in stamps]).view(np.int64)
            nanos = np.array([stamp.nanosecond if kind == _TIME else stamp.nanoseconds for stamp in stamps])
            out[where] = _hash_ticks(micros, nanos, int(kind))
        else:
            texts = [value if kind == _TEXT else repr(value) for value in chosen]
            out[where] = _mix(_hash_texts(texts), int(kind))
    return out


def _hash_texts(texts: list[str]) -> Array:
    raw = np.empty(len(texts), dtype=object)
    raw[:] = texts
    try:
        hashed: Array = pd.util.hash_array(raw, categorize=False)
    except UnicodeEncodeError:  # lone surrogates
        raw[:] = [ascii(text) for text in texts]
        hashed = pd.util.hash_array(raw, categorize=False)
    return hashed


def _kind(label: Any) -> int:
    """What kind of label; 0 for a missing one."""
    if isinstance(label, str):
        return _TEXT
    if isinstance(label, (bool, int, np.integer, np.bool_)):
        return _INTEGER
    if label is None or label is pd.NaT or label is pd.NA:
        return 0
    if isinstance(label, (float, np.floating)):
        return _FLOAT
    if isinstance(label, (datetime, np.datetime64)):
        return _TIME
    return _SPAN if isinstance(label, (timedelta, np.timedelta64)) else _OTHER
