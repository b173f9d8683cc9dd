"""A screen's text of a job."""

from __future__ import annotations

from jupyter_batch.core.status import Snapshot
from jupyter_batch.monitor.view import view


def messages(shot: Snapshot) -> str:
    """The messages and the failed rows' reasons."""
    seen = view(shot)
    return "\n".join([*seen.lines, *(reason for reason, _ in seen.reasons)])
