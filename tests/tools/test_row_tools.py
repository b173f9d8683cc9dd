"""`tools=col(...)`: each row may call its own tools only, at any time and in any process."""

from __future__ import annotations

import json

import pandas as pd
import pydantic
import pytest

import jupyter_batch
from jupyter_batch import col
from tests.engine.test_every_provider import ANTHROPIC_KEY, anthropic
from tests.ledgers import forget

from .test_run_tools import LOOK_UP, requests_of


def look_up(n: int) -> str:
    """Look a thing up."""
    return f"thing {n}"


def count(n: int) -> str:
    """Count to a number."""
    return f"counted to {n}"


class Order(pydantic.BaseModel):
    """An order of some things."""

    n: int


ASKED = ['look_up({"n": 1})', 'count({"n": 2})', 'look_up({"n": 3})', "plain", 'Order({"n": 5})']


def frame():
    """Rows with functions, definitions as objects and as JSON, none, and a Pydantic class."""
    tools = [[look_up], [count, look_up], json.dumps([LOOK_UP]), None, [Order]]
    return pd.DataFrame({"text": ASKED, "tools": tools}, index=list("vwxyz"))


def asked(df, call, **given):
    """The same call each time."""
    return df.llm.batch("{text}", out="out", tools=col("tools"), **call, **given)


@pytest.mark.parametrize("mode", ["batch", "realtime"])
def test_a_job_and_its_rounds(server, call, home, mode):
    """The rows' calls are run; in a new process the same cell finds the job, and sends and runs nothing again."""
    df = frame()
    job = asked(df, call, mode=mode, tool_choice="auto").wait(60)
    assert [cell if isinstance(cell, str) else cell[0]["name"] for cell in df["out"]] == [
        "look_up",
        "count",
        "look_up",
        "plain",
        "Order",
    ]
    row = job.row("w").request
    assert [one["function"]["name"] for one in row["tools"]] == ["count", "look_up"]
    assert row["tool_choice"] == "auto"
    assert not {"tools", "tool_choice"} & job.row("y").request.keys()
    assert job._record().tools == ("look_up", "count", "Order")
    last = job.run_tools({"look_up": look_up, "count": count, "Order": lambda n: n})
    done = ["thing 1", "counted to 2", "thing 3", "plain", "5"]
    assert df["out"].tolist() == done
    batches = server.stats()["batches_created"]
    forget(home)
    df = frame().iloc[::-1]
    rerun = asked(df, call, mode=mode, tool_choice="auto").wait(60)
    assert rerun.id == last.id
    assert rerun.run_tools([look_up, count]).id == last.id
    assert df["out"].tolist() == done[::-1]
    assert server.stats()["batches_created"] == batches


def test_the_functions_of_the_cells_are_run(server, call, home):
    """Without an argument, `run_tools` has the functions of this process's cells, also of a job known before."""
    df = frame().iloc[:2]
    job = asked(df, call).wait(60)
    forget(home)
    df = frame().iloc[:2]
    asked(df, call).run_tools()
    assert df["out"].tolist() == ["thing 1", "counted to 2"]
    assert jupyter_batch.open(job.id).is_complete


def test_an_attached_frame_of_a_new_process(server, call, home):
    """Rows are found again although their cells are functions and classes, which are other objects there."""
    job = asked(frame(), call).wait(60)
    forget(home)
    df = frame().iloc[[2, 0, 4]]
    df.llm.attach(job.id)
    assert [cell[0]["name"] for cell in df["out"]] == ["look_up", "look_up", "Order"]


def test_a_frame_of_definitions_is_known_by_its_digest(server, call, home):
    """Lists and JSON are known without rendering; another tool in one row is asked for that row alone."""
    df = frame().drop(columns="tools")
    df["tools"] = [[LOOK_UP], [LOOK_UP], json.dumps([LOOK_UP]), None, None]
    job = asked(df, call).wait(60)
    assert job._record().frame_digest
    assert asked(df, call).id == job.id
    other = {**LOOK_UP, "function": {**LOOK_UP["function"], "description": "another"}}
    df["tools"] = [[LOOK_UP], [other], json.dumps([LOOK_UP]), None, None]
    changed = asked(df, call).wait(60)
    assert changed.id != job.id
    assert (changed.counts.reused, changed.counts.succeeded) == (4, 1)


