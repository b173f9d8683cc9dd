"""The command line, each command in a process of its own as a person runs it, on a real ledger and the real server."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from jupyter_batch import cli
from jupyter_batch.server import launch
from jupyter_batch.server.embedded import Embedded
from tests.prepared import python

ROOT = Path(__file__).parent.parent
SUBMIT = """
import os, sys, pandas as pd, jupyter_batch
df = pd.DataFrame({"text": ["good", "b/ad", None]}, index=pd.Index([30, 10, 20], name="key"))
print(df.llm.batch(f"Echo {sys.argv[1]} {{text}}", model="local/echo", name=sys.argv[1], out="said").id, flush=True)
os._exit(0)  # dead before anything was sent
"""


class Here:
    """A ledger's folder, and commands that use it."""

    def __init__(self, home):
        self.home = home
        self.env = {
            name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")
        }
        self.env |= {"JUPYTER_BATCH_HOME": str(home), "PYTHONWARNINGS": ""}

    def python(self, *words, fresh=False):
        return subprocess.run(
            [*([sys.executable] if fresh else python()), *words],
            env=self.env,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=280,
            stdin=subprocess.DEVNULL,
        )

    def batch(self, *words):
        """`jupyter batch ...`."""
        return self.python("-m", "jupyter_batch", *words)

    def submitted(self, name):
        """The id of a job whose process is gone by now."""
        done = self.python("-c", SUBMIT, name)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()[-1]


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A ledger with one job, `first`, that `watch` has collected."""
    place = Here(tmp_path_factory.mktemp("cli") / "home")
    place.first = place.submitted("first")
    place.watched = place.batch("watch")
    yield place
    launch.stop(place.home)


@pytest.fixture
def empty(tmp_path):
    """A ledger's folder that is not there."""
    return Here(tmp_path / "home")


def test_watch_collects_without_any_kernel_and_exits_0(here):
    """The process that submitted is gone; `watch` sends, polls, downloads, and says how it ended."""
    assert (here.watched.returncode, here.watched.stderr) == (0, "")
    assert "first: completed" in here.watched.stdout
    again = here.batch("watch")
    assert (again.returncode, again.stdout) == (0, "No job is open.\n")
    named = here.batch("watch", here.first)
    assert named.returncode == 0
    assert "first: completed" in named.stdout


def test_list_and_show(here):
    """`list` has a line for each job; `show` takes the id, its beginning or the name, and says why rows have none."""
    listed = here.batch("list").stdout.splitlines()
    assert listed[0].split()[:3] == ["id", "name", "state"]
    assert any(line.startswith(here.first) and "completed" in line for line in listed)
    for name in (here.first, here.first[:8], "first"):
        shown = here.batch("show", name)
        assert shown.returncode == 0
        assert "first: completed" in shown.stdout
        assert "model: local/echo" in shown.stdout
        assert "batch: batch_" in shown.stdout


