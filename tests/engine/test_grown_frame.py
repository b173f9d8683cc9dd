"""A frame that grew: the answers of its old rows are in files of the earlier job, and stay when that is forgotten."""

from __future__ import annotations

import errno
import gc
import os
import shutil
import weakref
from array import array

import pandas as pd
import pytest

from jupyter_batch import jobs
from jupyter_batch.cli import main
from jupyter_batch.core.errors import ColumnError, LedgerError
from jupyter_batch.dedup import match
from jupyter_batch.frames import digest
from jupyter_batch.ledger.folder import JobFolder
from jupyter_batch.merging import merge, own_cells
from jupyter_batch.merging import target as merging_target
from jupyter_batch.planning import request_lines
from jupyter_batch.planning.request_lines import RequestLines
from jupyter_batch.row_files import linked_parts
from jupyter_batch.row_files.linked_parts import contents
from jupyter_batch.row_files.row_columns import read_keys
from jupyter_batch.runner.process import session
from tests.ledgers import forget

from .conftest import numbered


def files(home, job, pattern):
    """Files in a job's folder."""
    return sorted((home / "jobs" / job.id).glob(pattern))


@pytest.fixture
def answered(server, call, home):
    """A job of 40 rows that is complete."""
    return numbered(40).llm.batch("{text}", out="out", **call).wait(60)


def refusing(error):
    """A system call that fails."""

    def refuse(*_, **__):
        raise OSError(error, os.strerror(error))

    return refuse


def check(found, frame):
    """Each row has the echo of its text."""
    assert found["out"].tolist() == frame["text"].tolist()
    assert found.index.tolist() == frame.index.tolist()


def test_answers_are_referred_to_and_outlive_their_job(answered, call, home, tmp_path):
    """Moved rows of two generations: nothing is copied, each answer is on its row, and both jobs can be forgotten."""
    frame = numbered(50).iloc[::-1]
    second = frame.llm.batch("{text}", out="out", **call).wait(60)
    frame = numbered(60).sample(frac=1, random_state=3)
    third = frame.llm.batch("{text}", out="out", **call).wait(60)
    links = files(home, third, "reused-*.jsonl")
    assert sorted(path.stat().st_nlink for path in links) == [2, 3]
    assert {path.stat().st_ino for path in links} == {
        path.stat().st_ino
        for job in (answered, second)
        for path in files(home, job, "output-*.jsonl")
    }
    for job in (answered, second):
        jobs.forget(job.id)
    forget(home)
    third = jobs.open_job(third.id)
    check(third.results(), frame)
    assert third.results()["_status"].value_counts().to_dict() == {"reused": 50, "succeeded": 10}
    assert third.results()["_cost"].value_counts().to_dict() == {0.0: 50}
    moved = frame[["text"]].iloc[::-1].copy()
    third.merge(moved)
    check(moved, frame.iloc[::-1])
    for label in ("k3", "k45", "k55"):
        row = third.row(label)
        assert row.answer == frame.loc[label, "text"]
        assert row.raw["custom_id"] == row.custom_id
    assert main(["export", third.id, str(tmp_path / "out.csv")]) == 0
    check(pd.read_csv(tmp_path / "out.csv", index_col=0), frame)
    again = frame[["text"]].llm.batch("{text}", out="out", **call).wait(60)
    assert again.id == third.id


def test_the_view_has_the_answers_that_are_referred_to(answered, call, home):
    """Pages, search and single rows of the row view, without the job that paid."""
    from jupyter_batch.results.rows.contents import Contents

    frame = numbered(50).iloc[::-1]
    job = frame.llm.batch("{text}", out="out", **call).wait(60)
    jobs.forget(answered.id)
    ledger = session(home).ledger
    contents = Contents(ledger, ledger.job(job.id), ledger.shards(job.id))
    contents.start()
    assert contents.ready.wait(30)
    assert contents.error is None
    assert [contents.row(at).answer for at in (0, 20, 49)] == [
        "row number 49",
        "row number 29",
        "row number 0",
    ]
    search = contents.search("number 29")
    assert search.over.wait(30)
    assert search.error is None
    assert search.hits.nonzero()[0].tolist() == [20]


