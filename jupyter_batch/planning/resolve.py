"""Validation of a call's options, prompt and frame before planning."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from jupyter_batch.config.option import Col
from jupyter_batch.config.resolved import Options
from jupyter_batch.config.tool_definitions import Function
from jupyter_batch.core.cost import Price
from jupyter_batch.core.errors import ColumnError, InputError, OptionError
from jupyter_batch.core.kept import kept_columns
from jupyter_batch.core.request import Limits
from jupyter_batch.core.schema import Schema, columns, listed
from jupyter_batch.frames.frame import column_labels, has_column, is_frame
from jupyter_batch.http.address import check_base
from jupyter_batch.http.need_address import check_place
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.merging.own_cells import ForeignCells
from jupyter_batch.planning.ask import Ask
from jupyter_batch.planning.parameters import endpoint_of, params_for
from jupyter_batch.prompts.cache_control import marks
from jupyter_batch.prompts.compose import with_extras
from jupyter_batch.prompts.dspy_module import Module
from jupyter_batch.prompts.embeddings import Embed
from jupyter_batch.prompts.frame_reads import frame_reads
from jupyter_batch.prompts.prompt import Given, Prompt, prompt_of
from jupyter_batch.prompts.row_params import functions_of
from jupyter_batch.providers.clouds import (
    base_of,
    check_cloud,
    given_of,
    secret_of,
    settings_of,
)
from jupyter_batch.providers.endpoints import packs
from jupyter_batch.providers.prices import price_of
from jupyter_batch.providers.protocol import Facts
from jupyter_batch.providers.registry import RECORDS, is_cloud, is_embedded
from jupyter_batch.providers.table import (
    BATCH,
    REALTIME,
    access_for,
    address_of,
    check_deadline,
    check_window,
    facts_of,
    is_keyless,
    mode_of,
    realtime_key,
    split_model,
    version_for,
)
from jupyter_batch.realtime.provider import realtime_facts
from jupyter_batch.schema import read as read_schema
from jupyter_batch.schema.models import ModelSchema
from jupyter_batch.wire.openai import RESPONSES

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
    beside: tuple[str, ...] = (),
) -> Order:
    """Check everything that can be checked before the rows are rendered. Writes nothing.

    beside: the columns that the other models of the call fill. Raises an InputError
    (core/errors.py) for any invalid input.
    """
    schema = None if opts.schema is None else read_schema(opts.schema)
    fills = fills_of(opts, schema)
    target = target_of(opts, prompt)
    _check_samples(opts, prompt)
    frame, form, framed = _source(source, prompt, opts, (*fills, *beside))
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
        _check_reads(form, params, (*fills, *beside))
    ask = Ask(
        prompt=form,
        params=params,
        schema=schema,
        lax=isinstance(schema, ModelSchema),
        keep=opts.keep or {},
        samples=opts.n,
        cache=marks(target.provider, target.endpoint, opts.cache),
        model=opts.model,
        out=opts.out,
        taken=taken,
        na=opts.na,
        pace=_pace(opts),
        name=opts.name,
        completion_window=opts.completion_window,
        deadline=opts.deadline,
        poll_interval=opts.poll_interval,
        shard_size=opts.shard_size,
        metadata=opts.metadata or {},
        notebook=notebook,
        framed=framed,
        price=_price(opts, target, params),
        max_cost=opts.max_cost,
        versions={**versions, "door": door},
        **target._asdict(),
    )
    return Order(ask, frame, opts.reuse, functions_of(opts.tools, frame))


class _Target(NamedTuple):
    """The fields of `Ask` that follow from the model and the options about its address."""

    provider: str
    mode: str
    api_base: str | None
    api_version: str | None
    cloud: dict[str, str]
    endpoint: str
    body_model: str
    dialect: str
    limits: Limits
    keyless: bool
    place: str | None


def target_of(opts: Options, prompt: Any) -> _Target:
    """Return where a call goes. Raises for a missing key or address, and a bad limit."""
    provider, _ = split_model(opts.model)
    mode, base, version = _place(provider, opts)
    cloud = settings_of(provider, given_of(opts), os.environ)
    spoken = endpoint_of(opts, prompt, base, mode)
    if spoken.endpoint == RESPONSES and mode == REALTIME and not is_embedded(provider):
        base = access_for(
            provider, api_base=base, api_key=opts.api_key, environ=os.environ
        ).api_base
    if opts.deadline is not None and mode == BATCH:
        check_deadline(opts.model, provider, opts.api_base, opts.api_key)
    facts = facts_of(provider, base)
    if mode == REALTIME:
        facts = realtime_facts(facts)
    return _Target(
        provider=provider,
        mode=mode,
        api_base=base,
        api_version=version,
        cloud=cloud,
        endpoint=spoken.endpoint,
        body_model=spoken.model,
        dialect=facts.dialect,
        limits=_limits(facts, opts.shard_size),
        keyless=is_keyless(provider, base, opts.api_key, os.environ),
        place=base or address_of(provider, opts.api_base, os.environ),
    )


def _params(opts: Options, prompt: Any, schema: Schema | None, target: _Target) -> dict[str, Any]:
    if isinstance(prompt, Embed):
        packed = target.mode == BATCH and packs(target.provider, target.api_base)
        return prompt.asked(target.provider, packed=packed)
    return params_for(opts, schema, target.provider, target.body_model)


def _price(opts: Options, target: _Target, params: dict[str, Any]) -> Price | None:
    return price_of(
        opts.model,
        mode=target.mode,
        api_base=target.api_base,
        given=opts.prices,
        service_tier=params.get("service_tier"),
    )


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
    beside = kept_columns(opts.out, opts.keep or {})
    fields = columns(opts.out, schema)
    if both := sorted(beside.keys() & fields.keys()):
        raise OptionError(
            f"`keep` and the schema would both fill the column {both[0]!r}: give another out=, or leave "
            f"{beside[both[0]].key!r} out of keep="
        )
    fills = (*fields, *beside)
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


def _limits(facts: Facts, shard_size: int | None) -> Limits:
    """The limits of a batch. Raises OptionError where the user's size is below its minimum."""
    limits = facts.limits
    if shard_size is not None and shard_size < limits.minimum:
        raise OptionError(
            f"shard_size={shard_size}: a batch of {facts.name} has at least {limits.minimum} requests"
        )
    return limits.at_most(shard_size)


