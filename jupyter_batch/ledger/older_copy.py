"""Update of shards in a database restored from an older copy, from their folders.

A shard's file in its job's folder is written after the database. Where the file counts more moves,
the database is older, and a shard that it calls planned may have been sent since.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator

from jupyter_batch.core.errors import LedgerCorruptError
from jupyter_batch.core.status import Step
from jupyter_batch.ledger.folder import Folders
from jupyter_batch.ledger.records import ShardRecord
from jupyter_batch.ledger.recovery import handle_of, with_pieces
from jupyter_batch.ledger.rows import decode, encode

_OPEN = (
    "SELECT shard.facts FROM shard JOIN job ON job.id = shard.job "
    "WHERE job.finished_at = 0 AND shard.step <> ?"
)


def behind(connection: sqlite3.Connection, folders: Folders) -> list[ShardRecord]:
    """The open shards that changed after the database was copied, with the shards cut from them."""
    found: list[ShardRecord] = []
    for shard in _open_shards(connection):
        folder = folders.of(shard.job)
        now = handle_of(folder, shard.number)
        if now is not None and now.moves > shard.moves:
            found += with_pieces([now], folder)
    return found


def bring_up(connection: sqlite3.Connection, shards: list[ShardRecord]) -> None:
    """Replace the database's records of these shards."""
    connection.executemany(
        "INSERT OR REPLACE INTO shard (job, number, step, ending, facts) VALUES (?, ?, ?, ?, ?)",
        [(one.job, one.number, one.step, one.ending, encode(one)) for one in shards],
    )


def _open_shards(connection: sqlite3.Connection) -> Iterator[ShardRecord]:
    for (facts,) in connection.execute(_OPEN, (Step.COLLECTED,)).fetchall():
        with contextlib.suppress(LedgerCorruptError):  # reported when it is read
            yield decode(facts, ShardRecord)