@pytest.mark.parametrize("error", [errno.EPERM, errno.EMLINK])
def test_a_disk_without_links_has_a_copy(answered, call, home, monkeypatch, error):
    """Where no hard link can be made, the file is copied, and read in the same way."""
    monkeypatch.setattr(os, "link", refusing(error))
    frame = numbered(45)
    job = frame.llm.batch("{text}", out="out", **call).wait(60)
    jobs.forget(answered.id)
    (copy,) = files(home, job, "reused-*.jsonl")
    assert copy.stat().st_nlink == 1
    check(job.results(), frame)


def test_a_few_lines_are_copied(server, call, home):
    """A job that needs two of 40 answers does not keep the file of all of them."""
    numbered(40).llm.batch("{text}", out="out", **call).wait(60)
    frame = pd.concat([numbered(2), numbered(43).iloc[40:]])
    job = frame.llm.batch("{text}", out="out", **call).wait(60)
    (copy,) = files(home, job, "reused-*.jsonl")
    assert copy.read_bytes().count(b"\n") == 2
    assert not files(home, job, "reused*.bin")
    check(job.results(), frame)


def test_damaged_references_are_read_from_their_copy(answered, call, home):
    """Either file is enough; without both each row has a reason, and the ledger's other job has the answers."""
    frame = numbered(45)
    job = frame.llm.batch("{text}", out="out", **call).wait(60)
    for path, lost in zip(files(home, job, "reused*.bin"), (0, 40), strict=True):
        path.write_bytes(b"\0")
        forget(home)
        found = jobs.open_job(job.id).results()
        assert (found["_status"] == "failed").sum() == lost
    assert "gone or damaged" in found["_error"].dropna().iloc[0]
    assert jobs.open_job(answered.id).results()["out"].notna().all()


def test_a_retry_refers_to_the_answers_of_its_job(server, call, home):
    """The answers of a job with failures are those of its retry, which stays whole without it."""
    server.set_faults("row_errors=0.4,seed=3")
    frame = numbered(30)
    job = frame.llm.batch("{text}", out="out", **call).wait(60)
    server.set_faults("")
    retried = job.retry(api_key=server.token).wait(60)
    assert [path.stat().st_nlink for path in files(home, retried, "reused-*.jsonl")] == [2]
    check(retried.results(), frame)
    jobs.forget(job.id)
    check(jobs.open_job(retried.id).results(), frame)


def test_answers_with_a_schema_and_vectors_are_referred_to(server, call, home):
    """Typed columns and vectors of an earlier job are read through its linked files."""
    call = {**call, "schema": {"label": str, "n": int}}
    first = numbered(20).llm.batch("{text}", **call).wait(60).results()
    job = numbered(22).llm.batch("{text}", **call).wait(60)
    jobs.forget(jobs.list_jobs()[-1].id)
    found = job.results()
    assert found["label"].iloc[:20].tolist() == first["label"].tolist()
    assert found["n"].dtype == first["n"].dtype
    assert [path.stat().st_nlink for path in files(home, job, "reused-*.jsonl")] == [1]
    del call["schema"]
    first = numbered(20).llm.embed("text", **call).wait(60).results()
    job = numbered(22).llm.embed("text", **call).wait(60)
    assert [path.stat().st_nlink for path in files(home, job, "reused-*.jsonl")] == [2]
    found = job.results()
    assert all((a == b).all() for a, b in zip(found.iloc[:20, 0], first.iloc[:, 0], strict=True))


# --- known rows ------------------------------------------------------------------------------------


@pytest.fixture
def rendered(monkeypatch):
    """The numbers of rows that are rendered from here on, one for each frame; blocks have 40 rows."""
    monkeypatch.setattr(request_lines, "LEAST_ROWS", 50)
    monkeypatch.setattr(digest, "_MEAN_ROWS", 1)
    monkeypatch.setattr(digest, "_LEAST_ROWS", 40)
    monkeypatch.setattr(linked_parts, "LEAST_BYTES", 0)
    monkeypatch.setattr(linked_parts, "_SHORT", 16)
    real, counts = RequestLines.__iter__, []

    def rows(self):
        if self.known is None:
            counts.append(len(self._frame))
        return real(self)

    monkeypatch.setattr(RequestLines, "__iter__", rows)
    return counts


@pytest.fixture
def small_blocks(rendered, monkeypatch):
    """Blocks have eight rows on average."""
    monkeypatch.setattr(digest, "_MEAN_ROWS", 8)
    monkeypatch.setattr(digest, "_LEAST_ROWS", 2)
    monkeypatch.setattr(digest, "_READ_ROWS", 100)


