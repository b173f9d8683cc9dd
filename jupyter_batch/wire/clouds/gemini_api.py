"""The Gemini API's dialect: requests -> batch lines, result lines -> Results, operations -> BatchView.

No network. A request line is {"key", "request"}; a result line is {"key", "response"}, or with a
google.rpc.Status in "error" ("status" in the guide). Inline, the key is in "metadata". gemini.py
makes chat requests and reads their answers; embeddings are made and read here. On this disk each
line has its id first, as in all dialects: `sent` converts a line for upload, `slim` a result.

Sources: ai.google.dev, Batch API and its reference; google-genai (batches.py), the fields.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from jupyter_batch.core.batch import BatchView
from jupyter_batch.core.refusals.sentence import decoded, short
from jupyter_batch.core.request import Result, Status, Usage
from jupyter_batch.core.status import State
from jupyter_batch.wire import openai_vectors, tolerant
from jupyter_batch.wire.anthropic import requests as anthropic_requests
from jupyter_batch.wire.clouds import gemini
from jupyter_batch.wire.openai import CHAT, EMBEDDINGS, Hole
from jupyter_batch.wire.openai_requests import Route
from jupyter_batch.wire.row_error import cut
from jupyter_batch.wire.translated import mapping, slimmed, time_of

# --- requests -------------------------------------------------------------------------------------------------------


class _Translation(gemini.GeminiTranslation):
    provider = "gemini"
    title = "the Gemini API"


class Encoder(anthropic_requests.Encoder):
    """Encodes Gemini's batch lines; see its parent for how few are translated singly."""

    taker = "the Gemini API"
    line = b'{"custom_id":%b,"request":%b}\n'

    def _translate(self, litellm: Any, model: str) -> gemini.GeminiTranslation:
        return _Translation(litellm, model)


class VectorEncoder(openai_vectors.Encoder):
    """Encodes lines of embedContent requests."""

    def _line(self, endpoint: str, body: Mapping[str, Any]) -> dict[str, Any]:
        del endpoint
        return {"custom_id": Hole("custom_id"), "request": body}


def vectors(
    body: Mapping[str, Any], load: Callable[[], Any], route: Route, extra: Mapping[str, Any]
) -> VectorEncoder:
    """Return the encoder of embeddings, its requests as litellm makes them in real time.

    Raises OptionError for an unsupported parameter.
    """
    params = {key: value for key, value in body.items() if key not in ("model", "input")}
    made = openai_vectors.mapped(load(), route, params) if params else {}
    request = {
        "model": f"models/{gemini.gemini_name(str(body['model']))}",
        "content": {"parts": [{"text": body["input"]}]},
        **made,
        **extra,
    }
    return VectorEncoder(EMBEDDINGS, request)


_HEAD, _MIDDLE = b'{"custom_id":', b',"request":'


def sent(line: bytes) -> bytes:
    """Convert a stored request line to the line to send."""
    return b'{"key":' + line.removeprefix(_HEAD)


def inlined(requests: Path) -> dict[str, Any]:
    """Return a request file as the input of a create with inline requests."""
    asked = []
    for line in requests.read_bytes().splitlines():
        custom_id, _, request = line.removeprefix(_HEAD).partition(_MIDDLE)
        asked.append(
            {
                "request": msgspec.json.decode(request[:-1]),
                "metadata": {"key": msgspec.json.decode(custom_id)},
            }
        )
    return {"requests": {"requests": asked}}


# --- results --------------------------------------------------------------------------------------------------------


class _Keyed(msgspec.Struct, gc=False):
    key: str = ""


class _Came(msgspec.Struct, gc=False):
    key: str = ""
    metadata: _Keyed | None = None
    response: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()
    status: msgspec.Raw = msgspec.Raw()


_came = msgspec.json.Decoder(_Came).decode


