"""The options of a call, each declared once: type, accepted values, help, default.

Signatures, help, the magic's line, completion and command line arguments are made from these and the chat parameters
(chat_params.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from os import PathLike
from typing import Annotated, Any, Literal, TypedDict

from jupyter_batch.config import types as t
from jupyter_batch.config.chat_params import ChatParams, RequestFields, Vectors
from jupyter_batch.config.option import Col, Option, declared
from jupyter_batch.core.cost import KINDS
from jupyter_batch.core.schema import PARTS

Models = list[str] | tuple[str, ...] | Col
"""Several models: the call gives a Group, with a job for each."""
Mode = Literal["auto", "batch", "realtime", "flex"]
AtOnce = Literal["realtime", "flex"]
MissingCells = Literal["skip", "send", "raise"]
TemplateKind = Literal["braces", "jinja"]
Cache = Literal["system", "system_and_tools"]
Flag = Annotated[bool | None, t.FLAG]
Key = Annotated[str | None, t.KEY]
Line = Annotated[str | None, t.LINE]
PaceAMinute = Annotated[float | None, t.PACE_A_MINUTE]
Some = Annotated[int | None, t.SOME]


class _Out(TypedDict, total=False):
    """The column to fill."""

    out: Annotated[
        Line,
        Option(
            "the column to fill; with a schema, how the columns' names begin",
            "response",
            short="-o",
        ),
    ]


class _Model(TypedDict, total=False):
    """The model or models; a parameter of its own in the overloads of a call."""

    model: Annotated[
        str | Models | None,
        t.LINE,
        Option(
            "a litellm model id, such as openai/gpt-4.1-mini or local/echo; a list of them (on a "
            'line: with commas) asks each, into columns that end with their names; col("name") takes '
            "each row's model from that column "
            "(default: %config LLMBatch.model, else $JUPYTER_BATCH_MODEL)",
            short="-m",
        ),
    ]


class _TextOptions(TypedDict, total=False):
    """Options of requests that are answered in words."""

    system: Annotated[str | None, t.TEXT, Option("a template for the system message")]
    schema: Annotated[
        Any,
        t.SCHEMA,
        Option(
            "the fields of an answer: a typed column for each, named after it (after `out` and _, where out is "
            "given)"
        ),
    ]
    keep: Annotated[
        str | Iterable[str] | Mapping[str, str] | None,
        t.KEEP,
        Option(
            "further parts of an answer that get a column, named after `out`, _ and the part: "
            f"{', '.join(PARTS)}; adding one to a complete job costs nothing, except logprobs, which must be "
            "requested"
        ),
    ]
    images: Annotated[
        Any,
        t.COLUMNS,
        Option(
            "columns with pictures or PDFs: addresses, paths, bytes, Pillow's pictures, or lists of "
            "these"
        ),
    ]
    image_size: Annotated[
        Some,
        Option(
            "pixels: larger pictures are scaled down until their longer edge has this length (needs Pillow)"
        ),
    ]
    examples: Annotated[
        Any,
        t.EXAMPLES,
        Option(
            "few-shot examples: a frame with the prompt's columns and the column(s) to fill, sent before each row's "
            "own message"
        ),
    ]
    tools: Annotated[
        Any | Col,
        t.TOOLS,
        Option(
            "the tools that the model may call: its calls are the answer, and job.run_tools() runs them here; "
            'col("name") takes each row\'s tools from that column'
        ),
    ]
    tool_choice: Annotated[
        Any,
        t.TOOL_CHOICE,
        Option(
            "whether it calls a tool: auto, none, required, or a tool's name",
            suggested=("auto", "none", "required"),
        ),
    ]
    endpoint: Annotated[
        str | Col | None,
        t.ENDPOINT,
        Option(
            "what is asked: chat, responses, or embeddings for vectors (default: as litellm knows the model); "
            'col("name") takes each row\'s own from that column',
            suggested=("chat", "responses", "embeddings"),
        ),
    ]
    cache: Annotated[
        Cache | None,
        t.choice(Cache),
        Option(
            "have the provider cache the prompt's beginning: marks the "
            "system text (and the tools) for Anthropic; others cache on their own, and it changes nothing there"
        ),
    ]


class _Samples(TypedDict, total=False):
    """The number of answers."""

    n: Annotated[
        int | None,
        t.MANY,
        Option("answers a row, each a request of its own; the cell is a list of them", 1),
    ]


class _JobOptions(TypedDict, total=False):
    """Options of any job."""

    reuse: Annotated[
        Flag,
        Option("an identical request that was answered or is in progress is not paid again", True),
    ]
    wait: Annotated[Flag, Option("block until the job is done", False)]
    timeout: Annotated[
        float | None, t.SECONDS, Option("with wait: seconds to wait at most; the job continues")
    ]
    raise_on_failure: Annotated[
        Flag,
        Option(
            "waiting for the job raises JobFailedError where rows ended without an answer; what was answered is in the "
            "column",
            False,
        ),
    ]
    na: Annotated[
        MissingCells | None,
        t.choice(MissingCells),
        Option(
            "a row where a column that the prompt uses is missing: skip it "
            "with a named reason, send it as an empty text, or raise",
            "skip",
        ),
    ]
    overwrite: Annotated[Flag, Option("fill a column that exists already", False)]
    metadata: Annotated[
        Mapping[str, str | float] | None,
        t.TAGS,
        Option("tags sent to the provider with each batch"),
    ]
    name: Annotated[Line, Option("a label for the job")]
    template: Annotated[
        TemplateKind | None,
        t.choice(TemplateKind),
        Option("how the prompt is written: {column}, or Jinja2", "braces"),
    ]
    api_key: Annotated[
        Key,
        Option(
            "the provider's key, kept in memory only (default: litellm's sources, such as $OPENAI_API_KEY)",
            by_name=True,
        ),
    ]
    api_base: Annotated[str | None, t.URL, Option("the provider's address, as in litellm")]
    api_version: Annotated[
        Line, Option("the API's version, where the provider has one to choose (Azure)")
    ]
    mode: Annotated[
        Mode | None,
        t.choice(Mode),
        Option(
            "batch: at the batch price; realtime: asked at once, at the full price; flex: asked at "
            "once at the batch price, in the provider's flex tier, which may have no room for a "
            "while; auto: batch, and real time only where that costs nothing",
            "auto",
        ),
    ]
    concurrency: Annotated[
        Some,
        Option(
            "in real time: the most calls at once (default 64, fewer where the provider asks for it)"
        ),
    ]
    requests_per_minute: Annotated[PaceAMinute, Option("in real time: the most requests a minute")]
    tokens_per_minute: Annotated[PaceAMinute, Option("in real time: the most tokens a minute")]
    max_cost: Annotated[
        float | None,
        t.DOLLARS,
        Option(
            "US dollars: a job with a higher estimate is refused before anything is sent; a job whose actual cost runs "
            "ahead sends no further batch; for several models, the limit for all together"
        ),
    ]
    prices: Annotated[
        Mapping[str, Any] | None,
        t.PRICES,
        Option(
            "prices of models that are in no price list, by model, in US dollars per million tokens: "
            f"{', '.join(KINDS)}; realtime and flex hold the same for these modes (default: %config LLMBatch.prices)"
        ),
    ]
    poll_interval: Annotated[
        float | None,
        t.PACE,
        Option("seconds between two polls of the provider (default: fast at first, then minutes)"),
    ]
    deadline: Annotated[
        str | float | timedelta | None,
        t.DEADLINE,
        Option(
            "rows that are unfinished by then are cancelled at the provider and asked in real time, at the full price"
        ),
    ]
    deadline_mode: Annotated[
        AtOnce | None,
        t.choice(AtOnce),
        Option(
            "how the rest is asked then: realtime, or flex, at the batch price in the provider's "
            "flex tier, without a bound on the time",
            "realtime",
        ),
    ]
    completion_window: Annotated[
        str | None, t.WINDOW, Option("how long the provider may take", "24h")
    ]
    output_expires_after: Annotated[
        str | float | timedelta | None,
        t.DEADLINE,
        Option(
            "how long the provider keeps a batch's result files once they are written, such as 7d: answers that were "
            "not fetched by then are gone, and billed (default: the provider's own time)"
        ),
    ]
    shard_size: Annotated[
        Some, Option("the most requests in a batch (default: the provider's limit)")
    ]
    vertex_project: Annotated[
        Line, Option("Vertex AI: the project's id (default: $VERTEXAI_PROJECT)")
    ]
    vertex_location: Annotated[Line, Option("Vertex AI: the region (default: $VERTEXAI_LOCATION)")]
    vertex_credentials: Annotated[
        str | PathLike[str] | Mapping[str, Any] | None,
        t.CREDENTIALS,
        Option(
            "Vertex AI: a service account's file, or its JSON, kept in memory only (default: the sources of "
            "Google's own library)",
            by_name=True,
        ),
    ]
    gcs_bucket_name: Annotated[
        Line,
        Option(
            "Vertex AI: a bucket, or bucket/folder, for requests and results (default: "
            "$GCS_BUCKET_NAME)"
        ),
    ]
    aws_region_name: Annotated[Line, Option("Bedrock: the region (default: $AWS_REGION)")]
    s3_bucket_name: Annotated[
        Line,
        Option(
            "Bedrock: a bucket, or bucket/folder, for requests and results (default: "
            "$AWS_S3_BUCKET_NAME)"
        ),
    ]
    s3_output_bucket_name: Annotated[Line, Option("Bedrock: another bucket for the results")]
    aws_batch_role_arn: Annotated[
        Line, Option("Bedrock: the role that reads and writes there (default: $AWS_BATCH_ROLE_ARN)")
    ]
    aws_profile_name: Annotated[Line, Option("Bedrock: a profile of your AWS configuration")]
    aws_access_key_id: Annotated[
        Line,
        Option(
            "Bedrock: with the next two, in place of the sources of AWS's own library; kept in memory only",
            by_name=True,
        ),
    ]
    aws_secret_access_key: Annotated[
        Key, Option("Bedrock: the secret that belongs to it", by_name=True)
    ]
    aws_session_token: Annotated[
        Line, Option("Bedrock: the token that belongs to both, if there is one", by_name=True)
    ]


class _VectorOut(TypedDict, total=False):
    """The column to fill with vectors."""

    out: Annotated[Line, Option("the column to fill", "vector", short="-o")]


class RetryParams(ChatParams, RequestFields, total=False):
    """The chat parameters that `job.retry` may change."""


class SampleOptions(_Out, _TextOptions, _JobOptions, RetryParams, total=False):
    """The keyword arguments of `df.llm.sample`, but for `n` and `model`."""


class BatchOptions(SampleOptions, _Samples, total=False):
    """The keyword arguments of `df.llm.batch` and `jupyter_batch.batch`, but for `model`."""


class FileOptions(_Out, _JobOptions, total=False):
    """The keyword arguments of `jupyter_batch.submit_file`, but for `model`."""


class EmbedOptions(_VectorOut, _JobOptions, RequestFields, Vectors, total=False):
    """The keyword arguments of `df.llm.embed` and `jupyter_batch.embed`, but for `model`."""


TEXT_OPTIONS = declared(_TextOptions)
OPTIONS = declared(_Out, _Model, _TextOptions, _Samples, _JobOptions)
"""The options that are no chat parameters."""
CHAT_PARAMS = declared(RetryParams)
(VECTOR_OUT,) = declared(_VectorOut)
EMBED_PARAMS = declared(Vectors, RequestFields)
EVERY: dict[str, Option] = {option.name: option for option in OPTIONS + CHAT_PARAMS}
FINISH = [
    EVERY["deadline_mode"]._replace(name="mode", help="realtime, or flex, at the batch price"),
    EVERY["max_cost"]._replace(help="US dollars that the rest may cost"),
]
"""The options of `finish`."""
