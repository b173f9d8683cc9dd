"""Agreement of several models on the same rows: arrays of answers in, shares out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson


def agreements(answers: Sequence[Sequence[Any]]) -> list[float | None]:
    """The share of equal answers for each model, over all others and the rows that both answered.

    answers: a list for each model, None where a row has none. Texts are compared stripped and
    without regard to case, anything else as JSON; vectors are not compared. None where there is
    nothing to compare.
    """
    told = [[_plain(answer) for answer in one] for one in answers]
    shares: list[float | None] = []
    for at, mine in enumerate(told):
        both = same = 0
        for other_at, other in enumerate(told):
            if other_at != at:
                pairs = [
                    (a, b)
                    for a, b in zip(mine, other, strict=True)
                    if a is not None and b is not None
                ]
                both += len(pairs)
                same += sum(a == b for a, b in pairs)
        shares.append(same / both if both else None)
    return shares


def _plain(answer: Any) -> Any:
    if answer is None or hasattr(answer, "dtype"):
        return None
    if isinstance(answer, str):
        return answer.strip().casefold()
    return orjson.dumps(answer, default=str, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