def odd(rows):
    """Rows of two columns; some ask the same as another one, some have no text."""
    frame = numbered(rows)
    frame["text"] = frame["text"].where(frame.index.str[-1] != "7")
    frame["n"] = range(rows)
    frame.iloc[1::9] = frame.iloc[0].tolist()
    return frame


def ask(frame, call, **given):
    """The cell, run to its end; each answer is on its row."""
    job = frame.llm.batch("{text} {n}", out="out", **call, **given).wait(60)
    expected = (frame["text"] + " " + frame["n"].astype(str)).tolist()
    assert frame["out"].fillna("").tolist() == pd.Series(expected).fillna("").tolist()
    return job


def sent(server):
    """How many requests reached the server's batches."""
    return sum(batch["request_counts"]["total"] for batch in server.batches())


def test_old_rows_are_not_rendered_again(server, call, home, rendered, tmp_path, monkeypatch):
    """More rows, a changed row, fewer rows: blocks that changed and rows without an answer alone are rendered.

    The job's files by row are those of a job for which all rows were rendered.
    """
    ask(odd(130), call)
    asked = sent(server)
    ask(odd(135), call)
    assert rendered == [130, 15 + int(odd(120)["text"].isna().sum())]
    frame = odd(135)
    frame.loc["k50", "text"] += " edited"
    ask(frame, call)
    assert rendered[2] == 40 + int(frame["text"].isna().drop(frame.index[40:80]).sum())
    frame = frame.iloc[:123].copy().rename(index=str.upper)
    job = ask(frame.drop(columns="out"), call)
    assert rendered[3] == 3 + int(frame["text"].isna().iloc[:120].sum())
    assert sent(server) == asked + odd(135)["text"].iloc[130:].notna().sum() + 1
    files = home / "jobs" / job.id
    monkeypatch.setenv("JUPYTER_BATCH_HOME", str(tmp_path / "other"))
    (tmp_path / "other").mkdir(mode=0o700)
    shutil.copy(home / "hash-seed", tmp_path / "other")
    whole = tmp_path / "other" / "jobs" / ask(frame.drop(columns="out"), call).id
    forget(tmp_path / "other")
    assert rendered[4] == 123
    for name in ("keys.bin", "prints.bin", "unsent.json", "index.json", "blocks.bin"):
        assert contents(files / name) == contents(whole / name)
    assert {path.name for path in files.glob("linked-*")} == {
        f"linked-{name}-0.bin" for name in ("keys", "prints")
    }


def test_linked_data_are_those_of_a_job_without_links(
    server, call, home, rendered, tmp_path, monkeypatch
):
    """A frame that grew twice, the job before forgotten in between: keys, hashes and answers are as without links."""
    first, second = ask(odd(130), call), ask(odd(150), call)
    jobs.forget(first.id)
    asked, frame = sent(server), odd(155)
    third = ask(frame.copy(), call)
    jobs.forget(second.id)
    assert sent(server) == asked + 4, "one of the five new rows asks what the first one does"
    linked = home / "jobs" / third.id
    assert list(linked.glob("linked-keys-*"))
    monkeypatch.setenv("JUPYTER_BATCH_HOME", str(tmp_path / "other"))
    (tmp_path / "other").mkdir(mode=0o700)
    shutil.copy(home / "hash-seed", tmp_path / "other")
    whole = ask(frame.copy(), call)
    folder = tmp_path / "other" / "jobs" / whole.id
    assert not list(folder.glob("linked-*"))
    for name in ("keys.bin", "prints.bin", "unsent.json", "index.json"):
        assert contents(linked / name) == contents(folder / name)
    answers = whole.results()[["out"]]
    monkeypatch.setenv("JUPYTER_BATCH_HOME", str(home))
    forget(home)
    pd.testing.assert_frame_equal(jobs.open_job(third.id).results()[["out"]], answers)


def size_of(folder):
    """The bytes of the data by row that a folder does not share with another one."""
    files = [path for name in ("keys", "prints", "index") for path in folder.glob(f"*{name}*")]
    return sum(path.stat().st_size for path in files if path.stat().st_nlink == 1)


