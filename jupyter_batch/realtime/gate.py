"""A queue in which calls wait for a Pacer, on one event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from jupyter_batch.realtime.pacing import Pacer


class Gate:
    """Admits calls as the pacer allows. clock: monotonic seconds.

    seats: the most rows held in memory, over all users of the gate: twice the limit on concurrent
    calls, so that a row waiting for a retry does not keep another from being called.
    """

    def __init__(self, pacer: Pacer, clock: Callable[[], float]) -> None:
        self.pacer = pacer
        self.clock = clock
        self.seats = asyncio.Semaphore(pacer.most * 2)
        self._queue: deque[tuple[asyncio.Future[None], float]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def turn(self, tokens: float) -> asyncio.Future[None] | None:
        """Admit a call (None), or return the future of its admission."""
        if not self._queue and self.pacer.wait(self.clock(), tokens) == 0:
            self.pacer.start(tokens)
            return None
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((turn, tokens))
        self.look()
        return turn

    async def enter(self, tokens: float) -> float:
        """Wait for admission; return when the call began."""
        turn = self.turn(tokens)
        if turn is None:
            return self.clock()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # admitted and cancelled at the same moment
                self.pacer.ended(tokens, 0)
                self.look()
            raise
        return self.clock()

    def look(self) -> None:
        """Admit waiting calls, first in, first out; to be called after each end of a call."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._queue:
            turn, tokens = self._queue[0]
            if not turn.done():
                wait = self.pacer.wait(self.clock(), tokens)
                if wait is None:
                    return
                if wait > 0:
                    self._timer = asyncio.get_running_loop().call_later(wait, self.look)
                    return
                self.pacer.start(tokens)
                turn.set_result(None)
            self._queue.popleft()
