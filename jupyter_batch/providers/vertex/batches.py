"""Vertex AI's batch prediction, directly over httpx with google-auth's token.

litellm's calls (1.106) are not used: its create has no label, so a create whose response was
lost can't be found, and is repeated and paid again, by its HTTP handler and by its caller; it
requests the token on the event loop; it drops `completionStats`, so progress is unknown; and it
reads one result file, of a fixed name.

Particular to Vertex (Google Cloud: batch prediction for Gemini, REST reference): requests and
results are objects in a bucket of the user; a job is identified by its labels; each job has a new
results folder, named when the results exist. Failed rows are among the others: one file.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from jupyter_batch.core.batch import BatchView
from jupyter_batch.core.errors import BadRequestError, NotFoundError, ProviderDownError
from jupyter_batch.http.kept_client import Answer, KeptClient
from jupyter_batch.providers.cloud_file import as_sent, blocks, copied, own_folder, parts_of
from jupyter_batch.providers.failures import object_in
from jupyter_batch.providers.http_api import LIST_PAGES, TRANSFER_SECONDS, Direct, newest
from jupyter_batch.providers.protocol import TAG, Access, Facts
from jupyter_batch.providers.record import Connection
from jupyter_batch.providers.vertex.google_token import Token
from jupyter_batch.wire.clouds import vertex
from jupyter_batch.wire.clouds.gemini import gemini_name

STORAGE = "https://storage.googleapis.com"
PAGE = 100
_JOBS = "batchPredictionJobs"
_MORE = "jupyter_batch_more_"
_LABEL = 63
_MOST = 40  # labels with more facts about a job; Google Cloud takes 64 in all


class ViaVertex(Direct):
    """One project and region. settings: see record.py. model: a Gemini model's bare name.

    secrets: `api_key` (an access token), or `vertex_credentials` (JSON); without either Google's
    own library finds credentials.
    """

    def __init__(
        self,
        facts: Facts,
        *,
        api_base: str,
        model: str,
        settings: Mapping[str, str],
        secrets: Mapping[str, str],
        storage: str | None = None,
    ) -> None:
        super().__init__(facts, Access(api_base=api_base, api_key="no-token-yet"))
        self._model = gemini_name(model)
        self._parent = (
            f"/projects/{settings['vertex_project']}/locations/{settings['vertex_location']}"
        )
        self._bucket, self._folder = own_folder(settings["gcs_bucket_name"])
        self._storage = storage or storage_base(os.environ)
        self._token = Token(
            given=secrets.get("api_key"),
            credentials=secrets.get("vertex_credentials") or settings.get("vertex_credentials"),
        )

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
        """See Provider.submit. The window can't be chosen: a job has 24 h once it runs."""
        del endpoint, window
        name = tag[TAG].replace("/", "-")
        if uploaded is None:
            uploaded = await self._put(f"{self._folder}/{tag[TAG]}.jsonl", requests)
            await on_upload(uploaded)
        order = {
            "displayName": f"{TAG}-{name}",
            "model": f"publishers/google/models/{self._model}",
            "labels": labels_of(tag),
            "inputConfig": {"instancesFormat": "jsonl", "gcsSource": {"uris": [uploaded]}},
            "outputConfig": {
                "predictionsFormat": "jsonl",
                "gcsDestination": {
                    "outputUriPrefix": f"gs://{self._bucket}/{self._folder}/{tag[TAG]}"
                },
            },
        }
        async with self._open() as client:
            path = f"{self._parent}/{_JOBS}"
            return _view(
                await self._object(client, "POST", path, holds="name", json=order, fresh=True)
            )

    async def find(
        self, tag: Mapping[str, str], *, since: float, file_id: str | None = None
    ) -> list[BatchView]:
        """See Provider.find. Filters the list by the label with job and shard."""
        del file_id
        label = tag[TAG].replace("/", "-")
        views = await self._listed(f'labels.{TAG}="{label}"', since)
        return [view for view in views if view.tag.get(TAG) == tag[TAG]]

    async def tagged(self, *, since: float) -> list[BatchView]:
        """See Listed.tagged."""
        return [view for view in await self._listed(f"labels.{TAG}:*", since) if TAG in view.tag]

    async def requests(self, batch: BatchView, write: Callable[[bytes], object]) -> None:
        """See Listed.requests."""
        if batch.input_file_id is None:
            raise NotFoundError(f"Vertex AI names no request file of {batch.id}")
        uris = [batch.input_file_id]
        await copied(uris, self._download, lambda line: vertex.kept(line) + b"\n", write)

    async def poll(self, batch_id: str) -> BatchView:
        """See Provider.poll. For a finished job, its folder is listed for result files."""
        async with self._open() as client:
            job = await self._object(client, "GET", f"/{quote(batch_id)}", holds="name")
            view = _view(job)
            folder = None if view.ending is None else view.output_file_id
            if folder is not None and await self._results(client, folder):
                return view
        return msgspec.structs.replace(view, output_file_id=None)

    async def fetch(self, file_id: str, write: Callable[[bytes], object]) -> None:
        """Stream all result files below the folder `file_id`, one after another."""
        async with self._open() as client:
            names = await self._results(client, file_id)
        if not names:
            raise NotFoundError(f"there are no results in {file_id}")
        uris = [f"gs://{parts_of(file_id)[0]}/{name}" for name in names]
        await copied(uris, self._download, vertex.slim, write)

    async def cancel(self, batch_id: str) -> BatchView:
        """See Provider.cancel. Vertex refuses for a finished job, whose state is then returned."""
        async with self._open() as client:
            with contextlib.suppress(BadRequestError):
                await self._ask(client, "POST", f"/{quote(batch_id)}:cancel", json={})
        return await self.poll(batch_id)

    # --- the wire -----------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _open(self, seconds: float = 60.0) -> AsyncIterator[KeptClient]:
        self._access = Access(api_base=self._access.api_base, api_key=await self._token.get())
        async with super()._open(seconds) as client:
            yield client

    async def _listed(self, where: str, since: float) -> list[BatchView]:
        """List the jobs that match a filter, newest first: the API promises no order."""
        found: list[BatchView] = []
        params = {"filter": where, "pageSize": PAGE}
        async with self._open(TRANSFER_SECONDS) as client:
            async for page in self._pages(client, f"{self._parent}/{_JOBS}", _JOBS, params=params):
                found += [_view(job) for job in page.get(_JOBS) or [] if isinstance(job, dict)]
        return newest(found, since)

    # --- the bucket (Cloud Storage JSON API, v1) ----------------------------------------------------------------------

    async def _put(self, name: str, requests: Path) -> str:
        """Upload a request file, streamed from disk; the same name overwrites the same object."""
        with contextlib.ExitStack() as stack:
            file = await asyncio.to_thread(stack.enter_context, as_sent(requests, vertex.sent))
            size = os.fstat(file.fileno()).st_size
            async with self._open(TRANSFER_SECONDS) as client:
                answer = await client.request(
                    "POST",
                    f"{self._storage}/upload/storage/v1/b/{self._bucket}/o",
                    params={"uploadType": "media", "name": name},
                    content=blocks(file),
                    headers={"content-type": "application/jsonl", "content-length": str(size)},
                )
                self._check(answer, f"bucket {self._bucket}")
                object_in(answer.content, self._storage, holds="name")
        return f"gs://{self._bucket}/{name}"

    async def _results(self, client: KeptClient, folder: str) -> list[str]:
        """The names of the result files below a folder."""
        bucket, prefix = parts_of(folder)
        params = {"prefix": prefix.rstrip("/") + "/", "fields": "items(name),nextPageToken"}
        names: list[str] = []
        for _ in range(LIST_PAGES):
            answer = await client.request(
                "GET", f"{self._storage}/storage/v1/b/{bucket}/o", params=params
            )
            self._check(answer, f"bucket {bucket}")
            page = msgspec.json.decode(answer.content, type=_Objects)
            names += [item.name for item in page.items if item.name.endswith(".jsonl")]
            if not page.nextPageToken:
                return sorted(names)
            params["pageToken"] = page.nextPageToken
        raise ProviderDownError(
            f"the list of objects in {folder} did not end after {LIST_PAGES} pages"
        )

    async def _download(self, uri: str, write: Callable[[bytes], None]) -> None:
        bucket, name = parts_of(uri)
        path = f"{self._storage}/storage/v1/b/{bucket}/o/{quote(name, safe='')}?alt=media"
        async with self._open(TRANSFER_SECONDS) as client:
            answer = await client.download(path, write)
            if not answer.is_success:
                raise self._refusal(answer)

    def _check(self, answer: Answer, what: str) -> None:
        if answer.is_success:
            return
        error = self._refusal(answer)
        if isinstance(error, NotFoundError):  # waiting does not create a bucket
            raise BadRequestError(f"{what}: {error}", status=error.status)
        raise error