@pytest.mark.parametrize("links", [True, False])
def test_data_by_row_are_stored_once(server, call, home, rendered, monkeypatch, links):
    """Three generations of a frame: each refers to the first one's file, and is whole without the job.

    Labels of texts, too. A disk without links has whole files.
    """
    if not links:
        monkeypatch.setattr(os, "link", refusing(errno.EPERM))
    frame = numbered(1000).assign(n=range(1000))
    jobs_of, sizes = [], []
    for part in (frame[:960], frame[:980], frame):
        job = ask(part.copy(), call)
        jobs_of.append(job)
        sizes.append(size_of(home / "jobs" / job.id))
        assert sent(server) == len(part)
    first, second, third = jobs_of
    if links:
        assert max(sizes[1:]) < sizes[0] / 8
        inodes = {
            (home / "jobs" / job.id / "linked-keys-0.bin").stat().st_ino for job in jobs_of[1:]
        }
        assert inodes == {(home / "jobs" / first.id / "keys.bin").stat().st_ino}
    for job in (first, second):
        jobs.forget(job.id)
    forget(home)
    moved = frame[["text", "n"]].iloc[::-1].copy()
    jobs.open_job(third.id).merge(moved)
    assert (moved["out"] == moved["text"] + " " + moved["n"].astype(str)).all()
    again = pd.concat([numbered(1).rename({"k0": "new"}).assign(n=-1), frame])
    ask(again, call)
    assert sent(server) == 1001
    if links:  # of a damaged file: the rows are found by what they ask
        (home / "jobs" / third.id / "linked-keys-0.bin").write_bytes(b"\0" * 9)
        with pytest.raises(LedgerError, match="damaged"):
            read_keys(JobFolder(home / "jobs" / third.id), session(home).ledger.job(third.id))
    ask(frame.copy(), call)
    assert sent(server) == 1001


def test_rows_that_moved_are_not_rendered_again(server, call, home, rendered, small_blocks):
    """Rows that are inserted, changed or removed anywhere: a few around them are rendered, new ones alone are sent."""
    frame = numbered(300).assign(n=range(300), other=0)
    ask(frame.copy(), call)
    asked, more = sent(server), numbered(310).assign(n=-1, other=0).iloc[300:]
    for changed, new, most in (
        (pd.concat([more[:5], frame]), 5, 60),
        (pd.concat([frame[:150], more[5:], frame[150:]], ignore_index=True), 5, 60),
        (frame.drop(index=["k3", "k150", "k299"]), 0, 120),
        (frame.assign(n=frame["n"].where(frame["n"] != 200, -1)), 1, 60),
        (frame.sample(frac=1, random_state=1).iloc[:290], 0, 290),
    ):
        ask(changed.copy(), call)
        asked += new
        assert sent(server) == asked
        assert rendered[-1] <= most
    forget(home)
    ask(frame.assign(other=1), call)
    assert (len(rendered), sent(server)) == (6, asked)


