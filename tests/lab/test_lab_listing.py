"""The list: its jobs, its words, and when it is built again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jupyter_batch.core.cost import Bill
from jupyter_batch.core.errors import JobNotFoundError
from jupyter_batch.core.status import Step
from jupyter_batch.lab.listing import FINISHED, FRESH_SECONDS, Listing
from jupyter_batch.ledger.migrations import MIGRATIONS
from jupyter_batch.ledger.snapshots import Overview
from jupyter_batch.ledger.store import Ledger

from .conftest import REPO, planned


def listing_of(listing):
    """The page's answer."""
    return json.loads(listing.json())


def test_an_absent_ledger_has_no_jobs_and_none_is_made(ledger):
    """Looking writes nothing."""
    assert listing_of(Listing(ledger)) == {
        "jobs": [],
        "older": 0,
        "spent": [],
        "problem": "",
        "home": str(ledger.home),
    }
    assert not ledger.home.exists()


def test_a_job_is_reported_in_words_that_are_clean_text(ledger):
    """Markup stays what it is, text; what would hide or reorder a line is gone."""
    name = "\u202e<img src=x onerror=alert(1)>\x1b[31m javascript:alert(1)\n"
    planned(ledger, "jbaaa", done=40, name=name, notebook="<b>.ipynb")
    [job] = listing_of(Listing(ledger))["jobs"]
    assert job["title"] == "<img src=x onerror=alert(1)> javascript:alert(1)"
    assert job["notebook"] == "<b>.ipynb"
    assert (job["state"], job["done"], job["total"], job["percent"]) == ("running", 40, 100, 40)
    assert job["attach"] == 'df.llm.attach("jbaaa")'
    assert not job["final"]
    assert job["cancel"]


def test_it_is_made_again_when_another_process_has_written_and_else_not(ledger):
    """The same bytes, without a look at any job, until something is written; durations are updated after a while."""
    now = [time.time()]
    planned(ledger, "jbaaa", done=1)
    reader = Ledger(ledger.home)
    listing = Listing(reader, clock=lambda: now[0])
    asked = []
    reader.shards = lambda job: asked.append(job) or Ledger.shards(reader, job)
    first = listing.json()
    assert listing.json() == first
    assert len(asked) == 1
    planned(ledger, "jbaab", done=1)
    assert {job["id"] for job in listing_of(listing)["jobs"]} == {"jbaaa", "jbaab"}
    assert len(asked) == 3
    now[0] += FRESH_SECONDS
    listing.json()
    assert len(asked) == 5
    reader.close()


def test_jobs_of_one_call_are_one(ledger):
    """Two models' jobs are a row with both rows' counts; it is cancelled as one."""
    for job in ("jbaaa", "jbaab"):
        planned(ledger, job, done=10, model=f"openai/{job}")
    ledger.keep_group("jg1", ["jbaaa", "jbaab"], time.time())
    [job] = listing_of(Listing(ledger))["jobs"]
    assert (job["id"], job["done"], job["total"], job["model"]) == (
        "jg1",
        20,
        200,
        "openai/jbaaa, openai/jbaab",
    )
    assert job["attach"] == 'df.llm.attach("jg1")'
    assert Listing(ledger).cancel("jg1") == ["jbaaa", "jbaab"]
    assert all(record.cancel_at for record in ledger.jobs())


def test_what_goes_on_in_real_time_is_one_job(ledger):
    """A job whose rest another asks in real time is shown, and cancelled, as that one; once."""
    planned(ledger, "jbaaa")
    ledger.rush("jbaaa", time.time())
    with ledger._transaction() as db:
        db.execute("UPDATE job SET finished_at = 5 WHERE id = 'jbaaa'")
    planned(ledger, "jbaab", parent="jbaaa")
    listing = Listing(ledger)
    assert [job["id"] for job in listing_of(listing)["jobs"]] == ["jbaab"]
    assert listing.cancel("jbaaa") == ["jbaab"]


