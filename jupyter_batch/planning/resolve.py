"""Validation of a call's options, prompt and frame before planning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from jupyter_batch.config.option import Col
from jupyter_batch.config.settings import Options
from jupyter_batch.config.tool_definitions import Function
from jupyter_batch.core.cost import FLEX
from jupyter_batch.core.errors import ColumnError, InputError, OptionError
from jupyter_batch.core.schema import Schema, columns, kept_columns, listed
from jupyter_batch.frames.frame import column_labels, has_column, is_frame
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.merging.own_cells import ForeignCells
from jupyter_batch.planning.ask import Ask, params_for, taken_over
from jupyter_batch.planning.target import Target, price_for, target_of, tier_of
from jupyter_batch.prompts.additions import marks, with_extras
from jupyter_batch.prompts.dspy_module import Module
from jupyter_batch.prompts.embeddings import Embed
from jupyter_batch.prompts.frame_reads import frame_reads
from jupyter_batch.prompts.prompt import Given, Prompt, prompt_of
from jupyter_batch.prompts.row_params import functions_of
from jupyter_batch.providers.endpoints import packs
from jupyter_batch.providers.table import BATCH
from jupyter_batch.schema import read as read_schema
from jupyter_batch.schema.models import ModelSchema

if TYPE_CHECKING:
    import pandas as pd


RESERVED = frozenset(
    {
        "_status",
        "_error",
        "_finish",
        "_cost",
        "_input_tokens",
        "_output_tokens",
        "_cached_tokens",
        "_raw",
        "_tool_calls",
    }
)


class Order(NamedTuple):
    """A validated call that is not planned yet. functions: of its tools, by name."""

    ask: Ask
    rows: pd.DataFrame
    reuse: bool
    functions: Mapping[str, Function]


def order(
    ledger: Ledger,
    source: Any,
    prompt: Any,
    opts: Options,
    *,
    door: str,
    notebook: str | None,
    versions: dict[str, str],
    others: tuple[str, ...] = (),
) -> Order:
    """Check everything that can be checked before the rows are rendered. Writes nothing.

    others: the columns that the other models of the call fill. Raises an InputError
    (core/errors.py) for any invalid input.
    """
    schema = None if opts.schema is None else read_schema(opts.schema)
    fills = fills_of(opts, schema)
    target = target_of(opts, prompt)
    _check_samples(opts, prompt)
    frame, form, framed = _source(source, prompt, opts, (*fills, *others))
    if _has_extras(opts):
        form = with_extras(form, list(column_labels(frame)), prompt, opts, schema)
    held = [column for column in fills if framed and has_column(frame, column)]
    taken = () if opts.overwrite else tuple(held)
    if taken:
        _check_taken(ledger, frame, list(taken), opts)
    elif held:
        for column in frame_reads(prompt, source, held):
            raise _reads_own(column)
    params = _params(opts, prompt, schema, target)
    if framed:
        _check_reads(form, params, (*fills, *others))
    ask = Ask(
        prompt=form,
        params=params,
        schema=schema,
        lax=isinstance(schema, ModelSchema),
        keep=opts.keep or {},
        samples=opts.n,
        cache=None if opts.cache is None else marks(target.provider, target.endpoint, opts.cache),
        taken=taken,
        na=opts.na,
        pace=_pace(opts),
        name=opts.name,
        metadata=opts.metadata or {},
        notebook=notebook,
        framed=framed,
        price=price_for(opts, target, params),
        tier=tier_of(params),
        versions={**versions, "door": door},
        **taken_over(opts),
        **target._asdict(),
    )
    return Order(ask, frame, opts.reuse, functions_of(opts.tools, frame))


def _has_extras(opts: Options) -> bool:
    """Whether the prompt gets images or examples, or the call has an option of theirs."""
    return any(one is not None for one in (opts.images, opts.image_size, opts.examples))


def _params(opts: Options, prompt: Any, schema: Schema | None, target: Target) -> dict[str, Any]:
    if isinstance(prompt, Embed):
        packed = target.mode == BATCH and packs(target.provider, target.api_base)
        return prompt.asked(target.provider, packed=packed)
    params = params_for(opts, schema, target.provider, target.body_model)
    if target.mode == FLEX and "service_tier" in params:
        raise OptionError('mode="flex" sets the service tier itself: leave service_tier= out')
    return params


def _check_samples(opts: Options, prompt: Any) -> None:
    """Raise OptionError where several answers a row are not possible."""
    if opts.n == 1:
        return
    if isinstance(prompt, Embed):
        raise OptionError(f"n={opts.n}: an embedding is the same each time; leave `n` out")
    if opts.tools is not None:
        raise OptionError(
            f"n={opts.n} can't be given with `tools`: each answer would call tools of its own; leave one of them out"
        )


def fills_of(opts: Options, schema: Schema | None) -> tuple[str, ...]:
    """The columns to fill. Raises OptionError for one that job.results() has itself."""
    kept = kept_columns(opts.out, opts.keep or {})
    fields = columns(opts.out, schema)
    if both := sorted(kept.keys() & fields.keys()):
        raise OptionError(
            f"`keep` and the schema would both fill the column {both[0]!r}: give another out=, or leave "
            f"{kept[both[0]].key!r} out of keep="
        )
    fills = (*fields, *kept)
    reserved = RESERVED.intersection(fills)
    if reserved and schema is None:
        raise OptionError(
            f"{min(reserved)!r} is a column of job.results() itself: give another name"
        )
    if reserved:
        raise OptionError(
            f"a field can't fill the column {min(reserved)!r}, which job.results() has itself: give an "
            "out="
        )
    return fills


def filled_by(every: Sequence[Options]) -> tuple[str, ...]:
    """The columns that the jobs of one call fill together."""
    schemas = [None if opts.schema is None else read_schema(opts.schema) for opts in every]
    return tuple(
        column
        for opts, schema in zip(every, schemas, strict=True)
        for column in fills_of(opts, schema)
    )


def _pace(opts: Options) -> dict[str, float]:
    given = {
        "concurrency": opts.concurrency,
        "requests_per_minute": opts.requests_per_minute,
        "tokens_per_minute": opts.tokens_per_minute,
    }
    return {name: value for name, value in given.items() if value is not None}


def _source(
    source: Any, prompt: Any, opts: Options, fills: tuple[str, ...]
) -> tuple[pd.DataFrame, Prompt, bool]:
    """(a frame of the rows, the prompt over it, whether the frame is the user's own)."""
    import pandas as pd

    if isinstance(prompt, Module):
        return source, prompt, True
    if is_frame(source):
        if prompt is None:
            raise InputError("there is no prompt: give a text with {columns}")
        return source, _over(source, prompt, opts, fills), True
    if isinstance(source, Sequence | pd.Series) and not isinstance(source, str | bytes):
        prompts = list(source)
        if not prompts:
            raise InputError("there are no prompts: the list is empty")
        if prompt is not None and not isinstance(prompt, Embed):
            raise InputError(
                "a list holds the prompts themselves, and there is a prompt, too: a template goes with a frame, such "
                "as pandas.DataFrame({'text': [...]})"
            )
        cells = pd.Series(
            prompts, dtype=object, index=source.index if isinstance(source, pd.Series) else None
        )
        frame = pd.DataFrame({"prompt": cells})
        return (
            frame,
            prompt.over(["prompt"], opts.template)
            if isinstance(prompt, Embed)
            else Given(opts.system),
            False,
        )
    remedy = (
        "put it in a list"
        if isinstance(source, str)
        else "pandas.DataFrame(...) makes one of it"
        if isinstance(source, Mapping)
        else "list(...) makes one of it"
        if hasattr(source, "__iter__")
        else "give one of them"
    )
    raise InputError(
        f"a job takes a DataFrame or a list of prompts, not a {type(source).__name__}: {remedy}"
    )


def _over(frame: pd.DataFrame, prompt: Any, opts: Options, fills: tuple[str, ...]) -> Prompt:
    """The prompt over the columns not filled: answers of earlier runs are not part of a request."""

    def form(labels: list[Any]) -> Prompt:
        if isinstance(prompt, Embed):
            return prompt.over(labels, opts.template)
        return prompt_of(prompt, labels, system=opts.system, kind=opts.template, fills=fills)

    labels = list(column_labels(frame))
    shown = [label for label in labels if str(label) not in fills]
    try:
        return form(shown)
    except InputError:
        if len(shown) < len(labels):
            _check_reads(form(labels), {}, fills)
        raise


def _check_reads(form: Prompt, params: dict[str, Any], fills: tuple[str, ...]) -> None:
    """Raise ColumnError where the prompt or a parameter reads a column to fill.

    The next run would be billed again.
    """
    read = [*form.columns, *(value.name for value in params.values() if isinstance(value, Col))]
    own = next((label for label in read if str(label) in fills), None)
    if own is not None:
        raise _reads_own(own)


def _reads_own(column: Any) -> ColumnError:
    return ColumnError(
        f"the prompt reads the column {column!r}, which its answers would replace: the input would be gone, and the "
        "next run would ask about its own answers, and pay for them; give out= another name"
    )


def _check_taken(ledger: Ledger, frame: pd.DataFrame, taken: list[str], opts: Options) -> None:
    """Raise ColumnError where the columns are clearly the user's own, without reading rows."""
    jobs = ledger.jobs() if ledger.exists() else []
    cells = ForeignCells(frame, taken)
    if not jobs:
        cells.check(opts.out, opts.model)
    if not cells.rows and not any(set(taken) & set(job.all_fills) for job in jobs):
        raise ColumnError(
            f"the frame has {listed(map(repr, taken))} already, without a value: overwrite=True fills "
            f"{'it' if len(taken) == 1 else 'them'}, or give another out="
        )
