"""Azure OpenAI's batches: OpenAI's API, with differences.

Particular to Azure (Microsoft Learn, batch how-to): the API version in each call, the key in the
header `api-key`, lines with the url "/chat/completions", a deployment as a line's model, and file
ids "" while a batch runs.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from urllib.parse import quote

from jupyter_batch.core.errors import FileNotReadyError, ProviderError
from jupyter_batch.providers.openai.batches import ViaOpenAI
from jupyter_batch.providers.protocol import Access, Facts
from jupyter_batch.providers.record import Connection

_BELOW = re.compile(r"/openai(/v1|/deployments/[^/]*)?$")
"""What Azure's portal shows after a resource's address, and SDKs take as a base."""
_UNREADY = frozenset({"pending", "notrunning", "running", "processing", "queued"})
"""File states in which a create is refused (REST reference, FileState; `pending`: batch how-to)."""


class ViaAzure(ViaOpenAI):
    """One Azure OpenAI resource. api_version: such as "2024-10-21"."""

    def __init__(self, facts: Facts, access: Access, *, api_version: str) -> None:
        super().__init__(facts, access)
        self._root = f"{_BELOW.sub('', self._root)}/openai"
        self._params = {"api-version": api_version}

    def _headers(self) -> dict[str, str]:
        own = {"api-key": self._access.api_key}
        return {
            name: text for name, text in super()._headers().items() if name != "authorization"
        } | own

    async def _before_create(
        self, uploaded: str, on_upload: Callable[[str], Awaitable[None]]
    ) -> None:
        """Raise FileNotReadyError while Azure processes the file: a create would be refused."""
        status = ""
        try:
            async with self._open() as client:
                path = f"/files/{quote(uploaded, safe='')}"
                status = str((await self._object(client, "GET", path)).get("status"))
        except ProviderError:  # the create's own response decides
            pass
        if status.lower() in _UNREADY:
            raise FileNotReadyError(
                f"Azure OpenAI has not processed the request file yet ({status})"
            )
        await on_upload(uploaded)


def connect(to: Connection) -> ViaAzure:
    """The provider of one job."""
    return ViaAzure(to.facts, to.access, api_version=to.api_version)
