"""The Gemini API as a user meets it: bodies as litellm's, vectors, keys, files that are not ready, adoption, costs."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pandas as pd
import pytest

from jupyter_batch import jobs
from jupyter_batch.core.errors import OptionError
from jupyter_batch.core.status import State, Step
from jupyter_batch.http.litellm import load_litellm
from jupyter_batch.providers.gemini import batches
from jupyter_batch.wire.clouds import gemini_api
from jupyter_batch.wire.openai import CHAT
from tests.ledgers import assert_nowhere, lose
from tests.providers.conftest import make
from tests.providers.fakes.gemini import Gemini, response
from tests.providers.fakes.host import Fault
from tests.waiting import wait_for

MODEL = "gemini/gemini-2.5-flash"
PNG = "iVBORw0KGgo="
TOOL = {
    "type": "function",
    "function": {
        "name": "look",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "s",
        "schema": {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
    },
}
PARAMS = [
    {},
    {"max_tokens": 5, "temperature": 0.5, "top_p": 0.5, "seed": 1, "stop": ["x"]},
    {"reasoning_effort": "low"},
    {"thinking": {"type": "enabled", "budget_tokens": 100}},
    {"tools": [TOOL], "tool_choice": "required"},
    {"response_format": SCHEMA},
    {"response_format": {"type": "json_object"}},
    {"presence_penalty": 0.1, "frequency_penalty": 0.2},
    {"safety_settings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]},
]


@pytest.fixture
def fake(monkeypatch):
    """The API on this machine."""
    with Gemini(time.time) as made:
        monkeypatch.setenv("GEMINI_API_BASE", made.url)
        yield made


@pytest.fixture(params=[True, False], ids=["by file", "inline"])
def by_file(request, fake):
    """Both ways of sending requests."""
    fake.has_files = request.param
    return request.param


@pytest.fixture
def harness(tmp_path):
    """A ledger, a clock, and the API; at the end the key must be nowhere on the disk."""
    yield from make("gemini", tmp_path)


def frame():
    """Four rows."""
    return pd.DataFrame({"t": list("abcd")}, index=list("wxyz"))


def call(fake, **more):
    """The arguments of a submission to the fake."""
    return {"model": MODEL, "api_base": fake.url, "api_key": fake.key, **more}


def requests_of(fake):
    """The requests of the one batch, as they came."""
    return [one["request"] for one in fake.only.requests.values()]


@pytest.mark.parametrize("params", PARAMS, ids=lambda params: "-".join(params) or "none")
def test_the_body_is_what_litellm_sends(params, fake, home):
    """Rule 10: the request of a row is the one that litellm sends in real time, with system text and picture."""
    seen = []
    fake.answer = lambda request, text: seen.append(request) or response(text)
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    message = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [picture, {"type": "text", "text": "a"}]},
    ]
    load_litellm().completion(
        model=MODEL,
        messages=json.loads(json.dumps(message)),
        api_base=f"{fake.url}/v1beta",
        api_key=fake.key,
        max_retries=0,
        **params,
    )
    given = {key: value for key, value in params.items() if key != "safety_settings"}
    extra = {key: value for key, value in params.items() if key not in given}
    job = frame()[:1].llm.batch(
        lambda row: message, out="out", **call(fake, **given), extra_body=extra or None
    )
    wait_for(lambda: fake.batches, job)
    assert requests_of(fake) == seen
    fake.end()
    assert job.wait(60).is_successful


def test_a_parameter_that_it_does_not_have(fake, home):
    """Refused before anything is sent, with the way to insist."""
    with pytest.raises(OptionError, match=r"logit_bias.*extra_body="):
        frame().llm.batch("{t}", **call(fake, logit_bias={"1": 2}))
    assert not fake.asked


def test_the_whole_way_with_a_schema(fake, home, by_file):
    """A failed row has its reason, typed columns are filled; run again nothing is sent; `retry` sends the one row."""
    fake.answer = lambda request, text: response(json.dumps({"label": text}))
    df = frame()
    options = call(fake, system="Be loud", schema={"label": str}, max_tokens=50)
    job = df.llm.batch("{t}", **options)
    wait_for(lambda: fake.batches, job)
    (first,) = requests_of(fake)[:1]
    assert first["generationConfig"]["response_mime_type"] == "application/json"
    assert first["generationConfig"]["max_output_tokens"] == 50
    assert (fake.asked["start"], fake.asked["upload"]) == ((1, 1) if by_file else (1, 0))
    fake.end(failed=1)
    job.wait(60)
    assert df["label"].tolist()[:3] == list("ABC")
    assert job.errors["_error"].tolist() == ["INTERNAL: the model fell over"]
    assert df.llm.batch("{t}", **options) is job
    fake.batches.clear()
    again = job.retry()
    wait_for(lambda: fake.batches, again)
    assert len(fake.only.requests) == 1
    fake.end()
    assert again.wait(60).is_successful
    assert df["label"].tolist() == list("ABCD")
    assert (fake.asked["create"], fake.asked["list"]) == (2, 0)


def test_tools_and_their_next_round(fake, home):
    """A tool call comes back as one, its result goes out in a second batch, with the call as it came."""
    asked = []

    def answer(request, text):
        asked.append(request)
        if len(request["contents"]) > 1:
            return response("sunny")
        called = response("")
        called["candidates"][0]["content"]["parts"] = [
            {"functionCall": {"name": "look", "args": {"city": "Rome"}}, "thoughtSignature": "sig"}
        ]
        return called

    def ended(verb, _, message):
        if verb == "create":
            for batch in fake.batches.values():
                batch.answers, batch.ending = dict.fromkeys(batch.requests, ""), "completed"
        return message

    fake.answer, fake.spoil = answer, ended
    df = frame()[:1]
    job = df.llm.batch("{t}", out="out", tools=[TOOL], **call(fake)).wait(60)
    assert job.run_tools({"look": lambda city: f"{city}: 20 C"}).is_successful
    assert df["out"].tolist() == ["sunny"]
    contents = asked[-1]["contents"]
    assert contents[1]["parts"][0]["thoughtSignature"] == "sig"
    message = contents[2]["parts"][0]["functionResponse"]
    assert (message["name"], message["response"]) == ("look", {"output": "Rome: 20 C"})
    assert fake.asked["create"] == 2


def test_vectors(fake, home, by_file):
    """embed: requests as litellm makes them, vectors on their rows, tokens and their price of a batch."""
    df = pd.DataFrame({"t": ["a", "bb", "ccc", "dddd"]})
    model = "gemini/gemini-embedding-001"
    job = df.llm.embed("t", out="v", dimensions=3, **call(fake, model=model))
    wait_for(lambda: fake.batches, job)
    assert requests_of(fake)[0] == {
        "model": "models/gemini-embedding-001",
        "content": {"parts": [{"text": "a"}]},
        "outputDimensionality": 3,
    }
    fake.end(failed=1)
    job.wait(60)
    assert [list(vector) for vector in df["v"][:3]] == [[n, 0.25, 0.25] for n in (1.0, 2.0, 3.0)]
    assert job.errors["_error"].tolist() == ["INTERNAL: the model fell over"]
    assert job.usage.input_tokens == 9
    assert job.cost == pytest.approx(9 * 7.5e-8)
    assert fake.log[-1][0] == ("fetch" if by_file else "poll")


def test_the_rest_at_once(fake, home):
    """finish(): open rows are asked in real time at the same address; vectors, too."""
    df = frame()
    job = df.llm.batch("{t}", out="out", **call(fake))
    wait_for(lambda: job.batches, job)
    job.finish()
    wait_for(lambda: df.get("out") is not None and df["out"].notna().all(), job)
    assert df["out"].tolist() == list("ABCD")
    job = df.llm.embed("t", out="v", **call(fake, model="gemini/gemini-embedding-001"))
    wait_for(lambda: job.batches, job)
    job.finish()
    wait_for(lambda: df.get("v") is not None and df["v"].notna().all(), job)
    assert [vector[0] for vector in df["v"]] == [1.0] * 4


def test_the_flex_tier(fake, home):
    """ServiceTier is sent; a 503 waits; rows cost what the tier in the header costs, thinking too."""
    asked = []

    def answer(request, text):
        asked.append(request)
        return response(text, thoughtsTokenCount=7, totalTokenCount=12)

    def tier(verb, path, answer):
        if verb == "ask" and len(asked) % 3 == 1:
            return Fault(503, message="The model is overloaded.")
        answer.headers["x-gemini-service-tier"] = "flex" if b"A" in answer.body else "standard"
        return answer

    fake.answer, fake.spoil = answer, tier
    df = frame()[:2]
    job = df.llm.batch("{t}", out="out", mode="flex", concurrency=1, **call(fake)).wait(60)
    assert job.is_successful
    assert df["out"].tolist() == ["A", "B"]
    assert {request["serviceTier"] for request in asked} == {"flex"}
    assert len(asked) == 3
    flex = 3 * 1.5e-7 + 9 * 1.25e-6
    assert job.results()["_cost"].tolist() == pytest.approx([flex, 2 * flex])


def test_the_key_is_a_header_for_this_address_alone(fake, home, by_file, monkeypatch):
    """x-goog-api-key, by no other way; not with the bytes of an upload; not for an unknown address."""
    monkeypatch.delenv("GEMINI_API_BASE")
    monkeypatch.setenv("GOOGLE_API_KEY", fake.key)
    df = frame()
    job = df.llm.batch("{t}", out="out", model=MODEL, api_base=f"{fake.url}/v1beta/")
    wait_for(lambda: fake.batches, job)
    fake.end()
    assert job.wait(60).is_successful
    for path, headers in fake.heads:
        assert not any("uthorization" in name for name in headers)
        assert (headers.get("x-goog-api-key") == fake.key) == (path != "/upload/v1beta/resumable")
    assert_nowhere(fake.key, home)


def test_an_upload_goes_to_the_address_that_was_given(fake, home):
    """The answer names another host to upload to: the rows do not follow it."""
    fake.host = "https://elsewhere.invalid"
    job = frame().llm.batch("{t}", out="out", **call(fake))
    wait_for(lambda: fake.batches, job)
    assert fake.asked["upload"] == 1
    fake.end()
    assert job.wait(60).is_successful


def test_a_wrong_key_pauses(fake, home):
    """Google's 400 with a reason: the job waits for a key, and no row fails."""
    job = frame().llm.batch("{t}", out="out", **call(fake, api_key="AIza-wrong-key-0123456789"))
    wait_for(lambda: job.blocked == "key", job)
    assert "API key not valid" in str(job.snapshot())
    job.resume(api_key=fake.key)
    wait_for(lambda: fake.batches, job)
    fake.end()
    assert job.wait(60).is_successful


