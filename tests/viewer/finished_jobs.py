"""Finished jobs, written to a ledger as a provider's files are: hundreds of rows, or a million in a few seconds."""

from __future__ import annotations

import json

import orjson

from jupyter_batch.core.cost import Bill, Price, Rates, Tariff
from jupyter_batch.core.request import Usage
from jupyter_batch.core.status import Counts, State, Step
from jupyter_batch.frames.labels import index_to_bytes
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.results.result_files import columns_of

START = 1_790_121_600.0
PROMPT = "Classify the sentiment (positive/negative/neutral): "
WORDS = ("positive", "negative", "neutral")
PRICE = Price(
    batch=Tariff(rates=Rates(input=2e-7, output=8e-7)),
    standard=Tariff(rates=Rates(input=4e-7, output=1.6e-6)),
)


def request(job, row, text, *, model="gpt-4.1-mini", system=None):
    """The request line of a row."""
    turns = [] if system is None else [{"role": "system", "content": system}]
    body = {"model": model, "messages": [*turns, {"role": "user", "content": text}]}
    return {
        "custom_id": f"{job}-{row}",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": body,
    }


def answer(job, row, text, *, finish="stop", tokens=(40, 3), **message):
    """The result line of a row that was answered."""
    content = {"role": "assistant", "content": text, **message}
    usage = {
        "prompt_tokens": tokens[0],
        "completion_tokens": tokens[1],
        "total_tokens": sum(tokens),
    }
    choice = {"index": 0, "message": content, "finish_reason": finish}
    body = {"id": f"c{row}", "object": "chat.completion", "choices": [choice], "usage": usage}
    return {
        "id": f"r{row}",
        "custom_id": f"{job}-{row}",
        "response": {"status_code": 200, "body": body},
        "error": None,
    }


def failure(job, row, why):
    """The line of a row that the provider refused."""
    body = {"error": {"message": why, "type": "invalid_request_error", "code": None}}
    return {
        "id": f"r{row}",
        "custom_id": f"{job}-{row}",
        "response": {"status_code": 400, "body": body},
        "error": None,
    }


def written(home, job, lines, *, index=None, shards=1, **more):
    """A finished job. lines: (request, result, whether the result is a failure) of each row, in row order."""
    import pandas as pd

    ledger = Ledger(home)
    folder = ledger.folders.of(job)
    folder.path.mkdir(parents=True)
    lines = list(lines)
    size = -(-len(lines) // shards)
    records = []
    for number in range(shards):
        rows = range(number * size, min(len(lines), (number + 1) * size))
        mine = [lines[row] for row in rows]
        folder.requests(number).write_bytes(_lines(asked for asked, _, _ in mine))
        folder.output(number).write_bytes(
            _lines(came for _, came, bad in reversed(mine) if not bad)
        )
        folder.errors(number).write_bytes(_lines(came for _, came, bad in mine if bad))
        bad = sum(failed for _, _, failed in mine)
        records.append(_shard(job, number, rows, Counts(succeeded=len(mine) - bad, failed=bad)))
    labels = pd.RangeIndex(len(lines)) if index is None else index
    folder.index.write_bytes(index_to_bytes(labels))
    ledger.plan(_job(job, len(lines), **more), records, lambda: None)
    return ledger


def million(home, job="jbmillion", rows=1_000_000, shard=50_000):
    """A job of a million short reviews: each 1,000th failed, each 997th cut off, each 999th has `zebra` in it."""
    ledger = Ledger(home)
    folder = ledger.folders.of(job)
    folder.path.mkdir(parents=True)
    ask = json.dumps(request(job, 0, "@@"), separators=(",", ":")).replace(f"{job}-0", "##")
    came = json.dumps(answer(job, 0, "@@", finish="&&", tokens=(41, 1.5))).replace(f"{job}-0", "##")
    came = came.replace("42.5", "99")
    bad = json.dumps(failure(job, 0, "too long")).replace(f"{job}-0", "##")
    records = []
    for number in range(rows // shard):
        asked, output, errors = [], [], []
        for row in range(number * shard, (number + 1) * shard):
            name = f"{job}-{row}"
            animal = "zebra" if row % 999 == 0 else "horse"
            text = (
                f"Review {row}: the zip broke on day {row % 28}, a {animal} would have done better."
            )
            asked.append(ask.replace("##", name, 1).replace("@@", PROMPT + text, 1))
            if row % 1000 == 0:
                errors.append(bad.replace("##", name, 1))
                continue
            finish = "length" if row % 997 == 0 else "stop"
            line = came.replace("##", name, 1).replace("@@", WORDS[row % 3], 1)
            output.append(line.replace("&&", finish, 1).replace("1.5", str(2 + row % 500), 1))
        for path, held in (
            (folder.requests(number), asked),
            (folder.output(number), output),
            (folder.errors(number), errors),
        ):
            path.write_text("\n".join(held) + "\n")
        span = range(number * shard, (number + 1) * shard)
        counts = Counts(succeeded=len(output), failed=len(errors))
        records.append(_shard(job, number, span, counts))
    import pandas as pd

    folder.index.write_bytes(index_to_bytes(pd.RangeIndex(rows)))
    record = _job(job, rows)
    ledger.plan(record, records, lambda: None)
    for made in records:  # decoded, as the worker leaves them
        list(columns_of(folder.output(made.number), record))
    return ledger


def _job(job, rows, **more):
    fields = {
        "id": job,
        "fingerprint": job,
        "created_at": START,
        "model": "openai/gpt-4.1-mini",
        "provider": "openai",
        "dialect": "openai",
        "endpoint": "/v1/chat/completions",
        "body_model": "gpt-4.1-mini",
        "out": "sentiment",
        "columns": ["text"],
        "rows": rows,
        "price": PRICE,
        "finished_at": START + 900,
    }
    return JobRecord(**fields | more)


def _shard(job, number, rows, counts):
    return ShardRecord(
        job=job,
        number=number,
        requests=len(rows),
        bytes=1,
        first=rows[0],
        last=rows[-1],
        step=Step.COLLECTED,
        ending=State.COMPLETED,
        batch_id=f"batch_{number}",
        counts=counts,
        usage=Usage(40 * len(rows), 3 * len(rows)),
        bill=Bill(known=1e-5 * len(rows), standard=2e-5 * len(rows)),
        completed=counts.succeeded,
        failed=counts.failed,
    )


def _lines(values):
    return b"".join(orjson.dumps(value) + b"\n" for value in values)
