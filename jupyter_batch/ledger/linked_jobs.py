"""Jobs that the user holds as one: those of a group, and a job with its realtime finish."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from hashlib import blake2b

from jupyter_batch.core.errors import JobNotFoundError
from jupyter_batch.ledger.records import JobRecord
from jupyter_batch.ledger.store import Ledger


def group_named(ledger: Ledger, name: str) -> tuple[str, list[str]] | None:
    """The id and the jobs of a group by its id, a unique prefix of it, or its name; None for none.

    Of groups with the same name the one with the newest job counts, as for jobs.
    """
    groups = ledger.groups()
    if name in groups:
        return name, groups[name]
    begun = [group for group in groups if len(name) > len("jg") and group.startswith(name)]
    if len(begun) == 1:
        return begun[0], groups[begun[0]]
    with contextlib.suppress(JobNotFoundError):
        record = ledger.job(name)
        for group, jobs in groups.items():  # newest first
            if record.name == name and record.id in jobs:
                return group, jobs
    return None


def whole(ledger: Ledger, names: Iterable[str]) -> list[JobRecord]:
    """The jobs of these names, each with its realtime finish, or the job that it finishes.

    Raises JobNotFoundError.
    """
    found = [ledger.job(name) for name in names]
    every = {record.id: record for record in ledger.jobs()}
    for record in found:  # the list grows during the loop
        before = every.get(record.parent or "")
        around = [
            before if before is not None and before.rush_at else None,
            ledger.child(record.id) if record.rush_at else None,
        ]
        found += [one for one in around if one is not None and one not in found]
    return found


class Lines:
    """The jobs that the user sees as one: a job and its realtime finish.

    records: the newest first.
    """

    def __init__(self, records: Iterable[JobRecord]) -> None:
        self._records = {record.id: record for record in records}
        self._children: dict[tuple[str, int], JobRecord] = {}
        for record in self._records.values():
            if record.parent is not None:
                self._children.setdefault((record.parent, record.round), record)

    def last(self, job: str) -> JobRecord | None:
        """The last job that continues it, or itself; None if it is not in the ledger (any more)."""
        record = self._records.get(job)
        # The open rows of a job that was finished in realtime are sent by a job of their own.
        while record is not None and record.rush_at and record.finished_at:
            child = self._children.get((record.id, record.round))
            if child is None:
                break
            record = child
        return record

    def first(self, job: str) -> str:
        """The id of the job that was submitted first."""
        record = self._records[job]
        while True:
            parent = self._records.get(record.parent or "")
            if parent is None or not parent.rush_at or parent.round != record.round:
                return record.id
            record = parent


def name_of(jobs: Sequence[str]) -> str:
    """A group's id, always the same for the same jobs."""
    return "jg" + blake2b(" ".join(jobs).encode(), digest_size=5).hexdigest()
