"""Agreement of several models on the same rows, and the table that compares them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    import pandas as pd

    from jupyter_batch.core.status import Snapshot


def agreements(answers: Sequence[Sequence[Any]]) -> list[float | None]:
    """The share of equal answers for each model, over all others and the rows that both answered.

    answers: a list for each model, None where a row has none. Texts are compared stripped and
    without regard to case, anything else as JSON; vectors are not compared. None where there is
    nothing to compare.
    """
    plain_answers = [[plain(answer) for answer in one] for one in answers]
    shares: list[float | None] = []
    for at, mine in enumerate(plain_answers):
        both = same = 0
        for other_at, other in enumerate(plain_answers):
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


def comparison(seen: Sequence[Snapshot], answers: Sequence[Sequence[Any]]) -> pd.DataFrame:
    """A row for each model; see `Group.compare`."""
    import pandas as pd

    columns = {
        "answered": [one.counts.succeeded + one.counts.reused for one in seen],
        "failed": [c.failed + c.expired + c.cancelled for c in (one.counts for one in seen)],
        "agreement": agreements(answers),
        "cost": [one.cost for one in seen],
        "seconds": [round(one.elapsed, 3) for one in seen],
        "input_tokens": [one.input_tokens for one in seen],
        "output_tokens": [one.output_tokens for one in seen],
    }
    dtypes = dict.fromkeys(("agreement", "cost"), "Float64")
    dtypes |= dict.fromkeys(("input_tokens", "output_tokens"), "Int64")
    index = pd.Index([one.model for one in seen], name="model")
    return pd.DataFrame(columns, index=index).astype(dtypes)


def side_by_side(results: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The answers of each model, then each one's other columns with the model's name."""
    import pandas as pd

    answers, rest = [], []
    for model, table in results.items():
        own = [column for column in table.columns if not str(column).startswith("_")]
        answers.append(table[own])
        rest.append(table.drop(columns=own).add_suffix(f"_{model}"))
    return pd.concat([*answers, *rest], axis=1)


def plain(answer: Any) -> Any:
    """An answer as a value to compare; None for none, and for a vector."""
    if answer is None or hasattr(answer, "dtype"):
        return None
    if isinstance(answer, str):
        return answer.strip().casefold()
    return orjson.dumps(answer, default=str, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)


def without_suffix(answer: Any, model: str) -> Any:
    """The answer, with its fields' names without the model's suffix."""
    if type(answer) is list:
        return [without_suffix(one, model) for one in answer]
    if not isinstance(answer, dict):
        return answer
    return {name.removesuffix(f"_{model}"): value for name, value in answer.items()}
