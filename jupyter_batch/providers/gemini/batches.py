"""The Gemini API's batches, directly over httpx (reasons: providers/http_api.py).

litellm (1.110) can't list or cancel them, and its create sends OpenAI's lines, whose usage lacks
the tokens of thinking. Particular to Gemini (ai.google.dev, Batch API and Files API): the key is a
header of its own; the model is in the create's address; a batch is a long-running operation; its
display name is its only metadata; answers and errors are in one file, in any order; request files
can't be downloaded. Requests go by file, whose lines have documented keys: clients have reported
inline answers without their keys (python-genai issue 2008). Where an address has no Files API,
small batches go inline. Answers are read either way.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import msgspec

from jupyter_batch.core.batch import BatchView
from jupyter_batch.core.errors import (
    AuthenticationError,
    BadRequestError,
    FileNotReadyError,
    NotFoundError,
    ProviderDownError,
    ProviderError,
)
from jupyter_batch.core.refusals.input_file import InputFile
from jupyter_batch.core.secrets import remember
from jupyter_batch.http.kept_client import Answer, KeptClient
from jupyter_batch.http.streams import LineBound
from jupyter_batch.providers.cloud_file import Lines, as_sent, blocks
from jupyter_batch.providers.failures import object_in, refused
from jupyter_batch.providers.gemini.record import VERSION, root_of
from jupyter_batch.providers.http_api import LIST_PAGES, TRANSFER_SECONDS, Direct, newest
from jupyter_batch.providers.protocol import Access, Facts, TaggedList, file_name, is_of
from jupyter_batch.providers.record import Connection
from jupyter_batch.wire.clouds import gemini_api
from jupyter_batch.wire.openai import EMBEDDINGS

if TYPE_CHECKING:
    import httpx

INLINE = "inline"
"""Stands for the id of an uploaded file where the requests are in the create itself."""
INLINE_BYTES = 1_000_000
"""The most bytes of requests sent inline. Google takes 20 MB; but a list of batches repeats the
inline answers of each of them, and a response is held in memory."""
_NO_ROUTE = frozenset({404, 405, 501})
"""The statuses of an upload at a gateway without the Files API."""
PAGE = 20
"""Batches per page of the list, which has inline answers in it."""

_KEY = "x-goog-api-key"
_BATCHES = f"/{VERSION}/batches"
_REFUSED_KEY = frozenset({"API_KEY_INVALID", "API_KEY_SERVICE_BLOCKED", "SERVICE_DISABLED"})
"""google.rpc.ErrorInfo, reason: Google refuses a key with 400."""


class ViaGemini(TaggedList, Direct):
    """One project of the Gemini API, by its key. model: the bare name of all requests' model."""

    def __init__(self, facts: Facts, access: Access, *, model: str) -> None:
        super().__init__(facts, access, model=model)
        self._root = root_of(access.api_base)

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
        """See Provider.submit. The window can't be chosen: 24 h are a target, the end is at 48 h."""
        del window
        if uploaded != INLINE:
            uploaded = await self._file(requests, tag, uploaded, on_upload)
        source = {"file_name": uploaded}
        if uploaded == INLINE:
            source = await asyncio.to_thread(gemini_api.inlined, requests)
        await on_upload(uploaded)
        verb = "asyncBatchEmbedContent" if endpoint == EMBEDDINGS else "batchGenerateContent"
        path = f"/{VERSION}/models/{quote(self._model, safe='')}:{verb}"
        batch = {"display_name": gemini_api.named(tag), "input_config": source}
        async with self._open() as client:
            made = await self._operation(client, "POST", path, json={"batch": batch}, fresh=True)
        return msgspec.structs.replace(made, input_file_id=uploaded, tag=dict(tag))

    async def find(
        self, tag: Mapping[str, str], *, since: float, file_id: str | None = None
    ) -> list[BatchView]:
        """See Provider.find."""
        file_id = None if file_id == INLINE else file_id
        return [view for view in await self.listed(since) if is_of(view, tag, file_id)]

    async def requests(self, batch: BatchView, write: Callable[[bytes], object]) -> None:
        """See Listed.requests. Files API: only generated files can be downloaded."""
        del write
        raise NotFoundError(f"the Gemini API does not return the requests of {batch.id}")

    async def poll(self, batch_id: str) -> BatchView:
        """See Provider.poll."""
        async with self._open() as client:
            return await self._operation(client, "GET", f"/{VERSION}/{quote(batch_id)}")

    async def fetch(self, file_id: str, write: Callable[[bytes], object]) -> None:
        """Stream a file of results, or write the inline ones of the batch `file_id`."""
        if file_id.startswith("batches/"):
            async with self._open(TRANSFER_SECONDS) as client:
                answer = await self._ask(client, "GET", f"/{VERSION}/{quote(file_id)}")
            lines = await asyncio.to_thread(gemini_api.inline_results, answer)
            if not lines:
                raise NotFoundError(f"there are no results in {file_id}")
            write(lines)
            return
        held = Lines(gemini_api.slim, write)
        bound = LineBound(held.take)
        await self._stream(f"/download/{VERSION}/{quote(file_id)}:download?alt=media", bound.write)
        bound.close()
        held.end(last=True)

    async def cancel(self, batch_id: str) -> BatchView:
        """See Provider.cancel."""
        async with self._open() as client:
            with contextlib.suppress(BadRequestError):  # it has already ended
                await self._ask(client, "POST", f"/{VERSION}/{quote(batch_id)}:cancel", json={})
        return await self.poll(batch_id)

    # --- the wire -----------------------------------------------------------------------------

    def _headers(self) -> dict[str, str]:
        return {_KEY: self._access.api_key}

    async def _operation(
        self, client: KeptClient, method: str, path: str, **more: Any
    ) -> BatchView:
        """Return the batch in the response to one call; a failed batch holds an error, too."""
        answer = await self._ask(client, method, path, **more)
        view = gemini_api.read_operation(answer)
        if view is None:
            object_in(answer, self._access.api_base, holds="name")
            raise ProviderDownError(f"{self._access.api_base} answered without a batch")
        return view

    async def listed(self, since: float) -> list[BatchView]:
        """Read the whole list, since it has no documented order and no filter; newest first."""
        found: list[BatchView] = []
        size = {"pageSize": PAGE}
        async with self._open(TRANSFER_SECONDS) as client:
            pages = self._pages(client, _BATCHES, "operations", params=size, most=10 * LIST_PAGES)
            async for page in pages:
                found += gemini_api.views_in(page)
        return newest(found, since)

    # --- the request file -------------------------------------------------------------------------

    async def _file(
        self,
        requests: Path,
        tag: Mapping[str, str],
        uploaded: str | None,
        on_upload: Callable[[str], Awaitable[None]],
    ) -> str:
        """Return the name of the uploaded request file, once Google has processed it; or INLINE.

        It is deleted there after 48 hours: then NotFoundError makes the engine upload it again.
        """
        if uploaded is None:
            file = await self._put(requests, file_name(tag, requests))
            await on_upload(file.name)
            if file.name == INLINE:
                return INLINE
        else:
            file = await self._state_of(uploaded)
        if file.state == "PROCESSING":
            raise FileNotReadyError("Google has not processed the request file yet (PROCESSING)")
        if file.state == "FAILED":
            raise _gone(f"Google could not process the request file {file.name} (FAILED)")
        return file.name

    async def _put(self, requests: Path, name: str) -> _File:
        """Upload a request file by the resumable protocol, streamed from disk in one piece.

        The rows go to the configured address, whatever host the answer names, without the key.
        """
        with contextlib.ExitStack() as stack:
            made = await asyncio.to_thread(stack.enter_context, as_sent(requests, gemini_api.sent))
            size = os.fstat(made.fileno()).st_size
            async with self._open(TRANSFER_SECONDS) as client:
                start = await client.request(
                    "POST",
                    f"{self._root}/upload/{VERSION}/files",
                    json={"file": {"display_name": name}},
                    headers={
                        "X-Goog-Upload-Protocol": "resumable",
                        "X-Goog-Upload-Command": "start",
                        "X-Goog-Upload-Header-Content-Length": str(size),
                        "X-Goog-Upload-Header-Content-Type": "application/jsonl",
                    },
                )
                if start.status_code in _NO_ROUTE and size <= INLINE_BYTES:
                    return _File(INLINE)
                if not start.is_success:
                    raise self._refusal(start)
                there = urlsplit(start.headers.get("x-goog-upload-url", ""))
                if not there.path:
                    object_in(start.content, self._access.api_base, holds="file")
                    raise ProviderDownError(f"{self._access.api_base} named no place to upload to")
                origin = urlsplit(self._root)._replace(path=there.path, query=there.query)
                request = client.full.build_request(
                    "POST",
                    origin.geturl(),
                    content=blocks(made),
                    headers={
                        "Content-Length": str(size),
                        "X-Goog-Upload-Offset": "0",
                        "X-Goog-Upload-Command": "upload, finalize",
                    },
                )
                del request.headers[_KEY]
                answer = await client.full.send(request)
                if not answer.is_success:
                    raise self._refusal(answer)
        held = object_in(answer.content, self._access.api_base, holds="file")
        return msgspec.convert(held["file"], _File)

    async def _state_of(self, name: str) -> _File:
        """Return the state of an uploaded file. Raises NotFoundError where it is there no more."""
        try:
            async with self._open() as client:
                path = f"/{VERSION}/{quote(name)}"
                held = await self._object(client, "GET", path, holds="name")
        except (AuthenticationError, NotFoundError) as e:  # 403 for a file that does not exist
            if e.status in (403, 404):
                raise _gone(str(e)) from None
            raise
        return msgspec.convert(held, _File)

    def _refusal(self, answer: Answer | httpx.Response) -> ProviderError:
        remember(self._access.api_key)
        read = gemini_api.read_error(answer.content)
        error = refused(
            answer.status_code,
            read.body,
            self._access.api_base,
            headers=answer.headers,
            reason=answer.reason_phrase,
        )
        wait = read.retry_after if error.retry_after is None else error.retry_after
        if read.reason in _REFUSED_KEY:
            return AuthenticationError(str(error), status=error.status, retry_after=wait)
        if read.about_model:  # waiting does not create it
            return BadRequestError(str(error), status=error.status, retry_after=wait)
        error.retry_after = wait
        return error


class _File(msgspec.Struct):
    """A file of the Files API. state: PROCESSING, ACTIVE or FAILED."""

    name: str
    state: str = ""


def _gone(message: str) -> NotFoundError:
    error = NotFoundError(message, status=404)
    error.input_file = InputFile.ABSENT
    return error


def connect(to: Connection) -> ViaGemini:
    """The provider of one job."""
    return ViaGemini(to.facts, to.access, model=to.model)
