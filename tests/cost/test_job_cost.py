"""The cost of a job: per row, per job, on every screen, in another process, after a retry, and where it is unknown."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import msgspec
import pandas as pd
import pytest

import jupyter_batch
from jupyter_batch.core.cost import actual, money
from jupyter_batch.core.request import Usage
from jupyter_batch.core.status import State, Step
from jupyter_batch.http.litellm import load_litellm
from jupyter_batch.ledger.folder import JobFolder
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.ledger.snapshots import snapshot_of
from jupyter_batch.monitor import html, table
from jupyter_batch.monitor.view import view
from jupyter_batch.providers.prices import price_of
from jupyter_batch.results.outcomes import of_job
from jupyter_batch.results.row_costs import silence_is_free
from jupyter_batch.results.shard_figures import of_shard
from jupyter_batch.row_files.row_columns import places_of
from jupyter_batch.wire.dialects import decode_lines
from tests.prepared import python

from .conftest import PRICES, numbered
from .test_prices import WITH, WITHOUT, needs, theirs

PAYLOADS = Path(__file__).parents[1] / "payloads"
BODY = {
    "choices": [{"index": 0, "message": {"content": "a"}}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 9},
}


def whole(results):
    """The job's cost computed again, from the tokens that results() shows."""
    return (results["_input_tokens"].sum() * 2 + results["_output_tokens"].sum() * 8) / 1e6


def test_a_job_s_cost_is_the_sum_of_its_rows(home, priced):
    """Usage times the price, per row and per job, and what it saved; skipped rows cost nothing."""
    df = numbered(20)
    df.loc["k3", "text"] = None
    job = df.llm.batch("{text}", out="out", **priced).wait(60)
    shown = job.results()
    assert shown["_cost"].dtype == "float64"
    assert shown["_cost"]["k3"] == 0
    row = shown.loc["k7"]
    assert row["_cost"] == pytest.approx(
        (row["_input_tokens"] * 2 + row["_output_tokens"] * 8) / 1e6
    )
    assert job.cost == pytest.approx(shown["_cost"].sum()) == pytest.approx(whole(shown))
    assert job.cost > 0
    assert job.saved == pytest.approx(job.cost)


def test_every_screen_says_it(home, priced):
    """The line, the card and the table: cost and saving; and before anything came, nothing."""
    job = numbered(20).llm.batch("{text}", out="out", **priced).wait(60)
    seen = view(job.snapshot())
    assert seen.cost.startswith("cost $0.00")
    assert ", saved $0.00" in seen.cost
    assert seen.cost in repr(job)
    assert seen.cost in html.card(seen)["text/html"]
    assert seen.cost.split()[1].rstrip(",") in table.text([job.snapshot()])
    assert "cost" in table.text([job.snapshot()]).splitlines()[0]
    assert view(msgspec.structs.replace(job.snapshot(), bill=None)).cost == ""


def test_a_cost_stays_what_it_was_in_any_process(home, priced, monkeypatch):
    """The price lies with the job: read later, elsewhere, with other prices and without litellm, it is the same."""
    job = numbered(5).llm.batch("{text}", out="out", **priced).wait(60)
    code = (
        f"import sys, jupyter_batch; job = jupyter_batch.open({job.id!r}); "
        "print(job.cost, job.results()['_cost'].sum()); assert 'litellm' not in sys.modules"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "JUPYTER_BATCH_HOME": str(home)},
    )
    assert [float(word) for word in run.stdout.split()] == pytest.approx([job.cost, job.cost])
    for command in (["list"], ["show", job.id]):
        run = subprocess.run(
            [*python(), "-m", "jupyter_batch", *command],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "JUPYTER_BATCH_HOME": str(home)},
        )
        assert view(job.snapshot()).cost.split()[1].rstrip(",") in run.stdout


def test_a_job_that_another_process_began_has_its_price(home, priced, monkeypatch):
    """Submitted by a process that ended at once, without prices= where it is gone on with: the cost is there."""
    code = (
        "import pandas as pd, jupyter_batch, sys, json; df = pd.DataFrame({'text': ['a', 'b', 'c']}); "
        "print(df.llm.batch('{text}', out='out', **json.loads(sys.argv[1])).id)"
    )
    run = subprocess.run(
        [*python(), "-c", code, json.dumps(priced)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "JUPYTER_BATCH_HOME": str(home)},
    )
    monkeypatch.setenv("OPENAI_API_KEY", priced["api_key"])
    monkeypatch.setenv("OPENAI_BASE_URL", priced["api_base"])
    job = jupyter_batch.open(run.stdout.split()[0]).wait(60)
    assert job.cost == pytest.approx(whole(job.results()))
    assert job.cost > 0


