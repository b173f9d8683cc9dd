"""`df.llm.build`: the request files and what they are, on disk, nothing sent; and the Job that they become."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pandas as pd
import pytest

import jupyter_batch
from jupyter_batch import Artifacts, col
from jupyter_batch.core.errors import AlignmentError, ColumnError, InputError
from jupyter_batch.planning import request_lines
from tests.ledgers import forget

from .conftest import numbered


def frame():
    """Three rows, one of which has nothing to ask for."""
    return pd.DataFrame(
        {"text": ["good", None, "bad"], "most": [5, 6, 7], "other": [1, 2, 3]},
        index=["a", "a", "b"],
    )


def test_files_and_metadata_are_there_and_nothing_is_sent(server, call, home):
    """Lines as they will be uploaded, and a file that says when, where to, with what, and which row is which."""
    began = datetime.now(UTC)
    made = frame().llm.build(
        "{text}", out="out", temperature=0.5, max_tokens=col("most"), system="Be brief", **call
    )
    assert isinstance(made, Artifacts)
    (file,) = made.requests
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["custom_id"] for line in lines] == [f"{made.id}-0", f"{made.id}-2"]
    assert [line["body"]["max_tokens"] for line in lines] == [5, 7]
    data = json.loads(made.metadata.read_text())
    assert began <= datetime.fromisoformat(data["created_at"]) <= datetime.now(UTC)
    assert data["requests"] == [{"file": file.name, "requests": 2, "bytes": file.stat().st_size}]
    assert (data["endpoint"], data["model"], data["provider"]) == (
        "/v1/chat/completions",
        "openai/echo",
        "openai",
    )
    assert data["api_base"] == server.base_url
    assert data["parameters"] == {"temperature": 0.5, "max_tokens": {"column": "most"}}
    assert {"python", "jupyter_batch", "litellm", "pandas", "openai"} <= set(data["versions"])
    assert data["rows"] == [
        {"custom_id": f"{made.id}-0", "index": "a", "inputs": {"text": "good", "most": 5}},
        {
            "custom_id": None,
            "index": "a",
            "inputs": {"text": None, "most": 6},
            "reason": "no value in column 'text'",
        },
        {"custom_id": f"{made.id}-2", "index": "b", "inputs": {"text": "bad", "most": 7}},
    ]
    assert call["api_key"].encode() not in b"".join(
        path.read_bytes() for path in made.folder.iterdir()
    )
    assert made.metadata.stat().st_mode & 0o77 == 0
    assert server.stats()["batches_created"] == 0
    assert len(jupyter_batch.jobs()) == 0
    assert "2 requests in 1 file" in repr(made)


def test_submit_sends_these_files(server, call, home):
    """The job's uploaded lines are those of the files; its answers land in the frame; asked twice it is one job."""
    df = frame()
    made = df.llm.build("{text}", out="out", **call)
    lines = made.requests[0].read_bytes()
    job = made.submit().wait(60)
    assert job.id == made.id
    assert df["out"].fillna("-").tolist() == ["good", "-", "bad"]
    assert job._folder.requests(0).read_bytes() == lines
    assert made.submit() is job
    assert df.llm.batch("{text}", out="out", **call) is job, (
        "and the cell that asks the same finds it"
    )
    assert server.stats()["batches_created"] == 1


def test_another_day(server, call, home, tmp_path):
    """In a folder of one's own, opened again in another process: no frame and no prompt are needed to send it."""
    place = tmp_path / "mine"
    made = numbered(5).llm.build("{text}", folder=place, out="out", shard_size=2, **call)
    assert made.folder == place
    assert len(made.requests) == 3
    forget(home)
    again = Artifacts(place)
    job = again.submit(api_key=call["api_key"], wait=True, timeout=60)
    assert job.is_successful, job
    df = numbered(5)
    df.llm.attach(job)
    assert (df["out"] == df["text"]).all()


def test_what_was_answered_is_not_paid_again(server, call, home):
    """Between build and submit the same was asked by a cell, or some of it: only the rest is sent."""
    whole = numbered(6).llm.build("{text}", out="out", **call)
    same = numbered(6).llm.build("{text}", out="out", **call)
    numbered(4).llm.batch("{text}", out="out", **call).wait(60)
    job = whole.submit(wait=True, timeout=60)
    assert job.counts.reused == 4
    assert sum(batch["request_counts"]["total"] for batch in server.batches()) == 6
    assert same.submit().id == job.id
    assert server.stats()["batches_created"] == 2


