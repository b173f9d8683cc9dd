"""Result lines, collected one by one or a block at a time, as columns."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import accumulate, islice
from typing import Any

import msgspec
import numpy as np

from jupyter_batch.core.request import position_of, positions_of
from jupyter_batch.core.result import Result, Status, Usage
from jupyter_batch.results.columns import ANSWERED, CODE, MOST_TOKENS, TOKENS, Columns, Texts

_MOST_WORDS = 255


class Builder:
    """Collects lines, one by one or a block at a time."""

    def __init__(self, job: str) -> None:
        self._job = job
        self._rows = array("q")
        self._status = bytearray()
        self._finish = bytearray()
        self._tier = bytearray()
        self._finishes: dict[str | None, int] = {None: 0}
        self._tiers: dict[str | None, int] = {None: 0}
        self._tokens = array("i"), array("i")  # into, and out
        self._more: dict[int, Usage] = {}
        self._has_usage = bytearray()
        self._unbilled: list[int] = []
        self._costs: dict[int, float] = {}
        self._reasons: dict[int, str] = {}
        self._raws: dict[int, str] = {}
        self._texts, self._ends, self._empty = bytearray(), array("q", [0]), list[int]()
        self._values: list[Any] | None = None  # in place of texts, from the first other value on

    def add(self, result: Result, name: str | None = None) -> None:
        """Add a line. name: its custom_id, where the result is of several lines."""
        at = len(self._rows)
        position = position_of(self._job, result.custom_id if name is None else name)
        self._rows.append(-1 if position is None or position >> 62 else position)
        self._status.append(CODE[result.status])
        self._finish.append(_code(self._finishes, result.finish))
        self._tier.append(_code(self._tiers, result.tier))
        self._put([result.value])
        if result.status is not Status.SUCCEEDED:
            self._reasons[at] = result.error or str(result.status)
            if result.raw is not None:
                self._raws[at] = result.raw
        if result.unbilled:
            self._unbilled.append(at)
        if result.cost is not None:
            self._costs[at] = result.cost
        usage = result.usage if result.usage is not None and is_sane(result.usage) else None
        self._has_usage.append(usage is not None)
        self._tokens[0].append(0 if usage is None else usage.input_tokens)
        self._tokens[1].append(0 if usage is None else usage.output_tokens)
        if usage is not None and any(msgspec.structs.astuple(usage)[2:]):
            self._more[at] = usage

    def add_answers(
        self,
        ids: list[str],
        texts: list[str],
        finishes: list[str | None],
        tiers: list[str | None],
        inputs: list[int],
        outputs: list[int],
    ) -> None:
        """Add answers that have no other tokens than those of their texts, up to MOST_TOKENS each."""
        rows = positions_of(self._job, ids)
        if rows is None:
            for name, text, finish, tier, into, out in zip(
                ids, texts, finishes, tiers, inputs, outputs, strict=True
            ):
                usage = Usage(into, out)
                self.add(Result(name, Status.SUCCEEDED, text, None, usage, finish, tier=tier))
            return
        self._rows.extend(rows)
        self._status += bytes([ANSWERED]) * len(rows)
        self._finish += _codes(self._finishes, finishes)
        self._tier += _codes(self._tiers, tiers)
        self._put(texts)
        self._has_usage += b"\1" * len(rows)
        self._tokens[0].extend(inputs)
        self._tokens[1].extend(outputs)

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
                ends = accumulate(map(len, parts), initial=len(self._texts))
                self._ends.extend(islice(ends, 1, None))
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
        for kind, counts in zip(TOKENS, self._tokens, strict=False):
            made.usage[kind] = np.frombuffer(counts, dtype=np.int32)
        for kind in TOKENS[2:]:
            held = {at: tokens for at, one in self._more.items() if (tokens := getattr(one, kind))}
            if held:
                made.usage[kind] = np.zeros(lines, dtype=np.int32)
                made.usage[kind][list(held)] = list(held.values())
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
    code = {word: _code(known, word) for word in set(words)}
    return bytes(map(code.__getitem__, words))


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
