"""Pauses between polls and after failures. Pure: the clock and random numbers are arguments."""

from __future__ import annotations

import math
import random

from jupyter_batch.core.errors import AuthenticationError, ProviderError, WarningRaisedError
from jupyter_batch.providers.protocol import Facts

DICE = random.SystemRandom().random
"""Random numbers from 0 to 1 that leave the sequence of the user's own `random.seed(...)` alone."""
_AUTH_SECONDS = 60.0
_STEP, _LONG = 0.5, 2.0
_MOST_DOUBLINGS = 12
LONGEST = 3600.0
"""The longest pause unless the user sets one; a longer one means that the clock was set back."""
GONE_TRIES = 24
"""Refusals in a row (about an hour) before one is trusted: a proxy or portal may have sent it."""
WARNING_TRIES = 6
"""Attempts for a call that a library's warning aborts; a process may change its warning filters."""
LOST_SECONDS = 2 * 86400.0
"""How long an accepted batch is assumed to exist despite refusals."""


def poll_pause(facts: Facts, age: float, dice: float, interval: float | None = None) -> float:
    """Return the seconds until the next poll of a batch that was sent `age` seconds ago.

    A tenth of its age, within the provider's shortest and longest pause, and up to a fifth more or
    less (`dice`, 0 to 1), so that many batches are not polled in the same second. `interval`: the
    user's own pause; never shorter than the provider's shortest.
    """
    if interval is not None:
        return max(interval, facts.poll_first)
    pause = min(max(facts.poll_first, age / 10), facts.poll_last)
    return max(facts.poll_first, pause * (0.8 + 0.4 * dice))


def in_step(due_at: float, pause: float) -> float:
    """The time of a poll after a pause, moved to the next half second if the pause is long.

    Polls of several batches that are due together cost a half of what they cost one by one.
    """
    return math.ceil(due_at / _STEP) * _STEP if pause >= _LONG else due_at


def retry_pause(facts: Facts, error: ProviderError, attempts: int, dice: float) -> float:
    """Seconds until the next attempt: doubling by `attempts`, jittered, at least `retry_after`."""
    first = _AUTH_SECONDS if isinstance(error, AuthenticationError) else facts.poll_first / 2
    pause = min(first * 2.0 ** min(attempts - 1, _MOST_DOUBLINGS), max(facts.poll_last, first))
    return min(max(pause * (0.5 + dice / 2), error.retry_after or 0.0), LONGEST)


def is_due(due_at: float, now: float, interval: float | None = None) -> bool:
    """Whether `due_at` has passed, also where the clock was set back since it was set."""
    return not now < due_at <= now + max(LONGEST, interval or 0.0)


def is_lost(error: ProviderError, attempts: int, age: float) -> bool:
    """Whether an object of `age` seconds is given up after `attempts` refusals in a row."""
    if isinstance(error, WarningRaisedError):  # waiting does not help: this process raises it
        return attempts >= WARNING_TRIES
    refused = not error.transient and not isinstance(error, AuthenticationError)
    return refused and attempts >= GONE_TRIES and age > LOST_SECONDS
