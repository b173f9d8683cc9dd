"""Create a Message Batch: check the envelope of each request, write the input file that the runner reads."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from jupyter_batch.server.checks.validation import Request
from jupyter_batch.server.errors import bad_json, bad_request
from jupyter_batch.server.storage.objects import COMPLETION_WINDOW, Batch, Counts, Record, new_id
from jupyter_batch.server.translate.message_objects import (
    BATCH_PREFIX,
    MESSAGES,
    RESULTS_LIFE,
)

MOST_REQUESTS = 100_000
MOST_BYTES = 256 << 20
_CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_BLOCK = 1 << 18
_EACH = 512
"""Requests that are checked before other clients get their turn."""


class _Request(msgspec.Struct, forbid_unknown_fields=True):
    custom_id: str | msgspec.UnsetType = msgspec.UNSET
    params: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _Create(msgspec.Struct, forbid_unknown_fields=True):
    requests: list[_Request] | msgspec.UnsetType = msgspec.UNSET


_decode = msgspec.json.Decoder(_Create).decode


async def read_requests(data: bytes | bytearray) -> list[Request]:
    """The requests of a create's body. Raises ApiError; the parameters themselves are not checked here."""
    try:
        requests = _decode(data).requests
    except msgspec.ValidationError as error:
        raise bad_request(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise bad_json() from error
    if requests is msgspec.UNSET:
        raise bad_request("requests: Field required")
    if not requests:
        raise bad_request("requests: List should have at least 1 item after validation, not 0")
    if len(requests) > MOST_REQUESTS:
        raise bad_request(
            f"requests: List should have at most {MOST_REQUESTS} items after validation, not {len(requests)}"
        )
    seen: set[str] = set()
    checked: list[Request] = []
    for place, one in enumerate(requests):
        checked.append(_checked(f"requests.{place}", one, seen))
        if place % _EACH == 0:
            await asyncio.sleep(0)
    return checked


def _checked(where: str, request: _Request, seen: set[str]) -> Request:
    custom_id, params = request.custom_id, request.params
    if custom_id is msgspec.UNSET:
        raise bad_request(f"{where}.custom_id: Field required")
    if not _CUSTOM_ID.fullmatch(custom_id):
        raise bad_request(
            f"{where}.custom_id: String should match pattern '^[a-zA-Z0-9_-]{{1,64}}$'"
        )
    if custom_id in seen:
        raise bad_request(
            f"{where}.custom_id: Custom IDs must be unique within a batch: {custom_id}"
        )
    seen.add(custom_id)
    if params is msgspec.UNSET:
        raise bad_request(f"{where}.params: Field required")
    if not bytes(params).lstrip().startswith(b"{"):
        raise bad_request(f"{where}.params: Input should be a valid dictionary")
    return Request(custom_id=custom_id, method="POST", url=MESSAGES, body=_on_one_line(params))


def _on_one_line(params: msgspec.Raw) -> msgspec.Raw:
    raw = bytes(params)
    try:
        raw.decode()
        return msgspec.Raw(msgspec.json.format(raw, indent=-1)) if b"\n" in raw else params
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise bad_json() from error


async def write_input(path: Path, requests: list[Request]) -> None:
    """Write the input file in blocks; other requests get their turn in between."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as handle:
            for block in _blocks(requests):
                handle.write(block)
                await asyncio.sleep(0)
    except BaseException:
        os.unlink(path)  # noqa: PTH108 - one system call; the file is there
        raise


def _blocks(requests: list[Request]) -> Iterator[bytes]:
    held = bytearray()
    for request in requests:
        held += msgspec.json.encode(request) + b"\n"
        if len(held) >= _BLOCK:
            yield bytes(held)
            held.clear()
    if held:
        yield bytes(held)


def new_record(input_id: str, total: int, now: float) -> Record:
    """The record of a new batch. It starts in progress: its input was checked by `read_requests`."""
    created = int(now)
    batch = Batch(
        id=new_id(BATCH_PREFIX),
        endpoint=MESSAGES,
        input_file_id=input_id,
        status="in_progress",
        created_at=created,
        in_progress_at=created,
        expires_at=created + COMPLETION_WINDOW,
        request_counts=Counts(total=total),
    )
    return Record(
        batch=batch,
        output_id=new_id("msgoutput-"),
        error_id=new_id("msgerror-"),
        output_life=RESULTS_LIFE,
    )
