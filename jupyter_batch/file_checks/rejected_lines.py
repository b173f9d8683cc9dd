"""Rows for which a provider rejected a whole batch, by line numbers of the request file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from jupyter_batch.core.request import position_of
from jupyter_batch.ledger.reading import reading

_SHOWN = 3


class _Line(msgspec.Struct):
    custom_id: str


def rows_at_fault(
    requests: Path, job: str, lines: Iterable[tuple[int, str]]
) -> tuple[tuple[int, str], ...]:
    """(position, reason) of each row in `lines`: (line counted from 1, the provider's reason)."""
    reasons = dict(lines)
    last = max(reasons, default=0)
    decode = msgspec.json.Decoder(_Line).decode
    found: list[tuple[int, str]] = []
    with reading(requests), requests.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if number > last:
                break
            if number in reasons:
                position = position_of(job, decode(line).custom_id)
                if position is not None:
                    found.append(
                        (
                            position,
                            f"the provider refused the whole batch for this row: {reasons[number]}",
                        )
                    )
    return tuple(found)


def for_the_others(at_fault: tuple[tuple[int, str], ...], why: str, samples: int) -> str:
    """The reason for the other rows of a rejected batch. samples: requests for each row."""
    if not at_fault:
        return why
    rows = list(dict.fromkeys(position // samples for position, _ in at_fault))
    named = ", ".join(f"{row:,}" for row in rows[:_SHOWN])
    if len(rows) > _SHOWN:
        named += f" and {len(rows) - _SHOWN:,} more"
    return f"{why}; at fault: row {named} (counted from 0)"
