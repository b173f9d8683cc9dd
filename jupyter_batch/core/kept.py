"""What else of an answer can be a column (`keep=`): the names, and the columns they fill. It knows no provider."""

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
"""What can be kept, and the kind of its cells.

reasoning: the thinking text. logprobs: a list of tokens with their log probabilities, as the provider has them.
citations: a list of sources. annotations: the same, of which only what the provider calls so, where it does.
transcript: of a spoken answer.
"""

Keep = Mapping[str, str]
"""The end of a column's name -> what it holds, a key of KINDS."""

DEFAULT_OUT = "response"


def kept_columns(out: str, keep: Keep) -> dict[str, Field]:
    """The columns that `keep` fills: `out`, _, and the name; with a schema that has no `out`, `response` begins it."""
    return {
        f"{out or DEFAULT_OUT}_{end}": Field(name, name, KINDS[name]) for end, name in keep.items()
    }


def all_columns(out: str, schema: Schema | None, keep: Keep) -> dict[str, Field | None]:
    """The columns of the answers, and those of `keep`."""
    return {**answer_columns(out, schema), **kept_columns(out, keep)}
