"""The actions of a panel's buttons, each of which returns a sentence about its outcome.

Each runs in a thread of its own (monitor/widget.py), so it may wait; only the main thread touches a frame.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from jupyter_batch.core.status import Snapshot, Step
from jupyter_batch.ledger.records import ShardRecord
from jupyter_batch.monitor.view import view
from jupyter_batch.monitor.words import clock
from jupyter_batch.notebook import kernel

if TYPE_CHECKING:
    from jupyter_batch.viewer.actions import Held

PATIENCE = 30.0
"""Seconds after which a refresh reports that no answer has come yet."""
LOOK = 0.2


class Holder(Protocol):
    """A Job or a Group."""

    def snapshot(self) -> Snapshot:
        """Return its state."""

    def refresh(self) -> Any:
        """Ask the provider now."""

    def cancel(self) -> Any:
        """Cancel it."""

    def finish(self) -> Any:
        """Ask the rest in real time."""

    def merge(self) -> Any:
        """Fill the frame."""


def actions(
    held: Holder, shards: Callable[[], list[ShardRecord]], again: Callable[[], str]
) -> dict[str, Callable[[], str]]:
    """The actions by button. shards: its records; again: retries the unanswered rows."""
    return {
        "refresh": lambda: refreshed(held, shards),
        "cancel": lambda: cancelled(held),
        "retry": again,
        "finish": lambda: finished(held),
        "merge": lambda: merged(held),
    }


def held(deeds: dict[str, Callable[[], str]], **more: Any) -> Held:
    """The functions that the page of a job's rows uses. more: further fields of Held."""
    from jupyter_batch.viewer.actions import Held

    return Held(deeds={name: deeds[name] for name in ("retry", "finish", "cancel")}, **more)


def refreshed(
    held: Holder,
    shards: Callable[[], list[ShardRecord]],
    *,
    patience: float = PATIENCE,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """Ask the provider, wait until each open batch was polled, and report the state."""
    held.refresh()
    waited = 0.0
    while not all(shard.due_at or shard.step is Step.COLLECTED for shard in shards()):
        if waited >= patience:
            return f"Asked; in {patience:.0f} s no answer has come yet."
        sleep(LOOK)
        waited += LOOK
    now = time.time()
    seen = view(held.snapshot())
    return f"Asked at {clock(now, now, None)}: {seen.state}, {seen.share}."


def cancelled(held: Holder) -> str:
    """Store the request; the worker sends it."""
    held.cancel()
    return "The provider is asked to cancel. Rows that are finished are kept."


def finished(held: Holder) -> str:
    """Store the request; the worker cancels, and asks the rest once that is sure."""
    held.finish()
    return (
        "What is open is being cancelled, then asked in real time. Rows that are finished are kept."
    )


def merged(held: Holder) -> str:
    """Fill the frame between two cells; the job reports the number of rows."""
    return between_cells(held.merge, "Merged")


def between_cells(act: Callable[[], object], done: str) -> str:
    """Change a frame on the main thread, and wait for it; return `done` with the time. Raises what `act` raises."""
    over, refusals = threading.Event(), list[Exception]()

    def work() -> None:
        try:
            act()
        except Exception as e:  # raised in the thread that waits
            refusals.append(e)
        finally:
            over.set()

    # The main thread can't wait for itself.
    if kernel.is_main_thread() or not kernel.on_main(work):
        work()
    over.wait()
    if refusals:
        raise refusals[0]
    now = time.time()
    return f"{done} at {clock(now, now, None)}."


def choosing(choose: Callable[[str], object]) -> Callable[[str], str]:
    """The button of a model, whose answers `choose` copies into the frame."""
    return lambda model: between_cells(lambda: choose(model), f"{model} chosen, in the frame")
