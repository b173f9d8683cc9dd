"""The JSONL results of a Message Batch, rendered from the two result files that the runner writes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from jupyter_batch.server.storage.objects import Record
from jupyter_batch.server.storage.output import CANCELLED, EXPIRED
from jupyter_batch.server.storage.store import Store
from jupyter_batch.server.translate.message_errors import envelope

_OK = 200
_TIMED_OUT = 504
_NOT_PROCESSED = {EXPIRED[0]: "expired", CANCELLED[0]: "canceled"}


def result_paths(record: Record, store: Store) -> list[Path]:
    """The result files of an ended batch; a batch without failures has one."""
    batch = record.batch
    ids = (batch.output_file_id, batch.error_file_id)
    return [store.path(file_id) for file_id in ids if file_id is not None]


def result_lines(paths: list[Path]) -> Iterator[bytes]:
    """A line for each request, in no particular order."""
    for path in paths:
        with path.open("rb") as handle:
            for line in handle:
                yield orjson.dumps(result_of(orjson.loads(line))) + b"\n"


def result_of(line: dict[str, Any]) -> dict[str, Any]:
    """`{"custom_id", "result"}` out of a line in OpenAI's form whose body is in Anthropic's."""
    return {"custom_id": line["custom_id"], "result": _result(line)}


def _result(line: dict[str, Any]) -> dict[str, Any]:
    response, error = line["response"], line["error"]
    if response is None:
        kind = _NOT_PROCESSED.get(error["code"])
        if kind is not None:
            return {"type": kind}
        return _errored(_TIMED_OUT, error["message"], line["id"])
    status, body = response["status_code"], response["body"]
    if status != _OK:
        return _errored(status, body["error"]["message"], response["request_id"])
    body["usage"]["service_tier"] = "batch"
    return {"type": "succeeded", "message": body}


def _errored(status: int, message: str, request_id: str) -> dict[str, Any]:
    return {"type": "errored", "error": envelope(status, message, request_id)}
