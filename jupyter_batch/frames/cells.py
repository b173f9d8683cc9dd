"""Conversion of values to a column's array by field kind; content of bytes and images."""

from __future__ import annotations

import ast
import json
import math
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd

from jupyter_batch.core.schema import Field

if TYPE_CHECKING:
    Array: TypeAlias = np.ndarray[Any, Any]

Cells: TypeAlias = list[Any]


def column(cells: Cells, field: Field | None = None) -> Any:
    """Return the array of a column, with None as the dtype's missing value.

    Without a field: texts in pandas' own dtype for them, numbers as pandas converts them, all else
    as objects. With one: Int64, Float64, boolean, string, category with all categories, datetime64
    (in UTC if times have a zone), or objects.
    """
    return _free(cells) if field is None else _KINDS[field.kind](cells, field)


def _free(cells: Cells) -> Any:
    kinds = set(map(type, cells)) - {type(None)}
    if kinds <= {str}:
        dtype: Any = pd.Series([""]).dtype
        if isinstance(dtype, np.dtype):
            return _objects(cells)
        try:
            return pd.array(cells, dtype=dtype)
        except UnicodeEncodeError:  # a lone surrogate, invalid in arrow, becomes U+FFFD
            return pd.array(
                [
                    cell and cell.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
                    for cell in cells
                ],
                dtype=dtype,
            )
    if kinds <= {int, float, bool}:
        return pd.Series(cells).array
    return _objects(cells)


def of_arrow(answers: Any, positions: Array) -> Any:
    """The array of a text column at these positions, -1 for none, without an object a cell.

    answers: has them as an Arrow array in `arrow`. None where it has none, or where pandas' own
    dtype for texts is not Arrow's.
    """
    dtype: Any = pd.Series([""]).dtype
    if getattr(dtype, "storage", "") != "pyarrow" or getattr(answers, "arrow", None) is None:
        return None
    texts = answers.arrow
    if not in_order(positions, len(texts)):
        import pyarrow as pa

        texts = texts.take(pa.array(positions, mask=positions < 0))
    return dtype.__from_arrow__(texts)


def in_order(positions: Array, rows: int) -> bool:
    """Whether these are the positions of all rows, from the first to the last."""
    if len(positions) != rows:
        return False
    return all(
        (positions[at : at + _BLOCK_ROWS] == np.arange(at, min(at + _BLOCK_ROWS, rows))).all()
        for at in range(0, rows, _BLOCK_ROWS)
    )


_BLOCK_ROWS = 1 << 16
"""Positions that are compared at a time: those of all rows take eight bytes each."""


def _objects(cells: Cells, _: Field | None = None) -> Array:
    own = (
        np.nan if cell is None else _apart(cell) if type(cell) in _HOLDERS else cell
        for cell in cells
    )
    array: Array = np.fromiter(own, dtype=object, count=len(cells))
    return array


_HOLDERS = frozenset({list, dict})


def _apart(cell: Any) -> Any:
    """Return a copy of a list or object: rows with the same request share the stored answer."""
    if type(cell) is list:
        return [_apart(item) if type(item) in _HOLDERS else item for item in cell]
    return {key: _apart(item) if type(item) in _HOLDERS else item for key, item in cell.items()}


def _masked(make: Any, dtype: str, nothing: Any) -> Callable[[Cells, Field], Any]:
    def made(cells: Cells, _: Field) -> Any:
        mask = np.fromiter((cell is None for cell in cells), dtype=bool, count=len(cells))
        values = np.fromiter(
            (nothing if cell is None else cell for cell in cells), dtype=dtype, count=len(cells)
        )
        return make(values, mask)

    return made


def _texts(cells: Cells, _: Field) -> Any:
    return pd.array(cells, dtype="string")


def _category(cells: Cells, field: Field) -> Any:
    places = {value: code for code, value in enumerate(field.categories)}
    codes = [-1 if cell is None else places.get(cell, -1) for cell in cells]
    return pd.Categorical.from_codes(codes, categories=pd.Index(list(field.categories)))


def _times(cells: Cells, _: Field) -> Any:
    """Return times in microseconds (years 1 to 9999). Among zoned ones, naive times are UTC."""
    zoned = any(isinstance(cell, datetime) and cell.tzinfo is not None for cell in cells)
    times: Any = np.array([_time(cell) for cell in cells], dtype="datetime64[us]")
    return pd.Series(times).dt.tz_localize("UTC").array if zoned else pd.Series(times).array


def _time(cell: date | datetime | None) -> datetime | None:
    if isinstance(cell, datetime):
        return cell if cell.tzinfo is None else cell.astimezone(UTC).replace(tzinfo=None)
    return None if cell is None else datetime(cell.year, cell.month, cell.day)  # noqa: DTZ001 - a date has no zone


_KINDS: dict[str, Callable[[Cells, Field], Any]] = {
    "int": _masked(pd.arrays.IntegerArray, "int64", 0),
    "float": _masked(pd.arrays.FloatingArray, "float64", 0.0),
    "bool": _masked(pd.arrays.BooleanArray, "bool", False),
    "text": _texts,
    "category": _category,
    "date": _times,
    "datetime": _times,
    "object": _objects,
}


# --- bytes and pictures ---------------------------------------------------------------------------------------------


def is_picture(cell: Any) -> bool:
    """Whether this is a Pillow image; Pillow is loaded if there is one."""
    pillow = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(cell, pillow.Image)


