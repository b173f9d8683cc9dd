"""Provider: the protocol of batch providers, and the facts about each."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Protocol

import msgspec

from jupyter_batch.core.batch import BatchView
from jupyter_batch.core.errors import ProviderDownError, ProviderError
from jupyter_batch.core.request import Limits, position_of

TAG = "jupyter_batch"
"""The metadata key with a batch's job and shard."""
TAG_OF = "jupyter_batch_of"
"""The metadata key for finding a batch without its ledger: the job's numbers of shards and rows,
and the shard's first and last row: "3/300/100-199"; then "/" and the answer kind, if not text."""
TAG_OUT, TAG_MODEL = "jupyter_batch_out", "jupyter_batch_model"
"""The job's output column, and the model by litellm's name."""


SETTLE_SECONDS = 60.0
"""Servers, proxies and tunnels have accepted a create 22 and 30 s after its sender was gone."""


def file_name(tag: Mapping[str, str], requests: Path) -> str:
    """The name of a request file at the provider: its job and shard."""
    return f"{tag.get(TAG, requests.stem).replace('/', '-')}.jsonl"


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """Limits and behavior of a provider. Durations are seconds.

    tells_all: its one result file has a line for each request, whatever the outcome.
    key: the environment variable of its API key. poll_first, poll_last: the shortest and the
    longest pause between two polls of a batch. one_file: answers and failures are in one result
    file.
    checks_file: the state of an uploaded file is checked before its batch is created.
    keeps: how long results can be fetched, from the batch's "creation" or its "end"; None: unknown,
    or without limit. output_life: how long after its end the provider is asked to keep a batch's
    result files, if the job has a time of its own. settle: how long after a create with a lost
    response an empty search is not yet conclusive. sure: after that time an empty search proves
    that no batch was or will be created, as at our own server. idempotent: a repeated create
    returns the same batch.
    cancels: whether a batch can be cancelled.
    cancelling: how long to wait for a batch that is being cancelled: OpenAI documents 10 minutes.
    late_cancelled: how late the output file announced by a cancelled batch's counts may appear.
    """

    name: str
    dialect: str
    limits: Limits
    key: str
    completion_window: str = "24h"
    poll_first: float = 3.0
    poll_last: float = 300.0
    settle: float = SETTLE_SECONDS
    sure: bool = False
    idempotent: bool = False
    cancels: bool = True
    cancelling: float = 900.0
    late_cancelled: float = 3600.0
    tells_all: bool = False
    one_file: bool = False
    checks_file: bool = False
    keeps: float | None = None
    keeps_from: str = "end"
    output_life: float | None = None

    def keeps_until(self, created_at: float, ended_at: float) -> float | None:
        """When a batch's results are deleted, in seconds since the epoch; None if unknown."""
        if self.output_life is not None:
            return ended_at + self.output_life
        if self.keeps is None:
            return None
        return (created_at if self.keeps_from == "creation" else ended_at) + self.keeps


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """Address and key; the key is in memory only, not in the repr. keyless: none is needed."""

    api_base: str
    api_key: str
    keyless: bool = False

    def __repr__(self) -> str:
        return f"Access(api_base={self.api_base!r}, api_key=...)"


class Provider(Protocol):
    """The network operations. Each raises ProviderError (core/errors.py) only; none retries."""

    facts: Facts

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
        """Upload a request file and create its batch.

        tag: metadata of the batch, by which `find` recognizes it. uploaded: the id of the file, if
        an earlier attempt uploaded it. on_upload: called with the file's id before the batch is
        created; with `Facts.checks_file` after the upload, and again immediately before the create.
        """
        ...

    async def find(
        self, tag: Mapping[str, str], *, since: float, file_id: str | None = None
    ) -> list[BatchView]:
        """Return `tag`'s batches that were created at or after `since`, newest first.

        Those whose metadata contain all of `tag`, or whose request file is `file_id`, since some
        servers lose metadata.
        """
        ...

    async def poll(self, batch_id: str) -> BatchView:
        """Return the batch's current state."""
        ...

    async def fetch(self, file_id: str, write: Callable[[bytes], object]) -> None:
        """Stream a result file to `write`; raises if it is truncated."""
        ...

    async def cancel(self, batch_id: str) -> BatchView:
        """Request cancellation of a batch; one that has ended is returned unchanged."""
        ...

    async def aclose(self) -> None:
        """Close all connections."""
        ...


class Listed(Protocol):
    """Optional operations for finding batches without a ledger: see adoption/find.py."""

    async def tagged(self, *, since: float) -> list[BatchView]:
        """Return the batches with our tag created at or after `since`, of any job.

        Where only ended batches can be attributed, the running ones are included, untagged.
        """
        ...

    async def listed(self, since: float) -> list[BatchView]:
        """Return the account's batches created at or after `since`, from any software.

        Optional; more may be included.
        """
        ...

    async def requests(self, batch: BatchView, write: Callable[[bytes], object]) -> None:
        """Stream a batch's request file to `write`, as it was planned.

        Raises NotFoundError where it is not available (any more).
        """
        ...


