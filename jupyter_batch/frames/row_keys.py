"""Keys of a job's rows as arrays, and the search for these rows in a frame.

A row has a label, a fingerprint of the cells in its prompt, and, if known, its request's hash.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from jupyter_batch.core.errors import AlignmentError
from jupyter_batch.frames.hashing import BLAKE2B
from jupyter_batch.frames.labels import label_hashes

if TYPE_CHECKING:
    Array: TypeAlias = np.ndarray[Any, Any]
    Index: TypeAlias = Any  # pandas' stubs do not distinguish its index types

_WITHOUT_REQUESTS = b"JBK1"
_WITH_REQUESTS = b"JBK2"
_HEAD_BYTES = 12


class Keys:
    """Keys of the submitted rows: 24 bytes and a bit a row, and 16 bytes more with request hashes.

    labels: uint64. fingerprints: uint64 of shape (rows, 2), the fingerprints. skipped: bool; rows without
    a request. asks: uint64 of shape (rows, 2), the request hashes, or the hash of the reason for no
    request; None where unknown. hashing: the kind of the hashes; those of two kinds differ.
    """

    def __init__(
        self,
        labels: Array,
        fingerprints: Array,
        skipped: Array,
        asks: Array | None = None,
        hashing: str = BLAKE2B,
    ) -> None:
        self.labels = labels
        self.fingerprints = fingerprints
        self.skipped = skipped
        self.asks = asks
        self.hashing = hashing

    @classmethod
    def of(
        cls,
        index: Index,
        fingerprints: bytes | bytearray,
        skipped: Sequence[int] = (),
        asks: bytes | bytearray | None = None,
        hashing: str = BLAKE2B,
    ) -> Keys:
        """Return the keys from an index, joined fingerprints and hashes, skipped positions."""
        flags = np.zeros(len(index), dtype=bool)
        flags[np.asarray(skipped, dtype=np.int64)] = True
        marks = None if asks is None else pairs(asks)
        return cls(label_hashes(index), pairs(fingerprints), flags, marks, hashing)

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def ambiguous(self) -> Array:
        """Return the rows that share their fingerprint with a row of another request."""
        if self.asks is None:
            return np.zeros(len(self), dtype=bool)
        return _ambiguous(self.fingerprints, self.asks)

    def to_bytes(self) -> bytes:
        """Return the keys for the ledger, equal in every process and on every machine."""
        return b"".join(self.parts())

    def parts(self) -> Iterator[bytes | memoryview]:
        """Yield what `to_bytes` returns, in the keys' own memory."""
        yield _WITHOUT_REQUESTS if self.asks is None else _WITH_REQUESTS
        yield len(self).to_bytes(8, "little")
        for each in (self.labels, self.fingerprints, *([] if self.asks is None else [self.asks])):
            yield np.ascontiguousarray(each, "<u8").data.cast("B")
        yield np.packbits(self.skipped).tobytes()

    @classmethod
    def from_bytes(cls, data: bytes, hashing: str = BLAKE2B) -> Keys:
        """Return the keys that `to_bytes` wrote. Raises ValueError for anything else."""
        rows = int.from_bytes(data[4:_HEAD_BYTES], "little")
        each = {_WITHOUT_REQUESTS: 24, _WITH_REQUESTS: 40}.get(data[:4], 0)
        if not each or len(data) != _HEAD_BYTES + rows * each + (rows + 7) // 8:
            raise ValueError("these are no row keys")
        labels = np.frombuffer(data, "<u8", rows, _HEAD_BYTES).astype(np.uint64, copy=False)
        held = memoryview(data)  # the arrays share its memory
        fingerprints = pairs(held[_HEAD_BYTES + rows * 8 : _HEAD_BYTES + rows * 24])
        asks = pairs(held[_HEAD_BYTES + rows * 24 : _HEAD_BYTES + rows * each])
        flags = np.frombuffer(data, np.uint8, offset=_HEAD_BYTES + rows * each)
        return cls(
            labels,
            fingerprints,
            np.unpackbits(flags, count=rows).astype(bool),
            asks if data[:4] == _WITH_REQUESTS else None,
            hashing,
        )