def test_unknown_is_reported_and_is_no_zero(home, call):
    """A model in no price list: the rows NaN, the job None, the screens "unknown"."""
    job = numbered(5).llm.batch("{text}", out="out", **call).wait(60)
    assert job.cost is None
    assert job.saved is None
    assert job.results()["_cost"].isna().all()
    assert "cost unknown" in repr(job)
    assert "$" not in repr(job)


def test_one_s_own_machine_is_free_and_that_is_known(home):
    """`local/echo` costs $0: that is no guess."""
    job = numbered(3).llm.batch("{text}", out="out", model="local/echo").wait(60)
    assert job.cost == 0
    assert (job.results()["_cost"] == 0).all()
    assert "cost $0 [" in repr(job)


def test_a_retry_pays_its_own_and_what_is_reused_pays_nothing(server, home, priced):
    """Rows that failed cost nothing; the linked job pays for those it sends, the others cost 0 there."""
    server.set_faults("row_errors=0.4,seed=5")
    job = numbered(40).llm.batch("{text}", out="out", **priced).wait(60)
    failed = job.results()["_status"] == "failed"
    assert 0 < failed.sum() < 40
    assert (job.results()["_cost"][failed] == 0).all()
    assert (job.results()["_cost"][~failed] > 0).all()
    server.set_faults("")
    again = job.retry().wait(60)
    shown = again.results()
    assert (shown["_cost"][shown["_status"] == "reused"] == 0).all()
    assert (shown["_cost"][failed] > 0).all()
    assert again.cost == pytest.approx(shown["_cost"].sum())
    assert job.cost == pytest.approx(job.results()["_cost"].sum())


def test_rows_that_ask_the_same_are_paid_once(home, priced):
    """Equal rows: the one that was sent costs, those that follow it and those answered before cost nothing."""
    df = pd.DataFrame({"text": ["same"] * 5 + ["other"]})
    job = df.llm.batch("{text}", out="out", **priced).wait(60)
    costs = job.results()["_cost"]
    assert (costs > 0).tolist() == [True, False, False, False, False, True]
    assert job.cost == pytest.approx(costs.sum())
    grown = pd.DataFrame({"text": ["same", "new"]})
    more = grown.llm.batch("{text}", out="out", **priced).wait(60)
    assert (more.results()["_cost"] > 0).tolist() == [False, True]
    assert more.cost == pytest.approx(more.results()["_cost"].sum())


def test_real_time_pays_the_standard_price(home, priced):
    """The same rows, asked at once: twice the batch's price here, and nothing is saved."""
    options = {**priced, "mode": "realtime"}
    job = numbered(4).llm.batch("{text}", out="out", **options).wait(120)
    shown = job.results()
    assert job.cost > 0
    assert job.cost == pytest.approx(
        (shown["_input_tokens"].sum() * 4 + shown["_output_tokens"].sum() * 16) / 1e6
    )
    assert job.saved == 0
    assert "saved" not in repr(job)


# -- from lines alone --------------------------------------------------------------------------------------------------


def shard_of(folder, dialect, lines, model="openai/gpt-4.1-mini", **fields):
    """A collected job out of these result lines: (the job, its outcomes, its bill)."""
    folder.mkdir()
    endpoint = fields.pop("endpoint", "/v1/chat/completions")
    rows = fields.pop("rows", len(lines))
    job = JobRecord(
        id="jb",
        fingerprint="f",
        created_at=1.0,
        model=model,
        provider=model.partition("/")[0],
        dialect=dialect,
        endpoint=endpoint,
        body_model="m",
        out="o",
        columns=[],
        rows=rows,
        price=price_of(model),
    )
    shard = ShardRecord(
        job="jb",
        number=0,
        requests=rows,
        bytes=1,
        first=0,
        last=rows - 1,
        **{"step": Step.COLLECTED, "ending": State.COMPLETED, **fields},
    )
    there = JobFolder(folder)
    data = [{**line, "custom_id": f"jb-{n}"} for n, line in enumerate(lines)]
    there.output(0).write_text("".join(json.dumps(line) + "\n" for line in data))
    made = of_shard(job, shard, there, places_of(job, [shard], there))
    return job, of_job(job, [shard], there), made["bill"]


