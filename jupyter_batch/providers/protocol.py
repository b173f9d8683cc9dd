"""Provider: the facts of one, and the verbs that the engine calls. It knows no ledger and no frame."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Protocol

import msgspec

from jupyter_batch.core.batch import BatchView
from jupyter_batch.core.request import Limits

TAG = "jupyter_batch"
"""The metadata key that says which job and shard a batch belongs to."""
TAG_OF = "jupyter_batch_of"
"""The one that says, to who finds the batch without its ledger, how many shards and rows the job has, and the first and
the last row of this shard: "3/300/100-199"; and, after a "/", what kind of answer was asked for, if not a text."""
TAG_OUT, TAG_MODEL = "jupyter_batch_out", "jupyter_batch_model"
"""The column that the job fills, and the model by litellm's name."""


SETTLE_SECONDS = 60.0
"""Servers, proxies and tunnels were seen to accept a create 22 and 30 s after its sender was gone."""


def file_name(tag: Mapping[str, str], requests: Path) -> str:
    """What a request file is called at the provider: its job and shard."""
    return f"{tag.get(TAG, requests.stem).replace('/', '-')}.jsonl"


def is_of(view: BatchView, tag: Mapping[str, str], file_id: str | None) -> bool:
    """Whether a batch was made from this tag or this request file."""
    if tag.items() <= view.tag.items():
        return True
    return file_id is not None and view.input_file_id == file_id


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider takes. Durations are seconds.

    tells_all: its one result file has a line for each request, whatever became of it.
    key: the environment variable of its API key. poll_first, poll_last: the shortest and the longest pause between two
    polls of one batch. one_file: answers and failures come in one result file.
    checks_file: the state of an uploaded file is asked before its batch is created.
    keeps: how long results can be fetched, from the batch's "creation" or its "end"; None: not known, or for good.
    settle: how long after a create whose answer was lost an empty search proves nothing yet. sure: after that time an
    empty search proves that no batch was made and none will be, as at a server of our own. idempotent: the same create,
    sent again, is the same batch.
    cancelling: how long a batch that is being cancelled is waited for: OpenAI documents 10 minutes.
    late_cancelled: how long the output file that a cancelled batch's counts promise may come late.
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
        """When the provider deletes a batch's results, in seconds since the epoch; None where that is not known."""
        if self.keeps is None:
            return None
        return (created_at if self.keeps_from == "creation" else ended_at) + self.keeps


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """Where the provider is, and the key, which is in memory alone and in no repr. keyless: the server needs none."""

    api_base: str
    api_key: str
    keyless: bool = False

    def __repr__(self) -> str:
        return f"Access(api_base={self.api_base!r}, api_key=...)"


class Provider(Protocol):
    """The network verbs. Each raises ProviderError (core/errors.py) and nothing else; none retries by itself."""

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

        tag: metadata of the batch, by which `find` knows it again. uploaded: the id of the file, where an earlier try
        got so far. on_upload: told the file's id before the batch is created; with `Facts.checks_file` when it is
        uploaded, and once more when the create is sent next.
        """
        ...

    async def find(
        self, tag: Mapping[str, str], *, since: float, file_id: str | None = None
    ) -> list[BatchView]:
        """The batches created at or after `since` that are `tag`'s, newest first.

        That is, whose metadata hold all of `tag`, or whose request file is `file_id`: some servers lose metadata.
        """
        ...

    async def poll(self, batch_id: str) -> BatchView:
        """The batch as it stands."""
        ...

    async def fetch(self, file_id: str, write: Callable[[bytes], object]) -> None:
        """Stream a result file to `write`; raises where it was cut off."""
        ...

    async def cancel(self, batch_id: str) -> BatchView:
        """Ask for the end of a batch; one that is over already is returned as it is."""
        ...

    async def aclose(self) -> None:
        """Let go of connections."""
        ...


class Listed(Protocol):
    """What a provider can do besides, where batches can be found without knowing any of them: see adoption/find.py."""

    async def tagged(self, *, since: float) -> list[BatchView]:
        """The batches created at or after `since` that carry our tag, whatever job's.

        Where a provider shows only of batches that have ended whose they are, the open ones are among them, untagged.
        """
        ...

    async def requests(self, batch: BatchView, write: Callable[[bytes], object]) -> None:
        """Stream the request file of a batch to `write`, as it was planned.

        Raises NotFoundError where it is not to be had (any more).
        """
        ...
