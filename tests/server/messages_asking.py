"""A client's steps with Message Batches, through Anthropic's own SDK."""

from __future__ import annotations

import base64
import importlib
from typing import TYPE_CHECKING, Any

from server_asking import until

from jupyter_batch.server.embedded import Embedded

if TYPE_CHECKING:
    import anthropic
else:

    class _Lazy:
        """Anthropic's SDK, imported at its first use: seconds of CPU that only the worker with these tests spends."""

        def __getattr__(self, name: str) -> Any:
            if not name[0].isupper():  # pytest looks for its own names in whatever a module holds
                raise AttributeError(name)
            return getattr(importlib.import_module("anthropic"), name)

    anthropic = _Lazy()

PNG = base64.b64encode(
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x02\x00\x00\x00\x03\x08\x02\x00\x00\x00"
).decode()
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
WEATHER = {
    "name": "weather",
    "description": "The weather in a city.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}
USE = {"type": "tool_use", "id": "t1", "name": "weather", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": "Rain"}


def turns(*pairs):
    """A conversation."""
    return [{"role": role, "content": content} for role, content in pairs]


def client_of(server: Embedded, **options) -> anthropic.Anthropic:
    """The SDK's client of a server."""
    options = {"api_key": server.token, **options}
    base = server.base_url.removesuffix("/v1")
    return anthropic.Anthropic(base_url=base, max_retries=0, **options)


def request(custom_id: str = "r-0", text: str = "hello", **params) -> dict:
    """One request of a batch."""
    messages = [{"role": "user", "content": text}]
    params = {"model": "echo", "max_tokens": 100, "messages": messages, **params}
    return {"custom_id": custom_id, "params": params}


def ended(client, batch_id):
    """The batch once it has ended."""

    def look():
        found = client.messages.batches.retrieve(batch_id)
        return found.processing_status == "ended" and found

    return until(look)


def results(client, batch_id):
    """Results by custom_id."""
    lines = list(client.messages.batches.results(batch_id))
    found = {line.custom_id: line.result for line in lines}
    assert len(found) == len(lines)
    return found


def counts(batch):
    """The request counts that are not zero."""
    return {name: n for name, n in batch.request_counts.model_dump().items() if n}