def _read(name):
    return [json.loads(line) for line in (PAYLOADS / name).read_bytes().split(b"\n") if line]


def recorded(name):
    """Recorded lines with their expected values."""
    lines = {one["case"]: one for one in _read(name)}
    expected = _read("expected.jsonl")
    return [
        (lines[one["case"]], one)
        for one in expected
        if one["file"] == name and one["case"] in lines
    ]


@pytest.mark.parametrize(
    ("name", "dialect", "model"),
    [
        ("openai_output_lines.jsonl", "openai", "openai/gpt-4.1-mini"),
        ("openai_error_lines.jsonl", "openai", "openai/gpt-4.1-mini"),
        ("anthropic_results.jsonl", "anthropic", "anthropic/claude-sonnet-4-5"),
    ],
)
def test_recorded_lines_cost_what_their_usage_says(tmp_path, name, dialect, model):
    """Billed or not, cached, reasoning; where no usage is given the cost is unknown, and so is the sum."""
    pairs = [
        (line, one)
        for line, one in recorded(name)
        if isinstance(line.get("line"), dict) and "no_row" not in one
    ]
    assert pairs
    lines = [line["line"] for line, _ in pairs]
    _, found, bill = shard_of(tmp_path / "job", dialect, lines, model)
    tariff = price_of(model).batch
    for at, (line, one) in enumerate(pairs):
        usage = next(
            decode_lines(dialect, json.dumps(line["line"]).encode(), line.get("endpoint", ""), {})
        ).usage
        if usage is not None:
            assert found.costs.paid[at] == actual(tariff, usage), one["case"]
        elif one["billable"]:
            assert math.isnan(found.costs.paid[at]), one["case"]
        else:
            assert not found.costs.paid[at] > 0, one["case"]
    assert bill.known == pytest.approx(math.fsum(cost for cost in found.costs.paid if cost == cost))  # noqa: PLR0124
    assert bill.unknown == sum(map(math.isnan, found.costs.paid))


@pytest.mark.parametrize("model", [*WITH, *WITHOUT])
def test_what_we_print_is_what_litellm_reckons_or_unknown(tmp_path, model):
    """Of a whole shard, on the screen: the sum of litellm's own calculator over its rows, or the word "unknown"."""
    litellm = load_litellm()
    if model in WITH:
        needs(litellm, model)
    usages = [Usage(1000 + n, 0 if "embedding" in model else 200 * n) for n in range(5)]
    if "embedding" in model:
        lines = [{"data": [{"index": 0, "embedding": [1.0]}]} for _ in usages]
    else:
        lines = [{"choices": BODY["choices"]} for _ in usages]
    bodies = [
        {
            **line,
            "usage": {
                "prompt_tokens": usage.input_tokens,
                "completion_tokens": usage.output_tokens,
            },
        }
        for line, usage in zip(lines, usages, strict=True)
    ]
    job, _, bill = shard_of(
        tmp_path / "job",
        "openai",
        [{"response": {"status_code": 200, "body": body}} for body in bodies],
        model,
    )
    shard = ShardRecord(
        job="jb",
        number=0,
        requests=5,
        bytes=1,
        first=0,
        last=4,
        step=Step.COLLECTED,
        ending=State.COMPLETED,
        bill=bill,
    )
    printed = view(snapshot_of(job, [shard], 2.0)).cost
    if bill.cost is None:
        assert model in WITHOUT
        assert printed == "cost unknown"
    else:
        reckoned = math.fsum(theirs(litellm, model, usage) for usage in usages)
        assert bill.cost == pytest.approx(reckoned, rel=1e-9)
        assert printed.partition(",")[0] == f"cost {money(reckoned)}"
        assert reckoned > 0


