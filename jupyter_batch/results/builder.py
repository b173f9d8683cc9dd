"""Result lines, collected one by one or a block at a time, as columns."""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec
import numpy as np

from jupyter_batch.core.request import position_of, positions_of
from jupyter_batch.core.result import Result, Status, Usage
from jupyter_batch.results.columns import ANSWERED, CODE, TOKENS, Columns, Texts

MOST_TOKENS = (1 << 31) - 1  # of one row; a larger or negative count is ignored
_MOST_WORDS = 255


class Builder:
    """Collects lines, one by one or a block at a time."""

    def __init__(self, job: str) -> None:
        self._job = job
        self._rows: list[int] = []
        self._status = bytearray()
        self._finish = bytearray()
        self._tier = bytearray()
        self._finishes: dict[str | None, int] = {None: 0}
        self._tiers: dict[str | None, int] = {None: 0}
        self._tokens: tuple[list[int], list[int]] = ([], [])
        self._more: dict[int, Usage] = {}
        self._has_usage = bytearray()
        self._unbilled: list[int] = []
        self._costs: dict[int, float] = {}
        self._reasons: dict[int, str] = {}
        self._raws: dict[int, str] = {}
        self._values: list[Any] = []

    def add(self, result: Result) -> None:
        """Add a line."""
        at = len(self._rows)
        position = position_of(self._job, result.custom_id)
        self._rows.append(-1 if position is None or position >> 62 else position)
        self._status.append(CODE[result.status])
        self._finish.append(_code(self._finishes, result.finish))
        self._tier.append(_code(self._tiers, result.tier))
        self._values.append(result.value)
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
        """Add answers that have no other tokens than those of their texts."""
        sane = min(inputs) >= 0 <= min(outputs) and max(*inputs, *outputs) <= MOST_TOKENS
        rows = positions_of(self._job, ids) if sane else None
        if rows is None:
            for name, text, finish, tier, into, out in zip(
                ids, texts, finishes, tiers, inputs, outputs, strict=True
            ):
                usage = Usage(into, out)
                self.add(Result(name, Status.SUCCEEDED, text, None, usage, finish, tier=tier))
            return
        self._rows += rows
        self._status += bytes([ANSWERED]) * len(rows)
        self._finish += _codes(self._finishes, finishes)
        self._tier += _codes(self._tiers, tiers)
        self._values += texts
        self._has_usage += b"\1" * len(rows)
        self._tokens[0].extend(inputs)
        self._tokens[1].extend(outputs)

    def columns(self) -> Columns:
        """All lines so far."""
        lines = len(self._rows)
        made = Columns(0)
        made.rows = np.array(self._rows, dtype=np.int64)
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
            made.usage[kind] = np.array(counts, dtype=np.int32)
        for kind in TOKENS[2:]:
            held = {at: tokens for at, one in self._more.items() if (tokens := getattr(one, kind))}
            if held:
                made.usage[kind] = np.zeros(lines, dtype=np.int32)
                made.usage[kind][list(held)] = list(held.values())
        made.finishes, made.tiers = list(self._finishes), list(self._tiers)
        made.reasons, made.raws = self._reasons, self._raws
        made.values = self._values
        if set(map(type, self._values)) <= {str, type(None)}:
            with contextlib.suppress(UnicodeEncodeError):  # half a character: kept as it is
                made.values = Texts.of(self._values)
        return made


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
