"""Fireworks' batch inference jobs, directly over httpx (reasons: providers/http_api.py).

Particular to Fireworks (docs.fireworks.ai: batch inference guide, API reference; its SDK 1.2; responses
of August 2026 that another client has published): requests are a dataset, which is created first,
and uploaded then; all paths are below an account; the model belongs to the job; the caller chooses
the job's id, so that a repeated create is refused, and the first job is returned; answers and
errors are files of one dataset, at signed addresses of another host; no call cancels a job
(a DELETE would remove it together with its answers).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from jupyter_batch.core.batch import BatchView
from jupyter_batch.core.errors import (
    BadRequestError,
    FileNotReadyError,
    NotFoundError,
    ProviderDownError,
)
from jupyter_batch.core.refusals.input_file import InputFile
from jupyter_batch.core.status import State
from jupyter_batch.http.kept_client import KeptClient
from jupyter_batch.providers.cloud_file import Lines, as_sent, bare, full_lines
from jupyter_batch.providers.fireworks_ai.record import full_name, root_of
from jupyter_batch.providers.http_api import TRANSFER_SECONDS, Direct, newest
from jupyter_batch.providers.protocol import TAG, TAG_OF, Access, Facts, TaggedList, file_name
from jupyter_batch.providers.record import CHAT, Connection
from jupyter_batch.wire import tolerant
from jupyter_batch.wire.openai_batches import read_batch

ACCOUNT = "FIREWORKS_ACCOUNT_ID"
"""The environment variable of the account, as in Fireworks' SDK."""
PAGE = 200
"""Jobs per page of the list: the most that the API gives."""
TRIES = 9
"""The most jobs of one dataset."""

_JOBS = "batchInferenceJobs"
_CONFLICT = 409
_STATES = {
    "UNSPECIFIED": "validating",
    "VALIDATING": "validating",
    "WRITING_RESULTS": "finalizing",
    "COMPLETED": "completed",
    "FAILED": "failed",
    "EXPIRED": "expired",
    "EARLY_STOPPED": "expired",
    "CANCELLING": "cancelling",
    "CANCELLED": "cancelled",
    "DELETING": "cancelled",
    "DELETING_CLEANING_UP": "cancelled",
}
"""States of a job; all others are of one in progress."""


