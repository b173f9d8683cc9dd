"""Shards of large jobs, kept between reads: they are valid while their job has the same version."""

from __future__ import annotations

from collections import OrderedDict

from jupyter_batch.ledger.records import ShardRecord

FEWEST = 32
"""A job with fewer shards is read each time, which costs as much as to compare versions."""
_JOBS = 8
"""The most jobs whose shards are kept."""

Version = tuple[int, int]
"""The connection, and the number of a job's last change on it."""


class KeptShards:
    """The shards of the jobs read last, by number. Not thread-safe."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[str, tuple[Version, dict[int, ShardRecord]]] = OrderedDict()

    def __contains__(self, job: str) -> bool:
        return job in self._jobs

    def get(self, job: str, version: Version | None) -> dict[int, ShardRecord] | None:
        """A job's shards as of a version; None where they are not kept."""
        kept = self._jobs.get(job)
        return kept[1] if kept is not None and kept[0] == version else None

    def keep(self, job: str, version: Version, shards: dict[int, ShardRecord]) -> None:
        """Keep a job's shards, in place of those of the job that was kept first."""
        self._jobs[job] = version, shards
        if len(self._jobs) > _JOBS:
            self._jobs.popitem(last=False)

    def move(self, shard: ShardRecord, before: Version, after: Version) -> None:
        """Replace one shard, the only difference between two versions of its job."""
        shards = self.get(shard.job, before)
        if shards is not None:
            shards[shard.number] = shard
            self._jobs[shard.job] = after, shards
