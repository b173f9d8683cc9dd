"""Ask: a job's checked options with defaults filled in, before its rows are read; its requests' parameters."""

from __future__ import annotations

from typing import Any

import msgspec

from jupyter_batch.config import tool_definitions
from jupyter_batch.config.option import Col
from jupyter_batch.config.settings import Options
from jupyter_batch.core.cost import Price
from jupyter_batch.core.errors import OptionError
from jupyter_batch.core.request import Limits
from jupyter_batch.core.schema import Schema, without_names
from jupyter_batch.http.litellm import load_litellm
from jupyter_batch.ledger.records import JobRecord
from jupyter_batch.prompts.embeddings import Embed
from jupyter_batch.providers.endpoints import (
    Spoken,
    check_structured,
    for_params,
    for_text,
    for_vectors,
)
from jupyter_batch.providers.record import RECORDS, is_embedded, load
from jupyter_batch.providers.table import BATCH
from jupyter_batch.row_files.row_sources import space_of
from jupyter_batch.schema import response_format
from jupyter_batch.wire.openai import CHAT
from jupyter_batch.wire.openai_requests import Route


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about a job but its rows. na: skip, send, raise. place: the address, if known.

    samples: requests for each row. cache: the part to mark for the provider's cache
    (prompts/additions.py). taken: the columns to fill that the frame has already, in which only
    cells written by this package may be replaced. models_from: the columns that name each
    row's model or endpoint; then only rows with one of model_names there belong to this job.
    called: the model's name as the user gave it.
    """

    prompt: Any
    params: dict[str, Any]
    model: str
    provider: str
    dialect: str
    body_model: str
    limits: Limits
    out: str
    models_from: tuple[Any, ...] = ()
    model_names: tuple[tuple[Any, ...], ...] = ()
    called: str = ""
    taken: tuple[str, ...] = ()
    schema: Schema | None = None
    lax: bool = False
    keep: dict[str, str] = {}
    samples: int = 1
    cache: str | None = None
    na: str = "skip"
    name: str | None = None
    api_base: str | None = None
    keyless: bool = False
    place: str | None = None
    completion_window: str = "24h"
    output_expires_after: float | None = None
    poll_interval: float | None = None
    shard_size: int | None = None
    metadata: dict[str, str] = {}
    notebook: str | None = None
    framed: bool = True
    endpoint: str = CHAT
    mode: str = "batch"
    tier: str = ""
    pace: dict[str, float] = {}
    api_version: str | None = None
    cloud: dict[str, str] = {}
    price: Price | None = None
    max_cost: float | None = None
    deadline: float | None = None
    rush_to: str = "realtime"
    versions: dict[str, str] = {}


_OPTIONS = (
    "model",
    "out",
    "completion_window",
    "output_expires_after",
    "deadline",
    "poll_interval",
    "shard_size",
    "max_cost",
)


def taken_over(opts: Options) -> dict[str, Any]:
    """The fields that are options of the same name."""
    return {name: getattr(opts, name) for name in _OPTIONS}


_SAME = sorted({*Ask.__struct_fields__} & {*JobRecord.__struct_fields__} - {"deadline"})
"""The fields that a job's record takes over."""


def scope_of(ask: Ask) -> str:
    """The dedup scope of a call's jobs."""
    schema = b"" if ask.schema is None else msgspec.json.encode(without_names(ask.schema))
    return space_of(ask.place, ask.provider, ask.endpoint, schema)


def record_of(ask: Ask, job: str, now: float, **more: Any) -> JobRecord:
    """The record of a job that is asked for now; more: its other fields."""
    return JobRecord(
        id=job,
        created_at=now,
        deadline=now + ask.deadline if ask.deadline else 0.0,
        **{name: getattr(ask, name) for name in _SAME},
        **more,
    )


# --- parameters, endpoint, route ---------------------------------------------------------------------------------

_LOGPROBS = "logprobs"


def _logprobs(opts: Options, provider: str, model: str) -> dict[str, Any]:
    """The parameter that requests log probabilities, where keep= names them.

    Raises OptionError where the model has none.
    """
    extra = opts.params.get("extra_body") or {}
    if _LOGPROBS not in (opts.keep or {}).values() or isinstance(extra, Col):
        return {}
    if {_LOGPROBS, "include"} & extra.keys() or opts.params.get(_LOGPROBS):
        return {}
    if opts.params.get(_LOGPROBS) is False:
        raise OptionError("keep: log probabilities are kept where logprobs is True, not False")
    if not is_embedded(provider):
        known = load_litellm().get_supported_openai_params(model, custom_llm_provider=provider)
        if known is not None and _LOGPROBS not in known:
            raise OptionError(
                f"keep: {opts.model} gives no log probabilities: leave 'logprobs' out of keep=, or ask for them in "
                "extra_body=, which is sent as it is"
            )
    return {_LOGPROBS: True}


def endpoint_of(opts: Options, prompt: Any, base: str | None, mode: str) -> Spoken:
    """The endpoint for these requests, which may be given as the prompt. Raises ModelError, OptionError."""
    if isinstance(prompt, Spoken):
        return prompt
    if isinstance(prompt, Embed):
        return for_vectors(opts.model, mode=mode)
    spoken = for_text(opts.model, mode=mode)
    given = {**opts.params, **_tools(opts)}
    return for_params(
        spoken, opts.model, given, api_base=base or opts.api_base, mode=mode, load=load_litellm
    )


def params_for(opts: Options, schema: Schema | None, provider: str, model: str) -> dict[str, Any]:
    """Return the chat parameters, with those for the schema at this provider."""
    params = {**opts.params, **_tools(opts), **_logprobs(opts, provider, model)}
    if schema is None or (schema.reader and not schema.reader.endswith(":JSONAdapter")):
        return params
    if "response_format" in params:
        raise OptionError("`schema` and `response_format` say the same thing: give one of them")
    check_structured(opts.model)
    record = RECORDS.get(provider)
    if "tools" in params and record is not None and record.schema_as_tool:
        params.setdefault("tool_choice", "auto")
    return {
        **params,
        "response_format": response_format(
            schema, limited=record is not None and record.limited_schemas
        ),
    }


def _tools(opts: Options) -> dict[str, Any]:
    """The parameters for the tools and the choice among them; each row's own where a column has them."""
    if isinstance(opts.tools, Col):
        choice = tool_definitions.choice_by_row(opts.tool_choice)
        return {"tools": opts.tools, **({} if choice is None else {"tool_choice": choice})}
    given = None if opts.tools is None else tool_definitions.read(opts.tools)
    made: dict[str, Any] = {} if given is None else {"tools": given.definitions}
    return (
        made
        if opts.tool_choice is None
        else {**made, "tool_choice": tool_definitions.choice(opts.tool_choice, given)}
    )


def route_of(job: Ask | JobRecord) -> Route | None:
    """The route of a job's requests; None for the local server, which maps them itself."""
    if is_embedded(job.provider):
        return None
    return route_to(
        job.provider,
        job.body_model,
        job.api_base,
        job.api_version,
        as_given=job.mode != BATCH,
    )


def route_to(
    provider: str,
    model: str,
    api_base: str | None = None,
    api_version: str | None = None,
    *,
    as_given: bool = False,
) -> Route:
    """The route to a model, with what its provider's record says about parameters. See Route."""
    record = RECORDS.get(provider)
    return Route(
        provider if record is None else record.litellm or provider,
        model,
        api_base,
        api_version,
        as_given=as_given,
        plain=record is not None and record.plain_params,
        checked=record is not None and record.openai_rules,
        translation=load(record.checked_by) if record is not None and record.checked_by else None,
    )
