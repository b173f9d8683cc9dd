"""This package's own jobs for `anthropic/...` models, against the embedded server as their `api_base`."""

from __future__ import annotations

import pandas as pd
import pytest
from server_asking import until

import jupyter_batch  # noqa: F401 - the accessor

SCHEMA = {
    "type": "object",
    "properties": {"mood": {"enum": ["good", "bad"]}},
    "required": ["mood"],
    "additionalProperties": False,
}
BASES = ("", "/v1", "/v1/", "/v1/messages")


def rows():
    """Three rows."""
    return pd.DataFrame({"text": ["a good day", "a bad day", "such a good thing"]})


def place(server, tail="/v1"):
    """Where a call goes, and with which key."""
    return {
        "model": "anthropic/echo",
        "api_base": server.base_url.removesuffix("/v1") + tail,
        "api_key": server.token,
    }


@pytest.mark.parametrize("tail", BASES)
def test_a_batch_of_a_frame(server, tail):
    """`df.llm.batch` with an `anthropic/...` model completes a Message Batch here, whatever form the address has."""
    df = rows()
    job = df.llm.batch(
        "Say: {text}", out="said", system="Repeat.", max_tokens=50, **place(server, tail)
    ).wait(60)
    assert job.is_successful, job
    assert df["said"].tolist() == [f"Say: {text}" for text in df["text"]]
    routes = server.stats()["routes"]
    assert routes["POST /v1/messages/batches"]["took_effect"] == 1
    assert "POST /v1/messages" not in routes


@pytest.mark.parametrize("tail", BASES)
def test_the_same_in_real_time(server, tail):
    """`mode="realtime"` takes an address in every form that a batch takes (`/v1` became `/v1/v1/messages`)."""
    df = rows()
    job = df.llm.batch("{text}", out="said", mode="realtime", **place(server, tail)).wait(60)
    assert job.is_successful, job.errors
    assert df["said"].tolist() == df["text"].tolist()
    assert server.stats()["routes"]["POST /v1/messages"]["took_effect"] == 3


def test_a_schema_and_an_error_row(server):
    """A schema's fields become columns; a row that the server refuses has its reason, the others their answers."""
    df = rows()
    job = df.llm.batch("{text}", schema=SCHEMA, **place(server)).wait(60)
    assert job.is_successful, job.errors
    assert df["mood"].tolist() == ["good", "bad", "good"]
    df = pd.DataFrame({"text": [f"text {i}" for i in range(60)]})
    server.set_faults("row_errors=0.5")
    failed = df.llm.batch("{text}", out="said", **place(server)).wait(60)
    server.set_faults("")
    assert 0 < failed.counts.failed < 60
    assert failed.retry().wait(60).is_successful
    assert df["said"].tolist() == df["text"].tolist()


def test_cancel_keeps_what_was_answered(started):
    """A job whose batch is canceled ends; answers that came before are kept, the other rows have their reason."""
    server = started(pace=30).server
    df = pd.DataFrame({"text": [f"text {i}" for i in range(200)]})
    job = df.llm.batch("{text}", out="said", **place(server))
    until(lambda: "POST /v1/messages/batches" in server.stats()["routes"])
    job.cancel()
    job.wait(60)
    assert job.state == "cancelled"
    assert job.counts.succeeded == df["said"].notna().sum() < 200
    assert len(job.errors) == 200 - job.counts.succeeded