def test_old_jobs_that_are_over_are_counted_and_open_ones_all_are_there(ledger):
    """The hundred that ended last, however many there are, and an open one that is older than all of them."""
    planned(ledger, "jbopen", created_at=1.0)
    for n in range(FINISHED + 3):
        paid = {"bill": Bill(known=0.5)}
        planned(ledger, f"jb{n:03}", over=True, created_at=100.0 + n, shard=paid)
    found = listing_of(Listing(ledger))
    assert found["older"] == 3
    day = time.strftime("%Y-%m-%d", time.localtime(100.0))
    [[paid_on, notebook, model, usd]] = found["spent"]
    assert (paid_on, notebook, model) == (day, "", "openai/x")
    assert usd == pytest.approx(0.5 * (FINISHED + 3)), "of the older ones, too"
    newest = [f"jb{n:03}" for n in range(FINISHED + 2, 2, -1)]
    assert [job["id"] for job in found["jobs"]] == ["jbopen", *newest]
    with ledger._transaction() as db:
        db.execute("UPDATE job SET finished_at = ? WHERE id = 'jbopen'", (time.time() + 1,))
    found = listing_of(Listing(ledger))
    assert [job["id"] for job in found["jobs"]] == ["jbopen", *newest[:-1]], (
        "the one whose end is to be reported now"
    )
    assert found["older"] == 4


def test_a_group_that_goes_on_in_real_time_is_one_job_still(ledger):
    """A continued job is shown in its predecessor, and not as a job of its own; Cancel reaches both."""
    for job in ("jbaaa", "jbaab"):
        planned(ledger, job, done=10)
        ledger.rush(job, time.time())
        with ledger._transaction() as db:
            db.execute("UPDATE job SET finished_at = 5 WHERE id = ?", (job,))
        planned(ledger, f"{job}2", parent=job, done=90)
    ledger.keep_group("jg1", ["jbaaa", "jbaab"], time.time())
    [job] = listing_of(Listing(ledger))["jobs"]
    assert (job["id"], job["done"]) == ("jg1", 180)
    assert Listing(ledger).cancel("jg1") == ["jbaaa2", "jbaab2"]


def test_the_rounds_of_tool_calls_after_one_that_was_finished_are_jobs_of_their_own(ledger):
    """A round's parent is no job that it goes on from: it is not hidden behind it."""
    planned(ledger, "jbaaa", over=True)
    ledger._rows("UPDATE job SET rush_at = 4 WHERE id = 'jbaaa'")
    planned(ledger, "jbaab", parent="jbaaa", round=1)
    assert {job["id"] for job in listing_of(Listing(ledger))["jobs"]} == {"jbaaa", "jbaab"}


def test_the_time_that_is_left_is_reported_by_the_pace_of_late(ledger):
    """Hours in a queue are no part of it, as in the job's own panel: 20 rows took 100 s, so that 70 take 6 min."""
    now, holder = time.time(), "here:1:me"
    planned(ledger, "jbaaa", shard={"step": Step.SUBMITTING}, created_at=now - 9000)
    ledger.lease("jbaaa", holder, now, 3600.0)
    for at, done in ((-200, 0), (-100, 10), (0, 30)):
        [shard] = ledger.shards("jbaaa")
        assert ledger.move(shard, Step.RUNNING, holder, now + at, completed=done) is not None
    listing = Listing(ledger, clock=lambda: now)
    for _ in range(2):
        [job] = listing_of(listing)["jobs"]
        assert any(words.startswith("about 6 min left") for words in job["times"]), job["times"]
        listing._made = None
    seen = Overview(ledger, now).snapshot(["jbaaa"])
    assert seen.eta == pytest.approx(70 / (20 / 100))


@pytest.mark.parametrize(
    ("where", "path"),
    [
        ("{root}/a b/n.ipynb", "a b/n.ipynb"),
        ("a b/n.ipynb", "a b/n.ipynb"),
        ("{root}/gone.ipynb", ""),
        ("/elsewhere/n.ipynb", ""),
        ("{root}/../n.ipynb", ""),
        ("javascript:alert(1)", ""),
        (None, ""),
    ],
)
def test_a_notebook_is_named_as_the_server_names_it(ledger, tmp_path, where, path):
    """A path below the server's root can be opened; one that is gone, or elsewhere, is only shown."""
    root = tmp_path / "root"
    (root / "a b").mkdir(parents=True)
    (root / "a b" / "n.ipynb").touch()
    (tmp_path / "n.ipynb").touch()
    planned(ledger, "jbaaa", notebook=where and where.format(root=root))
    [job] = listing_of(Listing(ledger, root=str(root)))["jobs"]
    assert job["path"] == path
    assert job["notebook"] == (path or (where or "").format(root=root))


