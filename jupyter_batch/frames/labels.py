"""Index labels: hashes that identify rows, and the index as JSON for another process."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import orjson
import pandas as pd

if TYPE_CHECKING:
    Array: TypeAlias = np.ndarray[Any, Any]
    Index: TypeAlias = Any  # index types at run time are more than in the stubs

# --- hashes ---------------------------------------------------------------------------------------------------------


def mixed(values: Array, tag: int) -> Array:
    """Spread integers over 64 bits (splitmix64); overflow is intended."""
    whole: Array = values.astype(np.uint64)
    with np.errstate(over="ignore"):
        for start in range(0, len(whole), _BLOCK):
            out = whole[start : start + _BLOCK]
            out += np.uint64(0x9E3779B97F4A7C15) * np.uint64(tag)
            out ^= out >> np.uint64(30)
            out *= np.uint64(0xBF58476D1CE4E5B9)
            out ^= out >> np.uint64(27)
            out *= np.uint64(0x94D049BB133111EB)
            out ^= out >> np.uint64(31)
    return whole


_BLOCK = 1 << 15
"""Labels at a time: what is made on the way stays in the processor's cache."""


_INTEGER, _FLOAT, _TIME, _SPAN, _TEXT, _OTHER, _LEVEL = 1, 2, 3, 4, 5, 6, 7
_MISSING = np.uint64(0x6A625F6D697373)


def label_hashes(index: Index) -> Array:
    """Return a uint64 for each label alone, independent of process, order and index.

    (With a text appended, pandas stores whole numbers as objects: their hashes are unchanged.)
    """
    if isinstance(index, pd.MultiIndex):
        out = np.zeros(len(index), dtype=np.uint64)
        for level, codes in zip(index.levels, index.codes, strict=True):
            hashed = np.append(label_hashes(level), _MISSING)[
                np.asarray(codes, dtype=np.int64)
            ]  # code -1 is missing
            out = mixed(out ^ hashed, _LEVEL)
        return out
    if isinstance(index, pd.CategoricalIndex):
        taken: Array = np.append(label_hashes(index.categories), _MISSING)[
            np.asarray(index.codes, dtype=np.int64)
        ]
        return taken
    if isinstance(index, (pd.DatetimeIndex, pd.TimedeltaIndex)):
        return _hash_times(index)
    if isinstance(index, pd.RangeIndex):  # which would keep its labels as an array
        return mixed(np.arange(index.start, index.stop, index.step), _INTEGER)
    if isinstance(index.dtype, np.dtype) and index.dtype.kind in "iub":
        return mixed(index.to_numpy().astype(np.int64), _INTEGER)
    if isinstance(index.dtype, np.dtype) and index.dtype.kind == "f":
        return _hash_floats(index.to_numpy().astype(np.float64))
    return _hash_objects(np.asarray(index.astype(object), dtype=object))


_MICROS = {"us": 1, "ms": 1000, "s": 1_000_000}


