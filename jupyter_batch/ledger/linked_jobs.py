"""Jobs that the user holds as one: those of a group, and a job with its realtime finish."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

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
