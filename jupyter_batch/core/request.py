"""Request, Shard and Limits: the requests, and how many of them fit into a file."""

from __future__ import annotations

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """A provider's limits on a request file. minimum: the fewest requests of a batch."""

    requests: int
    bytes: int
    minimum: int = 1

    def at_most(self, requests: int | None) -> Limits:
        """Return the limits with the user's maximum of requests per file, if there is one."""
        return (
            self
            if requests is None
            else msgspec.structs.replace(self, requests=min(self.requests, requests))
        )


def custom_id(job: str, position: int) -> str:
    """Return the request id for the row at `position` (from 0) of the submitted frame.

    `position_of` reads the position back, so no table of ids is needed; the job's id makes it
    unique across jobs. Letters, digits and one '-', far fewer than 64: the strictest rule of any
    provider (Anthropic's).
    """
    return f"{job}-{position}"


def custom_ids(job: str, first: int, rows: int) -> list[str]:
    """Return the request ids of consecutive rows; see `custom_id`."""
    return [f"{job}-{position}" for position in range(first, first + rows)]


def position_of(job: str, text: str | None) -> int | None:
    """Return the row's position from a custom_id of this job; None for any other id."""
    if text is None:
        return None
    head, _, tail = text.rpartition("-")
    if head != job or not (tail.isascii() and tail.isdecimal()) or (tail[0] == "0" and tail != "0"):
        return None
    return int(tail)
