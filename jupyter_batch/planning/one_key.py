"""Checks that an API key given in a call is for one address, so that no other provider gets it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from jupyter_batch.core.errors import OptionError
from jupyter_batch.http.address import origin
from jupyter_batch.ledger.records import JobRecord
from jupyter_batch.planning.ask import Ask
from jupyter_batch.providers.registry import is_embedded


class Member(NamedTuple):
    """A job of a group. place: the address its key is for.

    lacks_key: it is blocked for lack of a key.
    """

    id: str
    place: str
    lacks_key: bool


def member_of(job: JobRecord, *, lacks_key: bool) -> Member:
    """The address and key state of a job."""
    return Member(job.id, origin(job.api_base) if job.api_base else job.provider, lacks_key)


def check_one_place(key: str | None, asks: Iterable[Ask]) -> None:
    """Raise OptionError where a call with one key names models of several providers."""
    if key is None:
        return
    places = {
        origin(ask.place) if ask.place else ask.provider
        for ask in asks
        if not is_embedded(ask.provider)
    }
    if len(places) > 1:
        raise OptionError(
            f"api_key= is for one provider, and the models are at {', '.join(sorted(places))}: set each "
            "provider's own variable (such as OPENAI_API_KEY), or make a call for each"
        )


def keys_by_job(key: str | None, members: Iterable[Member]) -> Mapping[str, str | None]:
    """The key of each job of a group: for all jobs at one address, else for those that lack one.

    Raises OptionError where these are at several addresses.
    """
    members = list(members)
    wanting = members
    if key is not None and len({one.place for one in members}) > 1:
        wanting = [one for one in members if one.lacks_key]
        if len({one.place for one in wanting}) != 1:
            raise OptionError(
                "api_key= is for one provider, and the jobs of this group are at several: give it to one of "
                "them, such as group.jobs[0].resume(api_key=...)"
            )
    chosen = {one.id for one in wanting}
    return {one.id: key if one.id in chosen else None for one in members}
