"""Completion windows of providers that take any number of hours or days."""

from __future__ import annotations

import re

from jupyter_batch.core.errors import BadRequestError
from jupyter_batch.providers.record import Record


def hours_of(completion_window: str, record: Record) -> int:
    """Return a window in whole hours. Raises BadRequestError if the provider does not take it."""
    least, most = record.window_hours or (1, 24)
    match = re.fullmatch(r"([1-9]\d{0,3})([hd])", completion_window)
    hours = int(match[1]) * (24 if match[2] == "d" else 1) if match else 0
    if not least <= hours <= most:
        raise BadRequestError(
            f"completion_window={completion_window!r}: {record.title} takes hours or days, from {least}h to "
            f"{most // 24}d"
        )
    return hours
