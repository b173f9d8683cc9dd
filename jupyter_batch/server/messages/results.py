"""Answers in Anthropic's form: a batch's JSONL results, and a message as server-sent events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import orjson

from jupyter_batch.server.storage.objects import Record
from jupyter_batch.server.storage.output import CANCELLED, EXPIRED
from jupyter_batch.server.storage.store import Store
from jupyter_batch.server.translate.message_objects import envelope

_OK = 200
_TIMED_OUT = 504
_PIECE = 16
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


def events(message: Mapping[str, Any]) -> Iterator[bytes]:
    """`message_start`, the content blocks in pieces, `message_delta`, `message_stop`."""
    usage = message["usage"]
    started = {
        **message,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {**usage, "output_tokens": 0},
    }
    yield _event("message_start", message=started)
    for index, block in enumerate(message["content"]):
        yield from _block_events(index, block)
    delta = {name: message[name] for name in ("stop_reason", "stop_sequence")}
    yield _event("message_delta", delta=delta, usage={"output_tokens": usage["output_tokens"]})
    yield _event("message_stop")


def _block_events(index: int, block: Mapping[str, Any]) -> Iterator[bytes]:
    kind = block["type"]
    started = dict(block)
    if kind == "tool_use":
        delta, field, text = (
            "input_json_delta",
            "partial_json",
            msgspec.json.encode(block["input"]).decode(),
        )
        started["input"] = {}
    else:
        delta, field, text = f"{kind}_delta", kind, block[kind]
        started[kind] = ""
    yield _event("content_block_start", index=index, content_block=started)
    for start in range(0, len(text), _PIECE):
        piece = {"type": delta, field: text[start : start + _PIECE]}
        yield _event("content_block_delta", index=index, delta=piece)
    yield _event("content_block_stop", index=index)


def _event(kind: str, **fields: Any) -> bytes:
    data = msgspec.json.encode({"type": kind, **fields})
    return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"
