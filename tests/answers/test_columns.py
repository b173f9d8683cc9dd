"""Result files as columns: the kept columns give the same answers as the file."""

from __future__ import annotations

import random
from array import array
from pathlib import Path

import numpy as np
import orjson
import pandas as pd
import pytest

from jupyter_batch.core.cost import Price, Rates, Tariff, Tier, actual
from jupyter_batch.core.request import Result, Status, Usage
from jupyter_batch.ledger.folder import JobFolder
from jupyter_batch.ledger.records import ShardRecord
from jupyter_batch.results import copy_answers, result_files
from jupyter_batch.results.columns import CODES, Columns, Texts
from jupyter_batch.results.copy_answers import ANSWERS, BILLED, BILLED_FAILURES, carry
from jupyter_batch.results.lines.builder import Builder
from jupyter_batch.results.outcomes import Outcomes
from jupyter_batch.results.result_files import columns_of, decoded, kept_at
from jupyter_batch.results.rows import Query, Rows
from jupyter_batch.row_files.positions import positions_of
from tests.example_snapshots import job as made_up
from tests.ledgers import forget

ROWS = 43
RATES = Rates(input=1e-6, output=3e-6, cached=2e-7, reasoning=5e-6, cache_write=2e-6)
LONG = Rates(input=2e-6, output=6e-6)
PRICE = Price(
    batch=Tariff(rates=RATES.filled(), tiers=(Tier(above=90, rates=LONG.filled()),)),
    standard=Tariff(rates=Rates(input=1e-6, output=2e-6)),
)


def line(job, row, text="é", *, usage=None, finish="stop", **more):
    """An answer's line."""
    choice = {"index": 0, "finish_reason": finish, "message": {"content": text, **more}}
    body = {"choices": [choice]} if usage is None else {"choices": [choice], "usage": usage}
    return orjson.dumps(
        {"custom_id": f"{job}-{row}", "response": {"status_code": 200, "body": body}}
    )


def hostile(job):
    """Lines of all kinds: twice, failed before and after, foreign, broken, odd tokens and finishes."""
    rows = list(range(36))
    random.Random(3).shuffle(rows)
    details = {"prompt_tokens_details": {"cached_tokens": 4}, "total_tokens": 30}
    lines = [
        line(job, row, f"a {row} " * 400, usage={"prompt_tokens": 80 + row, "completion_tokens": 3})
        for row in rows
    ]
    failed = {"error": {"code": "x", "message": "no"}, "custom_id": f"{job}-3"}
    refused = {"status_code": 400, "body": {"error": {"code": "x", "message": "too long"}}}
    expired = {"code": "batch_expired", "message": "out of time"}
    lines[5:5] = [
        line(job, 3, "again"),
        orjson.dumps(failed),
        orjson.dumps({**failed, "custom_id": f"{job}-7"}),
        line(job, 36, "cut", finish="length", usage={"prompt_tokens": 9, "completion_tokens": 1}),
        line(job, 37, "", usage={"prompt_tokens": -5, "completion_tokens": 1}),
        line(job, 38, None, refusal="I won't"),
        line(job, 38, "after all", usage={"prompt_tokens": 9, "completion_tokens": 20, **details}),
        *(orjson.dumps({"custom_id": f"{job}-{row}", "response": refused}) for row in (40, 41)),
        orjson.dumps({"custom_id": f"{job}-42", "response": None, "error": expired}),
        line("jbother", 1),
        line(job, "007"),
        line(job, 10**30),
        b'{"custom_id": "' + job.encode() + b'-39", "response": {',
        b"not JSON \xff",
        b"",
        b"[1]",
    ]
    return b"\n".join(lines) + b"\n"


@pytest.fixture
def there(tmp_path):
    """A job, and its result file."""
    job = made_up(rows=ROWS, price=PRICE)
    path = JobFolder(tmp_path).output(0)
    path.write_bytes(hostile(job.id))
    return job, path


def outcomes(job, pieces):
    """Everything that is gathered of some columns."""
    found = Outcomes(0, job.rows - 1, values=True, job=job, live=True)
    for columns in pieces:
        found.add(columns)
    return (
        list(found.answers),
        list(found.status),
        [found.finishes[code] for code in found.finish],
        found.reasons,
        list(found.input_tokens),
        list(found.output_tokens),
        list(found.cached_tokens),
        [None if cost != cost else cost for cost in found.costs.paid],  # noqa: PLR0124 - NaN
        found.usage,
        found.strange,
        found.billed,
    )


def test_what_is_kept_is_what_was_decoded(there, monkeypatch):
    """The columns on disk give the same outcomes, without a line being decoded."""
    job, path = there
    monkeypatch.setattr(result_files, "LEAST_BYTES", 0)
    first = outcomes(job, columns_of(path, job))
    assert kept_at(path).is_file()
    monkeypatch.setattr(result_files, "decode_lines", None)
    monkeypatch.setattr(result_files, "chat_answers", None)
    assert outcomes(job, columns_of(path, job)) == first


