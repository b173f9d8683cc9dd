"""Faults at the creation of a batch: too many batches, tokens or creations."""

from __future__ import annotations

from collections import deque

from aiohttp import hdrs

from jupyter_batch.server.errors import ApiError
from jupyter_batch.server.faults import Faults


class Room:
    """Remembers when batches were created. Each refusal is in the words of a provider that has such a limit."""

    def __init__(self) -> None:
        self._created: deque[float] = deque()

    def take(self, faults: Faults, *, now: float, batches: int, tokens: int, wanted: int) -> None:
        """Check the room for a batch of about `wanted` tokens, next to the open ones. Raises ApiError."""
        if faults.open_batches is not None and batches >= faults.open_batches:
            raise ApiError(
                429,
                f"Too many batches in progress: {batches} of {faults.open_batches} allowed. Please try "
                "again once some have been completed.",
                type_="requests",
                code="batch_limit_exceeded",
            )
        limit = faults.enqueued_tokens
        if faults.fail_fast and limit is not None and tokens + wanted > limit:
            raise ApiError(
                429,
                f"The number of enqueued tokens has surpassed the configured limit of {limit:,} for "
                "the deployment. Please either increase the limit or try again once the current jobs "
                "have finished.",
                type_="tokens",
                code="token_limit_exceeded",
            )
        if faults.creates is not None:
            while self._created and self._created[0] <= now - faults.retry_after:
                self._created.popleft()
            if len(self._created) >= faults.creates:
                raise ApiError(
                    429,
                    "Rate limit reached for batch creations. Please try again later.",
                    type_="requests",
                    code="rate_limit_exceeded",
                    headers={
                        hdrs.RETRY_AFTER: f"{self._created[0] + faults.retry_after - now:.3f}"
                    },
                )
            self._created.append(now)
