"""Batches of OpenAI's shape over the SDK below litellm, and the import of litellm.

litellm's own batch calls are not used, as measured with 1.84 to 1.110: a retrieve of a finished
batch downloads and prices all results on the event loop, a failing call is sent three times, and
they don't take our HTTP client (proxy, redirects, limits).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from jupyter_batch.core.batch import BatchView
from jupyter_batch.core.errors import BadRequestError, NotFoundError, ProviderDownError
from jupyter_batch.http.network import bundle, sdk_client_for, with_key
from jupyter_batch.http.streams import blocks_of
from jupyter_batch.process.warnings_context import quiet
from jupyter_batch.providers.failures import list_in, normalise, object_in
from jupyter_batch.providers.protocol import Access, Facts, TaggedList, file_name
from jupyter_batch.providers.record import Connection
from jupyter_batch.wire.openai_batches import read_batch

if TYPE_CHECKING:
    import openai

CALL_SECONDS = 60.0
"""Timeout of a small call."""
TRANSFER_SECONDS = 1800.0
"""Timeout of an upload or a download: 200 MB at 1 Mbit/s."""
LIST_PAGES = 50
"""The most pages of the provider's list searched for a tag: 100 batches each."""

_loading = threading.Lock()
_litellm: Any = None


def load_litellm() -> Any:
    """Import litellm once: about 5 s of CPU, so never in `import jupyter_batch` or `%load_ext`.

    It is prevented from fetching its price map and header list, and from printing.
    """
    global _litellm  # noqa: PLW0603 - one module, imported late
    with _loading, quiet():
        if _litellm is None:
            for name in ("LITELLM_LOCAL_MODEL_COST_MAP", "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS"):
                os.environ.setdefault(name, "True")
            import litellm

            litellm.suppress_debug_info = True
            litellm.disable_hf_tokenizer_download = True
            if litellm.ssl_verify is True and not os.environ.get("SSL_CERT_FILE"):
                litellm.ssl_verify = bundle() or True  # litellm ignores the other variables
            _litellm = litellm
    return _litellm


class OursAreRaised(logging.Filter):
    """Filter of litellm's log lines about our calls: their errors are raised as well."""

    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002 - logging's own name
        """Whether a record is shown: not if it is from one of our tasks."""
        task = None
        with contextlib.suppress(RuntimeError):
            task = asyncio.current_task()
        return not (task is not None and task.get_name().startswith("jupyter_batch"))