def test_columns_agree_with_results_one_by_one(there):
    """Each row has the answer, the reason and the cost that its lines have one by one."""
    job, path = there
    answers, status, _, reasons, *_, billed = outcomes(job, columns_of(path, job))
    found = Outcomes(0, job.rows - 1, values=True, job=job)
    found.take(job.id, decoded(path, job))
    assert list(found.answers) == answers
    assert list(found.status) == status
    assert found.billed == billed
    assert answers[3].startswith("a 3 ") or answers[3] == "again"
    assert answers[7].startswith("a 7 ")
    assert answers[38] == "after all"
    assert CODES[status[37]] is Status.SUCCEEDED
    assert answers[37] == ""
    assert status[39] == 255
    assert not {3, 7} & set(found.reasons)
    assert found.reasons == reasons
    assert "too long" in reasons[40] == reasons[41]
    assert CODES[status[42]] is Status.EXPIRED


def test_costs_of_many_rows_are_those_of_each(there):
    """The costs of a file's rows, at once, are what each row costs by itself."""
    job, path = there
    found = Outcomes(0, job.rows - 1, values=False, job=job, live=True)
    for columns in columns_of(path, job):
        found.add(columns)
    usages = {
        row: result.usage
        for result in decoded(path, job)
        if result.usage is not None
        and (result.custom_id or "").startswith(job.id)
        and (row := int(result.custom_id.rpartition("-")[2])) < ROWS
    }
    for row, usage in usages.items():
        if row != 3 and usage.input_tokens >= 0:  # the first answer of row 3 has no tokens
            assert found.costs.paid[row] == pytest.approx(actual(PRICE.batch, usage))
    assert np.isnan(found.costs.live[38])  # cached tokens have no price there
    assert actual(PRICE.standard, Usage(9, 20, 4)) is None


def test_a_result_line_is_decoded_once(call, home, monkeypatch):
    """The worker decodes a file; merge, results() and a new kernel do not, nor does a page, but for its rows."""
    monkeypatch.setattr(result_files, "LEAST_BYTES", 0)
    files, former = [], result_files._decode
    monkeypatch.setattr(result_files, "_decode", lambda *of: files.append(of[0]) or former(*of))
    df = pd.DataFrame({"text": ["a", "b", "c"]})
    job = df.llm.batch("{text}", out="said", **call).wait(60)
    assert len(files) == 1
    monkeypatch.setattr(result_files, "_decode", None)
    assert len(Rows(job._here.ledger, job.id).page(Query()).rows) == 3
    assert job.results()["said"].tolist() == df["said"].tolist() == ["a", "b", "c"]
    forget(home)
    again = pd.DataFrame({"text": ["a", "b", "c"]})
    new = again.llm.batch("{text}", out="said", **call).wait(60)
    assert new.id == job.id
    assert again["said"].tolist() == ["a", "b", "c"]
    rows = Rows(new._here.ledger, new.id)
    rows.contents().start()
    assert rows.contents().ready.wait(60)
    page = rows.page(Query(sort="size", descending=True))  # the order is that of all rows
    assert (page.problem, sorted(row.answer for row in page.rows)) == ("", ["a", "b", "c"])


@pytest.mark.parametrize("odd", [False, True])
def test_tokens_of_the_cache_and_of_reasoning_are_those_of_each_line(tmp_path, odd):
    """A block of answers has the tokens that its lines have one by one, alone and beside a failure."""
    job = made_up(rows=ROWS)
    path = JobFolder(tmp_path).output(0)
    usages = [
        {"prompt_tokens": 9, "completion_tokens": 3},
        {"prompt_tokens": 9, "completion_tokens": 3, "prompt_tokens_details": None},
        {"prompt_tokens": 9, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}},
        *(
            {
                "prompt_tokens": 9,
                "completion_tokens": 3,
                "total_tokens": total,
                "completion_tokens_details": {"reasoning_tokens": 7, "audio_tokens": 0},
            }
            for total in (12, 19)
        ),
    ]
    failed = orjson.dumps({"error": {"code": "x"}, "custom_id": f"{job.id}-7"})
    lines = [line(job.id, row, usage=usage) for row, usage in enumerate(usages)] + [failed] * odd
    path.write_bytes(b"\n".join(lines))
    assert next(result_files.chat_answers(path.read_bytes())).ids[:5] == [
        f"{job.id}-{row}" for row in range(5)
    ]
    (made,) = columns_of(path, job)
    found = [result.usage for result in decoded(path, job)][:5]
    for kind, tokens in made.usage.items():
        assert tokens.tolist()[:5] == [getattr(usage, kind) for usage in found]
    assert [made.usage[kind][4] for kind in ("output_tokens", "reasoning_tokens")] == [10, 7]


