"""The routes of `/v1/files`: upload to disk in blocks, list, retrieve, download, delete."""

from __future__ import annotations

import os
from codecs import IncrementalDecoder, getincrementaldecoder
from pathlib import Path
from typing import Any

from aiohttp import BodyPartReader, MultipartReader, hdrs, web

from jupyter_batch.server.errors import ApiError, bad_request, missing, no_file, wrong_value
from jupyter_batch.server.service import (
    arriving,
    life_of,
    limit_of,
    page,
    reply,
    service,
    whole,
)
from jupyter_batch.server.storage.objects import BATCH_FILE_LIFE, UPLOAD_PURPOSES, File, new_id

MOST_BYTES = 512 << 20
MOST_BATCH_BYTES = 200 << 20
MOST_LISTED = 10_000
CHUNK = 1 << 18
_MOST_FIELD = 1 << 16
_LONGEST_NAME = 255

routes = web.RouteTableDef()


@routes.post("/v1/files")
async def create(request: web.Request) -> web.Response:
    """Take up a file."""
    serving = service(request)
    file_id = new_id("file-")
    path = serving.store.path(file_id)
    try:
        form = await _read_form(request, path)
        file = _checked(form, file_id, int(serving.clock()))
        serving.store.add_file(file)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    serving.stats.upload_bytes += file.bytes
    return reply(file)


async def _read_form(request: web.Request, path: Path) -> dict[str, Any]:
    """The form's fields; the file's bytes go to `path`, its name and size into the fields."""
    if request.content_type != "multipart/form-data":
        raise bad_request(
            "Invalid content type: this endpoint takes 'multipart/form-data' with a 'purpose' and a "
            "'file'.",
            code="invalid_content_type",
        )
    form: dict[str, Any] = {}
    try:
        reader = await request.multipart()
        while (part := await arriving(reader.next())) is not None:
            if isinstance(part, MultipartReader):
                raise bad_request("Invalid multipart form: a part holds parts.")
            if part.name == "file":
                form["file"] = (_plain_name(part.filename), *await _save(part, path))
            elif part.name:
                form[part.name] = await _field(part)
    except (ValueError, AssertionError) as error:
        raise bad_request(f"Could not parse the multipart form: {error}") from error
    return form


async def _field(part: BodyPartReader) -> str:
    data = bytearray()
    while chunk := await arriving(part.read_chunk()):
        data += chunk
        if len(data) > _MOST_FIELD:
            raise bad_request(f"The form's field '{part.name}' is too long.", param=part.name)
    return data.decode(errors="replace")


async def _save(part: BodyPartReader, path: Path) -> tuple[int, bool]:
    """Write a part to disk as it comes; its size in bytes, and whether it is UTF-8."""
    size, text, is_text = 0, getincrementaldecoder("utf-8")(), True
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb", buffering=0) as out:
        while chunk := await arriving(part.read_chunk(CHUNK)):
            size += len(chunk)
            if size > MOST_BYTES:
                raise _too_large(MOST_BYTES)
            out.write(chunk)
            is_text = is_text and _goes_on(text, chunk)
    return size, is_text and _goes_on(text, b"", final=True)


def _goes_on(text: IncrementalDecoder, chunk: bytes, *, final: bool = False) -> bool:
    """Whether a text is still UTF-8 with this chunk."""
    try:
        text.decode(chunk, final)
    except UnicodeDecodeError:
        return False
    return True


def _too_large(most: int) -> ApiError:
    return ApiError(
        413,
        f"File is too large. The maximum size of this kind of file is {most} bytes.",
        param="file",
        code="file_too_large",
    )


def _check_batch_file(filename: str, size: int, *, is_text: bool) -> None:
    if Path(filename).suffix and not filename.lower().endswith(".jsonl"):
        raise bad_request("Invalid file format for Batch API. Must be .jsonl")
    if size > MOST_BATCH_BYTES:
        raise _too_large(MOST_BATCH_BYTES)
    if not is_text:
        raise bad_request("Invalid file for Batch API. Must be utf-8 encoded")


def _life(form: dict[str, Any], default: int | None) -> int | None:
    """Return the seconds until the file expires; None for never."""
    after = {
        name.removeprefix("expires_after[").rstrip("]"): value
        for name, value in form.items()
        if name.startswith("expires_after[")
    }
    if "seconds" in after:  # a form has only texts
        after["seconds"] = whole(after["seconds"])
    return life_of(after, "expires_after") if after else default


