"""Every option, declared once: name, kind, default, help; used for magics, docs and checks."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from jupyter_batch.config.model_names import full_name
from jupyter_batch.config.not_taken import NOT_TAKEN
from jupyter_batch.config.types import (
    BODY,
    COLUMNS,
    COUNT,
    CREDENTIALS,
    DEADLINE,
    DOLLARS,
    EXAMPLES,
    FLAG,
    KEEP,
    KEY,
    LINE,
    MANY,
    MOST_TAGS,
    NUMBER,
    OBJECT,
    PACE,
    PACE_A_MINUTE,
    PRICES,
    SCHEMA,
    SECONDS,
    SOME,
    STOPS,
    TAGS,
    TEXT,
    TOOL_CHOICE,
    TOOLS,
    URL,
    WHOLE,
    WINDOW,
    Kind,
    choice,
)
from jupyter_batch.core.cost import KINDS
from jupyter_batch.core.errors import ModelError, OptionError
from jupyter_batch.core.kept import KINDS as KEPT


@dataclass(frozen=True)
class Col:
    """A chat parameter whose value is taken from each row's column `name`."""

    name: Any


def col(name: Any) -> Col:
    """Take a chat parameter from the row: `df.llm.batch(..., max_tokens=col("budget"))`."""
    return Col(name)


class Option(NamedTuple):
    """An option: its values and default. `by_name`: given as a variable's name on a line."""

    name: str
    kind: Kind
    help: str
    default: Any = None
    short: str = ""
    by_name: bool = False

    @property
    def flag(self) -> str:
        """The option's command-line form."""
        return "--" + self.name.replace("_", "-")


OPTIONS = (
    Option(
        "out",
        LINE,
        "the column to fill; with a schema, how the columns' names begin",
        "response",
        short="-o",
    ),
    Option(
        "model",
        LINE,
        "a litellm model id, such as openai/gpt-4.1-mini or local/echo; a list of them (on a "
        "line: with commas) asks each, into columns that end with their names "
        "(default: %config LLMBatch.model, else $JUPYTER_BATCH_MODEL)",
        short="-m",
    ),
    Option("system", TEXT, "a template for the system message"),
    Option(
        "schema",
        SCHEMA,
        "what an answer holds: one typed column for each field, named as it (after `out` and _, "
        "where out is given)",
    ),
    Option(
        "keep",
        KEEP,
        "what else of an answer has a column, named `out` and _ and this: "
        f"{', '.join(KEPT)}; adding it to a job that is done costs nothing, but for logprobs, "
        "which a request has to ask for",
    ),
    Option(
        "n",
        MANY,
        "answers a row: each is a request of its own, and the cell is a list of them",
        1,
    ),
    Option(
        "images",
        COLUMNS,
        "columns with pictures or PDFs: addresses, paths, bytes, Pillow's pictures, or lists of "
        "these",
    ),
    Option(
        "image_size",
        SOME,
        "pixels: larger pictures are made smaller, until their longer edge is so long (needs "
        "Pillow)",
    ),
    Option(
        "examples",
        EXAMPLES,
        "few-shot examples: a frame with the prompt's columns and the column(s) to fill, said "
        "before each row's own message",
    ),
    Option(
        "tools",
        TOOLS,
        "what the model may call: its calls are the answer, and job.run_tools() runs them here",
    ),
    Option(
        "tool_choice", TOOL_CHOICE, "whether it calls one: auto, none, required, or a tool's name"
    ),
    Option(
        "cache",
        choice("system", "system_and_tools"),
        "have the provider cache the prompt's beginning: marks the "
        "system text (and the tools) for Anthropic; others cache on their own, and it changes nothing there",
    ),
    Option(
        "reuse",
        FLAG,
        "an identical request that was answered or is under way is not paid again",
        True,
    ),
    Option("wait", FLAG, "block until the job is done", False),
    Option("timeout", SECONDS, "with wait: stop waiting after so many seconds; the job goes on"),
    Option(
        "na",
        choice("skip", "send", "raise"),
        "a row where a column that the prompt uses is missing: skip it "
        "with a named reason, send it as an empty text, or raise",
        "skip",
    ),
    Option("overwrite", FLAG, "fill a column that exists already", False),
    Option("metadata", TAGS, "tags sent to the provider with each batch"),
    Option("name", LINE, "a label for people"),
    Option(
        "template",
        choice("braces", "jinja"),
        "how the prompt is written: {column}, or Jinja2",
        "braces",
    ),
    Option(
        "api_key",
        KEY,
        "the provider's key, kept in memory alone (default: where litellm looks, such as "
        "$OPENAI_API_KEY)",
        by_name=True,
    ),
    Option("api_base", URL, "the provider's address, as in litellm"),
    Option("api_version", LINE, "the API's version, where the provider has one to choose (Azure)"),
    Option(
        "mode",
        choice("auto", "batch", "realtime"),
        "batch: at the batch price; realtime: asked at once, at the "
        "full price; auto: batch, and real time only where that costs nothing",
        "auto",
    ),
    Option(
        "concurrency",
        SOME,
        "in real time: the most calls at once (default 64, fewer when the provider says so)",
    ),
    Option("requests_per_minute", PACE_A_MINUTE, "in real time: at most so many requests a minute"),
    Option("tokens_per_minute", PACE_A_MINUTE, "in real time: at most so many tokens a minute"),
    Option(
        "max_cost",
        DOLLARS,
        "US dollars: a job whose estimate is above is refused before anything is sent; one "
        "whose real cost runs ahead sends no further batch; of several models it is for all together",
    ),
    Option(
        "prices",
        PRICES,
        "what models cost that no price list knows, by model, in US dollars per million tokens: "
        f"{', '.join(KINDS)}; realtime holds the same of real time (default: %config LLMBatch.prices)",
    ),
    Option(
        "poll_interval",
        PACE,
        "seconds between two looks at the provider (default: fast at first, then minutes)",
    ),
    Option(
        "deadline",
        DEADLINE,
        "what is unfinished by then is cancelled at the provider and asked in real time, "
        "at the full price",
    ),
    Option("completion_window", WINDOW, "how long the provider may take", "24h"),
    Option(
        "shard_size",
        SOME,
        "at most so many requests in one batch (default: as many as the provider takes)",
    ),
    Option("vertex_project", LINE, "Vertex AI: the project's id (default: $VERTEXAI_PROJECT)"),
    Option("vertex_location", LINE, "Vertex AI: the region (default: $VERTEXAI_LOCATION)"),
    Option(
        "vertex_credentials",
        CREDENTIALS,
        "Vertex AI: a service account's file, or its JSON, kept in memory alone "
        "(default: where Google's own library looks)",
        by_name=True,
    ),
    Option(
        "gcs_bucket_name",
        LINE,
        "Vertex AI: a bucket, or bucket/folder, for requests and results (default: "
        "$GCS_BUCKET_NAME)",
    ),
    Option("aws_region_name", LINE, "Bedrock: the region (default: $AWS_REGION)"),
    Option(
        "s3_bucket_name",
        LINE,
        "Bedrock: a bucket, or bucket/folder, for requests and results (default: "
        "$AWS_S3_BUCKET_NAME)",
    ),
    Option("s3_output_bucket_name", LINE, "Bedrock: another one for the results"),
    Option(
        "aws_batch_role_arn",
        LINE,
        "Bedrock: the role that reads and writes there (default: $AWS_BATCH_ROLE_ARN)",
    ),
    Option("aws_profile_name", LINE, "Bedrock: a profile of your AWS configuration"),
    Option(
        "aws_access_key_id",
        LINE,
        "Bedrock: with the next two in place of where AWS's own library looks; kept in "
        "memory alone",
        by_name=True,
    ),
    Option("aws_secret_access_key", KEY, "Bedrock: the secret that belongs to it", by_name=True),
    Option(
        "aws_session_token",
        LINE,
        "Bedrock: the token that belongs to both, where there is one",
        by_name=True,
    ),
)
"""Our own options. All others are chat parameters."""

