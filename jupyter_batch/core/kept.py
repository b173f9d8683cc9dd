"""Additional parts of an answer for columns (`keep=`): their names and columns."""

from __future__ import annotations

from collections.abc import Mapping

from jupyter_batch.core.schema import Field, Schema
from jupyter_batch.core.schema import columns as answer_columns

KINDS: Mapping[str, str] = {
    "reasoning": "text",
    "logprobs": "object",
    "citations": "object",
    "annotations": "object",
    "transcript": "text",
}
"""The parts that can be stored, and the kind of their cells.

reasoning: the thinking text. logprobs: tokens with log probabilities, in the provider's format.
citations: a list of sources. annotations: the same, only where the provider uses that name.
transcript: the text of a spoken answer.
"""

Keep = Mapping[str, str]
"""Column suffix -> part, a key of KINDS."""

DEFAULT_OUT = "response"


def kept_columns(out: str, keep: Keep) -> dict[str, Field]:
    """Return the columns for `keep`: `out`_name, or `response`_name for a schema without `out`."""
    return {
        f"{out or DEFAULT_OUT}_{end}": Field(name, name, KINDS[name]) for end, name in keep.items()
    }


def all_columns(out: str, schema: Schema | None, keep: Keep) -> dict[str, Field | None]:
    """Return the columns of the answers and of `keep`."""
    return {**answer_columns(out, schema), **kept_columns(out, keep)}