def _place(provider: str, opts: Options) -> tuple[str, str | None, str | None]:
    """(batch or realtime, the address, the API's version). Raises for a missing key or address."""
    if opts.api_base is not None:
        check_base(opts.api_base)
    mode = mode_of(opts.model, opts.mode, api_base=opts.api_base)
    if is_embedded(provider):
        return mode, None, None
    version = version_for(provider, opts.api_version, os.environ)
    if mode == REALTIME:
        check_place(opts.model, opts.api_base)
        record = RECORDS.get(provider)
        if opts.api_base is None and record is not None and record.plain_params:
            return (
                mode,
                access_for(
                    provider, api_base=None, api_key=opts.api_key, environ=os.environ
                ).api_base,
                None,
            )
        realtime_key(provider, opts.api_key, os.environ, api_base=opts.api_base)
        return mode, opts.api_base, version
    check_window(provider, opts.completion_window)
    if is_cloud(provider):
        cloud = settings_of(provider, given_of(opts), os.environ)
        check_cloud(provider, str(opts.model), cloud, secret_of(opts), opts.metadata)
        base = base_of(provider, cloud, opts.api_base, os.environ)
        check_base(base)
        return mode, base, None
    access = access_for(provider, api_base=opts.api_base, api_key=opts.api_key, environ=os.environ)
    return mode, access.api_base, version


def _pace(opts: Options) -> dict[str, float]:
    given = {
        "concurrency": opts.concurrency,
        "requests_per_minute": opts.requests_per_minute,
        "tokens_per_minute": opts.tokens_per_minute,
    }
    return {name: value for name, value in given.items() if value is not None}


def _library_of(source: Any) -> str | None:
    """The name of another dataframe library; None for anything else."""
    library, kind = type(source).__module__.partition(".")[0], type(source).__name__
    if hasattr(source, "__arrow_c_stream__") and library != "pandas":
        return f"{library} {kind}"
    frames = {"polars", "pyarrow", "dask", "modin", "cudf", "duckdb", "pyspark", "ibis"}
    return f"{library} {kind}" if library in frames else None


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
    if (library := _library_of(source)) is not None:
        raise InputError(
            f"{library} is no pandas DataFrame: give {library.partition(' ')[0]}'s data as df.to_pandas(), "
            "and assign the answers from job.results()"
        )
    if isinstance(source, Sequence | pd.Series) and not isinstance(source, str | bytes):
        prompts = list(source)
        if not prompts:
            raise InputError("there are no prompts: the list is empty")
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
    raise InputError(f"a job takes a DataFrame or a list of prompts, not a {type(source).__name__}")


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
