"""Rule 13, state is data: with every note and reason replaced by other text, all decisions stay the same."""

from __future__ import annotations

import asyncio
import copy
import json
import random
import shutil
import sqlite3

import msgspec
import pytest

from jupyter_batch.core.errors import (
    AuthenticationError,
    BadRequestError,
    ConnectionFailedError,
    JupyterBatchError,
    NoBatchApiError,
    ProviderTimeoutError,
    RateLimitError,
)
from jupyter_batch.core.group_snapshot import group_snapshot
from jupyter_batch.core.status import State
from jupyter_batch.ledger.snapshots import snapshot_of
from jupyter_batch.monitor.view import view
from jupyter_batch.planning.action_prices import offers
from jupyter_batch.planning.retry import plan_again
from jupyter_batch.prompts.prompt import prompt_of
from jupyter_batch.runner import passes
from jupyter_batch.testing.scripted import Scripted

from .test_quota import full
from .test_steps import ScriptedHarness, to_the_end

MAGIC = [
    "",
    "paused: the key was refused",
    "held back until other batches have ended",
    "waiting for quota: the queue is full",
    "not merged: the rows moved",
    "realtime-jb-0",
    "blocked (key): no",
    "cut into 2 batches: too large",
]
"""Sentences by which an older version decided."""
TEXTS = {"note", "why", "message", "overdue", "reason"}
"""Fields that hold a sentence; `reasons`, `bad_lines` and `at_fault` hold pairs of a sentence and a number."""
PAIRS = {"reasons": 0, "bad_lines": 1, "at_fault": 1}


def upper(body):
    """Answer in capitals; the rows b and d fail."""
    text = body["messages"][-1]["content"]
    if text in "bd":
        raise ValueError(f"no answer for {text}")
    return text.upper()


async def planned(harness):
    """Nothing was sent yet."""
    harness.plan()


async def running(harness):
    """Two batches at the provider."""
    harness.plan()
    await harness.step()


async def refused_key(harness):
    """Blocked for a key."""
    harness.provider.faults["upload"] = [AuthenticationError("bad key", status=401)]
    harness.plan(shard_size=4)
    await harness.step()


async def queue_is_full(harness):
    """Waiting for other batches."""
    harness.provider.faults["create"] = [full(), full()]
    harness.plan()
    await harness.step()


async def quota_is_spent(harness):
    """Blocked for the account's quota."""
    error = RateLimitError("insufficient_quota", status=429)
    error.spent = True
    harness.provider.faults["create"] = [error]
    harness.plan(shard_size=4)
    await harness.step()


async def no_batch_api(harness):
    """Blocked, since the server has no batch API."""
    harness.provider.faults["upload"] = [NoBatchApiError("no such path", status=404)]
    harness.plan(shard_size=4)
    await harness.step()


async def unsure(harness):
    """Blocked: whether the batch was created is unknown."""
    harness.provider.faults["create"] = [ProviderTimeoutError("slow")]
    harness.plan(shard_size=4)
    for _ in range(6):
        await harness.step(harness.provider.facts.settle)


async def given_up(harness):
    """Cancelled while it is unknown whether the batch was created."""
    await unsure(harness)
    harness.ledger.cancel(harness.ledger.jobs()[0].id, harness.now)
    await harness.step(60)


async def transient(harness):
    """A poll failed, and is to be repeated."""
    harness.provider.faults["poll"] = [
        ConnectionFailedError("reset"),
        ConnectionFailedError("reset"),
    ]
    harness.plan()
    await harness.step()
    await harness.step(10)


async def unconnected(harness):
    """The provider can't be connected to."""
    harness.plan()
    there, harness.make = harness.make, _raises
    await harness.step()
    harness.make = there


def _raises():
    raise ConnectionFailedError("no such host")


async def failed_rows(harness):
    """Over, with two failed rows."""
    harness.provider = Scripted(upper)
    await to_the_end(harness, harness.plan())


async def finished(harness):
    """Over, all rows answered."""
    await to_the_end(harness, harness.plan())


