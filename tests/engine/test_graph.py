"""The drawing of `job.plot()`: rows over time, batches on their way, tokens and cost, from the ledger alone."""

import msgspec
import pytest

from jupyter_batch.core.cost import Bill
from jupyter_batch.core.status import State, Step
from jupyter_batch.jobs import open_job
from jupyter_batch.ledger.database import FILE
from jupyter_batch.ledger.records import ShardRecord
from jupyter_batch.ledger.snapshots import snapshot_of
from jupyter_batch.monitor.graph import FETCHING, THERE, WAITING, Stage
from jupyter_batch.results import timeline as graphs
from jupyter_batch.server.embedded import Embedded
from tests.example_snapshots import (
    EVIL,
    HOUR,
    START,
    batch,
    cases,
    drawn,
    finished,
    job,
    job_events,
    million,
)
from tests.ledgers import forget

from .conftest import numbered


def of(held):
    """The Graph that `held.plot()` draws."""
    return graphs.graph(held.snapshot(), held._job_events())


# -- real jobs ---------------------------------------------------------------------------------------------------------


def test_a_real_job(call, home):
    """Three batches: one line to all rows, their bands add up to it, each has its time; a new process sees the same."""
    held = numbered(60).llm.batch("{text}", out="out", shard_size=20, **call).wait(60)
    seen = of(held)
    assert (seen.title, seen.total) == ("out: completed, 60 of 60 rows (100%)", 60)
    (line,) = seen.lines
    assert (line.points[0][1], line.points[-1][1]) == (0, 60)
    assert [band.name for band in seen.bands] == ["batch 1", "batch 2", "batch 3"]
    assert [band.rows[-1] for band in seen.bands] == [20, 20, 20]
    assert [one.name for one in seen.batches] == ["batch 1", "batch 2", "batch 3"]
    for one, shard in zip(seen.batches, held._shards(), strict=True):
        assert one.seconds == pytest.approx(shard.ended_at - shard.sent_at)
        assert THERE in {stage.kind for stage in one.stages}
        assert seen.begin <= min(stage.begin for stage in one.stages)
    (spent,) = seen.spent
    assert (spent.tokens_in, spent.tokens_out) == (
        held.usage.input_tokens,
        held.usage.output_tokens,
    )
    assert spent.cost is None
    assert spent.price == "not known", "this model has no price: that is not nothing"
    forget(home)
    assert of(open_job(held.id)) == seen


def test_a_group_has_a_line_for_each_model(call):
    """Each goes to the rows of the frame, with its tokens."""
    group = (
        numbered(5)
        .llm.batch("{text}", out="a", **{**call, "model": ["openai/echo", "hosted_vllm/echo"]})
        .wait(60)
    )
    seen = of(group)
    assert [line.name for line in seen.lines] == ["openai/echo", "hosted_vllm/echo"]
    assert seen.total == 5
    assert [line.points[-1][1] for line in seen.lines] == [5, 5]
    assert [one.model for one in seen.spent] == ["openai/echo", "hosted_vllm/echo"]
    assert {one.tokens_in for one in seen.spent} == {one.usage.input_tokens for one in group.jobs}


def test_what_was_sent_again_is_in_the_figure(server, call):
    """The first job, and the one that sent its missed rows again, from either; each token is counted once."""
    server.set_faults("row_errors=0.4,seed=3")
    first = numbered(20).llm.batch("{text}", out="out", **call).wait(60)
    server.set_faults("")
    again = first.retry().wait(60)
    seen = of(again)
    assert [line.name for line in seen.lines] == ["first sent", "sent again"]
    assert [one.name for one in seen.batches] == ["first sent", "sent again"]
    assert seen.lines[1].points[0][1] == again.counts.reused > 0
    (spent,) = seen.spent
    assert spent.tokens_in == sum(
        shard.usage.input_tokens for one in (first, again) for shard in one._shards()
    )
    assert [line.name for line in of(first).lines] == [line.name for line in seen.lines]


def test_what_was_finished_in_real_time_is_in_the_figure(tmp_path):
    """The batch that was cancelled, and the real-time job that went on from it."""
    with Embedded(tmp_path / "slow", pace=3600.0) as slow:
        held = numbered(5).llm.batch(
            "{text}",
            out="out",
            model="openai/echo",
            api_base=slow.base_url,
            api_key=slow.token,
            poll_interval=0.05,
        )
        held.finish().wait(60)
        seen = of(held)
        assert [line.name for line in seen.lines] == ["first sent", "in real time"]
        assert seen.lines[1].points[-1][1] == 5
        assert seen.spent[0].tokens_in == held.usage.input_tokens


def test_a_job_without_its_ledger(call, home):
    """The fetched answers are there; the shard's history is lost, and that is reported."""
    held = numbered(3).llm.batch("{text}", out="out", **call).wait(60)
    forget(home)
    (home / FILE).write_bytes(b"this is no database" * 100)
    seen = of(open_job(held.id))
    assert seen.lines == seen.batches == ()
    assert "not in the ledger" in seen.subtitle[-1]
    assert seen.spent[0].price == "not known"


