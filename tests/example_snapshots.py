"""Jobs that never were, as a ledger would tell of them: for figures of what takes hours, or a million rows."""

from __future__ import annotations

from functools import cache

import msgspec

from jupyter_batch.core.cost import Bill
from jupyter_batch.core.group_snapshot import group_snapshot
from jupyter_batch.core.request import Usage
from jupyter_batch.core.status import Counts, State, Step
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.ledger.snapshots import snapshot_of
from jupyter_batch.results.timeline import JobEvents, graph

HOUR = 3600.0
START = 1_700_000_000.0  # 2023-11-14 22:13:20 UTC
EVIL = "<script>alert(1)</script> $\\frac{1}{$ $x^2$ \x1b[31mred\x1b[0m \u202eevil\nline"


def job(**fields):
    """A job of 1,000 rows that was planned at START."""
    return JobRecord(
        **{
            "id": "jb3f9c2k7a1q",
            "fingerprint": "",
            "created_at": START,
            "model": "openai/gpt-4.1-mini",
            "provider": "openai",
            "dialect": "openai",
            "endpoint": "/v1/chat/completions",
            "body_model": "m",
            "out": "sentiment",
            "columns": [],
            "rows": 1000,
            **fields,
        }
    )


def batch(number=0, rows=1000, sent=None, ended=None, *, steps=20, now=START + 3 * HOUR, **fields):
    """(a batch as it stands, its events): sent and ended so many hours after START, with `steps` looks in between."""
    record = {
        "job": "j",
        "number": number,
        "requests": rows,
        "bytes": 1,
        "first": 0,
        "last": rows - 1,
    }
    events, done = [], 0
    if sent is not None:
        sent = START + sent * HOUR
        end = now if ended is None else START + ended * HOUR
        events = [(sent, number, "submitting", 0, ""), (sent + 12, number, "running", 0, "")]
        for step in range(1, steps + 1):
            done = rows * step // (steps + 1) // (1 if ended is not None else 2)
            events.append(
                (sent + 12 + (end - sent - 12) * step / (steps + 1), number, "running", done, "")
            )
        record |= {
            "sent_at": sent,
            "batch_id": f"batch_{number}",
            "step": Step.RUNNING,
            "completed": done,
        }
    if ended is not None:
        events += [(end, number, "ended", rows, ""), (end + 30, number, "collected", rows, "")]
        record |= {
            "step": Step.COLLECTED,
            "ending": State.COMPLETED,
            "ended_at": end,
            "counts": Counts(succeeded=rows - rows // 100, failed=rows // 100),
            "usage": Usage(input_tokens=rows * 212, output_tokens=rows * 9),
            "bill": Bill(known=rows * 4e-5, standard=rows * 8e-5),
        }
    return ShardRecord(**record | fields), events


def job_events(record, *batches):
    """A job and its batches, with all that happened in order."""
    events = sorted((event for _, own in batches for event in own), key=lambda event: event[0])
    return JobEvents(
        record,
        [shard for shard, _ in batches],
        [(record.created_at, None, "planned", 0, ""), *events],
    )


def drawn(*jobs, now=START + 3 * HOUR, group=False, **more):
    """The Graph of the last of them, or of all as a group; more: fields of each snapshot."""
    shots = [snapshot_of(one.job, one.shards, now, **more) for one in jobs]
    return graph(group_snapshot("jg1", shots) if group else shots[-1], jobs)


def finished(**fields):
    """One batch that is over after two hours."""
    return job_events(job(finished_at=START + 2 * HOUR + 30, **fields), batch(sent=0.01, ended=2))


def million(shards=20):
    """1,000,000 rows in 20 batches that were looked at 5,000 times each."""
    rows = 1_000_000 // shards
    return job_events(
        job(rows=1_000_000),
        *(batch(n, rows, 0.01 + n / 20, 1 + n / 15, steps=5000) for n in range(shards)),
    )


CASES = (
    "finished",
    "planned, one row",
    "running",
    "waves",
    "models",
    "sent again",
    "all reused",
    "a million",
    "salvaged",
    "evil",
    "no tokens",
)
"""The names of `cases()`, which takes a second of CPU."""


@cache
def cases():
    """A Graph for each name in CASES."""
    again = job(
        id="jb2",
        parent="jb3f9c2k7a1q",
        created_at=START + 2.2 * HOUR,
        reused=990,
        finished_at=START + 2.4 * HOUR,
    )
    models = [
        job_events(
            job(id=f"jb{n}", model=f"provider/model-{n}", finished_at=START + (n + 1) * HOUR),
            batch(
                sent=0.01, ended=n + 1, **({"bill": Bill(unknown=1000, standard=None)} if n else {})
            ),
        )
        for n in range(2)
    ]
    lost = finished()
    lost = msgspec.structs.replace(
        lost,
        events=[],
        shards=[
            msgspec.structs.replace(
                lost.shards[0], bill=None, usage=None, sent_at=0.0, ended_at=0.0
            )
        ],
    )
    return {
        "finished": drawn(finished()),
        "planned, one row": drawn(job_events(job(rows=1), batch(rows=1)), now=START),
        "running": drawn(job_events(job(), batch(sent=0.1))),
        "waves": drawn(
            job_events(
                job(rows=5200, reused=200),
                *(batch(n, 1000, n // 2, n // 2 + 1) for n in range(4)),
                batch(4, 1000),
            )
        ),
        "models": drawn(*models, group=True),
        "sent again": drawn(finished(), job_events(again, batch(rows=10, sent=2.21, ended=2.4))),
        "all reused": drawn(
            JobEvents(job(reused=1000, finished_at=START), [], [(START, None, "planned", 0, "")])
        ),
        "a million": drawn(million()),
        "salvaged": drawn(lost),
        "evil": drawn(finished(name=EVIL, model=EVIL, provider=EVIL, out=EVIL)),
        "no tokens": drawn(
            job_events(
                job(finished_at=START + HOUR),
                batch(sent=0, ended=1, usage=None, bill=Bill(unknown=1000, standard=None)),
            )
        ),
    }
