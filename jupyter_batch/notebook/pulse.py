"""Beats from this process to the pages that show its jobs, by which a page notices that its kernel is gone.

A page asks every 15 seconds, through one of its panels, and gets beats on that panel for LEASE
seconds; the first panel that is displayed gets them unasked. So nothing is sent to a closed page,
for which a Jupyter server would store it; and the beats continue while a cell runs, when a kernel
without subshells reads no question.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from jupyter_batch.notebook import kernel
from jupyter_batch.process.log import logger

if TYPE_CHECKING:
    from collections.abc import Callable

    Send = Callable[[dict[str, Any]], None]

LEASE = 45.0
"""Seconds for which a page that has asked gets beats."""
QUICK, SLOW = 4.0, 15.0
"""Seconds between two beats: under a lease, and in a cell that has outlasted it."""

_log = logger()


def _in_a_thread(work: Callable[[], None]) -> None:
    threading.Thread(target=work, name="jupyter-batch-pulse", daemon=True).start()


class Pulse:
    """The beats of one process: one thread, which ends when nobody listens.

    clock, busy (whether a cell runs) and start can be exchanged for tests.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        busy: Callable[[], bool] = kernel.is_busy,
        start: Callable[[Callable[[], None]], None] = _in_a_thread,
    ) -> None:
        self._clock, self._busy, self._start = clock, busy, start
        self._lock = threading.Lock()
        self._listeners: dict[str, tuple[Send, float]] = {}
        self._runs = False

    def listen(self, key: str, send: Send) -> None:
        """Beat at once, and further on through `send` until the lease is over. key: one for each panel."""
        with self._lock:
            self._listeners[key] = (send, self._clock() + LEASE)
            runs, self._runs = self._runs, True
        self._beat(send, QUICK)
        if not runs:
            self._start(self._run)

    def begin(self, key: str, send: Send) -> None:
        """Give a first lease to a panel that is being displayed, unless one has a lease already.

        Its page can't ask while a cell runs, where the kernel reads no message then.
        """
        now = self._clock()
        with self._lock:
            if any(until > now for _, until in self._listeners.values()):
                return
        self.listen(key, send)

    def beat(self) -> float | None:
        """Beat to all that listen; the seconds until the next time, or None, once nobody listens."""
        now, busy = self._clock(), self._busy()
        with self._lock:
            if not busy:  # else the page may have asked, unread
                self._listeners = {
                    key: (send, until)
                    for key, (send, until) in self._listeners.items()
                    if until > now
                }
            listeners = list(self._listeners.values())
            self._runs = bool(listeners)
        if not listeners:
            return None
        pause = QUICK if any(until > now for _, until in listeners) else SLOW
        for send, _ in listeners:
            self._beat(send, pause)
        return pause

    def _beat(self, send: Send, pause: float) -> None:
        try:
            send({"next": int(pause * 1000), "busy": self._busy()})
        except Exception:  # a page that is gone must not stop the others' beats
            _log.debug("a beat could not be sent", exc_info=True)

    def _run(self) -> None:
        pause: float | None = QUICK
        while pause is not None:
            time.sleep(pause)
            pause = self.beat()


PULSE = Pulse()
