"""Mapping of parameters in old request lines, of jobs planned without it, for a retry.

Unmapped, they would be rejected again: OpenAI's gpt-5 does not accept `max_tokens`.
"""

from __future__ import annotations

from typing import Any

import orjson

from jupyter_batch.core.errors import OptionError
from jupyter_batch.ledger.records import JobRecord
from jupyter_batch.planning.route import route_of
from jupyter_batch.providers.openai.batches import load_litellm
from jupyter_batch.providers.table import REALTIME
from jupyter_batch.wire.dialects import OPENAI, encoder
from jupyter_batch.wire.openai import Hole

_CHAT = "/chat/completions"  # a batch may name the endpoint without its version


def is_unmapped(job: JobRecord) -> bool:
    """Whether a job's batches have unmapped parameters, which the model may not accept."""
    return (
        job.dialect == OPENAI
        and not job.mapped
        and job.mode != REALTIME
        and job.endpoint.endswith(_CHAT)
        and route_of(job) is not None
    )


class Remapped:
    """Lines with mapped parameters.

    A line that can't be mapped is unchanged: the provider decides.
    """

    def __init__(self, job: JobRecord) -> None:
        self._route, self._endpoint = route_of(job), job.endpoint
        self._encoders: dict[bytes, Any] = {}

    def line(self, line: bytes) -> bytes:
        """Return a request line as litellm would send it."""
        data = orjson.loads(line)
        body = data["body"]
        messages = body.pop("messages", None)
        made = None if messages is None else self._encoder(body)
        if made is None:
            return line
        (new,) = made.encode([data["custom_id"]], {"messages": [messages]})
        return new if isinstance(new, bytes) else line

    def _encoder(self, rest: dict[str, Any]) -> Any:
        key = orjson.dumps(rest)
        if key not in self._encoders:
            body = {**rest, "messages": Hole("messages")}
            try:
                made = encoder(OPENAI, self._endpoint, body, load_litellm, route=self._route)
            except OptionError:
                made = None
            self._encoders[key] = made
        return self._encoders[key]
