"""Shards of jobs, kept between reads: they are valid while their job has the same version."""

from __future__ import annotations

from collections import OrderedDict

from jupyter_batch.core.refusals.stated_limit import StatedLimit
from jupyter_batch.ledger.records import ShardRecord

FEWEST = 4
"""A job with fewer shards is read each time, which costs as much as to compare versions."""
_SHARDS = 1 << 14
"""The most shards that are kept, except of a single job."""
_LOG = 1 << 10
"""A log with so many moves, and several of each shard, is replaced by a new one."""

Version = tuple[int, int]
"""The connection, and the number of a job's last change on it."""


class Kept:
    """A job's shards by number, those that were cut included. log: the numbers of those that moved since.

    aside: the numbers of those that are held or blocked. limit: the least that a provider named.
    """

    def __init__(self, version: Version | None, shards: dict[int, ShardRecord]) -> None:
        self.version = version
        self.shards = shards
        self.log: list[int] = []
        self.aside: set[int] = set()
        self.limit: StatedLimit | None = None
        for shard in shards.values():
            self._sort(shard)

    def _sort(self, shard: ShardRecord) -> None:
        if shard.held or shard.blocked_by is not None:
            self.aside.add(shard.number)
        else:
            self.aside.discard(shard.number)
        if shard.limit is not None and (self.limit is None or shard.limit.most < self.limit.most):
            self.limit = shard.limit

    def move(self, shard: ShardRecord) -> None:
        """Replace one shard."""
        self.shards[shard.number] = shard
        self.log.append(shard.number)
        self._sort(shard)

    def current(self) -> list[ShardRecord]:
        """The shards by number, without those that were cut into smaller ones."""
        return [shard for shard in self.shards.values() if not shard.replaced_by]

    def set_aside(self) -> list[ShardRecord]:
        """The shards that are held for a quota, or blocked, by number; not those that were cut."""
        found = (self.shards[number] for number in sorted(self.aside))
        return [shard for shard in found if not shard.replaced_by]


class KeptShards:
    """The shards of the jobs read last. Not thread-safe."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[str, Kept] = OrderedDict()
        self._count = 0

    def __contains__(self, job: str) -> bool:
        return job in self._jobs

    def get(self, job: str, version: Version | None) -> Kept | None:
        """A job's shards as of a version; None where they are not kept."""
        kept = self._jobs.get(job)
        if kept is None or kept.version != version:
            return None
        self._jobs.move_to_end(job)
        return kept

    def keep(self, job: str, kept: Kept) -> None:
        """Keep a job's shards, in place of those that were read the longest ago."""
        self._count += len(kept.shards) - self._drop(job)
        self._jobs[job] = kept
        while self._count > _SHARDS and len(self._jobs) > 1:
            self._count -= self._drop(next(iter(self._jobs)))

    def _drop(self, job: str) -> int:
        held = self._jobs.pop(job, None)
        return 0 if held is None else len(held.shards)

    def move(self, shard: ShardRecord, before: Version, after: Version) -> None:
        """Replace one shard, the only difference between two versions of its job."""
        kept = self.get(shard.job, before)
        if kept is None:
            return
        if len(kept.log) > max(_LOG, 4 * len(kept.shards)):
            kept = self._jobs[shard.job] = Kept(before, kept.shards)
        kept.move(shard)
        kept.version = after
