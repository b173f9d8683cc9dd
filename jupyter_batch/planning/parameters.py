"""Parameters of a job's requests, their endpoint, and the route by which parameters are mapped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jupyter_batch.config import tool_definitions
from jupyter_batch.config.option import Col
from jupyter_batch.config.settings import Options
from jupyter_batch.core.errors import OptionError
from jupyter_batch.core.schema import Schema
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
from jupyter_batch.schema import response_format
from jupyter_batch.wire.openai_requests import Route

if TYPE_CHECKING:
    from jupyter_batch.planning.ask import Ask

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
