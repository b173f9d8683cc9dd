"""The options of a call, each declared once: type, accepted values, help, default.

Signatures, help, the magic's line, completion and command line arguments are made from these.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from os import PathLike
from typing import Annotated, Any, Literal, TypedDict

from jupyter_batch.config import types as t
from jupyter_batch.config.option import Col, Option, declared
from jupyter_batch.core.cost import KINDS
from jupyter_batch.core.kept import KINDS as KEPT

Models = list[str] | tuple[str, ...]
"""Several models: the call gives a Group, with a job for each."""
Mode = Literal["auto", "batch", "realtime"]
MissingCells = Literal["skip", "send", "raise"]
TemplateKind = Literal["braces", "jinja"]
Cache = Literal["system", "system_and_tools"]
TextParam = str | Col | None
NumberParam = float | Col | None
WholeParam = int | Col | None
FlagParam = bool | Col | None
DictParam = Mapping[Any, Any] | Col | None


class _Out(TypedDict, total=False):
    """The column to fill."""

    out: Annotated[
        str | None,
        Option(
            t.LINE,
            "the column to fill; with a schema, how the columns' names begin",
            "response",
            short="-o",
        ),
    ]


class _Model(TypedDict, total=False):
    """The model or models; a parameter of its own in the overloads of a call."""

    model: Annotated[
        str | Models | None,
        Option(
            t.LINE,
            "a litellm model id, such as openai/gpt-4.1-mini or local/echo; a list of them (on a "
            "line: with commas) asks each, into columns that end with their names "
            "(default: %config LLMBatch.model, else $JUPYTER_BATCH_MODEL)",
            short="-m",
        ),
    ]


class _TextOptions(TypedDict, total=False):
    """Options of requests that are answered in words."""

    system: Annotated[str | None, Option(t.TEXT, "a template for the system message")]
    schema: Annotated[
        Any,
        Option(
            t.SCHEMA,
            "what an answer holds: one typed column for each field, named as it (after `out` and _, "
            "where out is given)",
        ),
    ]
    keep: Annotated[
        str | Iterable[str] | Mapping[str, str] | None,
        Option(
            t.KEEP,
            "what else of an answer has a column, named `out` and _ and this: "
            f"{', '.join(KEPT)}; adding it to a job that is done costs nothing, but for logprobs, "
            "which a request has to ask for",
        ),
    ]
    images: Annotated[
        Any,
        Option(
            t.COLUMNS,
            "columns with pictures or PDFs: addresses, paths, bytes, Pillow's pictures, or lists of "
            "these",
        ),
    ]
    image_size: Annotated[
        int | None,
        Option(
            t.SOME,
            "pixels: larger pictures are made smaller, until their longer edge is so long (needs "
            "Pillow)",
        ),
    ]
    examples: Annotated[
        Any,
        Option(
            t.EXAMPLES,
            "few-shot examples: a frame with the prompt's columns and the column(s) to fill, said "
            "before each row's own message",
        ),
    ]
    tools: Annotated[
        Any,
        Option(
            t.TOOLS,
            "what the model may call: its calls are the answer, and job.run_tools() runs them here",
        ),
    ]
    tool_choice: Annotated[
        Any, Option(t.TOOL_CHOICE, "whether it calls one: auto, none, required, or a tool's name")
    ]
    cache: Annotated[
        Cache | None,
        Option(
            t.choice(Cache),
            "have the provider cache the prompt's beginning: marks the "
            "system text (and the tools) for Anthropic; others cache on their own, and it changes nothing there",
        ),
    ]


class _Samples(TypedDict, total=False):
    """The number of answers."""

    n: Annotated[
        int | None,
        Option(
            t.MANY, "answers a row: each is a request of its own, and the cell is a list of them", 1
        ),
    ]


class _JobOptions(TypedDict, total=False):
    """Options of any job."""

    reuse: Annotated[
        bool | None,
        Option(
            t.FLAG, "an identical request that was answered or is under way is not paid again", True
        ),
    ]
    wait: Annotated[bool | None, Option(t.FLAG, "block until the job is done", False)]
    timeout: Annotated[
        float | None,
        Option(t.SECONDS, "with wait: stop waiting after so many seconds; the job goes on"),
    ]
    na: Annotated[
        MissingCells | None,
        Option(
            t.choice(MissingCells),
            "a row where a column that the prompt uses is missing: skip it "
            "with a named reason, send it as an empty text, or raise",
            "skip",
        ),
    ]
    overwrite: Annotated[bool | None, Option(t.FLAG, "fill a column that exists already", False)]
    metadata: Annotated[
        Mapping[str, str | float] | None,
        Option(t.TAGS, "tags sent to the provider with each batch"),
    ]
    name: Annotated[str | None, Option(t.LINE, "a label for people")]
    template: Annotated[
        TemplateKind | None,
        Option(t.choice(TemplateKind), "how the prompt is written: {column}, or Jinja2", "braces"),
    ]
    api_key: Annotated[
        str | None,
        Option(
            t.KEY,
            "the provider's key, kept in memory alone (default: where litellm looks, such as "
            "$OPENAI_API_KEY)",
            by_name=True,
        ),
    ]
    api_base: Annotated[str | None, Option(t.URL, "the provider's address, as in litellm")]
    api_version: Annotated[
        str | None,
        Option(t.LINE, "the API's version, where the provider has one to choose (Azure)"),
    ]
    mode: Annotated[
        Mode | None,
        Option(
            t.choice(Mode),
            "batch: at the batch price; realtime: asked at once, at the "
            "full price; auto: batch, and real time only where that costs nothing",
            "auto",
        ),
    ]
    concurrency: Annotated[
        int | None,
        Option(
            t.SOME,
            "in real time: the most calls at once (default 64, fewer when the provider says so)",
        ),
    ]
    requests_per_minute: Annotated[
        float | None, Option(t.PACE_A_MINUTE, "in real time: at most so many requests a minute")
    ]
    tokens_per_minute: Annotated[
        float | None, Option(t.PACE_A_MINUTE, "in real time: at most so many tokens a minute")
    ]
    max_cost: Annotated[
        float | None,
        Option(
            t.DOLLARS,
            "US dollars: a job whose estimate is above is refused before anything is sent; one "
            "whose real cost runs ahead sends no further batch; of several models it is for all together",
        ),
    ]
    prices: Annotated[
        Mapping[str, Any] | None,
        Option(
            t.PRICES,
            "what models cost that no price list knows, by model, in US dollars per million tokens: "
            f"{', '.join(KINDS)}; realtime holds the same of real time (default: %config LLMBatch.prices)",
        ),
    ]
    poll_interval: Annotated[
        float | None,
        Option(
            t.PACE,
            "seconds between two looks at the provider (default: fast at first, then minutes)",
        ),
    ]
    deadline: Annotated[
        str | float | timedelta | None,
        Option(
            t.DEADLINE,
            "what is unfinished by then is cancelled at the provider and asked in real time, "
            "at the full price",
        ),
    ]
    completion_window: Annotated[
        str | None, Option(t.WINDOW, "how long the provider may take", "24h")
    ]
    shard_size: Annotated[
        int | None,
        Option(
            t.SOME, "at most so many requests in one batch (default: as many as the provider takes)"
        ),
    ]
    vertex_project: Annotated[
        str | None, Option(t.LINE, "Vertex AI: the project's id (default: $VERTEXAI_PROJECT)")
    ]
    vertex_location: Annotated[
        str | None, Option(t.LINE, "Vertex AI: the region (default: $VERTEXAI_LOCATION)")
    ]
    vertex_credentials: Annotated[
        str | PathLike[str] | Mapping[str, Any] | None,
        Option(
            t.CREDENTIALS,
            "Vertex AI: a service account's file, or its JSON, kept in memory alone "
            "(default: where Google's own library looks)",
            by_name=True,
        ),
    ]
    gcs_bucket_name: Annotated[
        str | None,
        Option(
            t.LINE,
            "Vertex AI: a bucket, or bucket/folder, for requests and results (default: "
            "$GCS_BUCKET_NAME)",
        ),
    ]
    aws_region_name: Annotated[
        str | None, Option(t.LINE, "Bedrock: the region (default: $AWS_REGION)")
    ]
    s3_bucket_name: Annotated[
        str | None,
        Option(
            t.LINE,
            "Bedrock: a bucket, or bucket/folder, for requests and results (default: "
            "$AWS_S3_BUCKET_NAME)",
        ),
    ]
    s3_output_bucket_name: Annotated[
        str | None, Option(t.LINE, "Bedrock: another one for the results")
    ]
    aws_batch_role_arn: Annotated[
        str | None,
        Option(
            t.LINE, "Bedrock: the role that reads and writes there (default: $AWS_BATCH_ROLE_ARN)"
        ),
    ]
    aws_profile_name: Annotated[
        str | None, Option(t.LINE, "Bedrock: a profile of your AWS configuration")
    ]
    aws_access_key_id: Annotated[
        str | None,
        Option(
            t.LINE,
            "Bedrock: with the next two in place of where AWS's own library looks; kept in "
            "memory alone",
            by_name=True,
        ),
    ]
    aws_secret_access_key: Annotated[
        str | None, Option(t.KEY, "Bedrock: the secret that belongs to it", by_name=True)
    ]
    aws_session_token: Annotated[
        str | None,
        Option(t.LINE, "Bedrock: the token that belongs to both, where there is one", by_name=True),
    ]


class _ChatParams(TypedDict, total=False):
    """Chat parameters of litellm that make sense in a batch with text answers."""

    temperature: Annotated[NumberParam, Option(t.NUMBER, "sampling temperature")]
    top_p: Annotated[NumberParam, Option(t.NUMBER, "nucleus sampling")]
    max_tokens: Annotated[WholeParam, Option(t.SOME, "at most so many tokens in an answer")]
    max_completion_tokens: Annotated[
        WholeParam,
        Option(t.SOME, "the same, reasoning included, for models that want it under this name"),
    ]
    stop: Annotated[
        str | Sequence[str] | Col | None,
        Option(t.STOPS, "where the answer ends (may be given several times)"),
    ]
    seed: Annotated[
        WholeParam, Option(t.WHOLE, "for answers that repeat, where the provider has it")
    ]
    presence_penalty: Annotated[NumberParam, Option(t.NUMBER, "against words that came before")]
    frequency_penalty: Annotated[NumberParam, Option(t.NUMBER, "against words that came often")]
    logit_bias: Annotated[DictParam, Option(t.OBJECT, "token id -> bias")]
    parallel_tool_calls: Annotated[
        FlagParam, Option(t.FLAG, "whether a model may call several tools at once")
    ]
    logprobs: Annotated[FlagParam, Option(t.FLAG, "ask for log probabilities")]
    top_logprobs: Annotated[WholeParam, Option(t.COUNT, "how many of them for each token")]
    response_format: Annotated[DictParam, Option(t.OBJECT, "OpenAI's response_format")]
    reasoning_effort: Annotated[
        TextParam, Option(t.LINE, "how long a reasoning model thinks: low, medium, high, ...")
    ]
    verbosity: Annotated[TextParam, Option(t.LINE, "how long the answer is: low, medium, high")]
    thinking: Annotated[DictParam, Option(t.OBJECT, "Anthropic's thinking")]
    web_search_options: Annotated[DictParam, Option(t.OBJECT, "OpenAI's web_search_options")]
    prediction: Annotated[DictParam, Option(t.OBJECT, "OpenAI's predicted output")]
    safety_identifier: Annotated[TextParam, Option(t.LINE, "the same, as OpenAI names it now")]
    prompt_cache_key: Annotated[TextParam, Option(t.LINE, "OpenAI's prompt_cache_key")]
    prompt_cache_retention: Annotated[TextParam, Option(t.LINE, "OpenAI's prompt_cache_retention")]
    service_tier: Annotated[TextParam, Option(t.LINE, "OpenAI's service_tier")]
    store: Annotated[FlagParam, Option(t.FLAG, "whether the provider keeps the answer")]


class _RequestFields(TypedDict, total=False):
    """Parameters of chat and embedding requests."""

    user: Annotated[TextParam, Option(t.LINE, "your own user's id, for the provider")]
    extra_body: Annotated[
        DictParam, Option(t.BODY, "more fields for each request's body, as the provider names them")
    ]


class _VectorOut(TypedDict, total=False):
    """The column to fill with vectors."""

    out: Annotated[str | None, Option(t.LINE, "the column to fill", "vector", short="-o")]


class _Vectors(TypedDict, total=False):
    """Parameters of embedding requests alone."""

    dimensions: Annotated[
        int | None,
        Option(t.SOME, "how many numbers a vector has, where the model can make it shorter"),
    ]


class SampleOptions(_Out, _TextOptions, _JobOptions, _ChatParams, _RequestFields, total=False):
    """The keyword arguments of `df.llm.sample`, but for `n` and `model`."""


class BatchOptions(SampleOptions, _Samples, total=False):
    """The keyword arguments of `df.llm.batch` and `jupyter_batch.batch`, but for `model`."""


class EmbedOptions(_VectorOut, _JobOptions, _RequestFields, _Vectors, total=False):
    """The keyword arguments of `df.llm.embed` and `jupyter_batch.embed`, but for `model`."""


TEXT_OPTIONS = declared(_TextOptions)
OPTIONS = declared(_Out, _Model, _TextOptions, _Samples, _JobOptions)
"""The options that are no chat parameters."""
CHAT_PARAMS = declared(_ChatParams, _RequestFields)
(VECTOR_OUT,) = declared(_VectorOut)
EMBED_PARAMS = declared(_Vectors, _RequestFields)
EVERY: dict[str, Option] = {option.name: option for option in OPTIONS + CHAT_PARAMS}