def _hash_times(index: Any) -> Array:
    """Hash microseconds and remaining nanoseconds, so that pandas' unit does not matter."""
    ticks = index.asi8
    micros, nanos = (
        (ticks // 1000, ticks % 1000)
        if index.unit == "ns"
        else (ticks * _MICROS[index.unit], ticks * 0)
    )
    out = _hash_ticks(micros, nanos, _TIME if isinstance(index, pd.DatetimeIndex) else _SPAN)
    out[index.isna()] = _MISSING
    return out


def _hash_ticks(micros: Array, nanos: Array, tag: int) -> Array:
    out: Array = mixed(micros, tag) ^ np.where(nanos == 0, np.uint64(0), mixed(nanos, tag))
    return out


def _hash_floats(values: Array) -> Array:
    """Hash whole numbers like integers."""
    whole = np.isfinite(values) & (np.floor(values) == values) & (np.abs(values) < 2.0**62)
    out = mixed(np.where(whole, 0.0, values).view(np.uint64), _FLOAT)
    out[whole] = mixed(values[whole].astype(np.int64), _INTEGER)
    out[np.isnan(values)] = _MISSING
    return out


def _hash_objects(values: Array) -> Array:
    """Hash each type of object separately, texts by pandas' text hash."""
    kinds = np.fromiter(map(_kind, values), dtype=np.int8, count=len(values))
    out = np.full(len(values), _MISSING, dtype=np.uint64)
    for kind in np.unique(kinds[kinds != 0]):
        where = kinds == kind
        chosen = values[where]
        if kind == _INTEGER:
            out[where] = mixed(
                np.array([int(value) & 0xFFFF_FFFF_FFFF_FFFF for value in chosen], np.uint64),
                _INTEGER,
            )
        elif kind == _FLOAT:
            out[where] = _hash_floats(chosen.astype(np.float64))
        elif kind in (_TIME, _SPAN):
            stamps: list[Any] = [
                pd.Timestamp(value) if kind == _TIME else pd.Timedelta(value) for value in chosen
            ]
            micros = np.array(
                [stamp.asm8.astype(f"{stamp.asm8.dtype.kind}8[us]") for stamp in stamps]
            ).view(np.int64)
            nanos = np.array(
                [stamp.nanosecond if kind == _TIME else stamp.nanoseconds for stamp in stamps]
            )
            out[where] = _hash_ticks(micros, nanos, int(kind))
        else:
            texts = [value if kind == _TEXT else _shown(value) for value in chosen]
            out[where] = mixed(_hash_texts(texts), int(kind))
    return out


def _shown(label: Any) -> str:
    try:
        return repr(label)
    except Exception:  # raised by the label
        return f"a {type(label).__name__}"


def _hash_texts(texts: list[str]) -> Array:
    raw: Any = np.fromiter(texts, dtype=object, count=len(texts))
    try:
        hashed: Array = pd.util.hash_array(raw, categorize=False)
    except UnicodeEncodeError:  # lone surrogates
        hashed = pd.util.hash_array(
            np.fromiter(map(ascii, texts), dtype=object, count=len(texts)), categorize=False
        )
    return hashed


def _kind(label: Any) -> int:
    """Return the type code of a label; 0 for a missing one."""
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


# --- an index as bytes ----------------------------------------------------------------------------------------------


def index_to_bytes(index: Index) -> bytes:
    """Return the index as JSON; labels that can't be represented are stored as texts."""
    return orjson.dumps(
        {"names": [_stored_label(name) for name in index.names], "index": _spec(index)}
    )


def index_from_bytes(data: bytes) -> Index:
    """Return the index that `index_to_bytes` wrote. Raises ValueError for anything else."""
    try:
        record = orjson.loads(data)
        index = _restored(record["index"])
        index.names = [_label(name) for name in record["names"]]
    except (KeyError, TypeError, IndexError, orjson.JSONDecodeError) as error:
        raise ValueError(f"this is no stored index: {error}") from None
    return index


def _spec(index: Index) -> dict[str, Any]:
    """Return the kind of an index and the data to rebuild it."""
    dtype = index.dtype
    if isinstance(index, pd.MultiIndex):
        return {
            "kind": "multi",
            "levels": [_spec(level) for level in index.levels],
            "codes": [np.asarray(codes).tolist() for codes in index.codes],
        }
    if isinstance(index, pd.RangeIndex):
        return {"kind": "range", "range": [index.start, index.stop, index.step]}
    if isinstance(index, pd.CategoricalIndex):
        return {
            "kind": "category",
            "categories": _spec(index.categories),
            "codes": index.codes.tolist(),
            "ordered": index.ordered,
        }
    if isinstance(index, pd.IntervalIndex):
        return {
            "kind": "interval",
            "left": _spec(index.left),
            "right": _spec(index.right),
            "closed": index.closed,
        }
    if isinstance(index, pd.PeriodIndex):
        return {"kind": "period", "freq": index.freqstr, "values": index.asi8.tolist()}
    if isinstance(index, (pd.DatetimeIndex, pd.TimedeltaIndex)):
        zone = getattr(index, "tz", None)
        return {
            "kind": "time" if isinstance(index, pd.DatetimeIndex) else "span",
            "unit": index.unit,
            "zone": None if zone is None else _zone(zone),
            "values": index.asi8.tolist(),
        }
    if isinstance(dtype, np.dtype) and dtype.kind in "iub":
        return {"kind": "plain", "dtype": str(dtype), "values": index.tolist()}
    return {
        "kind": "labels",
        "dtype": str(dtype),
        "values": [_stored_label(value) for value in index.tolist()],
    }


def is_named(zone: Any) -> bool:
    """Return whether a zone has a name, or a fixed offset: its times are equal on every machine."""
    return isinstance(zone, timezone) or bool(_name_of(zone))


def _name_of(zone: Any) -> str | None:
    return getattr(zone, "key", None) or getattr(zone, "zone", None)


def _zone(zone: Any) -> Any:
    """Return a zone's name, or its fixed UTC offset in seconds."""
    if name := _name_of(zone):
        return name
    distance = zone.utcoffset(datetime(2000, 1, 1))  # noqa: DTZ001 - a fixed zone needs none
    return int(distance.total_seconds()) if distance is not None else "UTC"


def _restored(spec: dict[str, Any]) -> Index:
    kind = spec["kind"]
    if kind == "multi":
        return pd.MultiIndex(
            levels=[_restored(level) for level in spec["levels"]], codes=spec["codes"]
        )
    if kind == "range":
        return pd.RangeIndex(*spec["range"])
    if kind == "category":
        return pd.CategoricalIndex(
            pd.Categorical.from_codes(
                spec["codes"], categories=_restored(spec["categories"]), ordered=spec["ordered"]
            )
        )
    if kind == "interval":
        return pd.IntervalIndex.from_arrays(
            _restored(spec["left"]), _restored(spec["right"]), closed=spec["closed"]
        )
    if kind == "period":
        periods: Any = pd.PeriodIndex  # the stubs lack this method
        return periods.from_ordinals(spec["values"], freq=spec["freq"])
    if kind in ("time", "span"):
        return _times(spec)
    if kind == "plain":
        return pd.Index(np.array(spec["values"], dtype=spec["dtype"]))
    return _labelled([_label(value) for value in spec["values"]], spec["dtype"])


def _times(spec: dict[str, Any]) -> Index:
    letter = "M" if spec["kind"] == "time" else "m"
    ticks: Any = np.array(spec["values"], dtype=np.int64).view(f"{letter}8[{spec['unit']}]")
    if letter == "m":
        return pd.TimedeltaIndex(ticks)
    index = pd.DatetimeIndex(ticks)
    zone = spec["zone"]
    if zone is None:
        return index
    return index.tz_localize("UTC").tz_convert(
        timezone(timedelta(seconds=zone)) if isinstance(zone, int) else zone
    )


def _labelled(values: list[Any], dtype: str) -> Index:
    """Return an index of the stored dtype, if available and the values fit; else of objects."""
    plain = pd.Index(
        np.fromiter(values, dtype=object, count=len(values)), dtype=object, tupleize_cols=False
    )
    if dtype == "str":  # in pandas 2 this calls str(), also on missing labels
        return plain.astype(pd.Series([""]).dtype)
    try:
        return plain if dtype == "object" else plain.astype(dtype)
    except (TypeError, ValueError, ImportError):
        return plain


def _stored_label(label: Any) -> Any:
    """Return a label for JSON: texts, integers, bools, None; others as [type, value]."""
    if isinstance(label, np.generic):
        label = label.item()
    if label is None or isinstance(label, bool):
        return label
    if type(label) is str and label.isprintable():
        return label
    if isinstance(label, int):
        return label if -(2**63) <= label < 2**63 else ["int", str(label)]
    if isinstance(label, float):
        return ["float", repr(label)]
    if label is pd.NaT or label is pd.NA:
        return ["missing", str(label)]
    if isinstance(label, pd.Timestamp):
        return ["time", _spec(pd.DatetimeIndex([label]))]
    if isinstance(label, pd.Timedelta):
        return ["span", _spec(pd.TimedeltaIndex([label]))]
    if isinstance(label, tuple):
        return ["tuple", [_stored_label(part) for part in label]]
    return ["text", _text_of(label)]


def _text_of(label: Any) -> str:
    try:
        return _escaped(str(label))
    except Exception:  # raised by the label
        return f"a {type(label).__name__}"


def _escaped(text: str) -> str:
    return text.encode("unicode_escape").decode("ascii")


def _label(stored: Any) -> Any:
    if not isinstance(stored, list):
        return stored
    kind, how = stored
    if kind == "text":
        return how.encode("ascii").decode("unicode_escape")
    if kind == "tuple":
        return tuple(_label(part) for part in how)
    if kind in ("time", "span"):
        return _times(how)[0]
    if kind == "missing":
        return pd.NaT if how == "NaT" else pd.NA
    return int(how) if kind == "int" else float(how)
