"""The loop of tools, as a person goes through it, against the embedded server."""

from __future__ import annotations

import asyncio
import gc
import json
import re
import threading

import pandas as pd
import pytest

import jupyter_batch
from jupyter_batch.core.errors import InputError, OptionError
from jupyter_batch.notebook import waiting
from jupyter_batch.process.locks import FileLock
from jupyter_batch.tool_calls.execute import Runner
from tests.ledgers import forget

LOOK_UP = {
    "type": "function",
    "function": {
        "name": "look_up",
        "parameters": {
            "type": "object",
            "properties": {"n": {"type": "integer"}},
            "required": ["n"],
        },
    },
}


@pytest.fixture
def ran():
    """The calls that were run, in order."""
    return []


@pytest.fixture
def look_up(ran):
    """A tool that returns its request, and fails for 13."""

    def look_up(n: int) -> str:
        """Look a thing up."""
        ran.append(n)
        if n == 13:
            raise LookupError("nothing has the number 13")
        return f"thing {n}"

    return look_up


def frame(*texts):
    """A frame of these texts."""
    return pd.DataFrame({"text": list(texts)})


def requests_of(job):
    """The requests of a job, by row."""
    lines = [
        json.loads(line)
        for path in sorted(job._folder.path.glob("requests-*.jsonl"))
        for line in path.read_text().splitlines()
    ]
    return {int(line["custom_id"].rpartition("-")[2]): line["body"] for line in lines}


