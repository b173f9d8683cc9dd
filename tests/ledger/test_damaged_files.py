"""Files of a job that are damaged on this disk: answers are read all the same, and nothing is sent twice."""

from __future__ import annotations

import sqlite3

import pytest

import jupyter_batch
from jupyter_batch import jobs
from jupyter_batch.cli import main
from jupyter_batch.core.errors import JupyterBatchError, LedgerCorruptError
from jupyter_batch.lab.listing import Listing
from jupyter_batch.ledger.store import Ledger
from tests.ledgers import forget

from .conftest import frame

STATUSES = ["succeeded", "succeeded", "skipped", "succeeded", "reused", "succeeded"]


def _garbage(path):
    path.write_bytes(b"\xff{no such thing")


def _half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _other(path):
    path.write_bytes(b'[{"status":"succeeded"}]')


def _folder(path):
    path.unlink()
    path.mkdir()


DAMAGES = [_garbage, _half, _other, _folder]


@pytest.fixture
def ran(call, home):
    """A job that is over, its folder, and a process that knows nothing of it."""
    job = frame().llm.batch("{text}", out="answer", **call).wait(60)
    assert job.results()["_status"].tolist() == STATUSES
    folder = home / "jobs" / job.id
    forget(home)
    return job.id, folder


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["unsent.json", "places.bin", "prints.bin", "index.json"])
def test_a_damaged_file_of_a_job_hides_no_answer(ran, call, requests_sent, name, damage):
    """With any one of a job's files damaged its answers are read, merged and found by the cell; none is sent."""
    job, folder = ran
    damage(folder / name)
    before = requests_sent()
    opened = jobs.open_job(job)
    assert opened.results()["_status"].tolist() == STATUSES
    assert opened.results()["answer"].notna().tolist() == [s != "skipped" for s in STATUSES]
    merged = frame()
    opened.merge(merged)
    assert merged["answer"].notna().sum() == 5
    again = frame().llm.batch("{text}", out="answer", **call).wait(60)
    assert again.id == job
    grown = frame(8).llm.batch("{text}", out="answer", **call).wait(60)
    assert grown.counts.reused == 5
    assert requests_sent() - before == 2  # the two new rows


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_keys_refuse_a_merge_and_say_what_does_it(ran, call, requests_sent, damage):
    """Without its rows' keys a job is merged by hand only into unmoved rows; the cell finds them."""
    job, folder = ran
    damage(folder / "keys.bin")
    before = requests_sent()
    opened = jobs.open_job(job)
    assert opened.results()["_status"].tolist() == STATUSES
    with pytest.raises(LedgerCorruptError, match=r"keys\.bin.*Run the job's cell again"):
        opened.merge(frame().iloc[::-1])
    unmoved = frame()  # the digest of its rows, which the ledger keeps, is that of the job's
    opened.merge(unmoved)
    assert unmoved["answer"].notna().sum() == 5
    again = frame().llm.batch("{text}", out="answer", **call).wait(60)
    assert again.results()["answer"].notna().sum() == 5
    assert requests_sent() == before


def test_rows_whose_index_is_damaged_have_labels_that_stand_for_no_others(ran, caplog):
    """`results()` of a job whose index is damaged is labelled by custom ids, which join with no frame's labels."""
    job, folder = ran
    _garbage(folder / "index.json")
    found = jobs.open_job(job).results()
    assert found.index.tolist() == [f"{job}-{row}" for row in range(6)]
    assert "index.json is damaged" in caplog.text
    assert "job.merge(df)" in caplog.text


def test_a_reason_that_is_lost_is_reported(ran):
    """The rows of a damaged unsent.json have a reason that names the file."""
    job, folder = ran
    _garbage(folder / "unsent.json")
    assert "unsent.json" in jobs.open_job(job).errors["_error"].iloc[0]


def test_what_was_asked_and_is_unknown_is_not_sent(ran, call, requests_sent):
    """Where neither prints.bin nor the keys tell what a job asked, nothing is sent without reuse=False."""
    job, folder = ran
    _garbage(folder / "prints.bin")
    _garbage(folder / "keys.bin")
    before = requests_sent()
    with pytest.raises(LedgerCorruptError, match=r"prints\.bin is damaged.*reuse=False"):
        frame(8).llm.batch("{text}", out="answer", **call)
    assert requests_sent() == before
    assert jobs.open_job(job).results()["answer"].notna().sum() == 5


