"""xAI's batches: litellm polls and lists, httpx creates (once) and pages the results to disk. It knows no ledger.

What is its own (docs.x.ai, batch API and REST reference): a batch has counters and no status; its tag is its name;
results are pages under the batch's id, in every ending, and errors stand among them: one file, no error file. Times
are bare dates. litellm's view of it lacks the results of a cancelled batch.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from urllib.parse import quote

import msgspec

from jupyter_batch.core.batch import BatchView
from jupyter_batch.core.errors import BadRequestError, ConnectionFailedError, ProviderDownError
from jupyter_batch.core.status import State
from jupyter_batch.providers.direct import PartlyDirect, file_name
from jupyter_batch.providers.protocol import TAG, Access, Facts
from jupyter_batch.providers.via_litellm import LIST_PAGES, TRANSFER_SECONDS
from jupyter_batch.wire.openai import read_batch

PAGE = 1000
"""Results, or batches, that are asked for at once; litellm asks for as many."""
DAY = 86400.0
"""How exact its times are, in seconds: "2026-09-23" is any moment of that day."""
CANCEL_SECONDS = 600.0
"""How long a cancelled batch may still have requests on their way before its results are fetched as they are."""

_NAME = f"{TAG} "


class ViaXai(PartlyDirect):
    """One xAI team, by its key. clock: seconds since the epoch."""

    def __init__(self, facts: Facts, access: Access, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__(facts, access, litellm_provider="xai")
        self._clock = clock
        self._cancelled: dict[str, float] = {}

    async def submit(self, requests: Path, tag: Mapping[str, str], *, endpoint: str, window: str,
                     uploaded: str | None, on_upload: Callable[[str], Awaitable[None]]) -> BatchView:
        """See Provider.submit. Of the tag only ours is kept (in the name); there is no window to be chosen."""
        del endpoint, window  # each line has its url; batches end when they end
        if uploaded is None:
            with requests.open("rb") as file:
                uploaded = await self._upload(file_name(tag, requests), file)
            await on_upload(uploaded)
        body = {"name": f"{_NAME}{tag.get(TAG, '')}", "input_file_id": uploaded}
        async with self._open() as client:
            made = msgspec.json.decode(await self._ask(client, "POST", "/batches", json=body), type=_Made)
        return BatchView(id=made.batch_id, status="validating", input_file_id=uploaded, tag=dict(tag))

    async def find(self, tag: Mapping[str, str], *, since: float) -> list[BatchView]:
        """See Provider.find. Its list has no promised order, so it is read to its end."""
        found: list[BatchView] = []
        after: str | None = None
        for _ in range(LIST_PAGES):
            page = await self._call("alist_batches", limit=PAGE, after=after)
            views = [self._seen(read_batch(item.model_dump())) for item in page.data]
            found += [view for view in views if tag.items() <= view.tag.items()
                      and (view.created_at is None or view.created_at > since - DAY)]
            if not page.next_page_token or page.next_page_token == after:
                return found
            after = page.next_page_token
        raise ProviderDownError(f"the list of batches at {self._access.api_base} did not end after {LIST_PAGES} pages")

    async def poll(self, batch_id: str) -> BatchView:
        """See Provider.poll."""
        return self._seen(await super().poll(batch_id))

    async def cancel(self, batch_id: str) -> BatchView:
        """See Provider.cancel."""
        async with self._open() as client:
            with contextlib.suppress(BadRequestError):  # it is over already
                await self._ask(client, "POST", f"/batches/{quote(batch_id, safe='')}:cancel")
        return await self.poll(batch_id)

    async def fetch(self, file_id: str, write: Callable[[bytes], object]) -> None:
        """The results of the batch `file_id`, as OpenAI's result lines, one page in memory at a time."""
        path, token, seen = f"/batches/{quote(file_id, safe='')}/results", "", set[str]()
        async with self._open(TRANSFER_SECONDS) as client:
            while True:
                params: dict[str, str | int] = {"limit": PAGE, **({"pagination_token": token} if token else {})}
                page = msgspec.json.decode(await self._ask(client, "GET", path, params=params), type=_Page)
                write(b"".join(map(line_of, page.results)))
                token = page.pagination_token or ""
                if not token:
                    return
                if token in seen:
                    raise ConnectionFailedError(f"the result pages of {file_id} go round in a circle")
                seen.add(token)

    def _seen(self, view: BatchView) -> BatchView:
        """What litellm sees, and what it leaves out: where the results are, the tag, an end that it does not see."""
        ending, status, now = view.ending, view.status, self._clock()
        if ending is State.CANCELLED and view.completed + view.failed < view.total:
            if now - self._cancelled.setdefault(view.id, now) < CANCEL_SECONDS:
                ending, status = None, "cancelling"
        elif ending is None and view.errors:
            ending, status = State.FAILED, "failed"
        elif ending is None and view.expires_at and now > view.expires_at + DAY:
            ending, status = State.EXPIRED, "expired"
        name = view.tag.get("name", "")
        over = ending is not None
        return msgspec.structs.replace(
            view, ending=ending, status=status, error_file_id=None,
            output_file_id=view.id if over and view.completed + view.failed else None,
            failed=0 if over else view.failed,  # of a batch that is over it promises an error file, and there is none
            tag={TAG: name.removeprefix(_NAME)} if name.startswith(_NAME) else {})


class _Made(msgspec.Struct):
    batch_id: str


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
    """One of xAI's results as one of OpenAI's result lines; one of a shape that nobody knows is a failed line."""
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
        return _failed(row.batch_request_id, code, message or "xAI gave neither an answer nor a reason")
    return b'{"custom_id":%b,"response":{"status_code":200,"body":%b},"error":null}\n' % (
        msgspec.json.encode(row.batch_request_id), msgspec.json.format(body, indent=-1))


def _failed(custom_id: object, code: str, message: str) -> bytes:
    return msgspec.json.encode({"custom_id": custom_id, "response": None,
                                "error": {"code": code, "message": message}}) + b"\n"
