"""The routes of `/v1/messages` and `/v1/messages/batches`."""

from __future__ import annotations

import re
import uuid
from typing import Any

from aiohttp import web

from jupyter_batch.server.errors import ApiError, bad_request
from jupyter_batch.server.messages.create import (
    MOST_BYTES,
    new_record,
    read_requests,
    write_input,
)
from jupyter_batch.server.messages.results import events, result_lines, result_paths
from jupyter_batch.server.routes.files import CHUNK
from jupyter_batch.server.service import (
    Service,
    json_body,
    limit_of,
    page,
    read_body,
    reply,
    service,
    streamed,
)
from jupyter_batch.server.storage.objects import OPEN, Record, new_id
from jupyter_batch.server.translate.message_objects import (
    BATCH_PREFIX,
    BATCHES,
    MESSAGES,
    is_archived,
    message_batch,
    no_batch,
)
from jupyter_batch.server.translate.messages import input_tokens

_VERSION = re.compile(r"\d{4}-\d{2}-\d{2}")
LISTED, MOST_LISTED = 20, 1000
_OK = 200
_ANY_MAX_TOKENS = 1 << 30
"""In place of the `max_tokens` that a count does not take, and above any thinking budget."""

routes = web.RouteTableDef()


@routes.post(MESSAGES)
async def create_message(request: web.Request) -> web.StreamResponse:
    """A message in real time, whole or as server-sent events."""
    serving = _serving(request)
    body = await json_body(request)
    refusal = serving.answers.refusal(MESSAGES, body)
    if refusal is not None:
        raise refusal
    answer = await serving.answers.later(MESSAGES, body, id_=uuid.uuid4().hex)
    if answer.status != _OK:
        raise ApiError(answer.status, answer.body["error"]["message"])
    if not body.get("stream"):
        return reply(answer.body)
    return await streamed(request, events(answer.body))


@routes.post(MESSAGES + "/count_tokens")
async def count_tokens(request: web.Request) -> web.Response:
    """The input tokens of a message: an estimate of four characters a token, whichever model answers."""
    serving = _serving(request)
    body = {**await json_body(request), "max_tokens": _ANY_MAX_TOKENS}
    refusal = serving.answers.refusal(MESSAGES, body)
    if refusal is not None:
        raise refusal
    return reply({"input_tokens": input_tokens(body)})


@routes.post(BATCHES)
async def create(request: web.Request) -> web.Response:
    """Create a batch. It is in progress at once."""
    serving = _serving(request)
    data = await read_body(request, MOST_BYTES)
    requests = await read_requests(data)
    serving.runner.take_room(len(data))
    del data
    input_id = new_id("msginput-")
    await write_input(serving.store.path(input_id), requests)
    record = new_record(input_id, len(requests), serving.clock())
    try:
        serving.store.add_batch(record)
    except ApiError:
        serving.store.path(input_id).unlink(missing_ok=True)
        raise
    answer = reply(_shown(request, record))
    serving.runner.submit(record)
    return answer


@routes.get(BATCHES)
async def index(request: web.Request) -> web.Response:
    """List batches, newest first; `after_id` pages to older ones, `before_id` to newer ones."""
    serving = _serving(request)
    records, more = serving.store.batches(
        after=_cursor(request, "after_id"),
        before=_cursor(request, "before_id"),
        limit=limit_of(request, default=LISTED, most=MOST_LISTED),
        prefix=BATCH_PREFIX,
    )
    data = [_shown(request, serving.runner.record(record.batch.id) or record) for record in records]
    return page(data, [one["id"] for one in data], more=more)


@routes.get(BATCHES + "/{batch_id}")
async def retrieve(request: web.Request) -> web.Response:
    """One batch."""
    record = _found(request)
    shown = _shown(request, record)
    if record.batch.status not in OPEN and service(request).runner.hides_output(
        record.batch.id, retrieved=True
    ):
        shown["results_url"] = None
    return reply(shown)


@routes.post(BATCHES + "/{batch_id}/cancel")
async def cancel(request: web.Request) -> web.Response:
    """Cancel a batch. A second call changes nothing; a batch that has ended cannot be canceled."""
    record = _found(request)
    if record.batch.status not in OPEN:
        raise bad_request(
            f"Message Batch `{record.batch.id}` has ended and can no longer be canceled."
        )
    service(request).runner.cancel(record.batch.id)
    return reply(_shown(request, record))


@routes.delete(BATCHES + "/{batch_id}")
async def delete(request: web.Request) -> web.Response:
    """Delete a batch that has ended, and its results."""
    record = _found(request)
    if record.batch.status in OPEN:
        raise bad_request(
            f"Message Batch `{record.batch.id}` is still processing. Cancel it first, and delete it "
            "once it has ended."
        )
    service(request).store.delete_batch(record)
    return reply({"id": record.batch.id, "type": "message_batch_deleted"})


@routes.get(BATCHES + "/{batch_id}/results")
async def results(request: web.Request) -> web.StreamResponse:
    """The results of a batch that has ended, streamed as JSON lines."""
    record, serving = _found(request), service(request)
    if record.batch.status in OPEN:
        raise ApiError(
            404,
            f"Message Batch `{record.batch.id}` has no available results: it is still processing.",
        )
    if is_archived(record.batch, serving.clock()):
        raise ApiError(404, f"The results of Message Batch `{record.batch.id}` have expired.")
    response = web.StreamResponse(headers={"content-type": "application/x-jsonl"})
    await response.prepare(request)
    if request.method == "HEAD":
        return response
    paths = result_paths(record, serving.store)
    is_cut = serving.faults.draw(serving.faults.now.truncate, "truncate", "results")
    left = sum(path.stat().st_size for path in paths) // 2 if is_cut else None
    held = bytearray()
    for line in result_lines(paths):
        held += line
        if left is not None and len(held) >= left:
            await response.write(bytes(held[: left + 1]))
            return _cut_off(request, response)
        if len(held) >= CHUNK:
            serving.stats.download_bytes += len(held)
            await response.write(bytes(held))
            left = None if left is None else left - len(held)
            held.clear()
    serving.stats.download_bytes += len(held)
    await response.write(bytes(held))
    await response.write_eof()
    return response


def _cut_off(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    """The fault `truncate`: the connection ends before the body does."""
    if request.transport is not None:
        request.transport.close()
    return response


def _serving(request: web.Request) -> Service:
    """The server. It answers every `anthropic-version` alike, and a request without that header too.

    2026-10-21 removed `temperature`, `top_p` and `top_k`; here they stay, since local models take them.
    """
    version = request.headers.get("anthropic-version")
    if version is not None and not _VERSION.fullmatch(version):
        raise bad_request(f'anthropic-version: "{version}" is not a valid version')
    return service(request)


def _found(request: web.Request) -> Record:
    batch_id = request.match_info["batch_id"]
    record = (
        _serving(request).runner.record(batch_id) if batch_id.startswith(BATCH_PREFIX) else None
    )
    if record is None:
        raise no_batch(batch_id)
    return record


def _cursor(request: web.Request, name: str) -> int | None:
    """The position in the list that `after_id` or `before_id` names."""
    batch_id = request.query.get(name)
    if not batch_id:
        return None
    cursor = service(request).store.cursor_of_batch(batch_id)
    if cursor is None or not batch_id.startswith(BATCH_PREFIX):
        raise no_batch(batch_id)
    return cursor


def _shown(request: web.Request, record: Record) -> dict[str, Any]:
    origin = f"{request.scheme}://{request.host}"
    return message_batch(record, origin=origin, now=service(request).clock())
