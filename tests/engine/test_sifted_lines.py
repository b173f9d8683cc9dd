"""Request lines that are put aside as they are written: the same job as where its files are packed again."""

from __future__ import annotations

import shutil

import msgspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_batch.config import settings as app
from jupyter_batch.dedup import apply
from jupyter_batch.dedup.sifted_lines import FirstRows
from jupyter_batch.frames.hashing import BLAKE2B
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.planning import plan
from jupyter_batch.planning.resolve import order
from jupyter_batch.row_files import request_files
from jupyter_batch.row_files.request_files import Lines
from tests.engine.conftest import call, numbered, server  # noqa: F401 - fixtures
from tests.ledgers import forget

NOW = 1_800_000_000.0
EARLIER = {
    "of other rows": (),
    "answered": ("",),
    "failed": ("row_errors=0.5,seed=3",),
    "in progress": ("enqueued_tokens=1",),
    "each": ("", "row_errors=0.5,seed=3", "enqueued_tokens=1"),
}
"""The server's faults while the jobs of rows 0 to 9, 10 to 19 and 20 to 29 are there."""


def planned(home, frame, call, least):  # noqa: F811
    """The record, the shards and the files of this cell's job, planned in a copy of the ledger."""
    place = home.with_name(f"copy-{least}")
    shutil.copytree(home, place)
    plan.LEAST_ROWS = least
    ledger = Ledger(place)
    opts = app.resolve({**call, "out": "out", "shard_size": 7}, app.read())
    asked = order(ledger, frame, "{text}", opts, door="test", notebook=None, versions={})
    ((record, _, _),) = plan.plan_all(ledger, [asked], NOW)
    shards, folder = ledger.shards(record.id), ledger.folders.of(record.id)
    files = {
        path.name: path.read_bytes().replace(record.id.encode(), b"jb")
        for path in folder.path.iterdir()
        if not path.name.startswith(("job", "shard-", "all-"))
    }
    every = sorted(
        line for path in folder.path.glob("all-*") for line in path.read_bytes().splitlines(True)
    )
    files["all"] = b"".join(every).replace(record.id.encode(), b"jb")
    ledger.close()
    facts = [msgspec.structs.asdict(one) for one in (record, *shards)]
    for one in facts:
        for name in ("id", "job", "trace", "crc"):
            one.pop(name, None)
    return facts, files


@pytest.mark.parametrize("faults", EARLIER.values(), ids=EARLIER)
def test_a_job_is_the_same_whether_its_files_are_packed_again_or_not(
    server,  # noqa: F811
    call,  # noqa: F811
    home,
    monkeypatch,
    faults,
):
    """Rows that earlier jobs answered, failed or have in progress, and rows that ask the same, in any order."""
    if not faults:
        numbered(50).iloc[45:].llm.batch("{text}", out="out", **call).wait(60)
    for number, fault in enumerate(faults):
        server.set_faults(fault)
        rows = numbered(30).iloc[number * 10 : number * 10 + 10]
        job = rows.llm.batch("{text}", out="out", **call)
        if "enqueued" not in fault:
            job.wait(60)
    Ledger(home).close()
    forget(home)
    twice = pd.concat([numbered(40), numbered(34).iloc[5:]])
    frame = twice.sample(frac=1, random_state=2).reset_index(drop=True)
    monkeypatch.setattr(plan, "LEAST_ROWS", 0)
    monkeypatch.setattr(request_files, "_FEW_RUNS", len(faults))
    again = planned(home, frame, call, 10**9)
    writes, write = [], apply.write_requests
    monkeypatch.setattr(apply, "write_requests", lambda *a: writes.append(a) or write(*a))
    once = planned(home, frame, call, 0)
    assert once == again
    if faults in ((), ("",)):
        assert not writes  # no line was written a second time
    assert "aside.jsonl" not in once[1]


@given(st.lists(st.integers(0, 12), max_size=60), st.integers(1, 9))
def test_the_first_row_of_each_request_is_found_block_by_block(asked, size):
    """Whatever requests are equal, or share a slot of the table."""
    hashes = np.array([(one % 3, one) for one in asked], dtype=np.uint64).reshape(-1, 2)
    firsts, found = FirstRows(len(asked)), []
    for start in range(0, len(asked), size):
        rows = np.arange(start, min(start + size, len(asked)))
        found += firsts.add(hashes, rows).tolist()
    assert found == [asked.index(one) == at for at, one in enumerate(asked)]


@given(st.lists(st.tuples(st.binary(max_size=5), st.booleans())), st.booleans())
def test_wanted_lines_of_a_block(lines, by_arrow):
    """By Arrow or not."""
    block = Lines.of(range(7, 7 + len(lines)), [line for line, _ in lines])
    flags = np.array([flag for _, flag in lines], dtype=bool)
    before, request_files._FEW_RUNS = request_files._FEW_RUNS, 0 if by_arrow else len(lines)
    try:
        some = block.where(flags)
    finally:
        request_files._FEW_RUNS = before
    wanted = [(at, line) for at, (line, flag) in enumerate(lines, 7) if flag]
    assert list(some.each()) == wanted
    assert some.data == b"".join(line for _, line in wanted)


def test_a_row_function_is_called_once_a_row_whatever_kinds_of_hashes_there_are(
    server,  # noqa: F811
    call,  # noqa: F811
    home,
    monkeypatch,
):
    """A ledger of before has BLAKE2b; a job of another kind finds its answers, and asks the function no second time."""
    calls = []

    def prompt(row):
        calls.append(row["text"])
        return f"Echo {row['text']}"

    monkeypatch.setattr(plan, "kind_in", lambda *_: BLAKE2B)
    numbered(4).llm.batch(prompt, out="out", **call).wait(60)
    monkeypatch.setattr(plan, "kind_in", lambda *_: "xxh3-0123456789abcdef")
    calls.clear()
    df = numbered(6)
    job = df.llm.batch(prompt, out="out", **call).wait(60)
    assert calls == df["text"].tolist()
    assert (job.counts.reused, job.counts.succeeded) == (4, 2)
    assert df["out"].notna().all()
    calls.clear()
    monkeypatch.setattr(plan, "kind_in", lambda *_: "xxh3-fedcba9876543210")
    again = numbered(6)
    assert again.llm.batch(prompt, out="out", **call).id == job.id
    assert calls == df["text"].tolist()
