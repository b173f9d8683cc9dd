"""xAI's own ways: a name for a tag, dates for times, counters for a status, pages for a file."""

from __future__ import annotations

import msgspec
import pytest

from jupyter_batch.core.errors import ConnectionFailedError
from jupyter_batch.core.request import Status
from jupyter_batch.core.status import State
from jupyter_batch.http.litellm import load_litellm
from jupyter_batch.providers.xai.batches import CANCEL_SECONDS, line_of
from jupyter_batch.wire.openai import decode
from tests.providers.conftest import make
from tests.providers.fakes.host import Batch, completion

CHAT = "/v1/chat/completions"


@pytest.fixture
def xai(tmp_path):
    """A harness for xAI."""
    yield from make("xai", tmp_path)


def result_of(result):
    """Our reading of one of its results."""
    return decode(line_of(msgspec.Raw(msgspec.json.encode(result))), CHAT)


def test_results_are_translated_as_litellm_does():
    """Answers and errors: the same custom_id, body, code and message as litellm's own translation gives."""
    load_litellm()
    transformation = pytest.importorskip("litellm.llms.xai.batches.transformation")
    results = [
        {
            "batch_request_id": "j-0",
            "batch_result": {"response": {"chat_get_completion": completion("é\n1")}},
        },
        {
            "batch_request_id": "j-1",
            "batch_result": {"response": {"responses": {"id": "r", "output": []}}},
        },
        {
            "batch_request_id": "j-2",
            "batch_result": {"error": {"code": 3, "message": "Invalid argument"}},
        },
        {"batch_request_id": "j-3", "batch_result": {"error": {"message": "no code"}}},
    ]
    theirs = transformation.results_to_openai_jsonl(
        tuple(transformation.XAIBatchResult.model_validate(result) for result in results)
    ).splitlines()
    for result, line in zip(results, map(msgspec.json.decode, theirs), strict=True):
        ours = msgspec.json.decode(line_of(msgspec.Raw(msgspec.json.encode(result))))
        assert ours["custom_id"] == line["custom_id"]
        assert ours["error"] == line["error"]
        assert (ours["response"] or {}).get("body") == (line["response"] or {}).get("body")


def test_code_zero_is_no_error():
    """A gRPC OK next to an answer: the answer counts."""
    answer = result_of(
        {
            "batch_request_id": "j-0",
            "error_message": None,
            "batch_result": {
                "response": {"chat_get_completion": completion("yes")},
                "error": {"code": 0, "message": ""},
            },
        }
    )
    assert (answer.custom_id, answer.value) == ("j-0", "yes")


def test_a_reason_at_the_top_is_reported():
    """`error_message`, which litellm leaves out, is the row's reason."""
    assert "blocked" in str(
        result_of({"batch_request_id": "j-0", "error_message": "blocked"}).error
    )


def test_a_cancelled_request_is_cancelled():
    """The code of gRPC's CANCELLED on a row is no failure of the model."""
    row = result_of(
        {"batch_request_id": "j-0", "batch_result": {"error": {"code": 1, "message": "cancelled"}}}
    )
    assert row.status is Status.CANCELLED


@pytest.mark.parametrize(
    "odd",
    [
        {"batch_request_id": "j-0", "batch_result": {"response": "text"}},
        {"batch_request_id": "j-0", "batch_result": 7},
        {"batch_request_id": "j-0"},
        {"batch_request_id": "j-0", "batch_result": {"response": {}, "error": None}},
    ],
)
def test_an_odd_result_is_one_failed_row(odd):
    """An unknown shape costs its own row alone, and is reported."""
    row = result_of(odd)
    assert (row.custom_id, row.status) == ("j-0", Status.FAILED)
    assert row.error


@pytest.mark.parametrize("odd", [{}, [], None, 7, {"batch_request_id": 3}])
def test_a_result_without_its_id_is_nobodys(odd):
    """It can't be matched to a row, and breaks nothing."""
    assert result_of(odd).status is Status.FAILED


def test_pretty_printed_answers_stay_on_one_line():
    """A body with line breaks between its fields is one line of the file."""
    line = line_of(
        msgspec.Raw(
            b'{"batch_request_id": "j-0", "batch_result": {"response":\n {"chat_get_completion": '
            b'{\n "choices": [\n]}}}}'
        )
    )
    assert line.count(b"\n") == 1


def test_a_cancel_waits_for_what_is_on_its_way(xai):
    """Cancelled with a request still pending: it is waited for, but not for ever; then the results are fetched."""
    job = xai.plan()

    async def way():
        await xai.step()
        xai.fake.pending = 1
        xai.fake.end("cancelled", answered=2)
        await xai.step(10)
        view = await xai.worker._providers[job].poll(xai.fake.only.id)
        assert (view.ending, view.status) == (None, "cancelling")
        await xai.step(10)
        assert xai.fake.asked["fetch"] == 0
        xai.now += CANCEL_SECONDS
        await xai.to_the_end(job)

    xai.play(way())
    assert xai.outcomes(job).answers == ["A", "B", None, None]
    assert xai.snapshot(job).state is State.CANCELLED


def test_the_name_is_the_tag(xai):
    """Its name says which job's shard a batch is; one with a name of its own carries no tag."""
    job = xai.plan()

    async def way():
        await xai.step()
        assert xai.fake.only.named == f"jupyter_batch {job}/0 1/4/0-3 {xai.fake.only.file}"
        xai.fake.batches["batch_other"] = Batch("batch_other", "f", {"a": {}}, "nightly", xai.now)
        views = await xai.provider().find({}, since=0)
        assert [view.tag for view in views] == [
            {"jupyter_batch": f"{job}/0", "jupyter_batch_of": "1/4/0-3"},
            {},
        ]

    xai.play(way())


def test_pages_that_never_end_are_left(xai, monkeypatch):
    """A page that names itself as the next is an error that may pass, not a loop that fills the disk."""
    xai.plan()

    async def way():
        await xai.step()
        xai.fake.end()
        provider = xai.provider()

        async def again(*_, **__):
            return b'{"results": [], "pagination_token": "1"}'

        monkeypatch.setattr(provider, "_ask", again)
        with pytest.raises(ConnectionFailedError, match="circle"):
            await provider.fetch(xai.fake.only.id, lambda _: None)

    xai.play(way())


@pytest.mark.parametrize("state", [None, {}, {"num_requests": None}, "?"])
def test_a_state_that_says_nothing_is_open(xai, state):
    """No counters yet: the batch is open, whatever stands there."""
    view = xai.provider()._view(
        {"batch_id": "b", "state": state, "create_time": None, "name": None}
    )
    assert (view.ending, view.status, view.output_file_id) == (None, "validating", None)