def test_without_usage_a_cost_is_unknown_and_the_screens_say_at_least(tmp_path):
    """One row of three came back without its tokens: the job's cost is None, its known part is shown as such."""
    document = {"response": {"status_code": 200, "body": BODY}}
    without_usage = {"response": {"status_code": 200, "body": {**BODY, "usage": None}}}
    job, found, bill = shard_of(tmp_path / "job", "openai", [document, without_usage, document])
    assert [math.isnan(cost) for cost in found.costs.paid] == [False, True, False]
    assert (bill.cost, bill.unknown) == (None, 1)
    shard = ShardRecord(
        job="jb",
        number=0,
        requests=3,
        bytes=1,
        first=0,
        last=2,
        step=Step.COLLECTED,
        ending=State.COMPLETED,
        bill=bill,
    )
    seen = view(snapshot_of(job, [shard], 2.0))
    assert seen.cost == "cost at least $0.000018, unknown for 1 row"
    running = msgspec.structs.replace(shard, number=1, step=Step.RUNNING, ending=None, bill=None)
    assert (
        view(snapshot_of(job, [shard, running], 2.0)).cost
        == "cost at least $0.000018 so far, unknown for 1 row"
    )
    old = msgspec.structs.replace(shard, bill=None)
    assert view(snapshot_of(job, [old], 2.0)).cost == "cost unknown"
    assert view(snapshot_of(job, [running], 2.0)).cost == ""


@pytest.mark.parametrize(
    ("ending", "completed", "free"),
    [
        (State.COMPLETED, 1, False),
        (State.FAILED, 0, True),
        (State.EXPIRED, 1, True),
        (State.CANCELLED, 1, True),
        (State.EXPIRED, 2, False),
        (State.FAILED, 3, False),
    ],
)
def test_a_row_without_a_line_is_free_only_where_that_is_sure(tmp_path, ending, completed, free):
    """Of an expired batch what was not answered is not billed; but where an answer was lost, it may have been."""
    line = {"response": {"status_code": 200, "body": BODY}}
    _, found, bill = shard_of(
        tmp_path / "job", "openai", [line], rows=3, ending=ending, completed=completed
    )
    assert [math.isnan(cost) for cost in found.costs.paid] == [False, not free, not free]
    assert bill.unknown == (0 if free else 2)
    assert (
        silence_is_free(
            ShardRecord(
                job="j",
                number=0,
                requests=3,
                bytes=1,
                first=0,
                last=2,
                ending=ending,
                completed=completed,
            ),
            1,
        )
        is free
    )


def test_a_price_given_later_tells_what_it_cost(server, home, call, priced):
    """The cell run again with prices= on a job whose cost was unknown: nothing is sent, and the cost is there.

    A price list that changed later changes nothing, and run again without, the given price stays.
    """
    job = numbered(5).llm.batch("{text}", out="out", **call).wait(60)
    assert job.cost is None
    assert job.results()["_cost"].isna().all()
    again = numbered(5).llm.batch("{text}", out="out", **priced)
    assert again is job
    assert (
        job.cost
        == pytest.approx(whole(job.results()))
        == pytest.approx(job.results()["_cost"].sum())
    )
    assert numbered(5).llm.batch("{text}", out="out", **call).cost == job.cost
    assert server.stats()["batches_created"] == 1


def test_configured_prices_hold_for_calls_that_give_none(home, call, monkeypatch):
    """`%config LLMBatch.prices` is taken where the call has no price for the model."""
    from jupyter_batch.config import settings

    monkeypatch.setattr(settings, "configured", lambda: {"model": None, "prices": PRICES})
    job = numbered(3).llm.batch("{text}", out="out", **call).wait(60)
    assert job.cost == pytest.approx(whole(job.results()))
    assert jupyter_batch.open(job.id).cost == job.cost


def test_what_is_finished_in_real_time_costs_what_the_batch_cost_too(server, home, priced):
    """The job that a person holds goes on as one, and so do its cost and its tokens."""
    server.set_faults("expire_after=3")
    df = numbered(8)
    job = df.llm.batch("{text}", out="out", shard_size=4, **priced)
    ledger, batch = job._here.ledger, job.id
    with contextlib.closing(
        sqlite3.connect(home / "ledger.sqlite3")
    ) as db:  # asked for just as its batches expire
        db.execute("UPDATE job SET rush_at = 1")
        db.commit()
    job.wait(60)
    assert job.id != batch
    assert (job.counts.succeeded, job.counts.reused) == (2, 6)
    paid, live = ledger.shards(batch), ledger.shards(job.id)
    assert all(shard.bill.known > 0 for shard in (*paid, *live))
    assert job.cost == pytest.approx(sum(shard.bill.known for shard in (*paid, *live)))
    assert job.usage.input_tokens == sum(shard.usage.input_tokens for shard in (*paid, *live))
    assert job.results()["_cost"].sum() == pytest.approx(sum(shard.bill.known for shard in live))
