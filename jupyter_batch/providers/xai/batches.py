"""xAI's batches, directly over httpx (reasons: providers/http_api.py).

Particular to xAI (docs.x.ai, batch API and REST reference): a batch has counters and no status;
its tag is its name; results are pages under the batch's id, however it ended, with errors among
them: one file, no error file. Times are bare dates.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from jupyter_batch.core.batch import BatchView
from jupyter_batch.core.errors import (
    BadRequestError,
    ConnectionFailedError,
    NotFoundError,
    ProviderDownError,
)
from jupyter_batch.core.status import State
from jupyter_batch.providers.failures import list_in
from jupyter_batch.providers.http_api import TRANSFER_SECONDS, Direct
from jupyter_batch.providers.protocol import TAG, TAG_OF, Access, Facts, TaggedList, file_name
from jupyter_batch.providers.record import Connection
from jupyter_batch.wire import tolerant
from jupyter_batch.wire.openai_batches import read_batch

PAGE = 1000
"""Results, or batches, per page."""
DAY = 86400.0
"""The precision of its times, in seconds: "2026-09-23" is any moment of that day."""
CANCEL_SECONDS = 600.0
"""How long a cancelled batch may have requests under way before its results are fetched anyway."""


class ViaXai(TaggedList, Direct):
    """One xAI team, by its key. clock: seconds since the epoch."""

    def __init__(
        self, facts: Facts, access: Access, *, clock: Callable[[], float] = time.time
    ) -> None:
        super().__init__(facts, access)
        self._clock = clock
        self._cancelled: dict[str, float] = {}

    async def submit(
        self,
        requests: Path,
        tag: Mapping[str, str],
        *,
        endpoint: str,
        window: str,
        uploaded: str | None,
        on_upload: Callable[[str], Awaitable[None]],
    ) -> BatchView:
        """See Provider.submit. The window can't be chosen.

        The name holds the tag's job and shard, and the file's id, which xAI does not return.
        """
        del endpoint, window  # each line has its url; batches have no window
        if uploaded is None:
            with requests.open("rb") as file:
                uploaded = await self._upload(file_name(tag, requests), file)
            await on_upload(uploaded)
        body = {
            "name": " ".join([TAG, tag.get(TAG, "-"), tag.get(TAG_OF, "-"), uploaded]),
            "input_file_id": uploaded,
        }
        async with self._open() as client:
            made = await self._object(
                client, "POST", "/batches", json=body, fresh=True, holds="batch_id"
            )
        return BatchView(
            id=str(made["batch_id"]), status="validating", input_file_id=uploaded, tag=dict(tag)
        )

    async def requests(self, batch: BatchView, write: Callable[[bytes], object]) -> None:
        """See Listed.requests. Files are unchanged (docs.x.ai, Files API: get file content)."""
        if batch.input_file_id is None:
            raise NotFoundError(f"xAI names no request file of {batch.id}")
        await self._stream(f"/files/{quote(batch.input_file_id, safe='')}/content", write)

    async def listed(self, since: float) -> list[BatchView]:
        """Read the whole list, since it has no documented order."""
        found: list[BatchView] = []
        token = ("pagination_token", "pagination_token")
        async with self._open(TRANSFER_SECONDS) as client:
            pages = self._pages(
                client, "/batches", "batches", params={"limit": PAGE}, following=token
            )
            async for page in pages:
                batches = msgspec.convert(page.get("batches") or [], list[dict[str, Any]])
                views = map(self._view, batches)
                found += [v for v in views if v.created_at is None or v.created_at > since - DAY]
        return found

    async def poll(self, batch_id: str) -> BatchView:
        """See Provider.poll."""
        async with self._open() as client:
            path = f"/batches/{quote(batch_id, safe='')}"
            return self._view(await self._object(client, "GET", path, holds="batch_id"))

    async def cancel(self, batch_id: str) -> BatchView:
        """See Provider.cancel."""
        async with self._open() as client:
            with contextlib.suppress(BadRequestError):  # it has already ended
                await self._ask(client, "POST", f"/batches/{quote(batch_id, safe='')}:cancel")
        return await self.poll(batch_id)

    async def fetch(self, file_id: str, write: Callable[[bytes], object]) -> None:
        """Stream the results of the batch `file_id` as OpenAI's result lines, page by page."""
        path, token, seen = f"/batches/{quote(file_id, safe='')}/results", "", set[str]()
        async with self._open(TRANSFER_SECONDS) as client:
            while True:
                params: dict[str, str | int] = {
                    "limit": PAGE,
                    **({"pagination_token": token} if token else {}),
                }
                answer = await self._ask(client, "GET", path, params=params)
                list_in(answer, self._access.api_base, "results", bare=True)
                page = msgspec.json.decode(answer, type=_Page)
                write(b"".join(map(line_of, page.results)))
                token = page.pagination_token or ""
                if not token:
                    return
                if token in seen:
                    raise ConnectionFailedError(
                        f"the result pages of {file_id} go round in a circle"
                    )
                seen.add(token)

    def _view(self, batch: Mapping[str, Any]) -> BatchView:
        """Derive a batch's state from its counters."""
        state = batch.get("state")
        state = state if isinstance(state, Mapping) else {}
        total, pending, done, errors, cancelled = (
            tolerant.count(state.get(f"num_{name}"))
            for name in ("requests", "pending", "success", "error", "cancelled")
        )
        failed = errors + cancelled
        batch_id, reason, name = (
            batch.get("batch_id"),
            batch.get("cancel_by_xai_message"),
            str(batch.get("name") or ""),
        )
        view = read_batch(
            {
                "id": batch_id,
                "created_at": batch.get("create_time"),
                "expires_at": batch.get("expire_time"),
                "input_file_id": batch.get("input_file_id") or _file(name),
                "errors": [{"message": reason}] if reason else None,
                "metadata": _tag(name),
            }
        )
        if not view.id:
            raise ProviderDownError(f"{self._access.api_base} answered with a batch without its id")
        view = msgspec.structs.replace(view, total=total, completed=done, failed=failed)
        if batch.get("cancel_time") or reason:
            return self._cancelled_view(view, pending, State.FAILED if reason else State.CANCELLED)
        if total and not pending:
            return _ended(view, State.COMPLETED)
        if view.expires_at and self._clock() > view.expires_at + DAY:
            return _ended(view, State.EXPIRED)
        return msgspec.structs.replace(view, status="in_progress" if total else "validating")

    def _cancelled_view(self, view: BatchView, pending: int, ending: State) -> BatchView:
        """A cancelled batch; it has ended when nothing is pending, or after CANCEL_SECONDS."""
        now = self._clock()
        if pending and now - self._cancelled.setdefault(view.id, now) < CANCEL_SECONDS:
            return msgspec.structs.replace(view, status="cancelling")
        return _ended(view, ending)