async def expired(harness):
    """Over: the batch expired after its first row."""
    job = harness.plan(shard_size=4)
    await harness.step()
    harness.provider.finish(harness.shard(job).batch_id, ending=State.EXPIRED, answered=1)
    await to_the_end(harness, job)


async def failed_whole(harness):
    """Over: the create was refused."""
    harness.provider.faults["create"] = [BadRequestError("no", status=400)]
    await to_the_end(harness, harness.plan(shard_size=4))


async def cancelled(harness):
    """Over: cancelled by the user."""
    job = harness.plan()
    await harness.step()
    harness.ledger.cancel(job, harness.now)
    await to_the_end(harness, job)


async def cancelling(harness):
    """The user's cancel is not carried out yet."""
    job = harness.plan()
    await harness.step()
    harness.ledger.cancel(job, harness.now)


async def joined(harness):
    """A second job waits for the first one's answers."""
    harness.plan()
    await harness.step()
    await harness.step(1)
    harness.frame = harness.frame.iloc[[0, 2]]
    harness.plan()
    await harness.step()


async def group(harness):
    """Two jobs shown as one: one is running, one is blocked."""
    first = harness.plan()
    await harness.step()
    await harness.step(1)
    harness.provider.faults["upload"] = [AuthenticationError("bad key", status=401)]
    second = harness.plan(4, prompt=prompt_of("again {t}", ["t"], system=None, kind="braces"))
    await harness.step()
    harness.ledger.keep_group("jg1", [first, second], harness.now)


KINDS = {
    planned: ("planned", None, False),
    running: ("running", None, False),
    refused_key: ("waiting", "key", False),
    queue_is_full: ("waiting", None, False),
    quota_is_spent: ("waiting", "quota", False),
    no_batch_api: ("waiting", "no batch API", False),
    unsure: ("waiting", "unknown create", False),
    given_up: ("cancelled", None, True),
    transient: ("running", None, False),
    unconnected: ("waiting", None, False),
    failed_rows: ("completed", None, True),
    finished: ("completed", None, True),
    expired: ("expired", None, True),
    failed_whole: ("failed", None, True),
    cancelled: ("cancelled", None, True),
    cancelling: ("cancelling", None, False),
    joined: ("waiting", None, False),
    group: ("waiting", "key", False),
}
"""By kind of ledger, the newest job's state, its block, and whether it is complete."""


def replaced(value, dice):
    """The data, with other text in each field that holds a sentence."""
    if isinstance(value, list):
        return [replaced(one, dice) for one in value]
    if not isinstance(value, dict):
        return value
    changed = {}
    for key, one in value.items():
        if key in TEXTS and isinstance(one, str):
            changed[key] = dice.choice([*MAGIC, f"{dice.random()}"])
        elif key in PAIRS and isinstance(one, list):
            at = PAIRS[key]
            changed[key] = [
                [
                    f"{random.Random(part).random()}" if n == at else part
                    for n, part in enumerate(pair)
                ]
                for pair in one
            ]
        else:
            changed[key] = replaced(one, dice)
    return changed


def scramble(home, dice):
    """Replace every note and reason in a ledger, in the database and in the jobs' folders; return how many records."""
    records = 0
    db = sqlite3.connect(home / "ledger.sqlite3")
    with db:
        for table in ("job", "shard"):
            for row, facts in db.execute(
                f"SELECT {'rowid' if table == 'job' else 'job || number'}, facts FROM {table}"
            ).fetchall():
                where = "rowid = ?" if table == "job" else "job || number = ?"
                data = json.loads(facts)
                data = replaced({"note": "", "why": "", "overdue": "", **data}, dice)
                if table == "job":
                    data = {key: one for key, one in data.items() if key not in {"note", "why"}}
                db.execute(
                    f"UPDATE {table} SET facts = ? WHERE {where}",
                    (json.dumps(data), row),
                )
                records += 1
        for (job,) in db.execute("SELECT id FROM job").fetchall():
            db.execute("UPDATE job SET message = ? WHERE id = ?", (dice.choice(MAGIC), job))
        for (event,) in db.execute("SELECT rowid FROM event").fetchall():
            db.execute("UPDATE event SET note = ? WHERE rowid = ?", (dice.choice(MAGIC), event))
    db.close()
    for path in (home / "jobs").rglob("*.json"):
        text = path.read_text()
        # A shard's file has a record in each line.
        texts = text.split("\n") if path.name.startswith("shard-") else [text]
        texts = [one and json.dumps(replaced(json.loads(one), dice)) for one in texts]
        path.write_text("\n".join(texts))
    return records