CHAT_PARAMS = (
    Option("temperature", NUMBER, "sampling temperature"),
    Option("top_p", NUMBER, "nucleus sampling"),
    Option("max_tokens", SOME, "at most so many tokens in an answer"),
    Option(
        "max_completion_tokens",
        SOME,
        "the same, reasoning included, for models that want it under this name",
    ),
    Option("stop", STOPS, "where the answer ends (may be given several times)"),
    Option("seed", WHOLE, "for answers that repeat, where the provider has it"),
    Option("presence_penalty", NUMBER, "against words that came before"),
    Option("frequency_penalty", NUMBER, "against words that came often"),
    Option("logit_bias", OBJECT, "token id -> bias"),
    Option("parallel_tool_calls", FLAG, "whether a model may call several tools at once"),
    Option("logprobs", FLAG, "ask for log probabilities"),
    Option("top_logprobs", COUNT, "how many of them for each token"),
    Option("response_format", OBJECT, "OpenAI's response_format"),
    Option("reasoning_effort", LINE, "how long a reasoning model thinks: low, medium, high, ..."),
    Option("verbosity", LINE, "how long the answer is: low, medium, high"),
    Option("thinking", OBJECT, "Anthropic's thinking"),
    Option("web_search_options", OBJECT, "OpenAI's web_search_options"),
    Option("prediction", OBJECT, "OpenAI's predicted output"),
    Option("user", LINE, "your own user's id, for the provider"),
    Option("safety_identifier", LINE, "the same, as OpenAI names it now"),
    Option("prompt_cache_key", LINE, "OpenAI's prompt_cache_key"),
    Option("prompt_cache_retention", LINE, "OpenAI's prompt_cache_retention"),
    Option("service_tier", LINE, "OpenAI's service_tier"),
    Option("store", FLAG, "whether the provider keeps the answer"),
    Option("extra_body", BODY, "more fields for each request's body, as the provider names them"),
)
"""The chat parameters that litellm knows and that make sense in a batch with text answers."""

