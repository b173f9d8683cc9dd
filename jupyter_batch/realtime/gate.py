"""A queue in which calls wait for a Pacer, on one event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from jupyter_batch.realtime.pacing import Pacer


class Gate:
    """Admits calls as the pacer allows. clock: monotonic seconds.

    Over all users of the gate, twice as many rows are held in memory as may be called concurrently,
    so that a row waiting for a retry does not keep another from being called.
    """

    def __init__(self, pacer: Pacer, clock: Callable[[], float]) -> None:
        self.pacer = pacer
        self.clock = clock
        self._seats = pacer.most * 2
        self._seatless: deque[Callable[[], object]] = deque()
        self._queue: deque[tuple[asyncio.Future[None], float]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_crowded(self) -> bool:
        """Whether a user of the gate waits for a seat."""
        return bool(self._seatless)

    def sit(self, later: Callable[[], object]) -> bool:
        """Take a seat for a row; where none is free, `later` is called once when one is."""
        if self._seats > 0:
            self._seats -= 1
            return True
        if later not in self._seatless:
            self._seatless.append(later)
        return False

    def rise(self) -> None:
        """Free a seat for the user that has waited for one the longest."""
        self._seats += 1
        if self._seatless:
            self._seatless.popleft()()

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