def without_texts(record):
    """A record as data, without its sentences and without what differs between two processes."""
    data = msgspec.to_builtins(record)
    for key in ("note", "why", "message", "overdue", "holder", "lease_until"):
        data.pop(key, None)
    for key, at in PAIRS.items():
        if key in data:
            data[key] = [pair[1 - at] for pair in data[key]]
    return data


def decided(harness):
    """All that is decided about a ledger's jobs: states, counts, blocks, buttons, each shard's fields."""
    found = {}
    shots = []
    for job in harness.ledger.jobs():
        shards = harness.ledger.shards(job.id)
        shot = snapshot_of(job, shards, harness.now)
        shots.append(shot)
        seen = view(shot)
        found[job.id] = (
            shot.state,
            shot.counts,
            shot.blocked,
            [(one.by, one.key, one.until, one.unseen) for one in shot.blocks],
            shot.is_complete,
            [rows for _, rows in shot.reasons],
            (seen.state, seen.colour, seen.can_cancel, seen.percent, len(seen.blocked)),
            [(part.state, part.colour, part.failed) for part in seen.parts],
            [offers(job, shot, None, fillable=fillable) for fillable in (True, False)],
            without_texts(job),
            [without_texts(shard) for shard in shards],
            [event[:4] for event in harness.ledger.events(job.id)],
        )
    whole = group_snapshot("jg1", shots)
    return found, (whole.state, whole.counts, whole.blocked, harness.ledger.groups())


def retried(harness):
    """By job, the rows that a retry sends, or the class of its refusal."""
    found = {}
    for job in harness.ledger.jobs():
        try:
            child = plan_again(harness.ledger, job, harness.ledger.shards(job.id), now=harness.now)
        except JupyterBatchError as e:
            found[job.id] = type(e)
        else:
            shards = harness.ledger.shards(child.id)
            found[job.id] = [(one.requests, one.first, one.last, one.bytes) for one in shards]
    return found


async def steps(harness):
    """The worker's use of the ledger, to the end."""
    log = []
    for seconds in (0, 5, 60, 60, 600, 600, 3600, 7200):
        await harness.step(seconds)
        log.append((decided(harness), dict(harness.provider.asked)))
    await harness.worker._close()
    return log


def reached(kind, home):
    """A harness whose ledger is of this kind."""
    harness = ScriptedHarness(home)

    async def way():
        await kind(harness)
        await harness.worker._close()

    asyncio.run(way())
    return harness


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_states_counts_buttons_retries_and_the_worker_stay_the_same(kind, tmp_path, monkeypatch):
    """A ledger, and a copy of it with every note and reason replaced, are shown, moved and retried alike."""
    monkeypatch.setattr(passes, "AT_ONCE", 1)  # the same order in both
    harness = reached(kind, tmp_path / "home")
    newest = harness.snapshot(harness.ledger.jobs()[0].id)
    assert (str(newest.state), newest.blocked, newest.is_complete) == KINDS[kind]
    harness.ledger.close()
    copies = []
    for name in ("same", "first", "second"):
        shutil.copytree(tmp_path / "home", tmp_path / name)
        if name != "same":
            dice = random.Random(f"{kind.__name__} {name}")
            assert scramble(tmp_path / name, dice) >= 2
        other = ScriptedHarness(tmp_path / name, copy.deepcopy(harness.provider))
        other.now = harness.now
        copies.append((decided(other), asyncio.run(steps(other)), retried(other)))
        other.ledger.close()
    same, *scrambled = copies
    for one in scrambled:
        for left, right in zip(same, one, strict=True):
            assert left == right