def slim(line: bytes) -> bytes:
    """Convert a result to {"custom_id", "response" | "error"}; an unreadable one is unchanged."""
    try:
        came = _came(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return line.rstrip(b"\n") + b"\n"
    key = came.key or (came.metadata.key if came.metadata is not None else "")
    if not key:
        return line.rstrip(b"\n") + b"\n"
    return slimmed(key, {"response": came.response, "error": came.error or came.status})


class _Inlined(msgspec.Struct):
    inlinedResponses: list[msgspec.Raw] = []  # noqa: N815 - Google's name


class _Output(msgspec.Struct):
    inlinedResponses: _Inlined | None = None  # noqa: N815
    inlinedEmbedContentResponses: _Inlined | None = None  # noqa: N815

    def lines(self) -> list[msgspec.Raw]:
        held = self.inlinedResponses or self.inlinedEmbedContentResponses
        return [] if held is None else held.inlinedResponses


class _Metadata(msgspec.Struct):
    output: _Output | None = None


class _Held(msgspec.Struct):
    metadata: _Metadata | None = None
    response: _Output | None = None


def inline_results(operation: bytes) -> bytes:
    """Return the inline results of a batch as lines. Raises msgspec.DecodeError."""
    held = msgspec.json.decode(operation, type=_Held)
    output = (held.metadata.output if held.metadata is not None else None) or held.response
    return b"".join(slim(bytes(one)) for one in (output.lines() if output is not None else ()))


class _Values(msgspec.Struct, gc=False):
    values: list[float]


class _Tokens(msgspec.Struct, gc=False):
    promptTokenCount: int | None = None  # noqa: N815


class _Embedded(msgspec.Struct, gc=False):
    embedding: _Values
    tokenCount: int | str | None = None  # noqa: N815 - an int64, in JSON also a text
    usageMetadata: _Tokens | None = None  # noqa: N815


class _Vector(msgspec.Struct, gc=False):
    custom_id: str
    response: _Embedded


_vector = msgspec.json.Decoder(_Vector).decode


def decode_lines(block: bytes, endpoint: str) -> Iterator[Result]:
    r"""Decode a block of whole lines; a line ends at b"\n" only, and empty lines are skipped."""
    if endpoint != EMBEDDINGS:
        yield from gemini.decode_lines(block)
        return
    for line in block.split(b"\n"):
        if line and not line.isspace():
            yield _embedding(line)


def _embedding(line: bytes) -> Result:
    try:
        came = _vector(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return gemini.decode(line)  # an error, or unreadable
    response = came.response
    counted = response.tokenCount
    if counted is None and response.usageMetadata is not None:
        counted = response.usageMetadata.promptTokenCount
    usage = None if counted is None else Usage(tolerant.count(counted), 0)
    return Result(came.custom_id, Status.SUCCEEDED, response.embedding.values, usage=usage)


# --- operations -----------------------------------------------------------------------------------------------------

_ENDINGS = {
    "SUCCEEDED": State.COMPLETED,
    "PARTIALLY_SUCCEEDED": State.COMPLETED,
    "FAILED": State.FAILED,
    "CANCELLED": State.CANCELLED,
    "EXPIRED": State.EXPIRED,
}
_CANCELLED, _DEADLINE, _EXHAUSTED = 1, 4, 8  # google.rpc.Code
LIFE_SECONDS = 48 * 3600.0
"""A batch that has been pending or running for longer expires (Batch API)."""


def read_operation(body: bytes) -> BatchView | None:
    """Convert an operation; None where the response holds none."""
    value = decoded(body)
    return _view(value) if isinstance(value, Mapping) else None


def views_in(page: Mapping[str, Any]) -> list[BatchView]:
    """Convert a page of operations."""
    held = page.get("operations")
    views = [_view(one) for one in (held if isinstance(held, list) else []) if mapping(one)]
    return [view for view in views if view is not None]


def _view(operation: Mapping[str, Any]) -> BatchView | None:
    """Fields may be missing or null; an unknown state is running."""
    name = operation.get("name")
    if not isinstance(name, str) or not name.startswith("batches/"):
        return None
    batch, error = mapping(operation.get("metadata")), mapping(operation.get("error"))
    output = mapping(batch.get("output")) or mapping(operation.get("response"))
    state = str(batch.get("state") or "").removeprefix("BATCH_STATE_").removeprefix("JOB_STATE_")
    ending = _ENDINGS.get(state) or _ended(operation, error)
    stats = mapping(batch.get("batchStats"))
    done = tolerant.count(stats.get("successfulRequestCount"))
    created = time_of(batch.get("createTime"))
    why = error.get("message") if ending is State.FAILED else None
    return BatchView(
        id=name,
        status=state.lower() or "unknown",
        ending=ending,
        input_file_id=_text(mapping(batch.get("inputConfig")).get("fileName")),
        output_file_id=_results_of(name, output) if ending is not None else None,
        total=tolerant.count(stats.get("requestCount")),
        completed=done,
        failed=tolerant.count(stats.get("failedRequestCount")),
        created_at=created,
        expires_at=None if created is None else created + LIFE_SECONDS,
        ended_at=time_of(batch.get("endTime")),
        errors=cut(short(str(why))) if why else "",
        quota=ending is State.FAILED and error.get("code") == _EXHAUSTED and not done,
        tag=_tag_of(batch),
        endpoint=EMBEDDINGS if "EmbedContent" in str(batch.get("@type")) else CHAT,
    )


def _ended(operation: Mapping[str, Any], error: Mapping[str, Any]) -> State | None:
    """The ending of an operation without a known state."""
    if operation.get("done") is not True:
        return None
    if not error:
        return State.COMPLETED
    by_code = {_CANCELLED: State.CANCELLED, _DEADLINE: State.EXPIRED}
    code = error.get("code")
    return by_code.get(code, State.FAILED) if isinstance(code, int) else State.FAILED


def _results_of(name: str, output: Mapping[str, Any]) -> str | None:
    """The id by which results are fetched: of their file, or of the batch where they are inline."""
    file = _text(output.get("responsesFile"))
    inline = mapping(output.get("inlinedResponses")) or mapping(
        output.get("inlinedEmbedContentResponses")
    )
    return file or (name if inline.get("inlinedResponses") else None)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


# --- the display name -----------------------------------------------------------------------------------------------

_TAG, _OF, _OUT, _MODEL = (
    "jupyter_batch",
    "jupyter_batch_of",
    "jupyter_batch_out",
    "jupyter_batch_model",
)
_NAME_CHARS = 128
"""Vertex AI's limit of a display name; the Gemini API documents none."""


def named(tag: Mapping[str, str]) -> str:
    """The display name with a batch's tag: job, shard, rows, and the column where it fits."""
    name = " ".join([_TAG, tag.get(_TAG, "-"), tag.get(_OF, "-")])
    whole = f"{name} {tag.get(_OUT, '')}"
    return whole if len(whole.encode()) <= _NAME_CHARS and whole.isprintable() else name


def _tag_of(batch: Mapping[str, Any]) -> dict[str, str]:
    """Return the tag from which `named` made a batch's display name; {} for another name."""
    product, _, rest = str(batch.get("displayName") or "").partition(" ")
    job, _, rest = rest.partition(" ")
    of, _, out = rest.partition(" ")
    if product != _TAG or not job:
        return {}
    model = str(batch.get("model") or "").removeprefix("models/")
    tag = {_TAG: job, _OF: of, _OUT: out, _MODEL: f"gemini/{model}" if model else ""}
    return {key: value for key, value in tag.items() if value not in ("", "-")}


# --- errors ---------------------------------------------------------------------------------------------------------


class ErrorDetails(msgspec.Struct, frozen=True):
    """An error response. body: without its details, which repeat the message, or are for programs.

    reason: of its ErrorInfo. about_model: there is no such model. retry_after: seconds.
    """

    body: Any
    reason: str = ""
    about_model: bool = False
    retry_after: float | None = None


def read_error(body: bytes) -> ErrorDetails:
    """Read an error response of any shape: a google.rpc.Status, or what a proxy answers."""
    error = mapping(mapping(decoded(body)).get("error"))
    if not error:
        return ErrorDetails(body)
    details = error.get("details")
    reason, retry_after = "", None
    for one in map(mapping, details if isinstance(details, list) else []):
        reason = _text(one.get("reason")) or reason
        delay = _text(one.get("retryDelay")) or ""
        if delay.endswith("s") and delay[:-1].replace(".", "", 1).isdecimal():
            retry_after = float(delay[:-1])
    named_model = str(error.get("message")).startswith("models/")  # a resource's name
    return ErrorDetails(
        {"error": {key: value for key, value in error.items() if key != "details"}},
        reason,
        error.get("status") == "NOT_FOUND" and named_model,
        retry_after,
    )
