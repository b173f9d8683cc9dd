"""The routes of `/v1/batches`: create, retrieve, list, cancel."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web

from jupyter_batch.server.errors import (
    ApiError,
    bad_request,
    missing,
    no_batch,
    unknown_parameter,
    wrong_type,
    wrong_value,
)
from jupyter_batch.server.service import json_body, life_of, limit_of, page, reply, service
from jupyter_batch.server.storage.objects import (
    BATCH_FILE_LIFE,
    COMPLETION_WINDOW,
    ENDPOINTS,
    OPEN,
    SERVED,
    Batch,
    Record,
    new_id,
)
from jupyter_batch.server.translate.message_objects import MESSAGES

MOST_PAIRS, LONGEST_KEY, LONGEST_VALUE = 16, 64, 512
LISTED, MOST_LISTED = 20, 100
_REQUIRED = ("input_file_id", "endpoint", "completion_window")
_KNOWN = frozenset({*_REQUIRED, "metadata", "output_expires_after"})

routes = web.RouteTableDef()


@routes.post("/v1/batches")
async def create(request: web.Request) -> web.Response:
    """A new batch, which is validated afterwards."""
    serving = service(request)
    body = await json_body(request)
    _check(body)
    now = serving.clock()
    file = serving.store.file(body["input_file_id"], now)
    if file is not None and file.purpose != "batch":
        raise bad_request(
            f"Invalid 'input_file_id': expected a file with purpose 'batch', but got one with purpose "
            f"'{file.purpose}' instead.",
            param="input_file_id",
            code="invalid_value",
        )
    serving.runner.take_room(file.bytes if file is not None else 0)
    life = body.get("output_expires_after")
    batch = Batch(
        id=new_id("batch_"),
        endpoint=body["endpoint"],
        input_file_id=body["input_file_id"],
        completion_window=body["completion_window"],
        created_at=int(now),
        expires_at=int(now) + COMPLETION_WINDOW,
        metadata=body.get("metadata"),
    )
    record = Record(
        batch=batch,
        output_id=new_id("file-"),
        error_id=new_id("file-"),
        output_life=BATCH_FILE_LIFE if life is None else life_of(life, "output_expires_after"),
    )
    serving.store.add_batch(record)
    answer = reply(batch)
    serving.runner.submit(record)
    return answer


def _check(body: dict[str, Any]) -> None:
    for name in body:
        if name not in _KNOWN:
            raise unknown_parameter(name)
    for name in _REQUIRED:
        if body.get(name) is None:
            raise missing(name)
        if not isinstance(body[name], str):
            raise wrong_type(name, "a string", body[name])
    if not body["input_file_id"]:
        raise missing("input_file_id")
    if body["endpoint"] not in SERVED:
        known = body["endpoint"] in ENDPOINTS
        wrong = wrong_value("endpoint", body["endpoint"], SERVED)
        raise bad_request(
            f"{wrong.message} (OpenAI has it; this server does not.)" if known else wrong.message,
            param=wrong.param,
            code=wrong.code,
        )
    if body["completion_window"] != "24h":
        raise wrong_value("completion_window", body["completion_window"], ("24h",))
    _check_metadata(body.get("metadata"))
    if body.get("output_expires_after") is not None:
        life_of(body["output_expires_after"], "output_expires_after")


def _check_metadata(metadata: Any) -> None:
    if metadata is None:
        return
    if not isinstance(metadata, dict):
        raise wrong_type("metadata", "an object", metadata)
    if len(metadata) > MOST_PAIRS:
        raise bad_request(
            f"Invalid 'metadata': too many properties. Expected an object with at most {MOST_PAIRS} "
            f"properties, but got an object with {len(metadata)} properties instead.",
            param="metadata",
            code="object_above_max_properties",
        )
    for key, value in metadata.items():
        if len(key) > LONGEST_KEY:
            raise bad_request(
                f"Invalid property name in 'metadata': '{key[:LONGEST_KEY]}...' is too long. Expected "
                f"a string with maximum length {LONGEST_KEY}, but got a string with length {len(key)} "
                "instead.",
                param="metadata",
                code="property_name_above_max_length",
            )
        if not isinstance(value, str):
            raise wrong_type(f"metadata.{key}", "a string", value)
        if len(value) > LONGEST_VALUE:
            raise bad_request(
                f"Invalid 'metadata.{key}': string too long. Expected a string with maximum length "
                f"{LONGEST_VALUE}, but got a string with length {len(value)} instead.",
                param=f"metadata.{key}",
                code="string_above_max_length",
            )


def _shown(request: web.Request, record: Record, *, retrieved: bool = False) -> Batch:
    """A batch as clients see it, which a fault may keep the file ids from."""
    batch = record.batch
    if batch.status not in OPEN and service(request).runner.hides_output(
        batch.id, retrieved=retrieved
    ):
        batch = msgspec.structs.replace(batch, output_file_id=None, error_file_id=None)
    return batch


@routes.get("/v1/batches")
async def index(request: web.Request) -> web.Response:
    """List batches, newest first."""
    serving, after = service(request), request.query.get("after")
    limit, cursor = limit_of(request, default=LISTED, most=MOST_LISTED), None
    if after:
        cursor = serving.store.cursor_of_batch(after)
        if cursor is None:
            raise ApiError(404, f"No batch found with id '{after}'.", param="after")
    records, more = serving.store.batches(after=cursor, limit=limit)
    data = [_shown(request, serving.runner.record(record.batch.id) or record) for record in records]
    return page(data, [batch.id for batch in data], more=more, object="list")


def _found(request: web.Request) -> Record:
    batch_id = request.match_info["batch_id"]
    record = service(request).runner.record(batch_id)
    if record is None or record.batch.endpoint == MESSAGES:  # that API has its own routes
        raise no_batch(batch_id)
    return record


@routes.get("/v1/batches/{batch_id}")
async def retrieve(request: web.Request) -> web.Response:
    """One batch's object."""
    return reply(_shown(request, _found(request), retrieved=True))


@routes.post("/v1/batches/{batch_id}/cancel")
async def cancel(request: web.Request) -> web.Response:
    """Ask a batch to stop. Asking twice is no error; asking a batch that ended otherwise is a conflict."""
    record = _found(request)
    if record.batch.status in OPEN:
        service(request).runner.cancel(record.batch.id)
    elif record.batch.status != "cancelled":
        raise ApiError(409, f"Cannot cancel a batch with status '{record.batch.status}'.")
    return reply(record.batch)