EVERY: dict[str, Option] = {option.name: option for option in OPTIONS + CHAT_PARAMS}
_PARAMS = frozenset(option.name for option in CHAT_PARAMS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """The validated options of a submission. `params`: chat parameters, including `Col`."""

    model: str
    out: str = "response"
    system: str | None = None
    schema: Any = None
    keep: dict[str, str] | None = None
    n: int = 1
    images: Any = None
    image_size: int | None = None
    examples: Any = None
    tools: Any = None
    tool_choice: Any = None
    cache: str | None = None
    reuse: bool = True
    wait: bool = False
    timeout: float | None = None
    na: str = "skip"
    overwrite: bool = False
    metadata: dict[str, str] | None = None
    name: str | None = None
    template: str = "braces"
    api_key: str | None = field(default=None, repr=False)
    api_base: str | None = None
    poll_interval: float | None = None
    deadline: float | None = None
    completion_window: str = "24h"
    shard_size: int | None = None
    api_version: str | None = None
    mode: str = "auto"
    concurrency: int | None = None
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    max_cost: float | None = None
    prices: dict[str, dict[str, Any]] | None = None
    vertex_project: str | None = None
    vertex_location: str | None = None
    vertex_credentials: str | None = field(default=None, repr=False)
    gcs_bucket_name: str | None = None
    aws_region_name: str | None = None
    s3_bucket_name: str | None = None
    s3_output_bucket_name: str | None = None
    aws_batch_role_arn: str | None = None
    aws_profile_name: str | None = None
    aws_access_key_id: str | None = field(default=None, repr=False)
    aws_secret_access_key: str | None = field(default=None, repr=False)
    aws_session_token: str | None = field(default=None, repr=False)
    params: dict[str, Any] = field(default_factory=dict)


class Defaults(Protocol):
    """The settings that `resolve` uses."""

    @property
    def model(self) -> str | None:
        """The configured model, if any."""

    @property
    def prices(self) -> Mapping[str, Any]:
        """The configured prices, not validated yet."""


def resolve(given: Mapping[str, Any], settings: Defaults) -> Options:
    """Combine the user's options with the configured ones and the defaults; None means not given.

    Raises OptionError for an unknown name (with the nearest) or a bad value, ModelError without a
    model.
    """
    known: dict[str, Any] = {}
    params: dict[str, Any] = {}
    for name, value in given.items():
        option = EVERY.get(name)
        if option is None:
            raise OptionError(unknown(name))
        if value is None:
            continue
        if name in _PARAMS:
            params[name] = value if isinstance(value, Col) else checked(option, value)
        else:
            known[name] = checked(option, value)
    if "schema" in known:
        known.setdefault("out", "")  # the columns are named as the fields
    model = known.setdefault("model", settings.model)
    if model is None:
        raise ModelError(
            'no model is named: give model="openai/gpt-4.1-mini" (or --model), or set it once with '
            '%config LLMBatch.model = "..." or $JUPYTER_BATCH_MODEL; "local/echo" runs here without a key'
        )
    if settings.prices:  # a price given with the call takes precedence, per model
        known["prices"] = checked(EVERY["prices"], settings.prices) | known.get("prices", {})
    if isinstance(
        model, str
    ):  # the full name is stored, so that both spellings have one request hash
        known["model"] = full_name(model, api_base=known.get("api_base"), environ=os.environ)
    return Options(**known, params=params)


def checked(option: Option, value: Any) -> Any:
    """Return the converted value. Raises OptionError, without repeating a secret's value."""
    try:
        return option.kind.check(value)
    except (TypeError, ValueError):
        secret = (
            option.by_name
            or option.kind is BODY
            or (option.kind is URL and set(str(value)) & set("?#@"))
        )
        shown = "what was given" if secret else _shown(value)
        if option.kind is TAGS and isinstance(value, Mapping) and len(value) > MOST_TAGS:
            shown = f"{len(value)} of them"
        raise OptionError(f"`{option.name}` takes {option.kind.says}, not {shown}") from None


def unknown(
    name: str, names: Iterable[str] = EVERY, mark: Callable[[str], str] = "`{}`".format
) -> str:
    """Return the sentence for an unknown option: with the nearest ones, else with all."""
    reason = NOT_TAKEN.get(name.lstrip("-").replace("-", "_"))
    if reason is not None:
        return f"unknown option {mark(name)}: {reason}"
    near = difflib.get_close_matches(name, list(names), n=3, cutoff=0.6)
    if near:
        return f"unknown option {mark(name)}: did you mean {' or '.join(map(mark, near))}?"
    return f"unknown option {mark(name)}; the options are {', '.join(map(mark, names))}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"a {type(value).__name__}"  # noqa: PLR2004


def table() -> str:
    """Return the options for the accessor's docstring: name, default, help."""
    rows = []
    for option in OPTIONS:
        default = "" if option.default is None else f" (default {option.default!r})"
        rows.append(f"{option.name}: {option.kind.says}{default}\n    {option.help}.")
    names = ", ".join(option.name for option in CHAT_PARAMS)
    rows.append(
        f'chat parameters: {names}\n    As litellm and OpenAI know them; `col("name")` takes one from the row.'
    )
    return "\n".join(rows)