def sections(data: bytes, before: bytes) -> list[tuple[int, int, int]]:
    """The arrays in the bytes of two sets of keys with request hashes: their offsets, bytes a row."""
    rows, was = (int.from_bytes(keys[4:_HEAD_BYTES], "little") for keys in (data, before))
    return [(_HEAD_BYTES + rows * at, _HEAD_BYTES + was * at, size) for at, size in _ARRAYS]


_ARRAYS = ((0, 8), (8, 16), (24, 16))


def pairs(hashes: bytes | bytearray | memoryview) -> Array:
    """Return joined hashes of 16 bytes as uint64 of shape (rows, 2), in the same memory."""
    return np.frombuffer(hashes, "<u8").astype(np.uint64, copy=False).reshape(-1, 2)


class KnownRows:
    """The rows of a frame that an earlier job answered. flags: of each row; others: the other rows.

    at: the position in the job of each row that it answered, -1 for the others; likely: the
    position that a row probably has, -1 for none. keys: of the job, `job` its id.
    """

    def __init__(self, there: Array, answered: Array, keys: Keys, job: str) -> None:
        """there: the position of each row in an equal block, -1 for the others."""
        self.at = np.where((there >= 0) & answered[there], there, -1)
        self.flags, self.job, self._keys = self.at >= 0, job, keys
        rows = np.arange(len(there))
        last = np.maximum.accumulate(np.where(there >= 0, rows, 0))
        likely = there[last] + rows - last  # it follows the last one that is known
        is_likely = (there[last] >= 0) & (likely < len(keys))
        self.likely: Array = np.where(is_likely, likely, -1)
        self.others = np.flatnonzero(~self.flags)

    def asks_with(self, others: bytes | bytearray) -> bytearray:
        """The request hashes of all rows. others: those of the rows that are not known."""
        return self._with(self._keys.asks, others)

    def fingerprints_with(self, others: bytes | bytearray) -> bytearray:
        """As `asks_with`, for the fingerprints."""
        return self._with(self._keys.fingerprints, others)

    def _with(self, known: Any, others: bytes | bytearray) -> bytearray:
        every: Array = known[self.at].astype("<u8", copy=False)
        every[self.others] = pairs(others)
        return bytearray(every.data)


def _ambiguous(fingerprints: Array, asks: Array) -> Array:
    flags: Array = np.zeros(len(fingerprints), dtype=bool)
    if not has_repeated(fingerprints[:, 0]):
        return flags
    order = np.argsort(fingerprints[:, 0])
    ordered = fingerprints[order]
    same = (ordered[1:] == ordered[:-1]).all(axis=1)
    if not same.any():
        return flags
    asked = asks[order]
    differ = same & (asked[1:] != asked[:-1]).any(axis=1)
    group = np.append(0, np.cumsum(~same))
    flags[order] = np.isin(group, group[1:][differ])
    return flags


# --- the search -----------------------------------------------------------------------------------------------------


def by_content(
    labels: Array, fingerprints: Array, keys: Keys, *, alike: bool = False, share: bool = True
) -> Array:
    """Return each row's submitted position by fingerprint, as int64; -1 for a new row.

    A fingerprint counts only if all rows with it have the same request: then they share the answer,
    and the label only decides which row gets which. Raises AlignmentError, with the number of rows,
    where that is not so, where a label's content changed, and where no row is found.

    share: rows beyond those submitted get an answer, too; else they are refused. Where request
    hashes are unknown, label and fingerprint must match, or the fingerprint must be unique; alike:
    rows with one fingerprint then get each other's answers.
    """
    if keys.asks is None:
        return _by_label_and_content(labels, fingerprints, keys, alike=alike)
    if len(labels) == len(keys) and np.array_equal(fingerprints, keys.fingerprints):
        positions: Array = np.arange(len(keys), dtype=np.int64)
    else:
        positions = find(labels, fingerprints, keys.labels, keys.fingerprints, share=share)
    known = positions >= 0
    unclear = int(keys.ambiguous[positions[known]].sum())
    if not share:
        unclear += int(np.isin(fingerprints[~known, 0], keys.fingerprints[:, 0]).sum())
    _check(positions, labels, keys, unclear)
    return positions