def test_cells_and_labels_of_any_type_are_known_again(server, call, home, rendered, small_blocks):
    """Of a frame with every kind of column and with equal labels, rows that are known are not rendered."""

    def typed(rows):
        at = pd.Series(range(rows))
        frame = pd.DataFrame(
            {
                "text": [f"row{n}" for n in at],
                "kind": pd.Categorical([("b", "a", None)[n % 3] for n in at]),
                "whole": at.where(at % 5 != 0).astype("Int64"),
                "part": at.where(at % 7 != 0) / 2,
                "flag": (at % 2 == 0).astype("boolean"),
                "time": pd.date_range("2026-03-29", periods=rows, freq="h", tz="Europe/Berlin"),
                "span": pd.to_timedelta(at, unit="s"),
                "mixed": pd.Series([(n, str(n), n / 2, None)[n % 4] for n in at], dtype=object),
                "plain": pd.Series([None if n % 9 == 0 else "é" * n for n in at], dtype=object),
            }
        )
        frame["text"] = frame["text"].astype("string")
        frame.index = pd.MultiIndex.from_arrays([at // 20, ["x"] * rows])
        return frame

    prompt = " ".join(f"{{{name}}}" for name in typed(1))
    frame = typed(120)
    frame.llm.batch(prompt, out="out", na="send", **call).wait(60)
    assert sent(server) == 120
    grown = typed(125)
    grown = pd.concat([grown[120:], grown[:120]])
    assert rendered == [120]
    grown.llm.batch(prompt, out="out", na="send", **call).wait(60)
    assert sent(server) == 125
    assert rendered[1] <= 40
    assert (grown["out"].str.split().str[0] == grown["text"]).all()
    assert grown["out"].iloc[5:].tolist() == frame["out"].tolist()


def test_failed_rows_are_rendered_and_sent_again(server, call, home, rendered):
    """Of an earlier job with failures its failed rows alone are sent with the new ones, under their own ids."""
    server.set_faults("row_errors=0.3,seed=5")
    frame = numbered(120).assign(n=range(120))
    job = frame.llm.batch("{text} {n}", out="out", **call).wait(60)
    failed = job.counts.failed
    assert 0 < failed < 120
    server.set_faults("")
    grown = ask(numbered(125).assign(n=range(125)), call)
    assert rendered == [120, failed + 5]
    assert (grown.counts.succeeded, grown.counts.reused) == (failed + 5, 120 - failed)


@pytest.mark.parametrize("name", ["blocks.bin", "keys.bin"])
@pytest.mark.parametrize("damage", [b"", None])
def test_without_its_digests_all_rows_are_rendered(server, call, home, rendered, name, damage):
    """A damaged or missing file of the earlier job costs time alone."""
    job = ask(odd(60), call)
    asked = sent(server)
    path = home / "jobs" / job.id / name
    path.unlink() if damage is None else path.write_bytes(damage)
    ask(odd(61), call)
    assert rendered == [60, 61]
    assert sent(server) == asked + 1


def test_answers_that_are_gone_since_are_asked_again(server, call, home, rendered, monkeypatch):
    """Rows that were known, and whose answers no job has when it comes to them, are rendered after all."""
    ask(odd(60), call)
    asked = sent(server)
    monkeypatch.setattr(match, "carry", lambda *_, **__: array("q"))
    ask(odd(61), call)
    assert rendered[2] == 61
    assert sent(server) == 2 * asked + 1


# --- the same cell in the same kernel ------------------------------------------------------------------


@pytest.fixture
def unread(monkeypatch):
    """From here on no cell of a frame may be read or written."""

    def refuse(*_, **__):
        raise AssertionError("a column is read or written")

    def begin():
        monkeypatch.setattr(digest, "_computed", refuse)
        monkeypatch.setattr(merge, "fill_with", refuse)
        monkeypatch.setattr(own_cells, "as_written", refuse)
        monkeypatch.setattr(merging_target, "as_written", refuse)

    return begin


@pytest.mark.skipif(
    getattr(pd.Series([""]).dtype, "storage", "") != "pyarrow",
    reason="texts of this pandas are objects",
)
def test_the_same_cell_reads_no_cell(server, call, home, unread):
    """A complete job's frame that did not change is not read, and its column stays."""
    frame = numbered(40).assign(n=range(40))
    job = ask(frame, call)
    ask(frame, call)
    asked = sent(server)
    unread()
    assert ask(frame, call).id == job.id
    assert sent(server) == asked


@pytest.mark.parametrize(
    ("change", "more"),
    [
        (lambda frame: frame.loc.__setitem__(("k3", "text"), "edited"), 1),
        (lambda frame: frame["n"].array.__setitem__(4, 77), 1),
        (lambda frame: frame.isetitem(1, frame["n"].where(frame["n"] > 9, -1)), 10),
        (lambda frame: frame.loc.__setitem__(("k5", "out"), None), 0),
        (lambda frame: frame.isetitem(2, frame["out"].where(frame["n"] > 9)), 0),
        (lambda frame: setattr(frame, "index", frame.index[::-1]), 0),
    ],
)
def test_any_change_is_noticed(server, call, home, change, more):
    """After a change in the same frame each answer is on its row; what the prompt does not read costs nothing."""
    frame = numbered(40).assign(n=range(40))
    ask(frame, call)
    asked = sent(server)
    change(frame)
    ask(frame, call)
    assert sent(server) == asked + more


def test_a_value_of_the_user_in_the_column_is_noticed(server, call, home):
    """What a user wrote into the column since the last run is not taken for an answer."""
    frame = numbered(40).assign(n=range(40))
    ask(frame, call)
    frame.loc["k7", "out"] = "mine"
    with pytest.raises(ColumnError, match="1 cell"):
        ask(frame, call)
    assert frame.loc["k7", "out"] == "mine"


def test_a_known_frame_is_not_kept_in_memory():
    """The digests of a frame do not keep its columns."""
    frame = numbered(40)
    digest.digests_of(frame, ["text"])
    held = weakref.ref(frame["text"].array)
    del frame
    gc.collect()
    assert held() is None