class ViaLitellm(TaggedList):
    """One provider with OpenAI's Files and Batches API, at one address with one key."""

    def __init__(self, facts: Facts, access: Access) -> None:
        self.facts = facts
        self._access = access
        self._ready = False

    async def _load(self) -> Any:
        if not self._ready:
            await asyncio.to_thread(load_litellm)
            logger = logging.getLogger("LiteLLM")
            if not any(isinstance(f, OursAreRaised) for f in logger.filters):
                logger.addFilter(OursAreRaised())
            self._ready = True
        return load_litellm()

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
        """Upload (streamed from disk), then create. See Provider.submit."""
        # Both with the SDK below litellm: the calls are the same, but litellm's own would follow
        # redirects with the rows, and can't parse a response with unknown states (AIBrix's
        # "scheduling"): the id of a paid batch would be lost.
        if uploaded is None:
            async with self._sdk(TRANSFER_SECONDS) as client:
                uploaded = await upload(client, requests, tag, self._access.api_base)
            await on_upload(uploaded)
        async with self._sdk() as client:
            answer = await client.batches.with_raw_response.create(
                input_file_id=uploaded,
                metadata=dict(tag),
                endpoint=cast(
                    "Literal['/v1/chat/completions']", endpoint
                ),  # any endpoint of the provider
                completion_window=cast("Literal['24h']", window),
            )
            return self._read(answer.content)

    async def requests(self, batch: BatchView, write: Callable[[bytes], object]) -> None:
        """See Listed.requests."""
        if batch.input_file_id is None:
            raise NotFoundError(f"{self._access.api_base} names no request file of {batch.id}")
        await self.fetch(batch.input_file_id, write)

    async def _listed(self, since: float) -> list[BatchView]:
        """Read the list, newest first, back to `since`.

        With the SDK below litellm, because `litellm.alist_batches` leaks a socket at each call.
        """
        found: list[BatchView] = []
        after: str | None = None
        async with self._sdk() as client:
            for _ in range(LIST_PAGES):
                page = await page_of(client, after, self._access.api_base)
                views = [read_batch(item) for item in page.get("data") or []]
                found += views
                older = all(v.created_at is not None and v.created_at < since for v in views)
                if older or not views or not page.get("has_more") or views[-1].id == after:
                    return found
                after = views[-1].id
        raise ProviderDownError(
            f"the list of batches at {self._access.api_base} did not end after {LIST_PAGES} pages"
        )

    async def poll(self, batch_id: str) -> BatchView:
        """See Provider.poll."""
        async with self._sdk() as client:
            answer = await client.batches.with_raw_response.retrieve(batch_id)
            return self._read(answer.content)

    @contextlib.asynccontextmanager
    async def _sdk(self, seconds: float = CALL_SECONDS) -> AsyncIterator[openai.AsyncOpenAI]:
        """The SDK below litellm, closed after use; failures are raised as ProviderError."""
        litellm = await self._load()
        import openai

        try:
            with with_key(self._access.api_key):
                async with (
                    asyncio.timeout(seconds + 5),
                    openai.AsyncOpenAI(
                        api_key=self._access.api_key,
                        base_url=self._access.api_base,
                        max_retries=0,
                        timeout=seconds,
                        organization=litellm.organization
                        or os.environ.get("OPENAI_ORGANIZATION"),  # as in litellm's calls
                        http_client=sdk_client_for(self._access.api_base),
                    ) as client,
                ):
                    yield client
        except Exception as e:
            if isinstance(e, OSError) and not isinstance(e, ConnectionError | TimeoutError):
                raise  # from our own disk
            raise normalise(e, self._access.api_base, self._access.api_key) from None

    async def fetch(self, file_id: str, write: Callable[[bytes], object]) -> None:
        """Stream a file, without holding it in memory."""
        async with (
            self._sdk(TRANSFER_SECONDS) as client,
            client.files.with_streaming_response.content(file_id) as answer,
            blocks_of(cast("Any", answer.http_response)) as blocks,
        ):
            await _copy(blocks, write, answer.headers)

    async def cancel(self, batch_id: str) -> BatchView:
        """Request cancellation; if it is refused because the batch has ended, return its state."""
        try:
            async with self._sdk() as client:
                answer = await client.batches.with_raw_response.cancel(batch_id)
                return self._read(answer.content)
        except BadRequestError:
            return await self.poll(batch_id)

    def _read(self, answer: bytes) -> BatchView:
        return read_batch(object_in(answer, self._access.api_base))

    async def aclose(self) -> None:
        """Nothing is open between calls; litellm's close would close the user's clients too."""


async def upload(
    client: openai.AsyncOpenAI, requests: Path, tag: Mapping[str, str], where: str
) -> str:
    """Stream a request file to the server; return its id. Raises ProviderError without one."""
    with requests.open("rb") as file:
        answer = await client.files.with_raw_response.create(
            file=(file_name(tag, requests), file), purpose="batch"
        )
    return str(object_in(answer.content, where)["id"])


async def page_of(
    client: openai.AsyncOpenAI, after: str | None, where: str, limit: int = 100
) -> dict[str, Any]:
    """A page of the list of batches: `data`, `has_more`. after: the previous page's last id."""
    raw = client.batches.with_raw_response
    answer = await (raw.list(limit=limit, after=after) if after else raw.list(limit=limit))
    return list_in(answer.content, where, "data")


async def _copy(
    stream: AsyncIterator[bytes], write: Callable[[bytes], object], headers: Mapping[str, str]
) -> None:
    size = 0
    async for block in stream:
        size += len(block)
        write(block)
    expected = headers.get("content-length", "")
    if "content-encoding" not in headers and expected.isdecimal() and int(expected) != size:
        raise ConnectionError(f"the download ended after {size} of {expected} bytes")


def connect(to: Connection) -> ViaLitellm:
    """The provider of one job."""
    return ViaLitellm(to.facts, to.access)