def by_request(mine: Keys, keys: Keys) -> Array:
    """Return each row's submitted position by request hash, as int64; -1 for a new row.

    `mine`: the keys of the frame's rows as just rendered. Raises AlignmentError like `by_content`,
    and ValueError where the request hashes are unknown.
    """
    if mine.asks is None or keys.asks is None or mine.hashing != keys.hashing:
        raise ValueError("the request hashes are not known")
    if np.array_equal(mine.asks, keys.asks):
        return np.arange(len(keys), dtype=np.int64)
    positions = find(mine.labels, mine.asks, keys.labels, keys.asks)
    _check(positions, mine.labels, keys, 0)
    return positions


def find(
    labels: Array, marks: Array, old_labels: Array, old_marks: Array, *, share: bool = True
) -> Array:
    """Return the old row with the same mark: with the same label, else free, else taken."""
    positions = match(labels ^ marks[:, 0], old_labels ^ old_marks[:, 0])
    found = np.flatnonzero(positions >= 0)
    at = positions[found]
    wrong = (old_labels[at] != labels[found]) | (old_marks[at] != marks[found]).any(axis=1)
    positions[found[wrong]] = -1
    for every in (False, True) if share else (False,):
        rest = np.flatnonzero(positions < 0)
        if not len(rest):
            break
        free = np.ones(len(old_labels), dtype=bool)
        if not every:
            free[positions[positions >= 0]] = False
        candidates = np.flatnonzero(free)
        if not len(candidates):
            continue
        held = old_marks[candidates]
        at = _first(marks[rest, 0], held[:, 0]) if every else match(marks[rest, 0], held[:, 0])
        there = at >= 0
        rest, at = rest[there], at[there]
        same = (held[at] == marks[rest]).all(axis=1)
        positions[rest[same]] = candidates[at[same]]
    return positions


def _check(positions: Array, labels: Array, keys: Keys, unclear: int) -> None:
    """Raise AlignmentError where rows changed or are ambiguous, or where none was found."""
    free = np.ones(len(keys), dtype=bool)
    free[positions[positions >= 0]] = False
    new = positions < 0
    changed = int(np.isin(labels[new], keys.labels[free]).sum()) if new.any() else 0
    if changed or unclear:
        raise AlignmentError(_refusal(changed, unclear, len(labels), _SAME_CELLS))
    if len(new) and new.all():
        raise _none_submitted(len(labels))


_WAY_OUT = (
    "Nothing was written. `job.merge(df)` fills the frame that was submitted, in any order and with its index; "
    "running the cell again sends this one."
)
_SAME_TEXT = "moved and can't be distinguished from others with the same text"
_SAME_CELLS = (
    "can't be distinguished from others: their prompts differ, and the cells that these read do not"
)


def _refusal(changed: int, unclear: int, rows: int, why: str) -> str:
    parts = [f"{changed:,} changed"] if changed else []
    parts += [f"{unclear:,} {why}"] if unclear else []
    return f"{changed + unclear:,} of {rows:,} rows are not as they were submitted ({', '.join(parts)}). {_WAY_OUT}"


def _none_submitted(rows: int) -> AlignmentError:
    return AlignmentError(
        f"none of the frame's {rows:,} rows was submitted with this job. {_WAY_OUT}"
    )


def match(wanted: Array, held: Array) -> Array:
    """Return each wanted value's index in `held`, the n-th for the n-th, -1 without one."""
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


