"""A thread with its own event loop that makes one pass after another."""

from __future__ import annotations

import asyncio
import contextlib
import threading

from jupyter_batch.core.errors import LedgerError
from jupyter_batch.process.ending import is_ending
from jupyter_batch.process.log import logger

IDLE_SECONDS = 5.0

_log = logger()


class LoopThread:
    """Calls `once` until `stop`, then `_close`, in a daemon thread that `start` starts."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake: asyncio.Event | None = None
        self._stopping = False
        self._warned: dict[str, str] = {}

    async def once(self) -> float:
        """Make one pass; return the seconds to the next."""
        return IDLE_SECONDS

    async def _close(self) -> None:
        """Close what the passes opened."""

    def start(self) -> None:
        """Start the thread, if it is not running."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._stopping = False
                self._thread = threading.Thread(target=self._run, name="jupyter-batch", daemon=True)
                self._thread.start()

    def poke(self) -> None:
        """Make the next pass now. From any thread."""
        loop, wake = self._loop, self._wake
        if loop is not None and wake is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closing: nothing waits any more
                loop.call_soon_threadsafe(wake.set)

    def stop(self, seconds: float = 5.0) -> None:
        """End the thread within about `seconds`; running calls may finish."""
        self._stopping = True
        self.poke()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(seconds)

    def _run(self) -> None:
        try:
            with asyncio.Runner() as runner:
                runner.run(self._forever())
        except RuntimeError as e:
            # Python 3.12 starts no threads while the interpreter exits, and the Runner needs one to
            # close the loop's executor. All else is closed by then; that ends with the process.
            if not is_ending(e):
                raise

    async def _forever(self) -> None:
        self._loop, self._wake = asyncio.get_running_loop(), asyncio.Event()
        try:
            while not self._stopping:
                self._wake.clear()
                pause = await self._guarded()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._wake.wait()
        finally:
            await self._close()
            self._loop = self._wake = None

    async def _guarded(self) -> float:
        try:
            return await self.once()
        except LedgerError as e:
            self._warn("", str(e))
        except Exception:  # nothing else keeps jobs running: the thread must not die
            _log.exception("jupyter_batch: a pass failed; it is tried again")
        return IDLE_SECONDS

    def _warn(self, about: str, sentence: str) -> None:
        """Log once, not at each pass: a full disk, or an unsupported job, may last for hours."""
        if self._warned.get(about) != sentence:
            self._warned[about] = sentence
            _log.warning("jupyter_batch: %s", sentence)