def _ended(view: BatchView, ending: State) -> BatchView:
    has_results = bool(view.completed + view.failed)
    return msgspec.structs.replace(
        view,
        status=str(ending),
        ending=ending,
        output_file_id=view.id if has_results else None,
    )


def _tag(name: str) -> dict[str, str]:
    """Parse the name of a batch, if it is one of ours."""
    words = name.split()
    return dict(zip((TAG, TAG_OF), words[1:3], strict=False)) if words[:1] == [TAG] else {}


def _file(name: str) -> str | None:
    words = name.split()
    return words[3] if words[:1] == [TAG] and words[3:] else None


class _Page(msgspec.Struct):
    results: list[msgspec.Raw] = []
    pagination_token: str | None = None


class _Error(msgspec.Struct):
    code: int | str | None = None
    message: str | None = None


class _Outcome(msgspec.Struct):
    response: dict[str, msgspec.Raw] | None = None
    error: _Error | None = None


class _Result(msgspec.Struct):
    batch_request_id: str
    batch_result: _Outcome | None = None
    error_message: str | None = None


_decode = msgspec.json.Decoder(_Result).decode


def line_of(result: msgspec.Raw) -> bytes:
    """Convert an xAI result to OpenAI's result line; an unknown shape becomes a failed line."""
    try:
        row = _decode(result)
    except msgspec.DecodeError as e:
        known = msgspec.json.decode(result)
        custom_id = known.get("batch_request_id") if isinstance(known, dict) else None
        return _failed(custom_id, "unreadable_result", f"xAI sent a result that can't be read: {e}")
    outcome = row.batch_result or _Outcome()
    error = outcome.error or _Error()
    # the body is under a key named after its endpoint: chat_get_completion, ...
    body = next(iter((outcome.response or {}).values()), None)
    message = row.error_message or error.message or ""
    coded = error.code not in (None, 0, "0", "")  # code 0 is gRPC's "no error"
    if body is None or row.error_message or coded:
        cancelled = str(error.code).lower() in ("1", "cancelled")  # gRPC's CANCELLED
        code = "batch_cancelled" if cancelled else str(error.code) if coded else "request_failed"
        return _failed(
            row.batch_request_id, code, message or "xAI gave neither an answer nor a reason"
        )
    return b'{"custom_id":%b,"response":{"status_code":200,"body":%b},"error":null}\n' % (
        msgspec.json.encode(row.batch_request_id),
        msgspec.json.format(body, indent=-1),
    )


def _failed(custom_id: object, code: str, message: str) -> bytes:
    return (
        msgspec.json.encode(
            {"custom_id": custom_id, "response": None, "error": {"code": code, "message": message}}
        )
        + b"\n"
    )


def connect(to: Connection) -> ViaXai:
    """The provider of one job."""
    return ViaXai(to.facts, to.access)