def test_requests_that_are_too_large_to_go_inline(fake, home, monkeypatch):
    """An address without the Files API: reported, and nothing is sent."""
    monkeypatch.setattr(batches, "INLINE_BYTES", 10)
    fake.has_files = False
    job = frame().llm.batch("{t}", out="out", **call(fake))
    wait_for(lambda: fake.asked["start"], job)
    assert not fake.batches


def test_a_model_that_it_does_not_have(fake, home):
    """A 404 that names the model is no file that is missing: each row has the reason at once."""
    job = frame().llm.batch("{t}", out="out", **call(fake, model="gemini/gemini-none")).wait(60)
    assert job.state == "failed"
    assert job.errors["_error"].str.contains("models/gemini-none is not found").all()
    assert fake.asked["create"] == 1


# --- through the engine ------------------------------------------------------------------------------------------


def test_a_create_whose_answer_was_lost_inline(harness):
    """The batch exists, and the connection broke: found by its display name, and paid once."""
    harness.fake.has_files = False
    harness.fake.faults["create"] = [Fault(after=True)]
    job = harness.plan()

    async def way():
        await harness.step()
        assert harness.shard(job).step is Step.SUBMITTING
        assert harness.shard(job).create_sent
        await harness.step(60)
        assert harness.shard(job).batch_id == harness.fake.only.id
        harness.fake.end()
        await harness.to_the_end(job)

    harness.play(way())
    assert harness.fake.asked["create"] == 1
    assert harness.fake.asked["upload"] == 0
    assert harness.outcomes(job).answers == ["A", "B", "C", "D"]