def test_calls_land_as_objects_and_their_answers_follow(server, call, home, look_up, ran):
    """The calls are the column; then every row's answer is, and each round is a job linked to the one before."""
    df = frame(
        'look_up({"n": 3})',
        "plain",
        None,
        'look_up({"n": 1}) look_up({"n": 2}) then look_up({"n": 4})',
        'look_up({"n": 3})',
    )
    job = df.llm.batch("{text}", out="out", tools=[look_up], **call).wait(60)
    first = df["out"].iloc[0]
    assert [(one["name"], one["arguments"]) for one in first] == [("look_up", {"n": 3})]
    assert set(first[0]) == {"id", "name", "arguments"}
    assert df["out"].iloc[1] == "plain"
    assert pd.isna(df["out"].iloc[2])
    assert len(df["out"].iloc[3]) == 2
    assert job.results()["_tool_calls"].map(lambda cell: isinstance(cell, list)).tolist() == [
        True,
        False,
        False,
        True,
        True,
    ]
    last = job.run_tools()
    assert df["out"].tolist()[:2] == ["thing 3", "plain"]
    assert df["out"].tolist()[3:] == ["thing 4", "thing 3"]
    assert pd.isna(df["out"].iloc[2])
    assert sorted(ran) == [1, 2, 3, 4], "one text is asked once, and its call is run once"
    assert last.is_successful
    assert last.counts.total == 5
    assert last.results()["_tool_calls"].isna().all()
    middle = jupyter_batch.open(last._record().parent)
    assert middle._record().parent == job.id
    assert server.stats()["batches_created"] == 3
    sent = requests_of(middle)[3]["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "tool", "tool"]
    assert [one["id"] for one in sent[1]["tool_calls"]] == [one["tool_call_id"] for one in sent[2:]]
    assert [one["content"] for one in sent[2:]] == ["thing 1", "thing 2"]


def test_a_row_that_failed_in_a_round_between_comes_into_the_frame(
    server, call, home, look_up, ran
):
    """The line that its reason names brings its answer into the column, even without a variable for that job."""
    texts = [f'look_up({{"n": {n}}}) then look_up({{"n": {n + 50}}})' for n in range(12)]
    df = frame(*texts)
    job = df.llm.batch("{text}", out="out", tools=[look_up], **call).wait(60)
    server.set_faults("row_errors=0.5,seed=1")
    first = job.run_tools(max_rounds=1)
    server.set_faults("")
    assert 0 < first.counts.failed < 12
    last = first.run_tools()
    del job, first
    gc.collect()
    name = (
        last.errors["_error"].str.extract(r'open\("(\w+)"\)\.retry\(\)\.run_tools\(\)')[0].iloc[0]
    )
    jupyter_batch.open(name).retry().run_tools()
    assert df["out"].tolist() == [f"thing {n + 50}" for n in range(12)]
    assert len(ran) == 24


def test_a_group_goes_round_by_round(server, call, home, look_up, ran):
    """Each model's calls are run and answered, all models in one round; a second time nothing is run or sent."""
    df = frame('look_up({"n": 3}) then look_up({"n": 5})', "plain", 'look_up({"n": 4})')
    several = {**call, "model": ["openai/echo", "hosted_vllm/echo"]}
    group = df.llm.batch("{text}", out="out", tools=[look_up], **several)
    last = group.run_tools()
    assert last.is_successful
    for model in several["model"]:
        assert df[f"out_{model}"].tolist() == ["thing 5", "plain", "thing 4"]
    assert sorted(ran) == [3, 3, 4, 4, 5, 5]
    assert server.stats()["batches_created"] == 6
    assert jupyter_batch.open(last.id).results().iloc[:, :2].equals(last.results().iloc[:, :2])
    forget(home)
    again = frame(*df["text"])
    assert (
        again.llm.batch("{text}", out="out", tools=[look_up], **several).run_tools().id == last.id
    )
    assert again["out_openai/echo"].tolist() == ["thing 5", "plain", "thing 4"]
    assert len(ran) == 6
    assert server.stats()["batches_created"] == 6


def test_a_group_s_missing_function_runs_nothing(call, home, ran):
    """As a job's: it is reported, and nothing is run."""
    definition = {
        "type": "function",
        "function": {"name": "look_up", "parameters": {"type": "object"}},
    }
    group = frame('look_up({"n": 3})').llm.batch(
        "{text}", tools=[definition], **{**call, "model": ["openai/echo"]}
    )
    with pytest.raises(InputError, match="no such function was given"):
        group.run_tools()


def test_run_again_runs_nothing_again(server, call, home, look_up, ran):
    """The cells run again, in this process and after a restart: the same job, no call, no batch, the column."""

    def cells():
        df = frame('look_up({"n": 3}) then look_up({"n": 5})', "plain")
        job = df.llm.batch("{text}", out="out", tools=[look_up], **call).run_tools()
        assert df["out"].tolist() == ["thing 5", "plain"]
        return job

    last = cells()
    assert cells() is last
    forget(home)
    assert cells().id == last.id
    assert jupyter_batch.open(jupyter_batch.jobs()[-1].id).run_tools().id == last.id, (
        "from the first job too"
    )
    assert sorted(ran) == [3, 5]
    assert server.stats()["batches_created"] == 3


def test_a_grown_frame_pays_and_runs_the_difference(server, call, home, look_up, ran):
    """Old rows take their rounds from the job before: no call is run again, no follow-up is sent again."""
    texts = ['look_up({"n": 3}) then look_up({"n": 5})', 'look_up({"n": 7})']
    frame(*texts).llm.batch("{text}", out="out", tools=[look_up], **call).run_tools()
    forget(home)
    df = frame('look_up({"n": 8})', *texts)
    last = df.llm.batch("{text}", out="out", tools=[look_up], **call).run_tools()
    assert df["out"].tolist() == ["thing 8", "thing 5", "thing 7"]
    assert sorted(ran) == [3, 5, 7, 8]
    assert server.stats()["batches_created"] == 5, "three, and two for the new row"
    assert last.is_successful


def test_what_goes_wrong_in_a_tool_is_reported_to_the_model(call, home, look_up):
    """An error, arguments that don't fit, that are no JSON, a result that is no text, a function that was not given."""
    df = frame('look_up({"n": 13})', 'look_up({"n": "x"})', "look_up(n: 3)", 'facts({"of": "it"})')

    async def facts(of: str) -> dict:
        """Tell facts."""
        await asyncio.sleep(0)
        return {"of": of, "ä": [1, None]}

    last = df.llm.batch("{text}", out="out", tools=[look_up, facts], **call).run_tools()
    values = df["out"].tolist()
    assert values[0] == "Error: LookupError: nothing has the number 13"
    assert values[1].startswith(
        "Error: the arguments do not fit: n: Input should be a valid integer"
    )
    assert values[2] == "Error: the arguments are no JSON object: n: 3"
    assert json.loads(values[3]) == {"of": "it", "ä": [1, None]}
    assert last.is_successful
    sent = requests_of(last)[2]["messages"][1]["tool_calls"][0]["function"]
    assert sent == {"name": "look_up", "arguments": "{}"}, (
        "what is no JSON can't be read by every provider"
    )


def test_a_missing_function_is_reported_before_anything_runs(server, call, home, look_up, ran):
    """Tools that are definitions alone: run_tools asks for the function; then it goes."""
    df = frame('look_up({"n": 3})', "other")
    tools = [LOOK_UP, {"type": "function", "function": {"name": "other"}}]
    job = df.llm.batch("{text}", out="out", tools=tools, **call).wait(60)
    with pytest.raises(
        InputError, match=r"call 'look_up', 'other', and no such function .*Nothing was run"
    ):
        job.run_tools()
    with pytest.raises(InputError, match=r"call 'other'"):
        job.run_tools([look_up])
    with pytest.raises(OptionError, match="above 0"):
        job.run_tools([look_up], concurrency=0)
    assert ran == []
    job.run_tools({"look_up": look_up, "other": lambda: 5})
    assert df["out"].tolist() == ["thing 3", "5"]
    assert server.stats()["batches_created"] == 2


def test_a_tool_that_the_model_made_up_is_reported_so(call, home, look_up, monkeypatch):
    """It is no reason to stop: the model reads which tools there are."""
    from jupyter_batch.server.echo import model as echo

    real = echo.calls
    monkeypatch.setattr(
        echo, "calls", lambda body, prompt: [("dream", "{}") for _ in real(body, prompt)]
    )
    df = frame('look_up({"n": 3})')
    df.llm.batch("{text}", out="out", tools=[look_up], **call).run_tools()
    assert df["out"].tolist() == ["Error: there is no tool 'dream'; there is look_up"]


def test_rounds_end_at_the_most_and_go_on_where_more_are_allowed(server, call, home, look_up, ran):
    """The calls that are left are in the column, and the job says so."""
    df = frame(" then ".join(f'look_up({{"n": {n}}})' for n in range(4)))
    job = df.llm.batch("{text}", out="out", tools=[look_up], **call).run_tools(max_rounds=2)
    assert [one["arguments"] for one in df["out"].iloc[0]] == [{"n": 2}]
    assert "1 row still calls tools after 2 rounds" in job.snapshot().merged
    assert job.run_tools(max_rounds=2) is job
    assert ran == [0, 1]
    job.run_tools()
    assert df["out"].tolist() == ["thing 3"]
    assert server.stats()["batches_created"] == 5


@pytest.mark.parametrize("choice", ["required", "look_up"])
def test_a_forced_tool_is_forced_once(server, call, home, look_up, ran, choice):
    """A choice that forces a call would call for ever: it holds for the first request alone."""
    df = frame("3 apples")
    last = df.llm.batch(
        "{text}", out="out", tools=[look_up], tool_choice=choice, **call
    ).run_tools()
    assert df["out"].tolist() == ["thing 3"]
    assert "tool_choice" not in requests_of(last)[0]
    assert (
        requests_of(last)[0]["tools"]
        == requests_of(jupyter_batch.open(last._record().parent))[0]["tools"]
    )


def test_no_tool_may_be_called(call, home, look_up):
    """tool_choice="none": the answer is a text."""
    df = frame('look_up({"n": 3})')
    df.llm.batch("{text}", out="out", tools=[look_up], tool_choice="none", **call).wait(60)
    assert df["out"].tolist() == df["text"].tolist()


def test_with_a_schema_the_last_answers_are_its_columns(call, home, look_up):
    """A round of calls is no answer that fails the schema; the columns are missing until there is one."""
    df = frame('look_up({"n": 3})', "plain")
    job = df.llm.batch("{text}", schema={"words": str, "count": int}, tools=[look_up], **call).wait(
        60
    )
    results = job.results()
    assert results["_status"].tolist() == ["succeeded", "succeeded"]
    assert results["words"].isna().tolist() == [True, False]
    assert results["_tool_calls"].iloc[0][0]["arguments"] == {"n": 3}
    last = job.run_tools()
    assert df["words"].tolist() == ["thing 3", "plain"]
    assert df["count"].dtype == "Int64"
    assert df["count"].tolist()[0] == 3
    assert last.is_successful


@pytest.mark.parametrize(
    "more",
    [
        {"mode": "realtime"},
        {"model": "openai/responses/echo"},
        {"model": "openai/responses/echo", "mode": "realtime"},
    ],
    ids=str,
)
def test_other_ways_to_ask(server, call, home, look_up, ran, more):
    """In real time, and by the Responses API, whose items are others."""
    df = frame('look_up({"n": 3}) look_up({"n": 4}) then look_up({"n": 5})', "plain")
    last = df.llm.batch("{text}", out="out", tools=[look_up], **{**call, **more}).run_tools()
    assert df["out"].tolist() == ["thing 5", "plain"]
    assert sorted(ran) == [3, 4, 5]
    assert last.is_successful


def test_failed_rows_keep_their_reason_and_retry_brings_them_in(server, call, home, look_up, ran):
    """A row that failed is not asked in the rounds; retry() of its job sends it, and no call is run twice."""
    server.set_faults("row_errors=0.5,seed=1")
    texts = [f'look_up({{"n": {n}}})' for n in range(20, 40)]
    df = frame(*texts)
    job = df.llm.batch("{text}", out="out", tools=[look_up], **call).wait(60)
    failed = job.counts.failed
    assert 0 < failed < 20
    server.set_faults("")
    last = job.run_tools()
    assert last.counts.failed == failed
    assert last.counts.total == 20
    assert df["out"].isna().sum() == failed
    assert len(ran) == 20 - failed
    with pytest.raises(
        InputError, match=r"no row is left .*; how those of earlier rounds are is in job\.errors"
    ):
        last.retry()
    way = f'jupyter_batch.open("{job.id}").retry().run_tools()'
    assert last.errors["_error"].str.contains(way, regex=False).all()
    jupyter_batch.open(job.id).retry().run_tools()
    assert df["out"].tolist() == [f"thing {n}" for n in range(20, 40)]
    assert sorted(ran) == list(range(20, 40))
    assert (
        sum(one["request_counts"]["total"] for one in server.batches())
        == 20 + (20 - failed) + failed + failed
    )


def test_a_follow_up_that_failed_is_sent_again_by_retry(server, call, home, look_up, ran):
    """The retry of a round is of that round: it sends the follow-ups again, and runs nothing."""
    df = frame('look_up({"n": 1})', 'look_up({"n": 2}) then look_up({"n": 3})')
    job = df.llm.batch("{text}", out="out", tools=[look_up], **call).wait(60)
    server.set_faults("row_errors=1")
    last = job.run_tools()
    assert last.counts.failed == 2
    server.set_faults("")
    again = last.retry().wait(60)
    assert again._record().round == 1
    again.run_tools()
    assert df["out"].tolist() == ["thing 1", "thing 3"]
    assert sorted(ran) == [1, 2, 3]


def test_calls_run_side_by_side(call, home):
    """As many at once as `concurrency` says, and no more."""
    together = threading.Barrier(4)

    def meet(n: int) -> str:
        """Wait for three others."""
        together.wait(30)
        return str(n)

    df = frame(*(f'meet({{"n": {n}}})' for n in range(8)))
    df.llm.batch("{text}", out="out", tools=[meet], **call).run_tools(concurrency=4)
    assert df["out"].tolist() == [str(n) for n in range(8)]


def test_coroutines_share_one_loop(call, home):
    """Their open resources, a session for instance, belong to one loop."""
    loops = set()

    async def meet(n: int) -> str:
        """Note the loop."""
        loops.add(asyncio.get_running_loop())
        return str(n)

    df = frame(*(f'meet({{"n": {n}}}) then meet' for n in range(3)))
    df.llm.batch("{text}", out="out", tools=[meet], **call).run_tools(max_rounds=1)
    assert len(loops) == 1


def test_two_processes_do_not_run_the_same_calls(call, home, look_up, ran):
    """The second is refused; nothing is run by it."""
    df = frame('look_up({"n": 1})')
    job = df.llm.batch("{text}", out="out", tools=[look_up], **call).wait(60)
    with FileLock(job._folder.path / "calls.lock") as lock:
        assert lock.take()
        with pytest.raises(InputError, match="another process"):
            job.run_tools()
    assert ran == []
    job.run_tools()
    assert ran == [1]


@pytest.mark.parametrize("model", ["openai/echo", ["openai/echo", "hosted_vllm/echo"]])
def test_an_interrupt_ends_the_running_and_it_goes_on(model, server, call, home, ran, monkeypatch):
    """Ctrl-C in the midst: what was begun is kept, no other call begins; the next time runs the rest, nothing twice."""
    begun, let_go = threading.Event(), threading.Event()

    def slow(n: int) -> str:
        """Take until the interrupt."""
        ran.append(n)
        begun.set()
        let_go.wait(30)
        return f"thing {n}"

    df = frame(*(f'slow({{"n": {n}}})' for n in range(5)))
    job = df.llm.batch("{text}", out="out", tools=[slow], **{**call, "model": model}).wait(60)
    waits, finish = waiting._wait_in_slices, Runner.finish

    def interrupted(done, timeout, on_slice):
        if on_slice is not None:  # a job's own waiting
            return waits(done, timeout, on_slice)
        begun.wait(30)
        raise KeyboardInterrupt

    def let_finish(self, *, stop=False):
        self._stopping = stop
        let_go.set()
        return finish(self, stop=stop)

    with monkeypatch.context() as patched:
        patched.setattr(waiting, "_wait_in_slices", interrupted)
        patched.setattr(Runner, "finish", let_finish)
        assert job.run_tools(concurrency=1) is job
    assert "Stopped" in job.snapshot().merged
    assert ran == [0]
    job.run_tools()
    columns = df.columns[1:]
    assert sorted(ran) == sorted([*range(5)] * len(columns))
    assert all(df[column].tolist() == [f"thing {n}" for n in range(5)] for column in columns)


def test_a_job_without_calls_is_its_own_end(server, call, home, look_up):
    """Nothing is run or sent; tools need not even have been given."""
    df = frame("plain")
    job = df.llm.batch("{text}", out="out", **call)
    assert job.run_tools() is job
    assert job.run_tools([look_up]) is job
    assert server.stats()["batches_created"] == 1


def test_calls_can_be_exported(call, home, look_up, tmp_path, capsys):
    """A job that waits for its tools is written to a file like any other; calls are JSON where a cell holds no list."""
    from jupyter_batch.cli import main

    df = frame('look_up({"n": 3})', "plain")
    job = df.llm.batch("{text}", out="out", tools=[look_up], **call).wait(60)
    for kind in ("csv", "jsonl", "parquet"):
        assert main(["export", job.id, str(tmp_path / f"o.{kind}")]) == 0
    cells = [json.loads(line)["out"] for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert [one["arguments"] for one in cells[0]] == [{"n": 3}]
    assert cells[1] == "plain"
    for read in (pd.read_csv(tmp_path / "o.csv"), pd.read_parquet(tmp_path / "o.parquet")):
        assert json.loads(read["out"].iloc[0])[0]["name"] == "look_up"


def test_the_magic_takes_tools_by_their_names(home, server, look_up):
    """One, several with commas, or a list; run_tools of the job that is bound goes on."""
    from jupyter_batch.config.magic_line import read_line

    other = {"type": "function", "function": {"name": "other"}}
    names = {"look_up": look_up, "other": other, "both": [look_up, other]}
    assert read_line("df --tools look_up --tool-choice auto", names)[1] == {
        "tools": look_up,
        "tool_choice": "auto",
    }
    assert read_line("df --tools look_up,other", names)[1] == {"tools": [look_up, other]}
    assert read_line("df --tools both", names)[1] == {"tools": names["both"]}
    with pytest.raises(
        OptionError, match=r"--tools takes the name of OpenAI tool definitions, .*'nothing'"
    ):
        read_line("df --tools nothing", names)


def test_a_follow_up_says_its_price_before_it_is_sent(server, call, home, look_up, monkeypatch):
    """Rows, expected cost and upper bound, by the results that the calls had; nothing was sent by then."""
    prices = {call["model"]: {"input": 1.0, "output": 2.0}}
    df = frame('look_up({"n": 3})', 'look_up({"n": 4})', "plain")
    job = df.llm.batch("{text}", out="out", tools=[look_up], max_tokens=50, prices=prices, **call)
    job.wait(60)
    seen = []

    def report(sentence):
        seen.append((sentence, server.stats()["batches_created"]))

    monkeypatch.setattr(job, "_report", report)
    last = job.run_tools()
    sentence, sent = seen[0]
    assert re.fullmatch(
        rf"The follow-up {last.id}: 2 rows, about \$0\.0\d+ \(at most \$0\.0\d+\)", sentence
    )
    assert sent == 1, "the first round's alone"
