"""The ledger's schema as numbered steps: appended, never edited.

`PRAGMA user_version` is the number of steps applied.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

M001_JOBS_AND_SHARDS = """
CREATE TABLE job (
    id TEXT PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    created_at REAL NOT NULL,
    cancel_at REAL NOT NULL DEFAULT 0,
    finished_at REAL NOT NULL DEFAULT 0,
    message TEXT NOT NULL DEFAULT '',
    holder TEXT,
    lease_until REAL NOT NULL DEFAULT 0,
    facts TEXT NOT NULL
);
CREATE INDEX job_fingerprint ON job (fingerprint, created_at);
CREATE INDEX job_open ON job (finished_at, created_at);
CREATE TABLE shard (
    job TEXT NOT NULL REFERENCES job (id),
    number INTEGER NOT NULL,
    step TEXT NOT NULL,
    ending TEXT,
    facts TEXT NOT NULL,
    PRIMARY KEY (job, number)
) WITHOUT ROWID;
CREATE TABLE event (
    job TEXT NOT NULL REFERENCES job (id),
    at REAL NOT NULL,
    shard INTEGER,
    step TEXT NOT NULL,
    done INTEGER NOT NULL DEFAULT 0,
    note TEXT NOT NULL DEFAULT ''
);
CREATE INDEX event_job ON event (job, at);
"""
"""Columns for values that are searched or compared; the rest of a record is JSON in `facts`."""

M002_GROUPS = """
CREATE TABLE bundle (
    id TEXT PRIMARY KEY,
    created_at REAL NOT NULL,
    jobs TEXT NOT NULL
);
"""
"""Jobs that are held and shown as one; `jobs` are their ids, separated by blanks."""

M003_RUSH = "ALTER TABLE job ADD COLUMN rush_at REAL NOT NULL DEFAULT 0"
"""The time since which open rows are to be cancelled, and sent in realtime by another job."""

M004_BLOCKS = """
UPDATE shard SET facts = json_set(facts, '$.blocked_by', 'key', '$.note', substr(json_extract(facts, '$.note'), 9))
WHERE step <> 'collected' AND json_extract(facts, '$.note') LIKE 'paused: %';
UPDATE shard SET facts = json_set(facts, '$.blocked_by', 'budget')
WHERE step <> 'collected' AND json_extract(facts, '$.note') LIKE 'held back %';
UPDATE shard SET facts = json_set(facts, '$.note', substr(json_extract(facts, '$.note'), 20))
WHERE step = 'waiting' AND json_extract(facts, '$.note') LIKE 'waiting for quota: %';
UPDATE shard SET facts = json_set(facts, '$.note', '')
WHERE step = 'waiting' AND json_extract(facts, '$.note') = 'waiting for quota';
"""
"""The cause of a blocked batch as a field of its own; before, its note began with that text."""

M005_UNCONNECTED = """
UPDATE job SET facts = json_set(facts, '$.unconnected', json('true'))
WHERE finished_at = 0 AND message <> '' AND json_extract(facts, '$.blocked_by') IS NULL
"""
"""A job whose provider can't be connected to, as a field; before, any message meant that."""

M006_CHANGES = """
CREATE TABLE IF NOT EXISTS change (number INTEGER PRIMARY KEY AUTOINCREMENT, job TEXT NOT NULL UNIQUE);
INSERT OR REPLACE INTO change (job) SELECT id FROM job;
CREATE TRIGGER IF NOT EXISTS job_inserted AFTER INSERT ON job
BEGIN INSERT OR REPLACE INTO change (job) VALUES (NEW.id); END;
CREATE TRIGGER IF NOT EXISTS job_updated
AFTER UPDATE OF fingerprint, cancel_at, rush_at, finished_at, message, holder, facts ON job
BEGIN INSERT OR REPLACE INTO change (job) VALUES (NEW.id); END;
CREATE TRIGGER IF NOT EXISTS job_deleted AFTER DELETE ON job
BEGIN INSERT OR REPLACE INTO change (job) VALUES (OLD.id); END;
CREATE TRIGGER IF NOT EXISTS shard_inserted AFTER INSERT ON shard
BEGIN INSERT OR REPLACE INTO change (job) VALUES (NEW.job); END;
CREATE TRIGGER IF NOT EXISTS shard_updated AFTER UPDATE ON shard
BEGIN INSERT OR REPLACE INTO change (job) VALUES (NEW.job); END;
CREATE TRIGGER IF NOT EXISTS shard_deleted AFTER DELETE ON shard
BEGIN INSERT OR REPLACE INTO change (job) VALUES (OLD.job); END;
"""
"""The order in which jobs last changed, for readers that follow them; a renewed lease is no change.

A job keeps its row when it is removed.
"""