def test_in_real_time_and_vectors(call):
    """Both are jobs like others."""
    live = numbered(8).llm.batch("{text}", out="out", mode="realtime", **call).wait(60)
    assert of(live).lines[0].points[-1][1] == 8
    vectors = (
        numbered(4).llm.embed("text", out="v", **{**call, "model": "openai/echo-embed"}).wait(60)
    )
    assert of(vectors).lines[0].points[-1][1] == 4


# -- what never was ----------------------------------------------------------------------------------------------------


def test_a_million_rows_are_a_few_thousand_values():
    """20 batches that were looked at 5,000 times each: fewer than 5,000 rows of data in all, none of them lost."""
    seen = drawn(million())
    values = sum(len(line.points) for line in seen.lines) + len(seen.moments) * len(seen.bands)
    assert 800 < values < 4000
    assert seen.lines[0].points[-1][1] == sum(band.rows[-1] for band in seen.bands) == 1_000_000
    for at, rows in zip(
        seen.moments, zip(*(band.rows for band in seen.bands), strict=True), strict=True
    ):
        assert seen.begin <= at <= seen.end
        assert 0 <= sum(rows) <= 1_000_000


def test_of_many_batches_the_slowest_are_shown():
    """In their own order, and the number of others."""
    many = job_events(
        job(rows=9000), *(batch(n, 100, 0.01, 0.5 + (n % 7) / 10, steps=2) for n in range(90))
    )
    seen = drawn(many)
    assert (len(seen.batches), seen.left_out) == (graphs.BATCHES, 90 - graphs.BATCHES)
    assert min(one.seconds for one in seen.batches) > 0.75 * HOUR
    numbers = [int(one.name.removeprefix("batch ")) for one in seen.batches]
    assert numbers == sorted(numbers)
    assert seen.bands == ()
    assert (
        seen.batches_title
        == "Batches, from sent to over: median 47 min, slowest 1 h 5 min, the 40 slowest of 90"
    )


def test_a_batch_waits_is_there_and_is_fetched():
    """Out of its events: a refusal for quota is a short visit, and what is fetched late counts from the real end."""
    events = [
        (START + 600, 0, "submitting", 0, ""),
        (START + 700, 0, "waiting", 0, ""),
        (START + HOUR, 0, "submitting", 0, ""),
        (START + HOUR + 9, 0, "running", 0, ""),
        (START + 2 * HOUR, 0, "running", 40, ""),
        (START + 9 * HOUR, 0, "ended", 100, ""),
        (START + 9 * HOUR + 5, 0, "collected", 100, ""),
    ]
    shard = ShardRecord(
        job="j",
        number=0,
        requests=100,
        bytes=1,
        first=0,
        last=99,
        step=Step.COLLECTED,
        ending=State.COMPLETED,
        batch_id="batch_0",
        sent_at=START + HOUR,
        ended_at=START + 9 * HOUR,
        over_at=START + 3 * HOUR,
    )
    (one,) = drawn(
        job_events(job(finished_at=START + 9 * HOUR + 5), (shard, events)), now=START + 10 * HOUR
    ).batches
    assert [(stage.kind, stage.begin - START, stage.end - START) for stage in one.stages] == [
        (WAITING, 0, 600),
        (THERE, 600, 700),
        (WAITING, 700, HOUR),
        (THERE, HOUR, 3 * HOUR),
        (FETCHING, 3 * HOUR, 9 * HOUR + 5),
    ]
    assert (one.seconds, one.words) == (2 * HOUR, "2 h")


def test_a_batch_is_at_the_provider_once_its_file_is():
    """The bar and the seconds next to it begin at the same moment: when the batch was created, not its upload."""
    events = [
        (START, 0, "submitting", 0, ""),
        (START + 300, 0, "running", 0, ""),
        (START + 400, 0, "ended", 100, ""),
    ]
    shard = ShardRecord(
        job="j",
        number=0,
        requests=100,
        bytes=1,
        first=0,
        last=99,
        step=Step.ENDED,
        ending=State.COMPLETED,
        batch_id="batch_0",
        sent_at=START + 290,
        ended_at=START + 400,
    )
    (one,) = drawn(job_events(job(), (shard, events)), now=START + 500).batches
    assert [(stage.kind, stage.begin - START, stage.end - START) for stage in one.stages] == [
        (WAITING, 0, 290),
        (THERE, 290, 400),
        (FETCHING, 400, 500),
    ]
    assert one.seconds == 110


def test_a_batch_that_was_taken_up_has_not_waited_here():
    """An adopted job's first event is the sending, of another ledger."""
    shard, events = batch(sent=-1, ended=1)
    record = job(adopted=True, created_at=START - HOUR, finished_at=START + HOUR + 30)
    (one,) = drawn(job_events(record, (shard, events)), now=START + 2 * HOUR).batches
    assert one.stages[0] == Stage(THERE, START - HOUR, START + HOUR)
    assert one.words == "2 h"


