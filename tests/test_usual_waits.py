"""The expected end of a batch: from the ledger's own batches of the same model, and nothing where there are too few."""

from __future__ import annotations

import msgspec
import pandas as pd
import pytest

from jupyter_batch.core.history import Wait, usual_wait
from jupyter_batch.core.status import State, Step
from jupyter_batch.ledger.records import ShardRecord
from jupyter_batch.ledger.snapshots import wait_like
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.monitor.view import view
from jupyter_batch.monitor.words import usually
from jupyter_batch.server.embedded import Embedded
from tests.lab.conftest import record
from tests.ledgers import forget
from tests.monitor.conftest import make

MIN = 60.0


def test_too_few_batches_are_no_history():
    """Two are a coincidence; three have a range."""
    assert usual_wait([], 100) is None
    assert usual_wait([(100, MIN), (100, MIN)], 100) is None
    assert usual_wait([(100, MIN), (100, 5 * MIN), (100, 2 * MIN)], 100) == Wait(
        low=MIN, high=5 * MIN, batches=3
    )


def test_batches_of_its_size_count_where_there_are_enough():
    """Of ten times the size, none counts next to three alike; with two alike, all count."""
    large = [(10_000, 60 * MIN)] * 5
    assert usual_wait([*large, *[(90, MIN)] * 3], 100) == Wait(low=MIN, high=MIN, batches=3)
    assert usual_wait([*large, *[(90, MIN)] * 2], 100) == Wait(low=MIN, high=60 * MIN, batches=7)


def test_a_tenth_at_either_end_is_left_out():
    """One batch in ten that took a day does not make the range useless."""
    took = [(100, MIN * n) for n in (1, 4, 5, 6, 7, 8, 9, 10, 20, 1440)]
    assert usual_wait(took, 100) == Wait(low=4 * MIN, high=20 * MIN, batches=10)


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (4 * MIN, 20 * MIN, "usually 4 to 20 min"),
        (5, 30, "usually under a minute"),
        (5, 120, "usually under a minute to 2 min"),
        (50 * MIN, 180 * MIN, "usually 50 min to 3 h"),
        (241, 242, "usually about 4 min"),
    ],
)
def test_the_words(low, high, words):
    """A unit that both ends share stands once."""
    assert usually(low, high) == words


def keep(ledger, job, seconds, *, ending=State.COMPLETED, **more):
    """A job in the ledger whose batch of 100 took so long."""
    shard = ShardRecord(
        job=job,
        number=0,
        requests=100,
        bytes=9,
        first=0,
        last=99,
        step=Step.COLLECTED,
        ending=ending,
        batch_id=f"batch_{job}",
        sent_at=1000.0,
        ended_at=1000.0 + seconds,
    )
    ledger.plan(record(job, finished_at=5000.0, **more), [shard], lambda: None)


def test_what_counts_in_a_ledger(tmp_path):
    """The same model at the same place, in a batch that completed; not other models, endings and modes."""
    ledger = Ledger(tmp_path / "home")
    for number, minutes in enumerate((4, 10, 20)):
        keep(ledger, f"jb{number}", minutes * MIN)
    keep(ledger, "jb7", 9_000.0, body_model="y")
    keep(ledger, "jb8", 9_000.0, ending=State.EXPIRED)
    keep(ledger, "jb9", 9_000.0, mode="realtime")
    now = record("jbnow")
    expected = Wait(low=4 * MIN, high=20 * MIN, batches=3)
    assert wait_like(ledger, now, 100) == expected
    assert wait_like(ledger, msgspec.structs.replace(now, mode="realtime"), 100) is None
    assert wait_like(ledger, msgspec.structs.replace(now, provider="other"), 100) is None
    ledger.close()


def test_the_monitor_has_it_until_there_is_a_pace_or_it_has_passed():
    """`usually 4 to 20 min` in place of an eta; not once it takes longer, is blocked, or is over."""
    wait = Wait(low=4 * MIN, high=20 * MIN, batches=3)
    young = make(
        usual=wait, counts=msgspec.structs.replace(make().counts, succeeded=0, running=988)
    )
    assert "usually 4 to 20 min" in view(young).times
    late = msgspec.structs.replace(young, now=young.created_at + 21 * MIN)
    assert not any("usually" in text for text in view(late).times)
    assert not any("usually" in text for text in view(make(usual=wait)).times), "it has an eta"


def test_the_preview_and_a_job_read_it(call_of, home):
    """Three batches of the model, and the fourth has an expected time; without any, no line."""
    df = pd.DataFrame({"text": ["a", "b"]})
    assert df.llm.preview("0 {text}", **call_of).wait is None
    for number in range(3):
        df.llm.batch(f"{number} {{text}}", out="out", overwrite=True, **call_of).wait(60)
    seen = df.llm.preview("9 {text}", **call_of)
    assert seen.wait.batches == 3
    assert "usually under a minute (3 earlier batches)" in repr(seen)
    job = df.llm.batch("9 {text}", out="out", overwrite=True, **call_of)
    assert job.is_complete or job.snapshot().usual.batches == 3
    job.wait(60)
    assert job.snapshot().usual is None


@pytest.fixture
def call_of(tmp_path, home):
    """The options of a job for the embedded server."""
    with Embedded(tmp_path / "server") as server:
        yield {"model": "openai/echo", "api_base": server.base_url, "api_key": server.token}
        forget(home)


def test_caveats_are_in_the_preview():
    """Those of the provider's record; none in real time."""
    df = pd.DataFrame({"text": ["a"]})
    seen = df.llm.preview("{text}", model="gemini/gemini-2.5-flash", api_key="k" * 20)
    assert "an expired batch has no results" in seen.caveats
    assert "caveats" in repr(seen)
    live = df.llm.preview(
        "{text}", model="gemini/gemini-2.5-flash", api_key="k" * 20, mode="realtime"
    )
    assert live.caveats == ""
