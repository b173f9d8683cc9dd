"""The parts of a job other than its answers: its files, and its state in a cell."""

from __future__ import annotations

import json

import httpx
import pytest

from jupyter_batch.core.errors import OptionError

from .conftest import numbered


def test_files_are_the_requests_and_what_came_as_it_came(server, call, home):
    """Of each batch the request file, and the provider's two files as far as it gave them, byte for byte."""
    server.set_faults("row_errors=0.5,seed=1")
    job = numbered(40).llm.batch("{text}", out="out", shard_size=25, **call).wait(60)
    names = [path.name for path in job.files]
    assert names == [
        "requests-0.jsonl",
        "output-0.jsonl",
        "errors-0.jsonl",
        "requests-1.jsonl",
        "output-1.jsonl",
        "errors-1.jsonl",
    ]
    lines = {
        kind: [
            json.loads(line)
            for path in job.files
            if path.name.startswith(kind)
            for line in path.read_bytes().splitlines()
        ]
        for kind in ("requests", "output", "errors")
    }
    assert {line["custom_id"] for line in lines["requests"]} == {
        line["custom_id"] for line in (*lines["output"], *lines["errors"])
    }
    assert len(lines["output"]) == job.counts.succeeded


def test_a_job_that_another_one_makes_needless_has_files_too(call, home):
    """Asked again, it is the same job; rows that others had answered are in their jobs' files."""
    job = numbered(3).llm.batch("{text}", out="out", **call).wait(60)
    more = numbered(4).llm.batch("{text}", out="out", **call).wait(60)
    assert [len(path.read_bytes().splitlines()) for path in job.files] == [3, 3]
    assert [len(path.read_bytes().splitlines()) for path in more.files] == [1, 1]


def test_a_state_is_shown_as_its_word(call, home):
    """`job.state` as the last line of a cell is 'completed', no enumeration's member; so is a row's status."""
    job = numbered(1).llm.batch("{text}", out="out", **call).wait(60)
    assert repr(job.state) == "'completed'"
    assert repr(job.results()["_status"].iloc[0]) == "'succeeded'"


@pytest.mark.parametrize("provider", ["openai", "deepinfra"])
def test_result_files_are_kept_as_long_as_asked(server, call, home, provider):
    """output_expires_after= is sent with the batch: its file and the job have the same last moment."""
    call["model"] = f"{provider}/echo"
    df = numbered(2)
    job = df.llm.batch("{text}", out="out", output_expires_after="2h", **call).wait(60)
    (batch,) = server.batches()
    file = httpx.get(
        f"{call['api_base']}/files/{batch['output_file_id']}",
        headers={"authorization": f"Bearer {call['api_key']}"},
    ).json()
    assert file["expires_at"] == file["created_at"] + 7200
    assert job.snapshot().keeps_until == pytest.approx(file["expires_at"], abs=5)
    assert df.llm.batch("{text}", out="out", output_expires_after="3h", **call) is job


@pytest.mark.parametrize(
    ("model", "life", "message"),
    [
        ("openai/echo", "59m", "OpenAI keeps result files from 1h to 30d, not for 3,540 seconds"),
        ("openai/echo", "31d", "from 1h to 30d"),
        ("groq/llama-3", "7d", "Groq is not known to keep result files for a time of your choice"),
    ],
)
def test_a_life_that_the_provider_has_not_is_refused(home, model, life, message):
    """Before anything is stored."""
    with pytest.raises(OptionError, match=message):
        numbered(1).llm.batch("{text}", model=model, api_key="k", output_expires_after=life)
    assert not home.exists()