def _checked(form: dict[str, Any], file_id: str, now: int) -> File:
    """The File object of an upload, or the refusal."""
    for name in ("file", "purpose"):
        if not form.get(name):
            raise missing(name)
    if isinstance(form["file"], str):
        raise bad_request(
            "Invalid type for 'file': expected a file, but got a string instead.",
            param="file",
            code="invalid_type",
        )
    purpose, (filename, size, is_text) = form["purpose"], form["file"]
    if purpose not in UPLOAD_PURPOSES:
        raise bad_request(
            f"'{purpose}' is not one of {list(UPLOAD_PURPOSES)} - 'purpose'", param="purpose"
        )
    if purpose == "batch":
        _check_batch_file(filename, size, is_text=is_text)
    life = _life(form, BATCH_FILE_LIFE if purpose == "batch" else None)
    return File(
        id=file_id,
        bytes=size,
        created_at=now,
        expires_at=None if life is None else now + life,
        filename=filename or file_id,
        purpose=purpose,
    )


def _plain_name(sent: str | None) -> str:
    """The file's name as it is stored: no folders, nothing that cannot be printed; "" where none was sent."""
    name = (sent or "").replace("\\", "/").rpartition("/")[2]
    return "".join(char if char.isprintable() else "_" for char in name)[:_LONGEST_NAME]


@routes.get("/v1/files")
async def index(request: web.Request) -> web.Response:
    """List files, newest first."""
    serving, query = service(request), request.query
    limit = limit_of(request, default=MOST_LISTED, most=MOST_LISTED)
    order = query.get("order") or "desc"
    if order not in ("asc", "desc"):
        raise wrong_value("order", order, ("asc", "desc"))
    after = None
    if query.get("after"):
        after = serving.store.cursor_of_file(query["after"])
        if after is None:
            raise ApiError(404, f"No such File object: {query['after']}", param="after")
    files, more = serving.store.files(
        serving.clock(),
        purpose=query.get("purpose") or None,
        after=after,
        limit=limit,
        descending=order == "desc",
    )
    return page(files, [file.id for file in files], more=more, object="list")


def _found(request: web.Request) -> File:
    file_id = request.match_info["file_id"]
    file = service(request).store.file(file_id, service(request).clock())
    if file is None:
        raise no_file(file_id)
    return file


@routes.get("/v1/files/{file_id}")
async def retrieve(request: web.Request) -> web.Response:
    """One file's object."""
    return reply(_found(request))


@routes.delete("/v1/files/{file_id}")
async def delete(request: web.Request) -> web.Response:
    """Forget a file."""
    file = _found(request)
    service(request).store.delete_file(file.id)
    return reply({"id": file.id, "object": "file", "deleted": True})


@routes.get("/v1/files/{file_id}/content")
async def content(request: web.Request) -> web.StreamResponse:
    """A file's bytes, streamed."""
    file, serving = _found(request), service(request)
    path = serving.store.path(file.id)
    quoted = file.filename.encode("ascii", "replace").decode().replace('"', "'").replace("\\", "_")
    headers: dict[str, str] = {
        hdrs.CONTENT_TYPE: "application/octet-stream",
        hdrs.CONTENT_DISPOSITION: f'attachment; filename="{quoted}"',
    }
    if request.method == "GET":
        serving.stats.download_bytes += file.bytes
        if serving.faults.draw(serving.faults.now.truncate, "truncate", "content"):
            return await _cut_off(request, path, headers, file.bytes)
    return web.FileResponse(path, headers=headers, chunk_size=CHUNK)


async def _cut_off(
    request: web.Request, path: Path, headers: dict[str, str], size: int
) -> web.StreamResponse:
    """The fault `truncate`: about half of the file, up to the middle of a line, then the connection is cut."""
    response = web.StreamResponse(headers={**headers, hdrs.CONTENT_LENGTH: str(size)})
    await response.prepare(request)
    half = size // 2
    with path.open("rb") as handle:
        handle.seek(half)
        rest = handle.readline()
        cut = half + len(rest) - 2 if len(rest) > 2 else half  # noqa: PLR2004 - "}" and the line's end
        handle.seek(0)
        left = min(cut, size - 1)
        while left > 0 and (chunk := handle.read(min(CHUNK, left))):
            await response.write(chunk)
            left -= len(chunk)
    if request.transport is not None:
        request.transport.close()
    return response