@pytest.mark.parametrize(
    ("fields", "events", "words", "seconds"),
    [
        ({}, [], "waiting", None),
        ({"joins": "jb9"}, [], "waits for job jb9", None),
        (
            {"joins": "jb9", "ending": State.COMPLETED, "step": Step.COLLECTED},
            [],
            "answered by job jb9",
            None,
        ),
        ({"ending": State.CANCELLED, "step": Step.COLLECTED}, [], "not sent, cancelled", None),
        (
            {"batch_id": "b", "sent_at": START, "step": Step.RUNNING},
            [(START, 0, "running", 0, "")],
            "1 h so far",
            HOUR,
        ),
        (
            {
                "batch_id": "b",
                "sent_at": START,
                "step": Step.COLLECTED,
                "ending": State.EXPIRED,
                "ended_at": START + 60,
            },
            [(START, 0, "running", 0, ""), (START + 60, 0, "ended", 0, "")],
            "1 min, expired",
            60,
        ),
    ],
)
def test_how_a_batch_stands(fields, events, words, seconds):
    """Whether it waits, for whom, how long it took, and how it ended if not well."""
    shard = ShardRecord(
        **{"job": "j", "number": 0, "requests": 9, "bytes": 1, "first": 0, "last": 8, **fields}
    )
    (one,) = drawn(job_events(job(), (shard, events)), now=START + HOUR).batches
    assert (one.words, one.seconds) == (words, seconds)


def test_what_is_left_is_drawn_at_the_present_pace():
    """From now to the last row, by the eta; nothing for ended jobs, several models, or long times."""
    running = job_events(job(), batch(sent=0.1))
    now = START + 3 * HOUR
    (was, there), (then, total) = drawn(running).ahead
    assert (was, total) == (now, 1000)
    assert 0 < there < 1000
    assert then - now == pytest.approx(snapshot_of(running.job, running.shards, now).eta)
    assert drawn(finished()).ahead == ()
    assert (
        drawn(
            running, job_events(job(id="jb2", model="another/m"), batch(sent=0.1)), group=True
        ).ahead
        == ()
    )


def test_unknown_is_not_nothing():
    """No price, no tokens, nothing here yet, and a real zero, each in its own words."""
    models = drawn(
        job_events(job(), batch(sent=0.1)),
        job_events(
            job(id="a", model="a"), batch(sent=0, ended=1, bill=Bill(unknown=9, standard=None))
        ),
        job_events(
            job(id="b", model="b"),
            batch(sent=0, ended=1, usage=None, bill=Bill(known=1.5, unknown=2)),
        ),
        job_events(job(id="c", model="c"), batch(sent=0, ended=1, bill=Bill())),
        group=True,
    ).spent
    assert [one.price for one in models] == [
        "nothing is here yet",
        "not known",
        "at least $1.50, not known for 2",
        "$0",
    ]
    assert [one.cost for one in models] == [None, None, 1.5, 0.0]
    assert models[2].tokens == "not known"
    assert "$" not in drawn(job_events(job(), batch(sent=0.1))).costs_title


def test_what_a_job_brought_along_counts_once():
    """A real-time job brings the bill and the tokens of the batch it goes on from; the figure has that one, too."""
    first = finished()
    bill, used = first.job.bill(first.shards), first.job.usage(first.shards)
    then = job_events(
        job(
            id="jb2",
            parent=first.job.id,
            created_at=START + 2.1 * HOUR,
            mode="realtime",
            before=bill,
            used=used,
            finished_at=START + 2.3 * HOUR,
        ),
        batch(rows=10, sent=2.1, ended=2.2),
    )
    (both,), (alone,) = drawn(first, then).spent, drawn(then).spent
    assert both.tokens_in == alone.tokens_in == 212 * 1010
    assert both.cost == alone.cost == pytest.approx(4e-5 * 1010)


def test_no_control_reaches_a_figure():
    """ANSI, bidi controls and line breaks are gone; the rest of a hostile name is text, and it is cut."""
    words = repr(msgspec.to_builtins(cases()["evil"]))
    assert "<script>alert(1)</script>" in words
    for bad in ("\\x1b", "[31m", "\\u202e", "\\n"):
        assert bad not in words
    assert EVIL not in words


def test_names_that_read_the_same_are_distinguished():
    """Two models whose names are cut to the same, and two jobs that were sent again."""
    long = "provider/" + "x" * 80
    seen = drawn(
        job_events(job(model=f"{long}1"), batch(sent=0, ended=1)),
        job_events(job(id="jb2", model=f"{long}2"), batch(sent=0, ended=1)),
        group=True,
    )
    assert seen.lines[1].name == f"{seen.lines[0].name} (2)"
    assert seen.spent[1].model == f"{seen.spent[0].model} (2)"
    assert len({one.name for one in seen.batches}) == 2


def test_the_figure_in_words():
    """For who can't see it."""
    assert cases()["finished"].words.startswith("sentiment: completed, 990 of 1,000 rows answered.")
    assert "Batches from sent to over: 1 h 59 min." in cases()["finished"].words
    assert "212,000 in, 9,000 out; cost $0.0400, saved $0.0400." in cases()["finished"].words