def _first(wanted: Array, held: Array) -> Array:
    """Return each wanted value's first index in `held`, -1 without one."""
    order = np.argsort(held, kind="stable")
    ordered = held[order]
    at = np.minimum(np.searchsorted(ordered, wanted), len(held) - 1)
    found: Array = np.where(ordered[at] == wanted, order[at], -1)
    return found


# --- without request hashes -----------------------------------------------------------------------------------------


def _by_label_and_content(labels: Array, fingerprints: Array, keys: Keys, *, alike: bool) -> Array:
    rows = len(labels)
    if (
        rows == len(keys)
        and np.array_equal(fingerprints, keys.fingerprints)
        and (np.array_equal(labels, keys.labels) or not np.isin(labels, keys.labels).any())
    ):
        return np.arange(rows, dtype=np.int64)
    positions = match(labels ^ fingerprints[:, 0], keys.labels ^ keys.fingerprints[:, 0])
    right = (
        (keys.labels[positions] == labels)
        & (keys.fingerprints[positions] == fingerprints).all(axis=1)
        if len(keys)
        else False
    )
    positions[~(np.asarray(right) & (positions >= 0))] = -1
    if (positions < 0).any():
        _settle(positions, labels, fingerprints, keys, alike=alike)
    return positions


def _settle(
    positions: Array, labels: Array, fingerprints: Array, keys: Keys, *, alike: bool
) -> None:
    """Find the remaining rows by content alone, not label and content together.

    Raises AlignmentError where rows are ambiguous.
    """
    left = positions < 0
    free = np.ones(len(keys), dtype=bool)
    free[positions[~left]] = False
    known = left & np.isin(
        labels, keys.labels[free]
    )  # the label is an old row's, but the content is not
    there = left & np.isin(
        fingerprints[:, 0], keys.fingerprints[free, 0]
    )  # the content is an old row's that is not found yet
    single = ~repeated(fingerprints[:, 0])
    if (known & there).any():  # not the submitted labels: without meaning, even if they match
        there |= ~left
    found = np.flatnonzero(there & single)
    candidates = np.flatnonzero(~repeated(keys.fingerprints[:, 0]))
    matched = (
        candidates[match(fingerprints[found, 0], keys.fingerprints[candidates, 0])]
        if len(candidates)
        else found[:0]
    )
    sure = (
        (keys.fingerprints[matched] == fingerprints[found]).all(axis=1)
        if len(matched)
        else np.zeros(len(found), dtype=bool)
    )
    positions[there] = -1
    if len(matched):
        positions[found[sure]] = matched[sure]
    if alike:
        _pair(positions, np.flatnonzero(there & (positions < 0)), fingerprints, keys)
    unclear = int((there & (positions < 0)).sum())
    changed = int((known & ~there).sum())
    if unclear or changed:
        raise AlignmentError(_refusal(changed, unclear, len(labels), _SAME_TEXT))
    if (positions < 0).all():
        raise _none_submitted(len(labels))


def _pair(positions: Array, rest: Array, fingerprints: Array, keys: Keys) -> None:
    """Match the n-th row of a content to its n-th free submitted row."""
    free = np.ones(len(keys), dtype=bool)
    free[positions[positions >= 0]] = False
    candidates = np.flatnonzero(free)
    at = match(fingerprints[rest, 0], keys.fingerprints[candidates, 0])
    rest, at = rest[at >= 0], candidates[at[at >= 0]] if len(candidates) else at[:0]
    same = (keys.fingerprints[at] == fingerprints[rest]).all(axis=1)
    positions[rest[same]] = at[same]


def has_repeated(values: Array, but: int | None = None) -> bool:
    """Return whether a value, other than `but`, occurs twice; a third of the cost of an order."""
    ordered = np.sort(values)
    same = ordered[1:] == ordered[:-1]
    return bool(same.any() if but is None else (same & (ordered[1:] != but)).any())


def repeated(values: Array) -> Array:
    """Return the values that occur more than once."""
    _, where, counts = np.unique(values, return_inverse=True, return_counts=True)
    flags: Array = counts[where.reshape(-1)] > 1
    return flags