def test_another_process_finds_it(harness):
    """Killed between create and answer: the next process sends nothing."""
    harness.fake.faults["create"] = [Fault(after=True)]
    job = harness.plan()

    async def way():
        await harness.step()
        other = harness.another_process()
        await harness.step(200, worker=other)
        await harness.step(200, worker=other)
        harness.fake.end()
        await harness.step(400, worker=other)
        await harness.step(400, worker=other)
        await other._close()

    harness.play(way())
    assert len(harness.fake.batches) == harness.fake.asked["create"] == 1
    assert harness.outcomes(job).answers == ["A", "B", "C", "D"]


@pytest.mark.parametrize("states", [["PROCESSING", "PROCESSING", "PROCESSING"], ["FAILED"]])
def test_a_file_that_is_not_ready(harness, states):
    """PROCESSING: the same file is asked for until it is; FAILED: it is uploaded again. No create before that."""
    harness.fake.file_states = list(states)
    job = harness.plan()

    async def way():
        await harness.step()
        assert harness.fake.asked["create"] == 0
        for _ in range(12):
            await harness.step(200)
        harness.fake.end()
        await harness.to_the_end(job)

    harness.play(way())
    assert harness.fake.asked["create"] == 1
    assert harness.outcomes(job).answers == ["A", "B", "C", "D"]