def test_export_writes_every_row_in_each_format(here, tmp_path):
    """.csv, .jsonl and .parquet hold the index, the column and the status of each row; what was there is replaced."""
    (tmp_path / "out.csv").write_text("old", encoding="utf-8")
    for name in ("out.csv", "out.jsonl", "out.parquet"):
        done = here.batch("export", "first", str(tmp_path / name))
        assert (done.returncode, done.stdout) == (0, f"3 rows in {tmp_path / name}\n")
    by_csv = pd.read_csv(tmp_path / "out.csv", index_col="key")
    lines = [
        json.loads(line)
        for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    by_parquet = pd.read_parquet(tmp_path / "out.parquet")
    assert (
        list(by_csv.index)
        == [line["key"] for line in lines]
        == list(by_parquet.index)
        == [30, 10, 20]
    )
    assert (
        list(by_csv["said"])[:2]
        == [line["said"] for line in lines][:2]
        == list(by_parquet["said"])[:2]
        == ["Echo first good", "Echo first b/ad"]
    )
    assert [line["_status"] for line in lines] == ["succeeded", "succeeded", "skipped"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "out.csv",
        "out.jsonl",
        "out.parquet",
    ]


def test_cancel_before_anything_was_sent_sends_nothing(here):
    """A job whose process died before it sent is cancelled for good; `watch` has nothing to do with it afterwards."""
    job = here.submitted("second")
    done = here.batch("cancel", job)
    assert (done.returncode, done.stderr) == (0, "")
    assert here.batch("watch", job).returncode == 0
    shown = here.batch("show", job).stdout
    assert "second: cancelled" in shown
    assert "batch:" not in shown


def test_a_retry_that_is_not_sent_says_so(home, tmp_path, capsys):
    """Where the provider is not to be reached, `retry` says that `watch` tries again, and exits 1."""
    with Embedded(tmp_path / "server", faults="row_errors=1") as server:
        job = (
            pd.DataFrame({"text": ["a"]})
            .llm.batch(
                "{text}", model="openai/echo", api_base=server.base_url, api_key=server.token
            )
            .wait(60)
        )
        assert job.counts.failed == 1
    assert cli.main(["retry", job.id]) == 1
    printed = capsys.readouterr()
    assert "waiting, 0 of 1 row" in printed.out
    assert "Not all batches could be sent yet" in printed.err
    assert "fetches the answers" not in printed.err


def test_the_doctor_names_what_is_missing(home, tmp_path, capsys, monkeypatch):
    """`doctor` lists a provider's batches with the key of the environment, and sends nothing that costs."""
    with Embedded(tmp_path / "server") as server:
        monkeypatch.setenv("OPENAI_API_KEY", server.token)
        monkeypatch.setenv("JUPYTER_BATCH_MODEL", "gpt-4o-mini")
        base = server.base_url
        asked = ["doctor", "--api-base", base]
        assert cli.main(asked) == 0
        right = capsys.readouterr().out
        monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong")
        assert cli.main(asked) == 1
        wrong = capsys.readouterr().out
        assert server.batches() == []
    assert cli.main(asked) == 1
    gone = capsys.readouterr().out
    assert re.search(r"openai +ok +it answered in \d", right)
    assert re.search(r"ledger +ok +.*: 0 jobs; .* GiB of disk are free", right)
    assert "model: openai/gpt-4o-mini" in right
    assert re.search(r"openai +FAILED .*sk-wrong", wrong) is None, "no key is shown"
    assert re.search(r"openai +FAILED ", wrong)
    assert re.search(rf"openai +FAILED +no connection to {base}", gone)
    (tmp_path / "file").touch()
    monkeypatch.setenv("JUPYTER_BATCH_HOME", str(tmp_path / "file" / "home"))
    assert cli.main(asked) == 1
    assert re.search(r"ledger +FAILED ", capsys.readouterr().out)


def test_watch_gives_up_at_its_limit(here):
    """--timeout ends the watching with 1, not the job."""
    job = here.submitted("third")
    assert here.batch("watch", job, "--timeout", "0").returncode == 1
    assert here.batch("watch", job).returncode == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["show", "jbnone"], "no job 'jbnone'"),
        (["cancel", "jbnone"], "no job 'jbnone'"),
        (["watch", "jbnone"], "no job 'jbnone'"),
        (["export", "jbnone", "out.csv"], "no job 'jbnone'"),
        (["export", "jbnone", "out.xlsx"], "out.xlsx ends in none of .csv, .jsonl, .parquet"),
        (["export", "jbnone", "/no/such/folder/out.csv"], "there is no folder /no/such/folder"),
        (["export", "jbnone"], "the following arguments are required: FILE"),
        (["lst"], "no command 'lst'; did you mean 'list'?"),
        (["nonsense"], "no command 'nonsense'; expected one of list, show"),
        (["list", "--all"], "unrecognized arguments: --all"),
        (["demo", "--rows", "0"], "--rows takes a whole number"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_2_and_leaves_nothing(empty, words, says):
    """One line on stderr, nothing on stdout, exit 2, and no ledger made for it."""
    done = empty.batch(*words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not empty.home.exists()


def test_without_a_command_it_shows_its_help(empty):
    """`jupyter batch` alone is a question, not an error."""
    done = empty.batch()
    assert (done.returncode, done.stderr) == (0, "")
    assert "watch" in done.stdout
    assert not empty.home.exists()


def test_list_without_a_ledger(empty):
    """Nothing there is not an error, and looking makes nothing."""
    assert (empty.batch("list").stdout, empty.batch("watch").stdout) == (
        "No jobs.\n",
        "No job is open.\n",
    )
    assert not empty.home.exists()


def test_starting_up_is_light(here):
    """`list` imports no pandas, no litellm, no server; `--help` no more."""
    code = (
        "import sys; from jupyter_batch import cli; cli.main(['list'])\n"
        "heavy = {'pandas', 'numpy', 'litellm', 'openai', 'aiohttp', 'ipywidgets', 'IPython'}\n"
        "assert not heavy & set(sys.modules)"
    )
    done = here.python("-c", code, fresh=True)
    assert done.returncode == 0, done.stderr
    assert here.first in done.stdout


def test_every_command_has_help(capsys):
    """Each command explains itself; those of the server and the demo have their own options."""
    for command, option in (
        ("list", ""),
        ("show", "ID"),
        ("watch", "--timeout"),
        ("cancel", "ID"),
        ("export", "FILE"),
        ("serve", "--upstream"),
        ("demo", "--lab"),
    ):
        with pytest.raises(SystemExit) as left:
            cli.main([command, "--help"])
        assert left.value.code == 0
        assert option in capsys.readouterr().out


def test_the_demo_goes_the_whole_way(tmp_path):
    """The column is filled, the worker was killed in the middle, and the server counted each batch once."""
    done = Here(tmp_path / "never-used").batch("demo", "--rows", "30")
    assert done.returncode == 0, done.stderr
    assert "with SIGKILL" in done.stdout
    assert "Rows: 30, filled: 30, failed: 0." in done.stdout
    assert "with 30 requests in all. Each was sent once" in done.stdout
    assert "no language model" in done.stdout
    assert not (tmp_path / "never-used").exists()
