"""Result lines, collected one by one or a block at a time, as columns."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
import numpy as np

from jupyter_batch.core.request import Result, Status, Usage
from jupyter_batch.results.columns import ANSWERED, CODE, MOST_TOKENS, TOKENS, Columns, Texts
from jupyter_batch.results.lines.shapes import Run
from jupyter_batch.row_files.positions import positions_of

if TYPE_CHECKING:
    Array: TypeAlias = np.ndarray[Any, Any]

_MOST_WORDS = 255
_MOST_IDS = 4096


class Builder:
    """Collects lines, one by one or a block at a time."""

    def __init__(self, job: str) -> None:
        self._job = job
        self._rows = array("q")
        self._ids: list[str] = []  # of the last lines, whose rows are found together
        self._status = bytearray()
        self._finish = bytearray()
        self._tier = bytearray()
        self._finishes: dict[str | None, int] = {None: 0}
        self._tiers: dict[str | None, int] = {None: 0}
        self._tokens = {kind: array("i") for kind in TOKENS[:2]}  # those of the last lines may lack
        self._has_usage = bytearray()
        self._unbilled: list[int] = []
        self._costs: dict[int, float] = {}
        self._reasons: dict[int, str] = {}
        self._raws: dict[int, str] = {}
        self._texts, self._ends, self._empty = bytearray(), array("q", [0]), list[int]()
        self._values: list[Any] | None = None  # in place of texts, from the first other value on

    def add(self, result: Result, ids: Sequence[str] | None = None) -> None:
        """Add a line, or for each of `ids` a line with the same outcome."""
        names = [result.custom_id or ""] if ids is None else list(ids)
        count, first = len(names), len(self._status)
        lines = range(first, first + count)
        self._name(names)
        self._status += bytes([CODE[result.status]]) * count
        self._finish += bytes([_code(self._finishes, result.finish)]) * count
        self._tier += bytes([_code(self._tiers, result.tier)]) * count
        if result.value is None and self._values is None:
            self._ends.extend([len(self._texts)] * count)
        else:
            self._put([result.value] * count)
        if result.status is not Status.SUCCEEDED:
            self._reasons |= dict.fromkeys(lines, result.error or str(result.status))
            if result.raw is not None:
                self._raws |= dict.fromkeys(lines, result.raw)
        if result.unbilled:
            self._unbilled += lines
        if result.cost is not None:
            self._costs |= dict.fromkeys(lines, result.cost)
        usage = result.usage if result.usage is not None and is_sane(result.usage) else None
        self._has_usage += bytes([usage is not None]) * count
        if usage is not None:
            for kind, tokens in zip(TOKENS, msgspec.structs.astuple(usage), strict=True):
                if tokens:
                    self._count(kind, first, [tokens] * count)

    def add_answers(
        self,
        ids: list[str],
        texts: list[str],
        finishes: list[str | None],
        tiers: list[str | None],
        tokens: Mapping[str, list[int]],
    ) -> None:
        """Add answers. tokens: by kind, up to MOST_TOKENS each."""
        first = len(self._status)
        self._name(ids)
        self._status += bytes([ANSWERED]) * len(ids)
        self._finish += _codes(self._finishes, finishes)
        self._tier += _codes(self._tiers, tiers)
        self._put(texts)
        self._has_usage += b"\1" * len(ids)
        for kind, counts in tokens.items():
            if kind in self._tokens or any(counts):
                self._count(kind, first, counts)

    def add_run(self, run: Run) -> None:
        """Add answers whose fields are in arrays."""
        first = len(self._status)
        self._name([], most=0)
        self._rows.frombytes(run.rows.tobytes())
        self._status += bytes([ANSWERED]) * len(run.rows)
        self._has_usage += b"\1" * len(run.rows)
        self._finish += _codes_of(self._finishes, run.finishes, run.shapes)
        self._tier += _codes_of(self._tiers, run.tiers, run.shapes)
        for kind, counts in run.tokens.items():
            if kind in self._tokens or counts.any():
                self._count(kind, first, counts)
        if self._values is not None:
            ends = run.lengths.cumsum()
            self._values += Texts(np.concatenate([[0], ends]), run.texts).take(np.arange(len(ends)))
            return
        self._ends.frombytes((run.lengths.cumsum() + len(self._texts)).tobytes())
        self._texts += run.texts

    def _name(self, ids: list[str], *, most: int = _MOST_IDS) -> None:
        """Note the custom_ids of lines. most: those whose rows are not found yet."""
        self._ids += ids
        if len(self._ids) > most:
            self._rows.frombytes(positions_of(self._job, self._ids).tobytes())
            self._ids = []

    def _count(self, kind: str, first: int, counts: list[int] | Array) -> None:
        """Note the tokens of a kind of the lines from `first` on, zeros for lines before."""
        held = self._tokens.setdefault(kind, array("i"))
        held.frombytes(bytes((first - len(held)) * held.itemsize))
        if isinstance(counts, list):
            held.fromlist(counts)
        else:
            held.frombytes(counts.astype(np.int32).tobytes())

    def _put(self, values: Sequence[Any]) -> None:
        """Add values; texts as UTF-8, so that few objects are in memory."""
        if self._values is None:
            try:
                parts = _utf8(values)
            except (TypeError, UnicodeEncodeError):  # no text, or half a character
                self._values = self._held()
            else:
                if "" in values:
                    first = len(self._ends) - 1
                    self._empty += [at for at, value in enumerate(values, first) if value == ""]
                ends = np.fromiter(map(len, parts), np.int64, len(parts)).cumsum()
                self._ends.frombytes((ends + len(self._texts)).tobytes())
                self._texts += b"".join(parts)
                return
        self._values += values

    def _held(self) -> list[Any]:
        """The values so far."""
        return self._as_texts().take(np.arange(len(self._ends) - 1))

    def _as_texts(self) -> Texts:
        return Texts(np.frombuffer(self._ends, dtype=np.int64), self._texts, self._empty)

    def columns(self) -> Columns:
        """All lines so far."""
        self._name([], most=0)
        lines = len(self._rows)
        made = Columns(0)
        made.rows = np.frombuffer(self._rows, dtype=np.int64)
        made.status = np.frombuffer(self._status, dtype=np.uint8)
        made.finish = np.frombuffer(self._finish, dtype=np.uint8)
        made.tier = np.frombuffer(self._tier, dtype=np.uint8)
        made.has_usage = np.frombuffer(self._has_usage, dtype=bool)
        made.unbilled = np.zeros(lines, dtype=bool)
        made.unbilled[self._unbilled] = True
        if self._costs:
            made.cost = np.full(lines, np.nan)
            made.cost[list(self._costs)] = list(self._costs.values())
        for kind in self._tokens:
            self._count(kind, lines, [])
            made.usage[kind] = np.frombuffer(self._tokens[kind], dtype=np.int32)
        made.finishes, made.tiers = list(self._finishes), list(self._tiers)
        made.reasons, made.raws = self._reasons, self._raws
        made.values = self._as_texts() if self._values is None else self._values
        return made


def _utf8(values: Sequence[Any]) -> list[bytes]:
    """Texts as UTF-8, b"" for None. Raises TypeError for other values, or UnicodeEncodeError."""
    try:
        return list(map(str.encode, values))
    except TypeError:
        return [b"" if value is None else str.encode(value) for value in values]


def _codes(known: dict[str | None, int], words: list[str | None]) -> bytes:
    if words.count(words[0]) == len(words):
        return bytes([_code(known, words[0])]) * len(words)
    code = {word: _code(known, word) for word in set(words)}
    return bytes(map(code.__getitem__, words))


def _codes_of(known: dict[str | None, int], words: list[str | None], which: Array) -> bytes:
    codes = np.array([_code(known, word) for word in words], dtype=np.uint8)
    found: bytes = codes[which].tobytes()
    return found


def _code(known: dict[str | None, int], word: str | None) -> int:
    """The index of a word, of which there are as many as a byte can number."""
    found = known.get(word)
    if found is None:
        if len(known) > _MOST_WORDS:
            return 0
        found = known[word] = len(known)
    return found


def is_sane(usage: Usage) -> bool:
    """Whether all counts of a usage can be those of one request."""
    counts: tuple[int, ...] = msgspec.structs.astuple(usage)
    return min(counts) >= 0 and max(counts) <= MOST_TOKENS