def test_rows_of_many_ids_are_those_of_each():
    """Of ids at once: the job's rows; no other id hides them, whatever it has between its ends."""
    ours = [f"jb1-{row}" for row in (0, 7, 12, 10**17, 345)]
    assert positions_of("jb1", ours).tolist() == [0, 7, 12, 10**17, 345]
    for odd in (
        "",
        "jb1",
        "jb1-",
        "jb1-007",
        "jb1--1",
        "jb1-٣",
        "jb1-1\njb1-2",
        "jb1-1\n",
        "jb1-x3",
    ):
        assert positions_of("jb1", [*ours, odd]).tolist()[5:] == [-1]
        assert positions_of("jb1", [odd]).tolist() == [-1]
    assert positions_of("jb1", [f"jb1-{10**30}", "xjb1-3", "\ud800", "jb1-4"]).tolist()[-1] == 4


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "older", "gone"])
def test_a_damaged_copy_is_made_again(there, monkeypatch, damage):
    """A copy that is damaged, gone, or of another file is not used, and is whole afterwards."""
    job, path = there
    monkeypatch.setattr(result_files, "LEAST_BYTES", 0)
    first = outcomes(job, columns_of(path, job))
    copy = kept_at(path)
    whole = copy.read_bytes()
    if damage == "older":
        path.write_bytes(path.read_bytes() + line(job.id, 39, "late") + b"\n")
    elif damage == "gone":
        copy.unlink()
    else:
        middle = len(whole) // 2
        flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
        copy.write_bytes({"cut": whole[:-9], "flipped": flipped, "empty": b""}[damage])
    now = outcomes(job, columns_of(path, job))
    assert now[0][:39] == first[0][:39]
    assert now[0][39] == ("late" if damage == "older" else None)
    assert (copy.read_bytes() == whole) == (damage != "older")


def test_a_copy_that_cant_be_written_is_no_loss(there, monkeypatch):
    """Where nothing can be written next to the file, its lines are decoded each time."""
    job, path = there
    monkeypatch.setattr(result_files, "LEAST_BYTES", 0)
    kept_at(path).mkdir()
    assert outcomes(job, columns_of(path, job)) == outcomes(job, columns_of(path, job))
    assert kept_at(path).is_dir()
    assert Columns.read(kept_at(path), b"") is None


def test_a_damaged_length_of_the_header_is_noticed(tmp_path):
    """One bit more of the length, and a first row whose byte is a blank: the arrays would be shifted."""
    made = Columns(2)
    made.rows = np.array([32, 33])
    made.values = Texts.of(["a", "b"])
    path = tmp_path / "columns"
    with path.open("wb") as file:
        made.write(file, b"mark")
    whole = bytearray(path.read_bytes())
    assert Columns.read(path, b"mark").rows.tolist() == [32, 33]
    whole[-8] ^= 1
    path.write_bytes(whole)
    assert Columns.read(path, b"mark") is None


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts descriptors in /proc")
def test_columns_in_use_take_no_file_descriptor(tmp_path, monkeypatch):
    """Of a thousand shards' large files, all mapped or read, none is left open."""
    monkeypatch.setattr("jupyter_batch.results.columns._MAPPED_BYTES", 1)
    made = Builder("jb1")
    made.add(Result("jb1-0", Status.SUCCEEDED, "an answer"))
    path = tmp_path / "x.columns"
    with path.open("wb") as file:
        made.columns().write(file, b"mark")
    assert Columns.read(path, b"mark") is not None  # what it imports is open from now on
    before = len(list(Path("/proc/self/fd").iterdir()))
    held = [Columns.read(path, b"mark") for _ in range(20)]
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert [one.values[0] for one in held] == ["an answer"] * 20  # noqa: PD011 - of Columns


@pytest.mark.parametrize("takes", [ANSWERS, BILLED_FAILURES, BILLED])
def test_lines_selected_by_columns_are_those_selected_one_by_one(there, takes, monkeypatch):
    """The same lines are copied to the same rows, without a second decoding of the file."""
    job, path = there
    shard = ShardRecord(job=job.id, number=0, first=0, last=ROWS - 1, requests=ROWS, bytes=0)

    def copied():
        target, cut = path.with_name("copied.jsonl"), {}
        target.unlink(missing_ok=True)
        wanted = array("q", range(ROWS - 1, -1, -1))
        wanted[9] = -1
        folder = JobFolder(path.parent)
        taken = carry(job, [shard], folder, wanted, "jbnew", lambda _: target, cut, takes=takes)
        lines = target.read_bytes() if target.exists() else b""
        return sorted(taken), cut, lines

    monkeypatch.setattr(copy_answers, "BLOCK_BYTES", 1000)
    slow = copied()  # the file has an empty line, so that its lines are not those of the columns
    path.write_bytes(hostile(job.id).replace(b"\n\n", b"\n").removesuffix(b"\n"))
    monkeypatch.setattr(copy_answers, "results_in", None)
    assert copied() == slow
    assert (takes is BILLED_FAILURES) is not (ROWS - 1 in slow[0])
