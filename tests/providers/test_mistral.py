"""Mistral's own ways: bare lines, a model for the job, hours for a window, states in capitals."""

from __future__ import annotations

import msgspec
import pytest

from jupyter_batch.core.errors import BadRequestError
from jupyter_batch.core.status import State
from jupyter_batch.providers.cloud_file import bare
from jupyter_batch.providers.mistral.batches import PAGE, read_job
from jupyter_batch.providers.record import RECORDS
from jupyter_batch.providers.windows import hours_of
from tests.providers.conftest import make
from tests.providers.fakes.host import Batch


@pytest.fixture
def mistral(tmp_path):
    """A harness for Mistral."""
    yield from make("mistral", tmp_path)


def test_lines_are_bare():
    """Method, url and model are gone; every other byte of a body stays, in its order."""
    line = (
        '{"custom_id":"j-0","method":"POST","url":"/v1/chat/completions","body":{"model":"m","messages":'
        '[{"role":"user","content":"é \\n 1.10"}],"temperature":1e-1}}\n'.encode()
    )
    assert bare(line).decode() == (
        '{"custom_id":"j-0","body":{"messages":[{"role":"user","content":"é \\n 1.10"}'
        '],"temperature":1e-1}}\n'
    )


@pytest.mark.parametrize(
    ("window", "hours"), [("24h", 24), ("1h", 1), ("7d", 168), ("168h", 168), ("2d", 48)]
)
def test_windows(window, hours):
    """Hours or days become hours."""
    assert hours_of(window, RECORDS["mistral"]) == hours


@pytest.mark.parametrize("window", ["", "24", "8d", "169h", "0h", "-1h", "1w", "24 h", "1.5d"])
def test_windows_that_it_does_not_take(window):
    """Anything else is refused by us, with what it takes."""
    with pytest.raises(BadRequestError, match="1h to 7d"):
        hours_of(window, RECORDS["mistral"])


def test_the_order_holds_model_window_and_tag(mistral):
    """The job is created with its model, its hours and our tag; when it runs out is known from then on."""
    job = mistral.plan(completion_window="2d", metadata={"team": "nlp"})

    async def way():
        await mistral.step()
        order = mistral.fake.only.order
        assert order == {
            "input_files": [mistral.fake.only.file],
            "endpoint": "/v1/chat/completions",
            "model": "the-model",
            "timeout_hours": 48,
            "metadata": {
                "team": "nlp",
                "jupyter_batch": f"{job}/0",
                "jupyter_batch_of": "1/4/0-3",
                "jupyter_batch_out": "out",
                "jupyter_batch_model": "mistral/the-model",
            },
        }
        assert mistral.shard(job).expires_at == int(mistral.fake.only.created) + 48 * 3600
        await mistral.step(10)
        assert mistral.shard(job).expires_at is not None, "a poll does not forget it"

    mistral.play(way())


def test_a_bad_window_sends_nothing(mistral):
    """A window that Mistral does not take ends the job with its reason before anything goes out."""
    job = mistral.plan(completion_window="30d")
    mistral.play(mistral.to_the_end(job))
    assert mistral.snapshot(job).state is State.FAILED
    assert mistral.fake.asked == {}
    assert all("7d" in reason for reason in mistral.outcomes(job).reasons.values())


@pytest.mark.parametrize(
    ("state", "ending"),
    [
        ("QUEUED", None),
        ("RUNNING", None),
        ("SUCCESS", State.COMPLETED),
        ("FAILED", State.FAILED),
        ("TIMEOUT_EXCEEDED", State.EXPIRED),
        ("CANCELLATION_REQUESTED", None),
        ("CANCELLED", State.CANCELLED),
        ("SCHEDULED", None),
        (None, None),
    ],
)
def test_states(state, ending):
    """Each documented state, and an unknown one, which counts as open."""
    assert read_job({"id": "x", "status": state}).ending is ending


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"id": None},
        {"errors": None, "input_files": None, "metadata": None},
        {"errors": ["text", {"count": None}], "total_requests": None, "created_at": "soon"},
    ],
)
def test_odd_jobs_are_open(odd):
    """Fields that are missing, null or of another type break nothing."""
    assert read_job(odd).ending is None


def test_errors_are_counted():
    """A reason that many lines share is given once, with their number."""
    view = read_job(
        {"id": "x", "status": "FAILED", "errors": [{"message": "bad line", "count": 1200}]}
    )
    assert view.errors == "bad line (1,200 times)"


def test_the_list_is_read_until_it_is_older(mistral):
    """Jobs older than ours end the search, page by page; the tag is found behind a hundred newer ones."""
    job = mistral.plan()

    async def way():
        await mistral.step()
        ours = mistral.fake.only
        for n in range(PAGE):
            mistral.fake.batches[f"new-{n}"] = Batch(
                f"new-{n}", "f", {}, None, ours.created + 10 + n, ours.order
            )
        for n in range(2 * PAGE):
            mistral.fake.batches[f"old-{n}"] = Batch(
                f"old-{n}", "f", {}, None, ours.created - 99999 - n, ours.order
            )
        found = await mistral.provider().find(
            {"jupyter_batch": f"{job}/0"}, since=mistral.now - 3600
        )
        assert [view.id for view in found] == [ours.id]
        assert mistral.fake.asked["list"] == 3

    mistral.play(way())


def test_the_request_file_on_our_disk_stays_whole(mistral):
    """The upload is a copy: our own request file still names the model and the url."""
    job = mistral.plan()
    mistral.play(mistral.step())
    kept = mistral.ledger.folders.of(job).requests(0).read_bytes().splitlines()
    assert msgspec.json.decode(kept[0])["url"] == "/v1/chat/completions"