def is_of(view: BatchView, tag: Mapping[str, str], file_id: str | None) -> bool:
    """Whether a batch was made from this tag or this request file."""
    if tag.items() <= view.tag.items():
        return True
    return file_id is not None and view.input_file_id == file_id


class TaggedList(ABC):
    """`find` and `tagged` for a provider whose list shows each batch's tag."""

    @abstractmethod
    async def listed(self, since: float) -> list[BatchView]:
        """Return the batches created at or after `since`; more may be included."""

    async def find(
        self, tag: Mapping[str, str], *, since: float, file_id: str | None = None
    ) -> list[BatchView]:
        """See Provider.find: a batch is recognized by its tag or its request file."""
        return [view for view in await self.listed(since) if is_of(view, tag, file_id)]

    async def tagged(self, *, since: float) -> list[BatchView]:
        """See Listed.tagged."""
        return [view for view in await self.listed(since) if TAG in view.tag]


class UndecidedError(ProviderError):
    """Whether our batch exists is unknown; a later search helps once `candidates` have ended.

    candidates: the batches that may be it, except those recorded in the ledger for other shards.
    """

    transient = True

    def __init__(self, message: str, candidates: tuple[BatchView, ...]) -> None:
        super().__init__(message)
        self.candidates = candidates


INLINE = "inline"
"""Stands for the id of an uploaded file: requests and batch are created by one call, no upload.

It is passed to `on_upload` just before the last byte of the body is sent: an attempt that fails
earlier has certainly created no batch, and one that fails later may have."""
_AT_ONCE = 8
_SHOWN = 3


class UntaggedList(ABC):
    """`find` and `tagged` for a provider without metadata: a batch is recognized by its results.

    title: the provider's, for people. requests_of: the path of a shard's request file, by number.
    """

    title: str
    requests_of: Callable[[int], Path]

    @abstractmethod
    async def listed(self, since: float) -> list[BatchView]:
        """Return the batches created at or after `since`, newest first."""

    @abstractmethod
    async def first_id(self, view: BatchView) -> str | None:
        """The first custom_id in an ended batch's results; "" if gone, None if not ready."""

    async def find(
        self, tag: Mapping[str, str], *, since: float, file_id: str | None = None
    ) -> list[BatchView]:
        """Return the tag's shard's batches created at or after `since`, newest first.

        A batch is recognized by its contents, never by its age or size alone:
        - one with another number of requests does not match; 0: they are not counted yet;
        - one that has ended matches if its results do: each `custom_id` holds the job's id and
          the row's position;
        - the contents of a running batch can't be read. Raises UndecidedError where there is one
          and no certain match: the job waits until it has ended (a day at most), or until the
          user decides. So a foreign batch is never adopted, and ours is not paid for twice.
        """
        del file_id  # requests and batch are one call
        job, _, number = tag.get(TAG, "").rpartition("/")
        if not job:
            return []
        first, last, requests = await asyncio.to_thread(extent, self.requests_of(int(number)), job)
        ours: list[BatchView] = []
        unknown: list[BatchView] = []
        for view in await self.listed(since):
            if view.total not in (0, requests):
                continue
            known = None if view.ending is None else await self.first_id(view)
            position = position_of(job, known)
            if known is None:
                unknown.append(view)
            elif position is not None and first <= position <= last:
                ours.append(msgspec.structs.replace(view, tag=dict(tag)))
        if not ours and unknown:
            raise UndecidedError(_undecided(self.title, unknown, requests), tuple(unknown))
        return ours

    async def tagged(self, *, since: float) -> list[BatchView]:
        """See Listed.tagged. The tag is the job id in the results' ids; the shard is unknown."""
        looking = asyncio.Semaphore(_AT_ONCE)

        async def look(view: BatchView) -> BatchView:
            async with looking:
                known = None if view.ending is None else await self.first_id(view)
            job = (known or "").rpartition("-")[0]
            return msgspec.structs.replace(view, tag={TAG: job} if job else {})

        views = await asyncio.gather(*map(look, await self.listed(since)))
        return [view for view in views if view.tag or view.ending is None]


def extent(requests: Path, job: str) -> tuple[int, int, int]:
    """Return (first row's position, last row's position, row count) of a request file."""
    first = last = None
    count = 0
    with requests.open("rb") as file:
        for line in file:
            last = line
            first = first or line
            count += 1
    if first is None or last is None:
        raise ProviderDownError(f"the request file {requests.name} is empty")
    ends = [position_of(job, msgspec.json.decode(line)["custom_id"]) for line in (first, last)]
    if ends[0] is None or ends[1] is None:
        raise ProviderDownError(f"the request file {requests.name} is not this job's")
    return ends[0], ends[1], count


def _undecided(title: str, unknown: list[BatchView], requests: int) -> str:
    ids = ", ".join(view.id for view in unknown[:_SHOWN])
    if len(unknown) > _SHOWN:
        ids += f" and {len(unknown) - _SHOWN} more"
    return (
        f"it is not known yet whether this was sent: {title} has {ids} under way, with {requests:,} requests as "
        "here, and shows what is in a batch only once it has ended, within a day; it is looked at again then, "
        "and nothing is sent twice"
    )