def test_it_tells_whether_anybody_follows(ledger, lease):
    """A kernel's lease, as long as it lasts; who is cancelled and not followed is named."""
    planned(ledger, "jbaaa")
    planned(ledger, "jbaab")
    assert lease(ledger, "jbaaa")
    listing = Listing(ledger)
    assert {job["id"]: job["followed"] for job in listing_of(listing)["jobs"]} == {
        "jbaaa": True,
        "jbaab": False,
    }
    assert listing.cancel("jbaaa") == []
    assert listing.cancel("jbaab") == ["jbaab"]
    assert {job["state"] for job in listing_of(listing)["jobs"]} == {"cancelling"}, (
        "our own writing is seen at once"
    )


def test_only_a_whole_id_is_cancelled(ledger):
    """The beginning of an id, or a name, is enough for a person, not for a request."""
    planned(ledger, "jbaaa", name="mine")
    for name in ("jb", "mine", "jbaaab", ""):
        with pytest.raises(JobNotFoundError):
            Listing(ledger).cancel(name)
    assert ledger.job("jbaaa").cancel_at == 0


def test_the_server_upgrades_no_ledger(ledger):
    """An older database is left as it is, with a sentence; its kernels may be of that version still."""
    planned(ledger, "jbaaa")
    ledger._rows(f"PRAGMA user_version = {len(MIGRATIONS) - 1}")
    reader = Ledger(ledger.home, upgrade=False)
    found = listing_of(Listing(reader))
    assert found["jobs"] == []
    assert "older jupyter_batch" in found["problem"]
    assert ledger._rows("PRAGMA user_version") == [(len(MIGRATIONS) - 1,)]


def test_it_says_which_ledger_it_reads_as_people_write_it(tmp_path, monkeypatch):
    """The folder, so that a kernel with another one is understood; below one's own folder with `~`."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert listing_of(Listing(Ledger(tmp_path / "jobs")))["home"] == str(Path("~", "jobs"))
    elsewhere = Path(f"/srv{tmp_path}/jobs")
    assert listing_of(Listing(Ledger(elsewhere)))["home"] == str(elsewhere)
    assert listing_of(Listing(Ledger(tmp_path)))["home"] == "~"


@pytest.mark.parametrize("wrong", ["garbage", "cut", "a folder", "a name too long"])
def test_whatever_is_wrong_with_the_ledger_is_a_sentence(tmp_path, wrong):
    """No exception, and so no 500 every few seconds."""
    ledger = Ledger(tmp_path / ("x" * 300 if wrong == "a name too long" else "ledger"))
    if wrong == "cut":
        for number in range(9):
            planned(ledger, f"jb{number}")
        ledger.close()
        os.truncate(ledger.path, 20_000)
    elif wrong == "garbage":
        ledger.path.parent.mkdir()
        ledger.path.write_bytes(b"no database" * 999)
    elif wrong == "a folder":
        ledger.path.mkdir(parents=True)
    found = listing_of(Listing(ledger))
    assert found["jobs"] == []
    assert bool(found["problem"]) == (wrong != "a folder")


def test_nothing_heavy_is_loaded_into_the_server(ledger):
    """With its handlers loaded and a list made, there is no litellm, pandas, numpy or IPython of ours."""
    planned(ledger, "jbaaa", done=1)
    code = (
        "import sys, jupyter_server.serverapp; before = set(sys.modules)\n"
        "from pathlib import Path\n"
        "from jupyter_batch.lab import config, handlers, listing, watch, _load_jupyter_server_extension\n"
        "from jupyter_batch.ledger.store import Ledger\n"
        "made = listing.Listing(Ledger(Path(sys.argv[1]))); assert b'jbaaa' in made.json()\n"
        "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(ledger.home)],
        cwd=REPO,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    fresh = set(done.stdout.split())
    assert "jupyter_batch" in fresh
    assert not fresh & {
        "litellm",
        "openai",
        "pandas",
        "numpy",
        "IPython",
        "ipywidgets",
        "aiohttp",
        "httpx",
        "jinja2",
    }
