"""Targets of `%llm_batch notify`: each gets a notice when a job that this process follows ends."""

from __future__ import annotations

from collections.abc import Callable

from jupyter_batch.core.status import Snapshot
from jupyter_batch.notices.message import message_of
from jupyter_batch.notices.targets import Target, deliver_soon

_targets: dict[str, Target] = {}


def subscribe(to: Target) -> None:
    """Add a target; the same one twice is one."""
    _targets[str(to)] = to


def unsubscribe() -> None:
    """Remove all targets."""
    _targets.clear()


def announce(snapshot: Callable[[], Snapshot]) -> None:
    """Send a notice of a job's end to each target, without waiting."""
    message = message_of(snapshot()) if _targets else None
    for to in list(_targets.values()):
        if message is not None:
            deliver_soon(to, message)
