"""Faults on request, for tests and demos: their names, syntax and random draws.

    --faults "seed=7,latency=0.05,429=0.2,500=0.1,reset=0.1,truncate=0.2,late_output=2"

| name              | value        | what happens                                                                     |
|-------------------|--------------|----------------------------------------------------------------------------------|
| `seed`            | whole number | the same seed gives the same faults for the same requests in the same order      |
| `latency`         | seconds      | every answer of the API is held back so long                                     |
| `429`             | 0 to 1       | share of requests refused with 429, `rate_limit_exceeded` and a `retry-after`    |
| `retry_after`     | seconds      | what that header says (1 where not given)                                        |
| `500`             | 0 to 1       | share of requests answered with 500 `server_error`; nothing was done             |
| `reset`           | 0 to 1       | share of connections cut before the request took effect                          |
| `reset_after`     | 0 to 1       | share of connections cut after it took effect: only the answer is lost           |
| `truncate`        | 0 to 1       | share of file downloads cut off in the middle of a line                          |
| `late_output`     | whole number | a batch that ended hides its file ids from so many retrieves                     |
| `expire_after`    | rows         | a batch expires after so many rows                                               |
| `row_errors`      | 0 to 1       | share of rows that fail with a 500 and go to the error file                      |
| `drop`            | 0 to 1       | share of rows that get no line in either file (counted as failed)                |
| `double`          | 0 to 1       | share of rows whose line is there twice                                          |
| `shuffle`         | flag         | the order of the lines depends on the seed too (it is never the input's)         |
| `enqueued_tokens` | tokens       | a batch that takes the open batches above it fails with `token_limit_exceeded`   |
| `fail_fast`       | flag         | such a batch is refused with 429 when it is created, as at Azure                 |
| `open_batches`    | whole number | a batch above so many that are open is refused with 429 when it is created       |
| `flex_refuse`     | whole number | each n-th request to the flex tier is refused: 429 `resource_unavailable`        |
| `flex_default`    | whole number | each n-th request to the flex tier is served in the default tier                 |
| `creates`         | whole number | so many batches are created in `retry_after` seconds; more are refused with 429  |

Rows fall by seed and `custom_id`, so that a batch which is resumed meets the same faults again.
"""

from __future__ import annotations

import math
from collections import deque
from hashlib import blake2b
from typing import Any

import msgspec

from jupyter_batch.core.errors import OptionError
from jupyter_batch.server.errors import ApiError


class Faults(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What goes wrong; the default is: nothing. Field by field as in the table above."""

    seed: int = 0
    latency: float = 0.0
    rate_limit: float = msgspec.field(default=0.0, name="429")
    retry_after: float = 1.0
    server_error: float = msgspec.field(default=0.0, name="500")
    reset: float = 0.0
    reset_after: float = 0.0
    truncate: float = 0.0
    late_output: int = 0
    expire_after: int | None = None
    row_errors: float = 0.0
    drop: float = 0.0
    double: float = 0.0
    shuffle: bool = False
    enqueued_tokens: int | None = None
    fail_fast: bool = False
    open_batches: int | None = None
    creates: int | None = None
    flex_refuse: int = 0
    flex_default: int = 0

    def __post_init__(self) -> None:
        for field in msgspec.structs.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{field.encode_name} is no number")
            if value is not None and value < 0 and field.name != "seed":
                raise ValueError(f"{field.encode_name} can't be negative")
            if field.name in SHARES and value > 1:
                raise ValueError(f"{field.encode_name} is a share of all, between 0 and 1")

    def falls(self, share: float, *what: object) -> bool:
        """Whether the fault of that share falls on `what`: the same for the same seed, and unlike for another."""
        return share > 0 and chance(self.seed, *what) < share


SHARES = (
    "rate_limit",
    "server_error",
    "reset",
    "reset_after",
    "truncate",
    "row_errors",
    "drop",
    "double",
)
NAMES = tuple(field.encode_name for field in msgspec.structs.fields(Faults))


def chance(*what: object) -> float:
    """A number in [0, 1) out of a hash of `what`."""
    digest = blake2b(repr(what).encode(), digest_size=7).digest()
    return int.from_bytes(digest) / (1 << 56)


def parse_faults(spec: str | dict[str, Any] | None) -> Faults:
    """Faults out of `"429=0.2,shuffle"` or `{"429": 0.2, "shuffle": true}`; OptionError names what is wrong."""
    given: dict[str, Any] = {}
    if isinstance(spec, dict):
        given = spec
    else:
        for part in filter(None, (part.strip() for part in (spec or "").split(","))):
            name, equals, value = part.partition("=")
            given[name.strip()] = value.strip() if equals else "true"
    for name in given:
        if name not in NAMES:
            raise OptionError(
                f"--faults: no fault is called {name!r}; there are {', '.join(NAMES)}"
            )
    try:
        return msgspec.convert(given, Faults, strict=False)
    except (msgspec.ValidationError, ValueError) as error:
        raise OptionError(f"--faults: {error}") from error


class FaultBox:
    """The faults that are in force, which can be changed while the server runs, and how many requests met them."""

    def __init__(self, faults: Faults) -> None:
        self.now = faults
        self._seen: dict[tuple[str, str], int] = {}

    def set(self, faults: Faults) -> None:
        """Replace the faults, and count requests from 0, so that the seed decides from here."""
        self.now = faults
        self._seen.clear()

    def draw(self, share: float, kind: str, route: str) -> bool:
        """Whether a fault of that kind falls on the next request of this route."""
        number = self._seen[kind, route] = self._seen.get((kind, route), 0) + 1
        return self.now.falls(share, kind, route, number)

    def turn(self, every: int, kind: str) -> bool:
        """Whether it is the turn of a fault that falls on every n-th request."""
        if not every:
            return False
        number = self._seen[kind, ""] = self._seen.get((kind, ""), 0) + 1
        return number % every == 0


class Room:
    """Remembers when batches were created. Each refusal is in the words of a provider that has such a limit."""

    def __init__(self) -> None:
        self._created: deque[float] = deque()

    def take(self, faults: Faults, *, now: float, batches: int, tokens: int, wanted: int) -> None:
        """Check the room for a batch of about `wanted` tokens, next to the open ones. Raises ApiError."""
        if faults.open_batches is not None and batches >= faults.open_batches:
            raise ApiError(
                429,
                f"Too many batches in progress: {batches} of {faults.open_batches} allowed. Please try "
                "again once some have been completed.",
                type_="requests",
                code="batch_limit_exceeded",
            )
        limit = faults.enqueued_tokens
        if faults.fail_fast and limit is not None and tokens + wanted > limit:
            raise ApiError(
                429,
                f"The number of enqueued tokens has surpassed the configured limit of {limit:,} for "
                "the deployment. Please either increase the limit or try again once the current jobs "
                "have finished.",
                type_="tokens",
                code="token_limit_exceeded",
            )
        if faults.creates is not None:
            while self._created and self._created[0] <= now - faults.retry_after:
                self._created.popleft()
            if len(self._created) >= faults.creates:
                raise ApiError(
                    429,
                    "Rate limit reached for batch creations. Please try again later.",
                    type_="requests",
                    code="rate_limit_exceeded",
                    headers={"Retry-After": f"{self._created[0] + faults.retry_after - now:.3f}"},
                )
            self._created.append(now)
