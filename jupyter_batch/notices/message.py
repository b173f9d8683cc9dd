"""Message about a job's end, or its block: the text for people, and the fields for software."""

from __future__ import annotations

from typing import Any

import msgspec

from jupyter_batch.core.status import Snapshot
from jupyter_batch.monitor import text
from jupyter_batch.monitor.view import view


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A notice without any prompt or answer. fields: of the job, for a receiving program."""

    title: str
    text: str
    fields: dict[str, Any]


def message_of(snapshot: Snapshot) -> Message:
    """The message about a job's present state."""
    shown = view(snapshot)
    blocked = "; ".join(shown.blocked) if snapshot.blocked is not None else ""
    return Message(
        title=f"{shown.title}: {shown.state}",
        text=f"{text.line(shown)}{'; ' if blocked else ''}{blocked}",
        fields={
            "job": snapshot.id,
            "name": snapshot.name,
            "model": snapshot.model,
            "state": str(snapshot.state),
            "blocked": None if snapshot.blocked is None else str(snapshot.blocked),
            "counts": msgspec.to_builtins(snapshot.counts),
            "cost": snapshot.cost,
        },
    )
