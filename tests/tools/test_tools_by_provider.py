"""The loop of tools at a provider whose words are others, and where a batch has a least number of requests."""

from __future__ import annotations

import json

import msgspec
import pandas as pd
import pytest

from jupyter_batch.core.errors import InputError, OptionError
from jupyter_batch.core.request import Limits
from jupyter_batch.planning import retry
from jupyter_batch.tool_calls import rounds
from jupyter_batch.tool_calls.follow_up import Waiting, plan_round
from tests.engine.test_every_provider import ANTHROPIC_KEY, anthropic

from .test_run_tools import requests_of


def look_up(n: int) -> str:
    """Look it up."""
    if n == 3:
        raise LookupError("there is no 3")
    return f"thing {n}"


def calling(fake):
    """Have the fake call look_up, by its given name, with the number in the prompt; then return the results."""
    real = fake.result

    def result(request, kind):
        made = real(
            {**request, "params": {**request["params"], "messages": [{"content": "x"}]}}, kind
        )
        if kind != "succeeded":
            return made
        messages, message = request["params"]["messages"][-1]["content"], made["result"]["message"]
        results = (
            [part for part in messages if part["type"] == "tool_result"]
            if isinstance(messages, list)
            else []
        )
        if results:
            message["content"] = [
                {"type": "text", "text": "; ".join(one["content"] for one in results)}
            ]
            return made
        text = messages if isinstance(messages, str) else messages[0]["text"]
        name = request["params"]["tools"][0]["name"]
        message["stop_reason"] = "tool_use"
        message["content"] = [
            {"type": "thinking", "thinking": "hm", "signature": f"s{text}"},
            *(
                {
                    "type": "tool_use",
                    "id": f"toolu_{text}_{n}",
                    "name": name,
                    "input": {"n": int(text) + n},
                }
                for n in range(2)
            ),
        ]
        return made

    fake.result = result


@pytest.mark.parametrize("cache", [None, "system_and_tools"])
def test_anthropic(home, cache):
    """Calls, with thoughts before them, go back in Anthropic's own words; what is marked for its cache stays so."""
    df = pd.DataFrame({"t": ["1", "2", "7"]})  # the fake fails the last request of the first batch
    with anthropic() as fake:
        calling(fake)
        job = df.llm.batch(
            "{t}",
            out="out",
            model="anthropic/claude-haiku-4-5",
            api_base=fake.base,
            api_key=ANTHROPIC_KEY,
            system="Be loud",
            tools={"look_up": look_up},
            cache=cache,
        ).wait(60)
        assert [call["arguments"] for call in df["out"].iloc[0]] == [{"n": 1}, {"n": 2}]
        assert df["out"].iloc[0][0]["name"] == "look_up"
        last = job.run_tools()
        assert df["out"].tolist()[:2] == [
            "thing 1; thing 2",
            "thing 2; Error: LookupError: there is no 3",
        ]
        assert last.counts.failed == 1
        first, second = (
            [request["params"] for request in batch["requests"]] for batch in fake.batches.values()
        )
        for asked, followed in zip(first, second, strict=False):
            assert {**asked, "messages": followed["messages"]} == followed, (
                "all that is before is as it was"
            )
            assert followed["messages"][:-2] == asked["messages"]
            messages, results = followed["messages"][-2:]
            assert [block["type"] for block in messages["content"]] == [
                "thinking",
                "tool_use",
                "tool_use",
            ]
            assert [one["tool_use_id"] for one in results["content"]] == [
                one["id"] for one in messages["content"][1:]
            ]
        marked = {"cache_control": {"type": "ephemeral"}}.items() <= first[0]["tools"][-1].items()
        assert marked == (cache is not None)
        assert [one.get("is_error") for one in second[1]["messages"][-1]["content"]] == [None, True]


@pytest.mark.parametrize(
    ("model", "place"),
    [
        ("anthropic/claude-3-5-haiku-20241022", {"api_key": "k"}),
        (
            "bedrock/anthropic.claude-3-5-sonnet-20241022-v2:0",
            {
                "aws_region_name": "us-east-1",
                "s3_bucket_name": "my-bucket",
                "aws_batch_role_arn": "arn:aws:iam::123456789012:role/batch",
            },
        ),
    ],
)
def test_a_schema_that_is_reported_as_a_tool_leaves_room_for_the_others(model, place, home):
    """Where a model takes no schema litellm makes a tool of it: it is not the one that has to be called."""
    df = pd.DataFrame({"t": [str(n) for n in range(100)]})
    made = df.llm.build("{t}", model=model, tools=[look_up], schema={"label": str}, **place)
    line = json.loads(made.requests[0].read_text().splitlines()[0])
    asked = line["params"] if "params" in line else line["modelInput"]["toolConfig"]
    shown = json.dumps(asked["tools"])
    assert "json_tool_call" in shown
    assert "look_up" in shown
    assert (asked.get("tool_choice") or asked.get("toolChoice")) in ({"type": "auto"}, {"auto": {}})


def test_a_follow_up_that_is_too_small_for_a_batch_can_be_asked_at_once(
    server, call, home, monkeypatch
):
    """Some providers want a hundred requests: the refusal names the way, and what was run is not run again."""
    facts = retry.facts_of

    def strict(provider, base):
        limits = Limits(requests=1000, bytes=10**8, minimum=100)
        return msgspec.structs.replace(facts(provider, base), limits=limits)

    monkeypatch.setattr(retry, "facts_of", strict)
    ran = []

    def note(n: int) -> str:
        """Note it."""
        ran.append(n)
        return f"noted {n}"

    df = pd.DataFrame({"t": ['note({"n": 1}) then note({"n": 2})', "plain"]})
    job = df.llm.batch("{t}", out="out", tools=[note], **call).wait(60)
    with pytest.raises(InputError, match=r'at least 100; mode="realtime"'):
        job.run_tools()
    with pytest.raises(OptionError, match="`mode` takes"):
        job.run_tools(mode="fast")
    last = job.run_tools(mode="realtime")
    assert df["out"].tolist() == ["noted 2", "plain"]
    assert ran == [1, 2]
    assert last._record().mode == "realtime"
    assert requests_of(last)[0]["messages"][-1]["content"] == "noted 2"
    assert server.stats()["batches_created"] == 1


def test_a_batch_at_anthropic_goes_on_in_real_time(home):
    """The follow-up is written again in OpenAI's words, which is what real time speaks."""
    df = pd.DataFrame({"t": ["1", "5", "9"]})
    with anthropic() as fake:
        calling(fake)
        job = df.llm.batch(
            "{t}",
            out="out",
            model="anthropic/claude-haiku-4-5",
            api_base=fake.base,
            api_key=ANTHROPIC_KEY,
            system="Be loud",
            tools=[look_up],
        ).wait(60)
        with Waiting(job._here.ledger, job._record()) as waiting:
            way = rounds.Way(
                functions={"look_up": look_up},
                max_rounds=1,
                concurrency=1,
                rerun=False,
                max_cost=None,
                at_once="realtime",
            )
            assert rounds._run(waiting, way)
            record = plan_round(
                waiting, Limits(requests=100, bytes=10**6), now=1.0, at_once="realtime"
            )
        made = requests_of(type(job)(job._here, record.id))
    assert record.mode == "realtime"
    assert record.dialect == "openai"
    assert [message["role"] for message in made[0]["messages"]] == [
        "system",
        "user",
        "assistant",
        "tool",
        "tool",
    ]
    assert made[1]["messages"][-1] == {
        "role": "tool",
        "tool_call_id": "toolu_5_1",
        "content": "thing 6",
    }
