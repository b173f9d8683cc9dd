"""Request, Shard and Limits: what is asked, and how much of it fits into one file. It knows no provider's wire."""

from __future__ import annotations

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """One request file's limits at a provider. minimum: requests that a batch must have."""

    requests: int
    bytes: int
    minimum: int = 1

    def at_most(self, requests: int | None) -> Limits:
        """The same with no more requests than a person wants in a file, if they said so."""
        return (
            self
            if requests is None
            else msgspec.structs.replace(self, requests=min(self.requests, requests))
        )


def custom_id(job: str, position: int) -> str:
    """The id of the request for the row at `position` (from 0) of the frame that was submitted.

    The position can be read back out of it (`position_of`), so that no table of ids is needed, and the job's id makes
    it unlike any other job's. Letters, digits and one '-', far fewer than 64: the strictest rule of any provider
    (Anthropic's).
    """
    return f"{job}-{position}"


def position_of(job: str, text: str | None) -> int | None:
    """The row's position out of a custom_id of this job; None for an id that this job never sent."""
    if text is None:
        return None
    head, _, tail = text.rpartition("-")
    if head != job or not (tail.isascii() and tail.isdecimal()) or (tail[0] == "0" and tail != "0"):
        return None
    return int(tail)
