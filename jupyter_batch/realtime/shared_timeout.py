"""One timeout for many calls: aiohttp's own, a timer for each request, costs a tenth of a request."""

from __future__ import annotations

import asyncio
from types import TracebackType


class SharedTimeout:
    """Raises TimeoutError in a block that takes more than `seconds`, like `asyncio.timeout`.

    The blocks of all tasks of one event loop share a timer; a task may be in one block at a time.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._blocks: dict[asyncio.Task[object], tuple[float, int]] = {}  # the oldest first
        self._expired: set[asyncio.Task[object]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine that runs has one
        until = task.get_loop().time() + self._seconds
        self._blocks[task] = until, task.cancelling()
        if self._timer is None:
            self._timer = task.get_loop().call_at(until, self._expire)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - as above
        _, cancels = self._blocks.pop(task)
        if task not in self._expired:
            return
        self._expired.discard(task)
        if task.uncancel() <= cancels and kind is asyncio.CancelledError:
            raise TimeoutError(f"no answer within {self._seconds:g} s") from error

    def _expire(self) -> None:
        self._timer = None
        for task, (until, _) in self._blocks.items():
            if until > task.get_loop().time():
                self._timer = task.get_loop().call_at(until, self._expire)
                return
            if task not in self._expired:
                self._expired.add(task)
                task.cancel()

    def close(self) -> None:
        """Cancel the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
