"""Vertex AI's dialect: chat requests -> Gemini's batch lines, result lines -> Results.

No network. A request line is {"request": <a generateContent request>}; a result line repeats it,
with "response" or a "status" that describes the error, in no order. A row is identified by a
label of its request: labels are returned, and Google documents them as "for billing and reporting
only". gemini.py makes a row's request and decodes its answer. On this disk each line has its id
first, as in all dialects: `sent` converts a line for upload, `slim` converts a result, without the
repeated request. Jobs become BatchViews.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from jupyter_batch.core.batch import BatchView
from jupyter_batch.core.refusals.sentence import short
from jupyter_batch.core.status import State
from jupyter_batch.wire import tolerant
from jupyter_batch.wire.anthropic import requests as anthropic_requests
from jupyter_batch.wire.clouds.gemini import GeminiTranslation
from jupyter_batch.wire.row_error import cut
from jupyter_batch.wire.translated import mapping, slimmed, time_of
from jupyter_batch.wire.whole import Refused

ROW = "jupyter_batch_row"
"""The label of a request with its row's id."""


# --- requests -------------------------------------------------------------------------------------------------------


class Encoder(anthropic_requests.Encoder):
    """Encodes Gemini's batch lines; see its parent for how few are translated singly."""

    taker = "Vertex AI"
    line = b'{"custom_id":%b,"request":%b}\n'

    def _translate(self, litellm: Any, model: str) -> GeminiTranslation:
        return _Translation(litellm, model)


def sent(line: bytes) -> bytes:
    """Convert a stored request line to the line to send."""
    head, _, rest = line.partition(b',"request":{')  # an id has no quote: the request begins here
    return b'{"request":{"labels":{"%b":%b},%b' % (
        ROW.encode(),
        head.removeprefix(b'{"custom_id":'),
        rest,
    )


def kept(line: bytes) -> bytes:
    """Return the line from which `sent` made a request line."""
    start = b'{"request":{"labels":{"%b":' % ROW.encode()
    head, _, rest = line.removeprefix(start).partition(b"},")
    return b'{"custom_id":%b,"request":{%b' % (head, rest)


class _Translation(GeminiTranslation):
    def body(self, messages: Any, options: Mapping[str, Any]) -> dict[str, Any]:
        data = super().body(messages, options)
        if "labels" in data:
            raise Refused(
                "labels of a request are taken: a row is known by them. Give metadata= to label the batch"
            )
        return data


# --- results --------------------------------------------------------------------------------------------------------


class _Labels(msgspec.Struct, gc=False):
    row: str = msgspec.field(name=ROW)


class _Asked(msgspec.Struct, gc=False):
    labels: _Labels


class _Came(msgspec.Struct, gc=False):
    request: _Asked
    response: msgspec.Raw = msgspec.Raw()
    status: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()


_came = msgspec.json.Decoder(_Came).decode


def slim(line: bytes) -> bytes:
    """Reduce a result to {"custom_id", "response", "status", "error"}; keep an unreadable one."""
    try:
        came = _came(line)
        held = {"response": came.response, "status": came.status, "error": came.error}
        return slimmed(came.request.labels.row, held)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _slim_instance(line)


def _slim_instance(line: bytes) -> bytes:
    """Convert Vertex's older form of a failed line: {"instance": <the request>, "error": {...}}."""
    try:
        data = tolerant.loads(line)
        sent = data["instance"]
        row = sent.get("request", sent)["labels"][ROW]
        made = {
            "custom_id": row,
            **{key: data[key] for key in ("response", "status", "error") if key in data},
        }
        return msgspec.json.encode(made) + b"\n"
    except Exception:  # bytes from outside: the reader of the file reports unreadable lines
        return line.rstrip(b"\n") + b"\n"


# --- jobs -----------------------------------------------------------------------------------------------------------

# Vertex AI REST reference, JobState. Partially succeeded: "some results may be missing due to errors".
_ENDINGS = {
    "JOB_STATE_SUCCEEDED": State.COMPLETED,
    "JOB_STATE_PARTIALLY_SUCCEEDED": State.COMPLETED,
    "JOB_STATE_FAILED": State.FAILED,
    "JOB_STATE_CANCELLED": State.CANCELLED,
    "JOB_STATE_EXPIRED": State.EXPIRED,
}
_EXHAUSTED = 8  # google.rpc.Code.RESOURCE_EXHAUSTED


def read_job(job: Mapping[str, Any]) -> BatchView:
    """Convert a BatchPredictionJob; fields may be missing or null, an unknown state is running.

    output_file_id: the folder of its results, once reported; its files are not checked here.
    """
    state = str(job.get("state") or "unknown")
    stats, error = mapping(job.get("completionStats")), mapping(job.get("error"))
    partial = [mapping(one).get("message") for one in job.get("partialFailures") or []]
    messages = [str(part) for part in (error.get("message"), *partial) if part]
    done, lost = (
        tolerant.count(stats.get("successfulCount")),
        tolerant.count(stats.get("failedCount")),
    )
    uris = mapping(mapping(job.get("inputConfig")).get("gcsSource")).get("uris")
    output = mapping(job.get("outputInfo")).get("gcsOutputDirectory") or mapping(
        mapping(job.get("outputConfig")).get("gcsDestination")
    ).get("outputUriPrefix")
    shown = cut(short("; ".join(messages[:3])))
    return BatchView(
        id=str(job.get("name") or ""),
        status=state.removeprefix("JOB_STATE_").lower(),
        ending=_ENDINGS.get(state),
        input_file_id=uris[0] if isinstance(uris, list) and uris else None,
        output_file_id=str(output) if output else None,
        total=done + lost + tolerant.count(stats.get("incompleteCount")),
        completed=done,
        failed=lost,
        created_at=time_of(job.get("createTime")),
        errors=shown,
        quota=error.get("code") == _EXHAUSTED and not done,
    )