class _Object(msgspec.Struct):
    name: str


class _Objects(msgspec.Struct):
    items: list[_Object] = []
    nextPageToken: str | None = None  # noqa: N815 - Google's name


def storage_base(environ: Mapping[str, str]) -> str:
    """Cloud Storage's address; STORAGE_EMULATOR_HOST as in Google's own clients."""
    base = environ.get("STORAGE_EMULATOR_HOST") or STORAGE
    return (base if "://" in base else f"http://{base}").rstrip("/")


def labels_of(tag: Mapping[str, str]) -> dict[str, str]:
    """Convert a tag to labels: job and shard, the user's own, and the rest in base32."""
    more = {key: value for key, value in tag.items() if key.startswith(f"{TAG}_")}
    labels = {key: value for key, value in tag.items() if key not in more and key != TAG}
    text = base64.b32encode(msgspec.json.encode(more)).decode().rstrip("=").lower() if more else ""
    parts = [text[at : at + _LABEL] for at in range(0, len(text), _LABEL)]
    if len(parts) <= _MOST:  # else it is omitted: it only helps to find a batch without its ledger
        labels.update({f"{_MORE}{number:02}": part for number, part in enumerate(parts)})
    return {**labels, TAG: tag[TAG].replace("/", "-")}


def tag_of(labels: Any) -> dict[str, str]:
    """Return the tag from which `labels_of` made `labels`."""
    if not isinstance(labels, Mapping):
        return {}
    text = "".join(str(labels[key]) for key in sorted(labels) if str(key).startswith(_MORE))
    tag = {str(key): str(value) for key, value in labels.items() if not str(key).startswith(_MORE)}
    with contextlib.suppress(binascii.Error, msgspec.DecodeError, ValueError):
        padded = text.upper() + "=" * (-len(text) % 8)
        tag.update(
            msgspec.json.decode(base64.b32decode(padded), type=dict[str, str]) if text else {}
        )
    job, dash, number = tag.get(TAG, "").rpartition("-")
    return {**tag, TAG: f"{job}/{number}"} if dash else tag


def _view(job: Mapping[str, Any]) -> BatchView:
    view = vertex.read_job(job)
    if not view.id:
        raise ProviderDownError("Vertex AI answered with a job without its name")
    return msgspec.structs.replace(view, tag=tag_of(job.get("labels")))


def connect(to: Connection) -> ViaVertex:
    """The provider of one job."""
    return ViaVertex(
        to.facts,
        api_base=to.access.api_base,
        model=to.model,
        settings=to.settings,
        secrets=to.secrets,
    )
