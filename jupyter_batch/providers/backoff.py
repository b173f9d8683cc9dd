"""When to come back: pauses between polls and after failures. Pure: the clock and the dice are arguments."""

from __future__ import annotations

from jupyter_batch.core.errors import AuthenticationError, ProviderError, WarningRaisedError
from jupyter_batch.providers.protocol import Facts

_AUTH_SECONDS = 60.0
_MOST_DOUBLINGS = 12
LONGEST = 3600.0
"""No pause is longer, but one that the person asked for; so one that is was set before the clock was put back."""
GONE_TRIES = 24
"""How many refusals in a row, about an hour of them, come before one is believed: it may be a proxy's or a portal's."""
WARNING_TRIES = 6
"""How often a call is tried that a library's warning ends; the filters of a process may change."""
LOST_SECONDS = 2 * 86400.0
"""How long a batch that was taken is held to be there against all refusals."""


def poll_pause(facts: Facts, age: float, dice: float, interval: float | None = None) -> float:
    """Seconds until the next poll of a batch that was sent `age` seconds ago.

    A tenth of its age, within the provider's shortest and longest pause, and up to a fifth more or less (`dice`, 0 to
    1), so that many batches are not asked for in the same second. `interval` is the person's own pause; it is never
    shorter than the provider's shortest.
    """
    if interval is not None:
        return max(interval, facts.poll_first)
    pause = min(max(facts.poll_first, age / 10), facts.poll_last)
    return max(facts.poll_first, pause * (0.8 + 0.4 * dice))


def retry_pause(facts: Facts, error: ProviderError, attempts: int, dice: float) -> float:
    """Seconds until the next try after `attempts` failures in a row: doubling, jittered, never sooner than asked."""
    first = _AUTH_SECONDS if isinstance(error, AuthenticationError) else facts.poll_first / 2
    pause = min(first * 2.0 ** min(attempts - 1, _MOST_DOUBLINGS), max(facts.poll_last, first))
    return min(max(pause * (0.5 + dice / 2), error.retry_after or 0.0), LONGEST)


def is_due(due_at: float, now: float, interval: float | None = None) -> bool:
    """Whether the time has come, also where the clock was put back since `due_at` was set."""
    return not now < due_at <= now + max(LONGEST, interval or 0.0)


def is_lost(error: ProviderError, attempts: int, age: float) -> bool:
    """Whether what was there `age` seconds ago is given up, refused `attempts` times in a row."""
    if isinstance(error, WarningRaisedError):  # no time will mend it: this process raises it
        return attempts >= WARNING_TRIES
    refused = not error.transient and not isinstance(error, AuthenticationError)
    return refused and attempts >= GONE_TRIES and age > LOST_SECONDS