def is_pixels(cell: Any) -> bool:
    """Whether this is an image array: uint8, (height, width), or with 1, 3 or 4 channels."""
    return (
        isinstance(cell, np.ndarray)
        and cell.dtype == np.uint8
        and cell.ndim in (2, 3)
        and cell.size > 0
        and (cell.ndim == 2 or cell.shape[2] in (1, 3, 4))  # noqa: PLR2004
    )


def own_picture(cell: Any) -> Any:
    """Return an image to read and close; the pixels of an unread one stay in its file."""
    if getattr(cell, "tile", None) and getattr(cell, "filename", "") and not cell.tell():
        return sys.modules["PIL.Image"].open(cell.filename)
    return cell.copy()


def content_text(cell: Any) -> str | None:
    """Return a short text for bytes, images or pixel arrays, from their content alone.

    None for any other value.
    """
    if isinstance(cell, bytes | bytearray | memoryview):
        return f"bytes {_digest(cell)}"
    if is_pixels(cell):
        return f"pixels {cell.shape} {_digest(np.ascontiguousarray(cell).data)}"
    if not is_picture(cell):
        return None
    try:
        with own_picture(cell) as own:
            return f"picture {own.mode} {own.size} {own.getpalette()} {_digest(own.tobytes())}"
    except Exception:  # a missing or damaged file: reported when it is sent
        return f"picture {getattr(cell, 'filename', '')}"


def _digest(data: Any) -> str:
    return blake2b(data, digest_size=16).hexdigest()


# --- comparison -----------------------------------------------------------------------------------------------------


def same(mine: Any, theirs: Any) -> bool:
    """Whether two cells are equal, if one was written to a file (CSV, Parquet, JSON) and read back.

    A text equals the value that pandas reads it as; lists, arrays and the texts of either are
    equal.
    """
    if type(mine) is type(theirs) and type(mine) in (str, int, bool):
        return bool(mine == theirs)
    if is_missing(theirs) or is_missing(mine):
        return False
    if _is_nested(theirs) or _is_nested(mine):
        return _nested_same(mine, theirs)
    if isinstance(mine, bool | np.bool_) or isinstance(theirs, bool | np.bool_):
        return str(mine).lower() == str(theirs).lower()
    if isinstance(mine, date) or isinstance(theirs, date):
        return bool(_moment(mine) == _moment(theirs))
    try:
        return float(mine) == float(theirs)
    except (TypeError, ValueError, OverflowError):
        return bool(str(mine) == str(theirs))


def is_missing(cell: Any) -> bool:
    """Whether a cell is None, NaN, NaT or pd.NA."""
    missing: Any = pd.isna(cell)
    return isinstance(missing, bool) and missing


def _is_nested(cell: Any) -> bool:
    return isinstance(cell, list | tuple | dict | np.ndarray)


def _nested_same(mine: Any, theirs: Any) -> bool:
    if isinstance(mine, str) or isinstance(theirs, str):
        if _read(mine) is None or _read(theirs) is None:
            return bool(str(mine) == str(theirs))
        mine, theirs = _read(mine), _read(theirs)
    if isinstance(mine, np.ndarray) or isinstance(theirs, np.ndarray):
        left, right = _vector(mine), _vector(theirs)
        if left is not None and right is not None:
            return bool(np.array_equal(left, right, equal_nan=True))
    return _items_same(_plain(mine), _plain(theirs))


def _vector(cell: Any) -> Array | None:
    """Return a list or an array of floats in the precision of vectors; None for anything else."""
    try:
        array = np.asarray(cell)
    except ValueError:  # lists of several lengths
        return None
    return array.astype(np.float32) if array.dtype.kind == "f" else None


def _items_same(mine: Any, theirs: Any) -> bool:
    """Whether two values in lists are equal: a text does not equal the number it reads as."""
    if isinstance(mine, list) and isinstance(theirs, list):
        return len(mine) == len(theirs) and all(map(_items_same, mine, theirs))
    if isinstance(mine, dict) and isinstance(theirs, dict):
        return mine.keys() == theirs.keys() and all(
            _items_same(item, theirs[key]) for key, item in mine.items()
        )
    if is_missing(mine) or is_missing(theirs):
        return is_missing(mine) and is_missing(theirs)
    numbers = (int, float)
    plain = (
        isinstance(mine, numbers)
        and isinstance(theirs, numbers)
        and bool not in (type(mine), type(theirs))
    )
    if plain:
        return _numbers_same(mine, theirs)
    return type(mine) is type(theirs) and bool(mine == theirs)


def _numbers_same(mine: float, theirs: float) -> bool:
    """Compare integers exactly, others in single precision, which some files use."""
    if mine == theirs:
        return True
    if float(mine).is_integer() and float(theirs).is_integer():
        return False
    return math.isclose(mine, theirs, rel_tol=2**-23)


def _read(cell: Any) -> Any:
    """Parse a list or an object from its Python or JSON text; None for any other text."""
    if not isinstance(cell, str):
        return cell
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(cell)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if _is_nested(found):
            return found
    return None


def _plain(cell: Any) -> Any:
    """Return a file's value as lists and dicts; None fields (due to other rows) are dropped."""
    if isinstance(cell, np.ndarray):
        return _plain(cell.tolist())
    if isinstance(cell, list | tuple):
        return [_plain(item) for item in cell]
    if isinstance(cell, dict):
        return {str(key): _plain(item) for key, item in cell.items() if not is_missing(item)}
    if isinstance(cell, np.generic):
        return cell.item()
    return cell


def _moment(cell: Any) -> Any:
    """Return a time without its unit and zone; None for other values."""
    try:
        moment = pd.Timestamp(cell)
    except (TypeError, ValueError):
        return None
    return moment if moment.tzinfo is None else moment.tz_convert("UTC").tz_localize(None)
