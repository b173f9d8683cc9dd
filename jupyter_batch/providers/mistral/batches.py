"""Mistral's batch jobs, directly over httpx (reasons: providers/http_api.py).

Particular to Mistral (docs.mistral.ai, batch inference and API reference): the model belongs to
the job, so a line is {"custom_id", "body"} without method, url or model; states are upper-case
words; the window is a number of hours. Requests go by file although a create takes a list of them,
too: a request file can be fetched back, and with it a job whose ledger is lost. litellm has no list
or cancel for these jobs, and drops the window.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from jupyter_batch.core.batch import BatchView
from jupyter_batch.core.errors import BadRequestError, NotFoundError, ProviderDownError
from jupyter_batch.providers.cloud_file import as_sent, bare, full_lines
from jupyter_batch.providers.http_api import LIST_PAGES, TRANSFER_SECONDS, Direct
from jupyter_batch.providers.mistral.record import RECORDS
from jupyter_batch.providers.protocol import TaggedList, file_name
from jupyter_batch.providers.record import Connection
from jupyter_batch.providers.windows import hours_of
from jupyter_batch.wire import tolerant
from jupyter_batch.wire.openai_batches import read_batch

PAGE = 100
"""Jobs per page of the list: the API's default."""

_JOBS = "/batch/jobs"
_STATES = {
    "QUEUED": "validating",
    "RUNNING": "in_progress",
    "SUCCESS": "completed",
    "FAILED": "failed",
    "TIMEOUT_EXCEEDED": "expired",
    "CANCELLATION_REQUESTED": "cancelling",
    "CANCELLED": "cancelled",
}


class ViaMistral(TaggedList, Direct):
    """One Mistral workspace, by its key."""

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
        """See Provider.submit. window: "24h", "7d"; at most seven days."""
        hours = hours_of(window, RECORDS[0])
        if uploaded is None:
            with contextlib.ExitStack() as stack:
                lines = await asyncio.to_thread(stack.enter_context, as_sent(requests, bare))
                uploaded = await self._upload(file_name(tag, requests), lines)
            await on_upload(uploaded)
        body = {
            "input_files": [uploaded],
            "endpoint": endpoint,
            "model": self._model,
            "metadata": dict(tag),
            "timeout_hours": hours,
        }
        async with self._open() as client:
            view = read_job(await self._object(client, "POST", _JOBS, json=body, fresh=True))
        if not view.id:
            raise ProviderDownError(
                f"{self._access.api_base} answered a create without the job's id"
            )
        return msgspec.structs.replace(
            view,
            input_file_id=uploaded,
            expires_at=view.created_at + hours * 3600 if view.created_at else None,
        )

    async def requests(self, batch: BatchView, write: Callable[[bytes], object]) -> None:
        """See Listed.requests. Fields removed by `bare` are restored from the job."""
        if batch.input_file_id is None:
            raise NotFoundError(f"Mistral names no request file of {batch.id}")
        async with self._open() as client:
            path = f"{_JOBS}/{quote(batch.id, safe='')}"
            job = msgspec.json.decode(await self._ask(client, "GET", path), type=_Asked)
        held = bytearray()
        await self.fetch(batch.input_file_id, held.extend)
        write(
            await asyncio.to_thread(full_lines, bytes(held), job.model or self._model, job.endpoint)
        )

    async def listed(self, since: float) -> list[BatchView]:
        """Read the whole list: the syntax of the `metadata` filter is undocumented."""
        found: list[BatchView] = []
        async with self._open(TRANSFER_SECONDS) as client:
            for number in range(LIST_PAGES):
                params = {"page": number, "page_size": PAGE}
                page = await self._list(client, _JOBS, "data", params=params)
                views = [read_job(job) for job in page.get("data") or []]
                found += views
                older = all(
                    view.created_at is not None and view.created_at < since for view in views
                )
                if (
                    older or len(views) < PAGE
                ):  # `older`: newest come first; it is true for an empty list, too
                    return found
        raise self._endless()

    async def poll(self, batch_id: str) -> BatchView:
        """See Provider.poll."""
        async with self._open() as client:
            path = f"{_JOBS}/{quote(batch_id, safe='')}"
            return read_job(await self._object(client, "GET", path))

    async def fetch(self, file_id: str, write: Callable[[bytes], object]) -> None:
        """See Provider.fetch."""
        await self._stream(f"/files/{quote(file_id, safe='')}/content", write)

    async def cancel(self, batch_id: str) -> BatchView:
        """See Provider.cancel."""
        try:
            async with self._open() as client:
                path = f"{_JOBS}/{quote(batch_id, safe='')}/cancel"
                return read_job(await self._object(client, "POST", path))
        except BadRequestError:
            return await self.poll(batch_id)


class _Asked(msgspec.Struct):
    endpoint: str
    model: str | None = None


def read_job(job: Mapping[str, Any]) -> BatchView:
    """Convert a job object. An unknown state counts as running."""
    status = str(job.get("status") or "unknown")
    files = job.get("input_files")
    errors = [_error(error) for error in job.get("errors") or [] if isinstance(error, Mapping)]
    return read_batch(
        {
            "id": job.get("id"),
            "status": _STATES.get(status, status.lower()),
            "created_at": job.get("created_at"),
            "input_file_id": files[0] if isinstance(files, list) and files else None,
            "output_file_id": job.get("output_file"),
            "error_file_id": job.get("error_file"),
            "errors": errors,
            "request_counts": {
                "total": job.get("total_requests"),
                "completed": job.get("succeeded_requests"),
                "failed": job.get("failed_requests"),
            },
            "metadata": job.get("metadata"),
            "endpoint": job.get("endpoint"),
        }
    )


def _error(error: Mapping[str, Any]) -> dict[str, str]:
    times = tolerant.count(error.get("count"))
    return {"message": str(error.get("message")) + (f" ({times:,} times)" if times > 1 else "")}


def connect(to: Connection) -> ViaMistral:
    """The provider of one job."""
    return ViaMistral(to.facts, to.access, model=to.model)