M007_HASHING = """
UPDATE job SET facts = json_set(facts, '$.hashing', 'blake2b') WHERE json_extract(facts, '$.hashing') IS NULL
"""
"""The kind of a job's hashes as a field. Versions that would not find jobs of other kinds are refused."""


def _fact(name: str) -> str:
    """A column with a field of the record; NULL for an empty field, or where the record is damaged."""
    value = f"CASE WHEN json_valid(facts) THEN nullif(json_extract(facts, '$.{name}'), '') END"
    return f"ALTER TABLE job ADD COLUMN {name} TEXT AS ({value}) VIRTUAL;"


M008_FIELDS = "".join(map(_fact, ("space", "hashing", "frame_digest", "asked_digest", "parent")))
"""Fields of a job's record by which it is searched for; they are computed when they are read."""

M009_SEARCHES = """
CREATE INDEX job_space ON job (space, hashing, created_at DESC);
CREATE INDEX job_frame ON job (frame_digest, created_at) WHERE frame_digest IS NOT NULL;
CREATE INDEX job_asked ON job (asked_digest, created_at) WHERE asked_digest IS NOT NULL;
CREATE INDEX job_parent ON job (parent, created_at) WHERE parent IS NOT NULL;
CREATE TABLE asked (half INTEGER NOT NULL, job TEXT NOT NULL, PRIMARY KEY (half, job)) WITHOUT ROWID;
CREATE TABLE hashed (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    job TEXT NOT NULL UNIQUE,
    is_read INTEGER NOT NULL DEFAULT 0,
    files TEXT NOT NULL DEFAULT ''
);
CREATE TABLE state (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX hashed_unread ON hashed (job) WHERE is_read = 0;
CREATE INDEX hashed_loose ON hashed (job) WHERE files = '';
INSERT INTO hashed (job) SELECT id FROM job ORDER BY created_at;
CREATE TRIGGER hashed_inserted AFTER INSERT ON job
BEGIN INSERT OR IGNORE INTO hashed (job) VALUES (NEW.id); END;
CREATE TRIGGER hashed_updated AFTER UPDATE OF facts ON job
BEGIN UPDATE hashed SET is_read = 0 WHERE job = NEW.id; END;
CREATE TRIGGER hashed_deleted AFTER DELETE ON job
BEGIN DELETE FROM asked WHERE job = OLD.id; DELETE FROM hashed WHERE job = OLD.id; END;
"""
"""The searches of a submission, so that they read no other jobs (ledger/searches.py).

`asked` has the first half of each request hash of the smaller jobs. `hashed` has a row for each job, in
the order in which they were recorded: whether its record was read since it changed last, and the state of
the files whose hashes are in `asked`, "" for none. `state` has what the database knows of the folders, so
that they are searched for lost jobs only where one may be (ledger/recovery.py).
"""

MIGRATIONS: tuple[str, ...] = (
    M001_JOBS_AND_SHARDS,
    M002_GROUPS,
    M003_RUSH,
    M004_BLOCKS,
    M005_UNCONNECTED,
    M006_CHANGES,
    M007_HASHING,
    M008_FIELDS,
    M009_SEARCHES,
)


def statements(script: str) -> Iterator[str]:
    """The statements of a script; a trigger with its body is a single one."""
    statement = ""
    for piece in script.split(";"):
        statement += f"{piece};"
        if sqlite3.complete_statement(statement):
            if statement.strip(";\n "):
                yield statement
            statement = ""