def test_tools_of_the_call_and_of_the_row_are_one_request(server, call, home):
    """Requests with `tools=[...]` are not paid again where a column has the same tools, nor without any."""
    df = frame().drop(columns="tools").iloc[[0, 3]]
    df.llm.batch("{text}", out="first", tools=[look_up], **call).wait(60)
    df.llm.batch("{text}", out="second", **call).wait(60)
    df["tools"] = [[look_up], None]
    job = asked(df, call, tool_choice=None).wait(60)
    assert job.counts.reused == 2


def test_failed_rows_and_wrong_cells(server, call, home):
    """A cell that has no tool is the row's failure; `retry` sends the others again with their own tools."""
    df = frame()
    df["tools"] = [[look_up], [count], "no tool", None, [Order]]
    server.set_faults("row_errors=1")
    job = asked(df, call).wait(60)
    server.set_faults("")
    assert "`tools` takes OpenAI tool definitions" in job.errors.loc["x", "_error"]
    again = job.retry().wait(60)
    assert [cell if isinstance(cell, str) else cell[0]["name"] for cell in df["out"].dropna()] == [
        "look_up",
        "count",
        "plain",
        "Order",
    ]
    last = again.run_tools({"look_up": look_up, "count": count, "Order": lambda n: n})
    assert df["out"].dropna().tolist() == ["thing 1", "counted to 2", "plain", "5"]
    assert last.counts.failed == 1


def test_tools_of_other_rows_are_not_run(home):
    """A model that calls a tool of another row gets an error in its place; the function is not called."""
    ran = []

    def look_up(n: int) -> str:
        """Look it up."""
        ran.append(n)
        return f"thing {n}"

    df = pd.DataFrame({"t": ["1", "2", "7"], "tools": [[look_up], [count], [look_up]]})
    with anthropic() as fake:
        real = fake.result

        def result(request, kind):
            made = real(
                {**request, "params": {**request["params"], "messages": [{"content": "x"}]}}, kind
            )
            messages = request["params"]["messages"][-1]["content"]
            results = [part for part in messages if part.get("type") == "tool_result"]
            if kind != "succeeded":
                return made
            message = made["result"]["message"]
            if results:
                message["content"] = [{"type": "text", "text": results[0]["content"]}]
                return made
            message["stop_reason"] = "tool_use"
            n = int(messages[0]["text"])
            message["content"] = [
                {"type": "tool_use", "id": f"toolu_{n}", "name": "look_up", "input": {"n": n}}
            ]
            return made

        fake.result = result
        job = df.llm.batch(
            "{t}",
            out="out",
            model="anthropic/claude-haiku-4-5",
            api_base=fake.base,
            api_key=ANTHROPIC_KEY,
            system="Be loud",
            cache="system_and_tools",
            tools=col("tools"),
        ).wait(60)
        sent = [
            request["params"]["tools"] for request in next(iter(fake.batches.values()))["requests"]
        ]
        assert [[one["name"] for one in tools] for tools in sent] == [
            ["look_up"],
            ["count"],
            ["look_up"],
        ]
        assert all(tools[-1]["cache_control"] == {"type": "ephemeral"} for tools in sent)
        job.run_tools()
    assert df["out"].tolist()[:2] == [
        "thing 1",
        "Error: there is no tool 'look_up'; there is count",
    ]
    assert ran == [1]


def test_requests_of_a_follow_up_have_the_row_s_tools(server, call, home):
    """Each round's request is the row's own, with its tools."""
    df = pd.DataFrame(
        {
            "text": ['look_up({"n": 1}) then look_up({"n": 2})', 'count({"n": 2})'],
            "tools": [[look_up], [count]],
        }
    )
    last = asked(df, call).run_tools()
    assert df["out"].tolist() == ["thing 2", "counted to 2"]
    for job in (last, jupyter_batch.open(last._record().parent)):
        for row, body in requests_of(job).items():
            assert [one["function"]["name"] for one in body["tools"]] == [
                df["tools"].iloc[row][0].__name__
            ]
