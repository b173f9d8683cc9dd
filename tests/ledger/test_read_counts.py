"""The reads of a ledger: records are read once for a call, result files when their answers are."""

from __future__ import annotations

import msgspec

from jupyter_batch import jobs
from jupyter_batch.ledger import rows, store
from jupyter_batch.ledger.records import JobRecord
from jupyter_batch.row_files import checksums
from tests.ledgers import forget
from tests.test_ledger import planned

from .conftest import frame


def test_a_call_reads_each_record_once(call, home, monkeypatch):
    """Of the jobs that are there, a call decodes each record once, however often it looks through them."""
    for number in range(3):
        frame().llm.batch(f"{number} {{text}}", out="answer", **call).wait(60)
    forget(home)
    read = []

    def counted(data, **more):
        read.extend([data] if more.get("type") is JobRecord else [])
        return decode(data, **more)

    decode = msgspec.json.decode
    monkeypatch.setattr(msgspec.json, "decode", counted)
    rows._decoded.cache_clear()
    frame().llm.preview("new {text}", out="answer", **call)
    assert len(read) == len(set(read)) == 3


def test_a_list_that_was_read_is_read_again_when_anything_was_written(home):
    """The jobs that a ledger remembers are those that are there: its own writes and another's are seen."""
    mine, other = store.Ledger(home), store.Ledger(home)
    for ledger in (mine, other):
        planned(ledger, job=f"jb{'ab'[ledger is other]}aa")
        assert len(mine.jobs()) == len(other.jobs()) == 1 + (ledger is other)
    for ledger in (mine, other):
        ledger.say("jbaaa", f"from {id(ledger)}")
        for reader in (mine, other):
            assert [job.message for job in reader.jobs() if job.id == "jbaaa"] == [
                f"from {id(ledger)}"
            ]
    mine.close()
    assert len(mine.jobs()) == 2
    other.close()
    mine.close()


def test_a_result_file_is_read_through_when_its_answers_are(call, home, monkeypatch):
    """To open a job reads no result file through; its answers are compared with what came, once."""
    job = frame().llm.batch("{text}", out="answer", **call).wait(60)
    output = home / "jobs" / job.id / "output-0.jsonl"
    name = job.id
    del job
    forget(home)
    checksums.hash_of.cache_clear()
    opened = jobs.open_job(name)
    assert checksums.hash_of.cache_info().misses == 0
    data = output.read_bytes()
    output.write_bytes(data[:-3] + b"xx\n")  # as long as before
    opened.results()
    assert checksums.hash_of.cache_info().misses >= 1
    assert not opened.is_complete or output.read_bytes() == data  # it is fetched again