def test_a_file_that_was_deleted(harness):
    """A full queue for three days, and Google deleted the file after two: a 403, and it is uploaded again."""
    full = "Enqueued tokens limit exceeded"
    harness.fake.faults["create"] = [Fault(429, message=full)] * 2
    job = harness.plan()

    async def way():
        await harness.step()
        harness.fake.files.clear()
        for _ in range(6):
            await harness.step(3600 * 24)
        harness.fake.end()
        await harness.to_the_end(job)

    harness.play(way())
    assert harness.fake.asked["upload"] == 2
    assert len(harness.fake.batches) == 1
    assert harness.outcomes(job).answers == ["A", "B", "C", "D"]


ODD = {
    "the SDK's words": ({"state": "JOB_STATE_RUNNING"}, {}),
    "an unknown state": ({"state": "BATCH_STATE_RESTING"}, {}),
    "no state": ({"state": None, "batchStats": None, "output": 7}, {}),
    "no metadata": (None, {}),
}


@pytest.mark.parametrize("name", list(ODD))
def test_odd_answers_do_not_end_a_job(harness, name):
    """States of either prefix, unknown ones, none: asked again."""
    job = harness.plan()
    document = harness.fake._document
    changed, more = ODD[name]

    def odd(batch):
        seen = document(batch)
        held = None if changed is None else {**seen["metadata"], **changed}
        return {**seen, **more, "metadata": held}

    async def way():
        await harness.step()
        harness.fake._document = odd
        for _ in range(2):
            await harness.step(400)
            assert harness.shard(job).step is Step.RUNNING
        harness.fake._document = document
        harness.fake.end()
        await harness.to_the_end(job)

    harness.play(way())
    assert harness.outcomes(job).answers == ["A", "B", "C", "D"]


@pytest.mark.parametrize(
    ("code", "state"), [(1, State.CANCELLED), (4, State.EXPIRED), (13, State.FAILED)]
)
def test_an_operation_that_is_done_without_a_state(harness, code, state):
    """The kind of its error says how it ended."""
    job = harness.plan()
    document = harness.fake._document

    async def way():
        await harness.step()
        harness.fake.only.ending = "failed"
        harness.fake._document = lambda batch: {
            **document(batch),
            "metadata": {**document(batch)["metadata"], "state": None},
            "error": {"code": code, "message": "as the test wanted"},
        }
        await harness.to_the_end(job)

    harness.play(way())
    assert harness.snapshot(job).state is state


def test_a_row_that_was_cancelled(harness):
    """google.rpc.Status 1 in a row is a cancelled row, whose reason has its name."""
    job = harness.plan()

    async def way():
        await harness.step()
        batch = harness.fake.end("cancelled", answered=2, failed=2)
        rows = harness.fake._rows
        harness.fake._rows = lambda _: [
            (key, {"error": {"code": 1, "message": "The operation was cancelled."}})
            if "error" in reported
            else (key, reported)
            for key, reported in rows(batch)
        ]
        await harness.to_the_end(job)

    harness.play(way())
    answers, statuses, reasons, _ = harness.outcome(job)
    assert answers == ["A", "B", None, None]
    assert statuses == ["succeeded", "succeeded", "cancelled", "cancelled"]
    assert reasons[2] == "CANCELLED: The operation was cancelled."


# --- answers and their price ------------------------------------------------------------------------------------


