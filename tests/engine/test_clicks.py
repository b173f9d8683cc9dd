"""The effect of the panel's buttons on a job, their labels, and when they are offered."""

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from jupyter_batch import buttons as clicks
from jupyter_batch.core.errors import ColumnError
from jupyter_batch.jobs import open_job
from jupyter_batch.ledger.records import ShardRecord
from jupyter_batch.monitor.view import sent_again
from jupyter_batch.server.embedded import Embedded

from .conftest import numbered

QUIET = "Classify the sentiment of this: {text}"


@pytest.fixture
def slow(tmp_path):
    """The options that send a job to a server whose batches take an hour."""
    with Embedded(tmp_path / "slow", pace=3600.0) as running:
        yield {"model": "openai/echo", "api_base": running.base_url, "api_key": running.token}


def buttons(job):
    """As the panel gets them."""
    return clicks.actions(job, job._shards, job._retry_by_click)


def test_what_is_offered_is_what_can_be_done(slow, call):
    """An open batch can be finished now; one that missed rows can be retried; a whole one needs nothing."""
    job = numbered(5).llm.batch(QUIET, out="out", **slow)
    assert job.snapshot().offers == ("finish",)
    job.cancel().wait()
    assert job.snapshot().offers == ("retry",)
    assert numbered(6).llm.batch(QUIET, out="out", **call).wait().snapshot().offers == ()


def test_retry_says_which_job_it_is_and_how_that_one_stands(server, call):
    """The panel of the first job shows the one that continues it, to its end; then nothing is left to be sent."""
    server.set_faults("row_errors=0.4,seed=3")
    frame = numbered(20)
    job = frame.llm.batch(QUIET, out="out", **call).wait()
    missed = len(job.errors)
    assert missed
    server.set_faults("")
    reply = buttons(job)["retry"]()
    child = job._next
    assert reply.startswith(f"Sent again as job {child.id}: ")
    child.wait()
    assert (
        sent_again(job.snapshot().again)
        == f"sent again as job {child.id}: completed, 20 of 20 rows (100%)"
    )
    assert job.snapshot().offers == ()
    assert frame["out"].notna().all()


def test_a_retry_that_missed_rows_again_is_retried_itself(server, call):
    """The button goes on from the last of the jobs, and the line names all of them."""
    server.set_faults("row_errors=0.9,seed=3")
    frame = numbered(20)
    job = frame.llm.batch(QUIET, out="out", **call).wait()
    buttons(job)["retry"]()
    first = job._next.wait()
    assert job.snapshot().offers == ("retry",)
    server.set_faults("")
    buttons(job)["retry"]()
    second = first._next.wait()
    assert second.id not in (job.id, first.id)
    assert f"then as job {second.id}: completed, 20 of 20 rows (100%)" in sent_again(
        job.snapshot().again
    )
    assert job.snapshot().offers == first.snapshot().offers == (), (
        "nothing is left, whatever the one between missed"
    )
    assert frame["out"].notna().all()


def test_merge_is_offered_where_it_was_refused_and_says_that_it_is_done(slow):
    """A column of one's own in the way keeps the answers out, of a click too; when it is gone, a click fills it."""
    frame = numbered(5)
    job = frame.llm.batch(QUIET, out="out", **slow)
    frame["out"] = "mine"
    assert buttons(job)["finish"]().endswith("Rows that are finished are kept.")
    job.wait()
    assert frame["out"].tolist() == ["mine"] * 5
    assert job.snapshot().offers == ("merge",)
    with pytest.raises(ColumnError, match="was left alone"):
        buttons(job)["merge"]()
    del frame["out"]
    assert buttons(job)["merge"]().startswith("Merged at ")
    assert frame["out"].notna().all()
    assert job.snapshot().offers == ()


def test_merge_from_the_main_thread_of_a_terminal_does_not_wait_for_itself(call):
    """In IPython, too, where work between cells runs on the thread that clicks."""
    InteractiveShell.clear_instance()
    config = Config()
    config.HistoryManager.enabled = False
    InteractiveShell.instance(config=config)
    try:
        frame = numbered(3)
        job = frame.llm.batch("{text}", out="out", **call).wait()
        del frame["out"]
        assert buttons(job)["merge"]().startswith("Merged at ")
        assert frame["out"].notna().all()
    finally:
        InteractiveShell.clear_instance()


def test_refresh_says_what_is_known_then_or_that_no_answer_came(slow):
    """A refresh reports the job's state; a provider that does not answer in time is reported."""
    job = numbered(5).llm.batch(QUIET, out="out", **slow)
    reply = buttons(job)["refresh"]()
    assert reply.startswith("Asked at ")
    assert "0 of 5 rows" in reply
    silent = [ShardRecord(job=job.id, number=0, requests=1, bytes=1, first=0, last=0)]
    waits = []
    reply = clicks.refreshed(job, lambda: silent, patience=1.0, sleep=waits.append)
    assert reply == "Asked; in 1 s no answer has come yet."
    assert len(waits) == 5
    reply = buttons(job)["cancel"]()
    assert "kept" in reply
    assert job.wait().snapshot().state == "cancelled"


def test_a_group_shows_what_its_models_say_of_the_same_rows(server, call):
    """One panel for two models: each one's answers next to the row, named by the model, and one list of batches."""
    options = {**call, "model": ["openai/echo", "openai/local/echo"]}
    group = numbered(9).llm.batch(QUIET, out="out", **options).wait()
    seen = group.snapshot()
    assert {answer.of for answer in seen.answers} == set(options["model"])
    assert len(seen.answers) == 6
    assert len(seen.shards) == 2
    again = open_job(group.id)
    assert again.snapshot().answers == seen.answers
    assert buttons(group)["retry"]() == "No row of any is left to be sent again."


def test_merge_is_offered_only_for_answers_that_are_not_in_the_frame_yet(tmp_path):
    """Of two batches one is here: Merge is offered, and gone once it was clicked, until more comes."""
    with Embedded(tmp_path / "server", pace=3600.0) as server:
        given = {"model": "openai/echo", "api_base": server.base_url, "api_key": server.token}
        numbered(2).llm.batch("{text}", out="out", mode="realtime", **given).wait(60)
        df = numbered(4)  # two rows are reused, two wait for an hour
        job = df.llm.batch("{text}", out="out", **given)
        assert "merge" in job.snapshot().offers
        buttons(job)["merge"]()
        assert df["out"].notna().sum() == 2
        assert "merge" not in job.snapshot().offers
        job.cancel()