@pytest.mark.parametrize("damage", [_garbage, _folder])
def test_retry_of_a_job_with_damaged_files_sends_what_failed_alone(
    server, call, home, requests_sent, damage
):
    """A damaged unsent.json and prints.bin never lead to sending again what was answered."""
    server.set_faults("row_errors=0.4,seed=3")
    job = frame(30).llm.batch("{text}", out="answer", **call).wait(60)
    failed = job.results().query("_status == 'failed'")
    assert 0 < len(failed) < 28
    server.set_faults("")
    asked = failed.index.difference(["k4"])  # that row asks what another does
    forget(home)
    for name in ("unsent.json", "prints.bin"):
        damage(home / "jobs" / job.id / name)
    before = requests_sent()
    again = jobs.open_job(job.id).retry(api_key=server.token).wait(60)
    assert again.results()["answer"].notna().sum() == 29
    assert requests_sent() - before == len(asked)


@pytest.mark.parametrize("damage", [_garbage, _folder])
def test_an_answer_that_was_taken_over_and_is_damaged_is_reported(call, home, damage):
    """A row whose carried-over answer is damaged is no row that runs for ever: it has a reason."""
    frame().llm.batch("{text}", out="answer", **call).wait(60)
    grown = frame(8).llm.batch("{text}", out="answer", **call).wait(60)
    forget(home)
    damage(next((home / "jobs" / grown.id).glob("reused-*.jsonl")))
    found = jobs.open_job(grown.id).results()
    assert set(found["_status"]) == {"succeeded", "failed", "skipped"}
    assert "gone or damaged" in found["_error"].dropna().str.cat()


def test_a_folder_that_is_no_folder(ran, call, capsys):
    """With a file where a job's folder was, each door says one sentence that names it."""
    job, folder = ran
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    folder.write_bytes(b"")
    for door in (
        lambda: jobs.open_job(job).results(),
        lambda: jobs.open_job(job).merge(frame()),
        lambda: frame().llm.batch("{text}", out="answer", **call),
    ):
        with pytest.raises(JupyterBatchError, match=job):
            door()
    assert main(["export", job, str(folder.parent / "out.csv")]) == 2
    assert capsys.readouterr().err.startswith("jupyter batch: ")
    assert job in repr(jupyter_batch.jobs())


def _spoil(home, table, facts="{"):
    with sqlite3.connect(home / "ledger.sqlite3") as db:
        newest = "(SELECT id FROM job ORDER BY created_at DESC LIMIT 1)"
        column = "id" if table == "job" else "job"
        db.execute(f"UPDATE {table} SET facts = ? WHERE {column} = {newest}", (facts,))
    db.close()


@pytest.mark.parametrize("facts", ["{", "{}", "null", '{"id": 3}'])
@pytest.mark.parametrize("table", ["job", "shard"])
def test_a_damaged_record_is_read_from_the_folder(call, home, requests_sent, table, facts):
    """A record of the database that is damaged is mended from its job's folder."""
    frame().llm.batch("{text}", out="answer", **call).wait(60)
    job = frame(7).llm.batch("{text}", out="answer", **call).wait(60)
    forget(home)
    _spoil(home, table, facts)
    before = requests_sent()
    assert len(jupyter_batch.jobs()) == 2
    assert jobs.open_job(job.id).results()["answer"].notna().sum() == 6
    assert frame(7).llm.batch("{text}", out="answer", **call).wait(60).id == job.id
    assert requests_sent() == before


@pytest.mark.parametrize("table", ["job", "shard"])
def test_a_damaged_job_does_not_hide_the_others(call, home, requests_sent, table):
    """A job that neither the database nor its folder describes is named below the list of the others; none is sent."""
    first = frame().llm.batch("{text}", out="answer", **call).wait(60)
    lost = frame(7).llm.batch("{text}", out="answer", **call).wait(60)
    forget(home)
    _spoil(home, table)
    for name in ("job.json", "job-copy.json"):
        (home / "jobs" / lost.id / name).write_bytes(b"{")
    for path in (home / "jobs" / lost.id).glob("shard-*.json"):
        path.write_bytes(b"{")
    before = requests_sent()
    for shown in (repr(jupyter_batch.jobs()), jupyter_batch.jobs()._repr_html_()):
        assert first.id in shown
        assert "is damaged" in shown
        assert lost.id in shown
    listed = Listing(Ledger(home, upgrade=False)).json().decode()
    assert first.id in listed
    assert "is damaged" in listed
    assert len(jupyter_batch.jobs().to_frame()) == 1
    with pytest.raises(LedgerCorruptError, match=lost.id):
        jobs.open_job(lost.id).results()
    with pytest.raises(LedgerCorruptError, match=lost.id):
        frame(8).llm.batch("{text}", out="answer", **call)
    assert requests_sent() == before
    jobs.forget(lost.id)
    assert "is damaged" not in repr(jupyter_batch.jobs())
