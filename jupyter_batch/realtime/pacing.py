"""Limits on concurrent calls and on call rates. Pure: no network, and no clock but `now`.

Additive increase, multiplicative decrease, as in TCP: the limit doubles in each round until the
provider's first rate-limit error, is halved at each further one, and otherwise grows by one per
round. A few refusals among many answers (a gateway that refuses some percent of its calls) only
reduce it by one; if a good part of the calls are refused, the window closes.
"""

from __future__ import annotations

import math

import msgspec

from jupyter_batch.core.errors import ProviderError

FIRST = 32
"""The initial limit: a provider with more capacity shows it within a few rounds."""
_FEW = 0.1
"""The share of refusals among recent calls below which a refusal says little about the load."""
_MEMORY = 1 / 32
"""The weight of the latest call in that share: about the latest 32 count."""
_NEVER = -math.inf
_GRAIN = 1e-9
"""Seconds: the rounding error of a wait."""


class ServiceTier(msgspec.Struct, frozen=True, kw_only=True):
    """The service tier with spare capacity that requests ask for; "" for none.

    sent: it is set in each request, else the requests name it themselves. sheds: the statuses,
    besides the refusals that say so, by which it refuses a request for lack of capacity.
    """

    name: str = ""
    sent: bool = False
    sheds: tuple[int, ...] = ()

    def refuses(self, error: ProviderError) -> bool:
        """Whether it has no capacity: not the request's fault, not charged, and not the load."""
        is_full = getattr(error, "capacity", False) or error.status in self.sheds
        return bool(self.name) and is_full


NO_TIER = ServiceTier()


class Bucket:
    """A rate per minute, as a token bucket: at most a second's worth is saved up.

    A larger amount may still be taken, from a full bucket, and is compensated by a longer pause.
    """

    def __init__(self, per_minute: float, now: float) -> None:
        self._rate = per_minute / 60
        self._most = max(self._rate, 1.0)
        self._level = self._most
        self._at = now

    def wait(self, now: float, amount: float) -> float:
        """Seconds until `amount` may be taken."""
        self._level = min(self._most, self._level + max(now - self._at, 0.0) * self._rate)
        self._at = now
        lacking = min(amount, self._most) - self._level
        return lacking / self._rate if lacking > self._rate * _GRAIN else 0.0

    def take(self, amount: float) -> None:
        """Take an amount; a negative amount is returned."""
        self._level = min(self._most, self._level - amount)


class Pacer:
    """Limits on concurrent calls and both rates. Times are seconds of a monotonic clock.

    most: the highest limit. limit: the current one. running: calls under way. answers: their count.
    """

    def __init__(
        self,
        most: int,
        *,
        now: float,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
    ) -> None:
        self.most = most
        self.limit: float = min(most, FIRST)
        self.running = 0
        self.answers = 0
        self._steep = float(most)  # below it the limit doubles in a round, above it grows by one
        self._filled = False
        self._cut = _NEVER
        self._eased = _NEVER
        self._share = 0.0  # of refusals, among the latest calls
        self._before: float | None = None  # the limit before it was reduced, since the last halving
        self._held = _NEVER
        self._requests = Bucket(requests_per_minute, now) if requests_per_minute else None
        self._tokens = Bucket(tokens_per_minute, now) if tokens_per_minute else None

    def wait(self, now: float, tokens: float = 0) -> float | None:
        """Seconds until a call of about `tokens` may start (0: now); None: after another's end."""
        if self.running >= int(self.limit):
            return None
        waits = [self._held - now]
        if self._requests is not None:
            waits.append(self._requests.wait(now, 1))
        if self._tokens is not None:
            waits.append(self._tokens.wait(now, tokens))
        return max(0.0, *waits)

    def start(self, tokens: float = 0) -> None:
        """Record the start of a call."""
        self.running += 1
        self._filled = self._filled or self.running >= int(self.limit)
        if self._requests is not None:
            self._requests.take(1)
        if self._tokens is not None:
            self._tokens.take(tokens)

    def answered(self, tokens: float = 0, used: float | None = None) -> None:
        """Record an answered call. tokens: as passed to `start`; used: the provider's count."""
        filled = self._filled  # an unused limit is no evidence for a higher one
        self.ended(tokens, used)
        self.answers += 1
        self._share -= self._share * _MEMORY
        if filled:
            step = 1.0 if self.limit < self._steep else 1 / self.limit
            self.limit = min(float(self.most), self.limit + step)

    def ended(self, tokens: float = 0, used: float | None = None) -> None:
        """Record a call that ended without information about the load."""
        self.running -= 1
        self._filled = self._filled and self.running > 0
        if self._tokens is not None and used is not None:
            self._tokens.take(used - tokens)

    def refused(self, now: float, started: float, retry_after: float | None = None) -> None:
        """Record a call that began at `started` and was refused by a rate limit.

        A few refusals reduce the limit by one. If their share is high, no call starts for
        `retry_after` seconds and the limit is halved. Calls that began before the last change don't
        change it again.
        """
        self.ended()
        self._share += (1.0 - self._share) * _MEMORY
        if self._share < _FEW:
            self._ease(now, started)
            return
        if retry_after:
            self._held = max(self._held, now + retry_after)
        if started >= self._cut:
            self._cut = self._eased = now
            before = self.limit if self._before is None else self._before
            self.limit = self._steep = max(1.0, before / 2)
            self._before = None

    def _ease(self, now: float, started: float) -> None:
        if started < self._eased:
            return
        self._eased = now
        self._before = self.limit
        self.limit = max(1.0, self.limit - 1)

    def restart(self) -> None:
        """After a stop, start with one call: if it fails too, few calls are wasted."""
        self.limit = 1.0
        self._steep = float(self.most)
        self._held = _NEVER


def retry_wait(
    first: float, last: float, failures: int, dice: float, retry_after: float | None = None
) -> float:
    """Seconds before a row's next attempt: doubling to `last`, jittered, at least `retry_after`."""
    pause = min(first * 2.0 ** min(failures - 1, 30), last)
    return max(pause * (0.5 + dice / 2), retry_after or 0.0)
