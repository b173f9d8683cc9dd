"""Together's batches: OpenAI's API, with differences.

Particular to Together (docs.together.ai, batch inference; its SDK): files are uploaded to
/files/upload for the purpose "batch-api"; a create answers {"job": {...}}; states are upper-case;
an error is a text; a batch has no metadata and no counts, so it is found by its request file; the
list is a bare array, of all batches.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from jupyter_batch.core.batch import BatchView
from jupyter_batch.core.errors import ProviderDownError
from jupyter_batch.providers.failures import list_in
from jupyter_batch.providers.openai.batches import ViaOpenAI
from jupyter_batch.providers.record import Connection
from jupyter_batch.wire.openai_batches import read_batch


class ViaTogether(ViaOpenAI):
    """One Together account, by its key."""

    purpose = "batch-api"
    files = "/files/upload"

    async def _create(self, order: dict[str, Any], tag: Mapping[str, str]) -> BatchView:
        """Create the batch of an uploaded file; no tag is sent."""
        async with self._open() as client:
            made = await self._object(
                client, "POST", "/batches", holds="job", json=order, fresh=True
            )
        job = made["job"]
        view = self._view(job if isinstance(job, dict) else {})
        if not view.id:
            raise ProviderDownError(
                f"{self._access.api_base} answered a create without the batch's id"
            )
        return msgspec.structs.replace(view, input_file_id=order["input_file_id"], tag=dict(tag))

    async def listed(self, since: float) -> list[BatchView]:
        """Read the whole list: it has no pages."""
        del since
        async with self._open() as client:
            answer = await self._ask(client, "GET", "/batches")
        page = list_in(b'{"data":' + answer + b"}", self._access.api_base, "data")
        return [self._view(batch) for batch in page["data"] or [] if isinstance(batch, dict)]

    def _view(self, batch: Mapping[str, Any]) -> BatchView:
        return read_batch({**batch, "status": str(batch.get("status") or "unknown").lower()})


def connect(to: Connection) -> ViaTogether:
    """The provider of one job."""
    return ViaTogether(to.facts, to.access)