def test_a_schema_and_a_signature(call, home):
    """Structured answers land in their columns."""
    df = pd.DataFrame({"text": ["I love it"]})
    df.llm.build("text -> label: Literal['good', 'bad']", **call).submit(wait=True, timeout=60)
    assert df["label"].tolist() == ["good"]


def test_several_models(call, home):
    """A list of models gives a list."""
    made = numbered(2).llm.build(
        "{text}", **{**call, "model": ["openai/echo", "openai/local/echo"]}
    )
    assert [len(one.requests) for one in made] == [1, 1]


def test_without_a_key(home, monkeypatch):
    """Nothing is sent, so that none is needed yet."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    made = numbered(2).llm.build("{text}", model="openai/gpt-4.1-mini")
    assert len(made.requests[0].read_text().splitlines()) == 2


def test_a_frame_that_changed(call, home):
    """The answers do not land on rows that are not those which were sent."""
    df = numbered(3)
    made = df.llm.build("{text}", out="out", **call)
    df["text"] = "other"
    job = made.submit(wait=True, timeout=60)
    assert job.is_successful
    assert "out" not in df
    with pytest.raises(AlignmentError):
        job.merge(df)


def test_what_is_refused(call, home, tmp_path):
    """A folder that holds something, one that is none of ours, a file that was changed, a column that is there."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(InputError, match="is there already, and not empty"):
        numbered(2).llm.build("{text}", folder=tmp_path / "full", **call)
    with pytest.raises(InputError, match="holds no requests that `build` made"):
        Artifacts(tmp_path / "full")
    with pytest.raises(ColumnError, match="overwrite=True"):
        numbered(2).assign(out=1).llm.build("{text}", out="out", **call)
    with pytest.raises(InputError, match="none of the 1 rows can be sent"):
        pd.DataFrame({"text": [None]}).llm.build("{text}", folder=tmp_path / "new", **call)
    assert not (tmp_path / "new").exists()
    made = numbered(2).llm.build("{text}", **call)
    made.requests[0].write_bytes(
        made.requests[0].read_bytes().replace(b"row number 1", b"row number 9")
    )
    with pytest.raises(InputError, match="is not as `build` wrote it"):
        made.submit()
    assert len(jupyter_batch.jobs()) == 0


@pytest.mark.parametrize("least", [0, 1000])
@pytest.mark.parametrize("labels", ["text", "integer", "time"])
def test_metadata_has_every_row_as_the_frame_has_it(call, home, monkeypatch, labels, least):
    """Escapes, a rare control character, a missing cell, cells and labels of several types, in any block.

    Written with the lines, or after them.
    """
    monkeypatch.setattr(request_lines, "LEAST_ROWS", least)
    texts = [f'{n} "quoted"\\ é\n{"x" * (n % 7)}' for n in range(700)]
    texts[200], texts[450] = "\x01 rare", None
    index = {
        "text": [f'k"{n}' for n in range(700)],
        "integer": range(5, 705),
        "time": pd.date_range("2026-01-01", periods=700, freq="h"),
    }[labels]
    df = pd.DataFrame({"text": texts, "n": range(700), "f": [n / 4 for n in range(700)]}, index)
    for prompt, columns in (("{text} {n}", ["text", "n"]), ("{n} {f}", ["n", "f"])):
        made = df.llm.build(prompt, out="out", **call)
        held = [str(label) if labels == "time" else label for label in df.index]
        found = json.loads(made.metadata.read_text())["rows"]
        assert [str(row["index"])[:10] for row in found] == [str(label)[:10] for label in held]
        cells = df[columns].astype(object).where(df[columns].notna(), None)
        assert [row["inputs"] for row in found] == cells.to_dict("records")
        left_out = [at for at, row in enumerate(found) if row["custom_id"] is None]
        assert left_out == ([450] if "text" in columns else [])
        assert all(row["custom_id"] in (None, f"{made.id}-{at}") for at, row in enumerate(found))
    (made.folder / "requests-0.jsonl").write_bytes(b"{}\n")
    with pytest.raises(InputError, match="not as `build` wrote it"):
        made.submit(api_key=call["api_key"])