class ViaFireworks(TaggedList, Direct):
    """One Fireworks account, by its key; model: the bare name of the model of all requests.

    The ids of jobs and datasets are their full names, with the account.
    """

    def __init__(self, facts: Facts, access: Access, *, model: str) -> None:
        super().__init__(facts, access)
        self._root = root_of(access.api_base)
        self._model = full_name(model)

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
        """See Provider.submit. The window can't be chosen here."""
        del endpoint, window
        if uploaded is None:
            uploaded = await self._dataset(requests, tag)
            await on_upload(uploaded)
        await self._check(uploaded)
        await on_upload(uploaded)
        return msgspec.structs.replace(
            await self._create(uploaded, tag), input_file_id=uploaded, tag=dict(tag)
        )

    async def _create(self, dataset: str, tag: Mapping[str, str]) -> BatchView:
        """Create the job of a dataset, or return the one that an earlier create has made.

        A job that failed without an answer is no reason to create none.
        """
        account, _, name = dataset.rpartition("/datasets/")
        order = {
            "model": self._model,
            "inputDatasetId": dataset,
            "displayName": " ".join([TAG, tag.get(TAG, "-"), tag.get(TAG_OF, "-")]),
        }
        async with self._open() as client:
            for number in range(1, TRIES + 1):
                job = name if number == 1 else f"{name}-{number}"
                there = await client.request(
                    "POST",
                    f"{self._root}/{account}/{_JOBS}",
                    params={"batchInferenceJobId": job},
                    json=order,
                )
                if there.is_success:
                    made = msgspec.json.decode(there.content, type=dict[str, Any])
                    return self._view({"name": f"{account}/{_JOBS}/{job}", **made})
                if there.status_code != _CONFLICT:
                    raise self._refusal(there)
                view = self._view(
                    await self._object(client, "GET", f"/{account}/{_JOBS}/{job}", holds="name")
                )
                if view.ending is not State.FAILED or view.completed or view.failed:
                    return view
        raise BadRequestError(f"Fireworks has {TRIES} failed jobs of the dataset {dataset}")

    async def requests(self, batch: BatchView, write: Callable[[bytes], object]) -> None:
        """See Listed.requests. Fields removed by `bare` are restored from the job."""
        if batch.input_file_id is None:
            raise NotFoundError(f"Fireworks names no dataset of {batch.id}")
        async with self._open() as client:
            job = await self._object(client, "GET", f"/{quote(batch.id)}", holds="name")
        held = bytearray()
        await self.fetch(batch.input_file_id, held.extend)
        model = str(job.get("model") or self._model)
        write(await asyncio.to_thread(full_lines, bytes(held), model, CHAT))

    async def listed(self, since: float) -> list[BatchView]:
        """Read the whole list, since its order is not certain; newest first."""
        found: list[BatchView] = []
        async with self._open(TRANSFER_SECONDS) as client:
            path = f"/{await self._account(client)}/{_JOBS}"
            async for page in self._pages(client, path, _JOBS, params={"pageSize": PAGE}):
                found += [self._view(job) for job in page.get(_JOBS) or []]
        return newest(found, since)

    async def poll(self, batch_id: str) -> BatchView:
        """See Provider.poll. A user may give the id without the account."""
        async with self._open() as client:
            path = quote(batch_id)
            if "/" not in batch_id:
                path = f"{await self._account(client)}/{_JOBS}/{path}"
            return self._view(await self._object(client, "GET", f"/{path}", holds="name"))

    async def cancel(self, batch_id: str) -> BatchView:
        """Return the job's state: no call cancels it."""
        return await self.poll(batch_id)

    async def fetch(self, file_id: str, write: Callable[[bytes], object]) -> None:
        """Stream the files of a dataset, errors first, without the key: they are at another host."""
        async with self._open(TRANSFER_SECONDS) as client:
            path = f"/{quote(file_id)}:getDownloadEndpoint"
            there = await self._object(client, "GET", path, holds="filenameToSignedUrls")
            urls = there["filenameToSignedUrls"]
            if not isinstance(urls, dict) or not urls:
                raise NotFoundError(f"there are no files in {file_id}")
            held = Lines(lambda line: line + b"\n", write)
            for at, name in enumerate(sorted(urls, key=lambda name: "error" not in name), 1):
                await self._file(client, str(urls[name]), held.take)
                held.end(last=at == len(urls))

    # --- the wire -----------------------------------------------------------------------------

    async def _file(self, client: KeptClient, url: str, write: Callable[[bytes], object]) -> None:
        """Stream one file from its signed address."""
        if self._root.startswith("https:") and not url.startswith("https:"):
            raise ProviderDownError("Fireworks named an address of a result file without TLS")
        async with self._blocks(client, url, without="authorization") as blocks:
            async for block in blocks:
                write(block)

    async def _account(self, client: KeptClient) -> str:
        """The account's name: from the environment, or the only one of this key."""
        name = os.environ.get(ACCOUNT, "").strip()
        if name:
            return f"accounts/{quote(name.removeprefix('accounts/'), safe='')}"
        page = await self._list(client, "/accounts", "accounts", bare=True)
        names = [str(one.get("name")) for one in page.get("accounts") or []]
        if len(names) != 1:
            raise BadRequestError(
                f"the key is of {len(names)} Fireworks accounts ({', '.join(names)}): set {ACCOUNT} in the environment"
            )
        return names[0]

    async def _dataset(self, requests: Path, tag: Mapping[str, str]) -> str:
        """Create a dataset, upload the requests to it, and return its name."""
        word = re.sub(r"[^a-z0-9]+", "-", tag.get(TAG, requests.stem).lower())
        name = f"jb-{word}-{secrets.token_hex(4)}"[-63:].lstrip("-")
        with contextlib.ExitStack() as stack:
            lines = await asyncio.to_thread(stack.enter_context, as_sent(requests, bare))
            rows = await asyncio.to_thread(lambda: sum(1 for _ in lines))
            lines.seek(0)
            dataset = {"userUploaded": {}, "exampleCount": str(rows)}
            async with self._open(TRANSFER_SECONDS) as client:
                path = f"/{await self._account(client)}/datasets"
                body = {"datasetId": name, "dataset": dataset}
                made = await self._object(client, "POST", path, json=body, holds="name")
                file = (file_name(tag, requests), lines, "application/jsonl")
                await self._ask(
                    client, "POST", f"/{quote(str(made['name']))}:upload", files={"file": file}
                )
        return str(made["name"])

    async def _check(self, dataset: str) -> None:
        """Check that a dataset is ready. Raises FileNotReadyError, or NotFoundError where it is gone."""
        try:
            async with self._open() as client:
                there = await self._object(client, "GET", f"/{quote(dataset)}", holds="name")
        except NotFoundError as e:
            e.input_file = InputFile.ABSENT
            raise
        if there.get("state") not in (None, "READY"):
            raise FileNotReadyError(
                f"Fireworks has not processed the dataset yet ({there['state']})"
            )

    def _view(self, job: Mapping[str, Any]) -> BatchView:
        """Convert a job object. Its counts may be below the number of requests."""
        progress = job.get("jobProgress")
        progress = progress if isinstance(progress, Mapping) else {}
        total, seen, done, failed = (
            tolerant.count(progress.get(name))
            for name in (
                "totalInputRequests",
                "totalProcessedRequests",
                "successfullyProcessedRequests",
                "failedRequests",
            )
        )
        state = str(job.get("state") or "").removeprefix("JOB_STATE_")
        lifecycle, status = job.get("lifecycle"), job.get("status")
        why = status.get("message") if isinstance(status, Mapping) else None
        view = read_batch(
            {
                "id": job.get("name"),
                "status": _STATES.get(state, "in_progress"),
                "created_at": job.get("createTime"),
                "expires_at": job.get("expireTime"),
                "completed_at": lifecycle.get("endTime")
                if isinstance(lifecycle, Mapping)
                else None,
                "input_file_id": job.get("inputDatasetId"),
                "errors": [{"message": why}] if why else None,
                "request_counts": {"total": max(total, seen), "completed": done, "failed": failed},
                "metadata": _tag(str(job.get("displayName") or "")),
                "endpoint": CHAT,
            }
        )
        named = view.ending is State.COMPLETED or (view.ending is not None and done + failed > 0)
        output = job.get("outputDatasetId")
        return (
            msgspec.structs.replace(view, output_file_id=str(output)) if named and output else view
        )


def _tag(name: str) -> dict[str, str]:
    """Parse the display name of a job, if it is one of ours."""
    words = name.split()
    return dict(zip((TAG, TAG_OF), words[1:], strict=False)) if words[:1] == [TAG] else {}


def connect(to: Connection) -> ViaFireworks:
    """The provider of one job."""
    return ViaFireworks(to.facts, to.access, model=to.model)
