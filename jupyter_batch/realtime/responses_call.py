"""One request for /v1/responses in real time over the SDK below litellm. No retries or pacing.

litellm's own call for this endpoint, and its chat call for models with no other, need the package
mcp, which litellm does not install (1.84 to 1.106). litellm has translated the requests before
(wire/responses.py).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson

from jupyter_batch.core.errors import BadRequestError
from jupyter_batch.http.network import sdk_client_for, with_key
from jupyter_batch.http.place_fields import sendable
from jupyter_batch.process.warnings_context import quiet
from jupyter_batch.providers.openai.http import http_module
from jupyter_batch.realtime.litellm_call import GRACE, SECONDS, CallFailedError, LitellmCall
from jupyter_batch.wire.openai import RESPONSES

if TYPE_CHECKING:
    import openai


class ResponsesCall(LitellmCall):
    """A model at an OpenAI-compatible server. model: its name there. The key is not in the repr."""

    endpoints = (RESPONSES,)

    def __init__(
        self, model: str, *, api_base: str, api_key: str, seconds: float = SECONDS
    ) -> None:
        super().__init__(model, api_base=api_base, api_key=api_key, seconds=seconds)
        self._base = api_base
        self._client: openai.AsyncOpenAI | None = None

    async def ready(self) -> None:
        """Import litellm and the SDK off the event loop, and create the client."""
        await super().ready()
        if self._client is None:
            import openai

            # As many connections as the pacer allows: it is the only limit on concurrent calls.
            limits = http_module().Limits(max_connections=None, max_keepalive_connections=None)
            http = sdk_client_for(self._base, limits=limits)
            self._client = openai.AsyncOpenAI(
                api_key=self._key,
                base_url=self._base,
                max_retries=0,
                timeout=self._seconds,
                http_client=http,
            )

    async def __call__(self, endpoint: str, body: dict[str, Any]) -> dict[str, Any]:
        """Send a request once, without retries. Raises CallFailedError."""
        if endpoint != RESPONSES:
            raise CallFailedError(
                BadRequestError(f"{self.model} is asked by {RESPONSES}, not {endpoint}")
            )
        await self.ready()
        assert self._client is not None  # noqa: S101 - the line above
        response: Any = http_module().Response
        asked = sendable(body) | {"model": self.model}
        try:
            with quiet(), with_key(self._key):
                async with asyncio.timeout(self._seconds + GRACE):
                    answer = await self._client.post("/responses", body=asked, cast_to=response)
            answered: dict[str, Any] = orjson.loads(answer.content)
        except Exception as e:  # the SDK's exceptions, and an unreadable answer
            raise self._failure(e) from None  # the cause holds headers, and in them the key
        return answered

    async def aclose(self) -> None:
        """Close the connections; litellm's are not used."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()
