"""Calls to a provider that have no answer yet, which are shown after some seconds."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jupyter_batch.core.batch import BatchView
from jupyter_batch.core.status import Unanswered
from jupyter_batch.providers.protocol import Facts, Provider

SHOWN_AFTER = 10.0
"""Seconds without an answer after which a call is shown; most take a part of one."""
SHOWN_EVERY = 5.0
"""The least time to the next, which is half of the time that has passed: each is a line in a terminal."""


class WatchedCalls:
    """A provider as one shard calls it, with the call in progress. See Provider.

    clock: seconds since the epoch. is_shown: whether a call was shown.
    """

    def __init__(self, provider: Provider, clock: Callable[[], float]) -> None:
        self.facts: Facts = provider.facts
        self.is_shown = False
        self._provider = provider
        self._clock = clock
        self._call = ""
        self._since = 0.0
        self._bytes = 0
        self._next_at = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._provider, name)

    def to_show(self) -> Unanswered | None:
        """The call in progress, where it is time to show it, for the first time or again."""
        now = self._clock()
        if not self._call or now < self._next_at:
            return None
        self._next_at = now + max(SHOWN_EVERY, (now - self._since) / 2)
        self.is_shown = True
        return Unanswered(call=self._call, since=self._since, bytes=self._bytes)

    def _begin(self, call: str) -> None:
        self._call, self._since, self._bytes = call, self._clock(), 0
        self._next_at = self._since + SHOWN_AFTER

    @contextlib.contextmanager
    def _in_progress(self, call: str) -> Iterator[None]:
        self._begin(call)
        try:
            yield
        finally:
            self._call = ""

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
        """See Provider.submit."""

        async def arrived(file_id: str) -> None:
            await on_upload(file_id)
            self._begin("create")

        with self._in_progress("create" if uploaded else "upload"):
            return await self._provider.submit(
                requests,
                tag,
                endpoint=endpoint,
                window=window,
                uploaded=uploaded,
                on_upload=arrived,
            )

    async def find(
        self, tag: Mapping[str, str], *, since: float, file_id: str | None = None
    ) -> list[BatchView]:
        """See Provider.find."""
        with self._in_progress("find"):
            return await self._provider.find(tag, since=since, file_id=file_id)

    async def poll(self, batch_id: str) -> BatchView:
        """See Provider.poll."""
        with self._in_progress("poll"):
            return await self._provider.poll(batch_id)

    async def fetch(self, file_id: str, write: Callable[[bytes], object]) -> None:
        """See Provider.fetch."""

        def counted(block: bytes) -> object:
            self._bytes += len(block)
            return write(block)

        with self._in_progress("fetch"):
            await self._provider.fetch(file_id, counted)

    async def cancel(self, batch_id: str) -> BatchView:
        """See Provider.cancel."""
        with self._in_progress("cancel"):
            return await self._provider.cancel(batch_id)

    async def aclose(self) -> None:
        """See Provider.aclose."""
        await self._provider.aclose()