def test_how_answers_end_and_what_they_cost(fake, home):
    """Blocked, cut off, thought: each row has its reason or mark; thinking and cached tokens have their price."""
    cut = response("half an", "MAX_TOKENS")
    blocked = {
        "promptFeedback": {"blockReason": "SAFETY"},
        "usageMetadata": {"promptTokenCount": 3},
    }
    held = response("", "SAFETY")
    thought = response("well", thoughtsTokenCount=7, totalTokenCount=12, cachedContentTokenCount=2)
    thought["candidates"][0]["content"]["parts"].insert(0, {"text": "hm", "thought": True})
    reported = {"A": cut, "B": blocked, "C": held, "D": thought}
    fake.answer = lambda request, text: reported[text]
    df = frame()
    job = df.llm.batch("{t}", out="out", keep=["reasoning"], **call(fake))
    wait_for(lambda: fake.batches, job)
    fake.end()
    job.wait(60)
    assert df["out"].iloc[[0, 3]].tolist() == ["half an", "well"]
    assert df["out_reasoning"].iloc[3] == "hm"
    shown = job.results()
    assert shown["_finish"].tolist() == ["length", "content_filter", "content_filter", "stop"]
    assert job.errors["_error"].str.startswith("content_filter").all()
    assert (job.usage.reasoning_tokens, job.usage.cached_tokens) == (7, 2)
    assert shown["_cost"].iloc[3] == pytest.approx(1 * 1.5e-7 + 2 * 3e-8 + 9 * 1.25e-6)


def test_what_a_preview_says(fake, home):
    """Half of the real-time price, from litellm's keys, with answers as long as max_tokens; nothing is sent."""
    seen = frame().llm.preview("{t}", out="out", max_tokens=10, **call(fake))
    assert (seen.unlimited, seen.output.high) == (False, 4 * 10)
    assert seen.cost.high == pytest.approx(seen.realtime.high / 2)
    assert not fake.asked


def test_a_lost_ledger_is_no_loss(fake, home, by_file):
    """Two batches without a ledger are found by their display names, with column and model; nothing is sent."""
    df = pd.DataFrame({"t": list("abcde")})
    job = df.llm.batch("{t}", out="loud", shard_size=3, **call(fake)).id
    wait_for(lambda: len(fake.batches) == 2, jobs.open_job(job))
    wait_for(lambda: len(jobs.open_job(job).batches) == 2, jobs.open_job(job))
    lose(home)
    there = {"provider": "gemini", "api_key": fake.key}
    found = jobs.orphans(**there)
    assert {(one.job, one.number, one.shards, one.rows) for one in found} == {
        (job, 0, 2, 5),
        (job, 1, 2, 5),
    }
    jobs.adopt(job, **there).follow()
    for batch in fake.batches.values():
        batch.answers = {
            key: body["messages"][-1]["content"].upper() for key, body in batch.requests.items()
        }
        batch.ending = "completed"
    adopted = jobs.open_job(job).wait(60)
    assert adopted.is_successful
    assert adopted._record().model == MODEL
    assert adopted.results()["loud"].tolist() == list("ABCDE")
    again = df[["t"]].copy()
    again.llm.attach(adopted, by_position=True)
    assert again["loud"].tolist() == list("ABCDE")
    assert fake.asked["create"] == 2


# --- recorded payloads --------------------------------------------------------------------------------------------

RECORDED = json.loads((Path(__file__).parents[1] / "payloads" / "gemini.json").read_text())


@pytest.mark.parametrize("one", RECORDED["operations"], ids=lambda one: one["origin"][:30])
def test_operations_as_google_sent_them(one):
    """Counts that are texts, times with nanoseconds, a display name of other software."""
    view = gemini_api.read_operation(json.dumps(one["line"]).encode())
    assert [
        view.status,
        view.ending,
        view.input_file_id,
        view.total,
        view.completed,
        view.failed,
        pytest.approx(view.created_at),
    ] == one["expected"]
    assert (view.tag, view.endpoint) == ({}, CHAT)


@pytest.mark.parametrize("one", RECORDED["lines"], ids=lambda one: one["line"]["key"])
def test_lines_as_google_sent_them(one):
    """A line of a responses file, whatever the order of its fields."""
    for line in (one["line"], dict(reversed(one["line"].items()))):
        (result,) = gemini_api.decode_lines(gemini_api.slim(json.dumps(line).encode()), CHAT)
        assert [
            result.custom_id,
            result.value,
            result.usage.input_tokens,
            result.usage.output_tokens,
        ] == one["expected"]


@pytest.mark.parametrize("held", ["error", "status"])
def test_a_rows_error_under_either_name(held):
    """The guide calls it a status object, the reference an error."""
    line = {"key": "j-0", held: {"code": 3, "message": "bad"}}
    (result,) = gemini_api.decode_lines(gemini_api.slim(json.dumps(line).encode()), CHAT)
    assert (result.custom_id, result.error) == ("j-0", "INVALID_ARGUMENT: bad")
    assert result.unbilled
