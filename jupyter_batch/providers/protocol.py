"""Provider: the protocol of batch providers, and the facts about each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Protocol

import msgspec

from jupyter_batch.core.batch import BatchView
from jupyter_batch.core.request import Limits

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
    or without limit. settle: how long after a create with a lost response an empty search is not
    yet conclusive. sure: after that time an empty search proves that no batch was or will be
    created, as at our own server. idempotent: a repeated create returns the same batch.
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
    cancelling: float = 900.0
    late_cancelled: float = 3600.0
    tells_all: bool = False
    one_file: bool = False
    checks_file: bool = False
    keeps: float | None = None
    keeps_from: str = "end"

    def keeps_until(self, created_at: float, ended_at: float) -> float | None:
        """When a batch's results are deleted, in seconds since the epoch; None if unknown."""
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
