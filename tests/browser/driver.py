"""A stand-in for a job in the browser tests' notebooks: a thread feeds snapshots to a real monitor until it is stopped.

The monitor, the kernel's rules and the front end are the real ones; only the batch is not.
"""

from __future__ import annotations

import threading
import time

from jupyter_batch.core.status import Counts, ShardView, Snapshot, State, Step
from jupyter_batch.monitor.live import open_monitor
from jupyter_batch.notebook import kernel, waiting

TICK = 0.05


class Job:
    """Answers one row in each tick, and goes on until finish() or cancel()."""

    def __init__(self, rows=1000, **fields):
        self.rows, self.fields, self.answered, self.state = rows, fields, 0, State.RUNNING
        self.started = time.time()
        kernel.between()  # as with any job
        self.over, self.asked, self._end = threading.Event(), 0, threading.Event()
        self.monitor = open_monitor(
            self.snapshot(),
            actions=self.clicks(),
            frontend=kernel.has_frontend(),
            context=kernel.widget_context(),
        )
        self.monitor.show(kernel.current_cell())
        threading.Thread(target=self._run, daemon=True).start()

    def snapshot(self):
        ended = self.state.is_ending
        lost = self.rows - self.answered if self.state is State.CANCELLED else 0
        failed = self.answered // 50
        counts = Counts(
            succeeded=self.answered - failed,
            failed=failed,
            cancelled=lost,
            running=self.rows - self.answered - lost,
        )
        defaults = {
            "id": "jb3f9c2k7a1q",
            "name": None,
            "out": "sentiment",
            "model": "openai/gpt-4.1-mini",
            "provider": "openai",
            "shards": (
                ShardView(number=0, step=Step.RUNNING, batch_id="batch_68a1f0c2d4b881908e"),
            ),
            "attach": 'job = jupyter_batch.open("jb3f9c2k7a1q")',
            "expires_at": self.started + 86_400,
            "reasons": (("rate limit reached, gave up after 5 tries", failed),) if failed else (),
        }
        return Snapshot(
            state=self.state,
            counts=counts,
            created_at=self.started,
            now=time.time(),
            finished_at=time.time() if ended else None,
            collected=ended,
            **{**defaults, **self.fields},
        )

    def clicks(self):
        return {
            "cancel": lambda: self._stop(State.CANCELLED) or "cancelling",
            "refresh": self._refresh,
            "merge": lambda: "Merged.",
        }

    def _refresh(self):
        self.asked += 1
        return f"Asked, {self.asked}."

    def finish(self):
        self._stop(State.COMPLETED)

    def wait(self):
        return waiting.wait_blocking(self.over)

    def __await__(self):
        return waiting.await_done(self.over).__await__()

    def _stop(self, state):
        self._ending = state
        self._end.set()

    def _run(self):
        while not self._end.wait(TICK):
            self.answered = min(self.answered + 1, self.rows - 1)
            self.monitor.update(self.snapshot())
        if self._ending is State.COMPLETED:
            self.answered = self.rows
        self.state = self._ending
        self.monitor.update(self.snapshot())
        self.over.set()
