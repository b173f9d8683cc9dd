"""A person's job with a model that speaks /v1/responses: in a batch and in real time, as with any other model."""

from __future__ import annotations

import pandas as pd
import pytest

from jupyter_batch.core.errors import OptionError
from jupyter_batch.wire.responses import Translation
from tests.ledgers import forget

LABELS = {
    "type": "json_schema",
    "json_schema": {
        "name": "x",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"label": {"type": "string", "enum": ["good", "bad"]}},
            "required": ["label"],
            "additionalProperties": False,
        },
    },
}


def frame():
    """Rows with an odd text, a missing one and an empty one."""
    return pd.DataFrame({"t": ["I love it", None, 'awful "100%"', ""]}, index=list("wxyz"))


@pytest.mark.parametrize("mode", ["batch", "realtime"])
def test_a_model_that_speaks_responses_alone_is_asked_there(mode, any_model, server, home):
    """The column is there, with usage; all was asked at /v1/responses; run again after a restart, nothing leaves."""
    df = frame()
    call = {
        "out": "o",
        "model": "openai/o3-pro",
        "mode": mode,
        "system": "Choose one of: good, bad",
        "max_tokens": 100,
        **any_model,
    }
    job = df.llm.batch("{t}", **call).wait(60)
    assert job.is_successful, job
    assert df["o"].tolist()[::2] == ["good", "bad"]
    assert pd.isna(df["o"].iloc[1])
    assert job._record().endpoint == "/v1/responses"
    assert job.usage.input_tokens > 0
    assert job.results()["_input_tokens"].notna().sum() == 3
    asked = dict(server.stats()["routes"]["POST /v1/chat/completions"])
    forget(home)
    again = frame().llm.batch("{t}", **call).wait(60)
    assert again.id == job.id
    assert server.stats()["routes"]["POST /v1/chat/completions"] == asked


def test_the_local_model_by_its_prefix(home):
    """`local/responses/echo` goes through the embedded server's /v1/responses, with a schema too."""
    df = frame().dropna()
    job = df.llm.batch(
        "what a good day {t}", out="o", model="local/responses/echo", response_format=LABELS
    ).wait(60)
    assert job.is_successful, job.errors
    assert df["o"].iloc[0] == '{"label":"good"}'


def test_another_litellm_makes_no_other_job(call, home, server, monkeypatch):
    """Translations by litellm may change with its version: the same rows are the same job, and are not sent."""
    call = {**call, "out": "o", "model": "openai/responses/echo"}
    first = frame().llm.batch("{t}", **call).wait(60)
    body = Translation.body
    monkeypatch.setattr(Translation, "body", lambda *given: {**body(*given), "truncation": "auto"})
    forget(home)
    assert frame().llm.batch("{t}", **call).wait(60).id == first.id
    assert server.stats()["batches_created"] == 1


def test_another_endpoint_is_another_job(call, home, server):
    """The same rows asked at chat and at responses are two jobs: the model's id says which."""
    first = frame().llm.batch("{t}", out="o", **call).wait(60)
    again = frame().llm.batch("{t}", out="o", **{**call, "model": "openai/responses/echo"}).wait(60)
    assert first.id != again.id
    assert server.stats()["batches_created"] == 2


@pytest.mark.parametrize("mode", ["batch", "realtime"])
def test_failed_rows_are_sent_again_alone(mode, call, home, server):
    """Rows that the server failed have their reason, and `retry` fills them, in the same column."""
    df = pd.DataFrame({"t": [f"row {n}" for n in range(40)]})
    if mode == "batch":
        server.set_faults("row_errors=0.3,seed=3")
    job = df.llm.batch(
        "{t}", out="o", mode=mode, **{**call, "model": "openai/responses/echo"}
    ).wait(60)
    server.set_faults("")
    missed = df["o"].isna()
    if mode == "batch":
        assert 0 < missed.sum() == job.counts.failed < 40
        assert job.errors["_error"].str.len().gt(5).all()
        job.retry().wait(60)
    assert (df["o"] == df["t"]).all()


def test_a_parameter_without_a_place_is_refused(any_model, server, home):
    """Before anything is kept or sent: `stop`, which /v1/responses does not have."""
    with pytest.raises(OptionError, match="stop"):
        frame().llm.batch("{t}", model="openai/o3-pro", stop=["x"], **any_model)
    assert server.stats()["uploads"] == 0
