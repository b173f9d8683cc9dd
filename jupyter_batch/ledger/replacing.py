"""Replacement of a shard that exceeds the provider's limits by smaller ones, in one transaction."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from jupyter_batch.core.status import Counts, Step
from jupyter_batch.ledger.records import ShardRecord
from jupyter_batch.ledger.recovery import Recovering, write_handle
from jupyter_batch.ledger.rows import encode, leased_shard


class Replacing(Recovering):
    """The ledger's method for the replacement of shards."""

    def replace(
        self,
        shard: ShardRecord,
        pieces: list[ShardRecord],
        holder: str,
        now: float,
        keep: Callable[[int, int], None],
    ) -> ShardRecord | None:
        """Record the pieces in the place of a shard that has no batch, with the job's next numbers.

        keep: moves the files of the piece at an index into place under a number, within the same
        transaction. Returns None, and writes nothing, where the shard has changed its step or the
        holder has lost the lease.
        """
        folder = self.folders.of(shard.job)
        with self._transaction() as db:
            stored, _ = leased_shard(db, shard, holder, now) or (None, None)
            if stored is None or stored.batch_id:
                return None
            (number,) = db.execute(
                "SELECT max(number) + 1 FROM shard WHERE job = ?", (shard.job,)
            ).fetchone()
            pieces = [
                msgspec.structs.replace(piece, number=number + at)
                for at, piece in enumerate(pieces)
            ]
            for at, piece in enumerate(pieces):
                keep(at, piece.number)
                write_handle(folder, piece)
            replaced = msgspec.structs.replace(
                stored,
                step=Step.COLLECTED,
                replaced_by=tuple(piece.number for piece in pieces),
                counts=Counts(),
                held="",
                blocked_by=None,
                blocked_until=0.0,
                due_at=0.0,
                ended_at=now,
                note=f"cut into {len(pieces)} batches: {shard.note}",
                moves=stored.moves + 1,
            )
            self._count_move(db)
            db.execute(
                "UPDATE shard SET step = ?, facts = ? WHERE job = ? AND number = ?",
                (replaced.step, encode(replaced), shard.job, shard.number),
            )
            db.executemany(
                "INSERT INTO shard (job, number, step, ending, facts) VALUES (?, ?, ?, ?, ?)",
                [(one.job, one.number, one.step, one.ending, encode(one)) for one in pieces],
            )
            db.executemany(
                "INSERT INTO event (job, at, shard, step, done, note) VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (one.job, now, one.number, one.step, 0, one.note)
                    for one in (msgspec.structs.replace(replaced, step=Step.WAITING), *pieces)
                ],
            )
        write_handle(folder, replaced)
        return replaced
