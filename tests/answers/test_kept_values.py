"""Vectors and tool calls as kept columns: a new kernel has them without a line being decoded."""

from __future__ import annotations

import numpy as np
import orjson
import pandas as pd
import pytest

from jupyter_batch.ledger.folder import JobFolder
from jupyter_batch.results import result_files
from jupyter_batch.results.outcomes import Outcomes
from jupyter_batch.results.result_files import columns_of, decoded, kept_at
from jupyter_batch.wire.openai import EMBEDDINGS
from tests.endpoints.test_vectors import line
from tests.example_snapshots import job as made_up
from tests.ledgers import forget


@pytest.fixture
def decoded_lines(monkeypatch):
    """The lines that are decoded, of files of any size."""
    monkeypatch.setattr(result_files, "LEAST_BYTES", 0)
    lines, former = [], result_files.decode_lines

    def decode(dialect, block, *rest):
        lines.extend(block.splitlines())
        return former(dialect, block, *rest)

    monkeypatch.setattr(result_files, "decode_lines", decode)
    return lines


def test_vectors_are_decoded_once(call, home, decoded_lines):
    """The column, vectors() and results() of a new kernel are those of the first, without a line decoded."""

    def run():
        df = pd.DataFrame({"text": ["a", "b", None, "a"]})
        job = df.llm.embed("text", **call).wait(60)
        return job, df["vector"], job.vectors(), job.results()

    job, column, vectors, results = run()
    assert decoded_lines
    decoded_lines.clear()
    forget(home)
    again, column_again, vectors_again, results_again = run()
    assert again.id == job.id
    assert not decoded_lines
    assert vectors_again.dtype == np.float32
    np.testing.assert_array_equal(vectors_again, vectors)
    assert not np.isnan(vectors[[0, 1, 3]]).any()
    np.testing.assert_array_equal(column_again[3], column[3])
    assert pd.isna(column_again[2])
    pd.testing.assert_frame_equal(results_again, results)


def test_tool_calls_are_decoded_once(call, home, decoded_lines):
    """Calls, their text, and plain answers of a new kernel are those of the first."""

    def look_up(n: int) -> str:
        """Look a thing up."""
        return f"thing {n}"

    def run():
        df = pd.DataFrame({"text": ['look_up({"n": 3})', "plain", 'say look_up({"n": 1})']})
        job = df.llm.batch("{text}", out="out", tools=[look_up], **call).wait(60)
        return job, df["out"], job.results()

    job, column, results = run()
    assert decoded_lines
    decoded_lines.clear()
    forget(home)
    again, column_again, results_again = run()
    assert again.id == job.id
    assert not decoded_lines
    assert column_again.tolist() == column.tolist()
    assert [one["name"] for one in column_again[0]] == ["look_up"]
    assert column_again[0].text == column[0].text
    assert column_again[1] == "plain"
    pd.testing.assert_frame_equal(results_again, results)


@pytest.mark.parametrize("lengths", [[3, 3, 3], [3, 2, 3], []])
def test_vectors_of_any_length_are_those_of_each_line(tmp_path, decoded_lines, lengths):
    """With failures among them; vectors of several lengths are not kept, but read each time."""
    job = made_up(rows=9, endpoint=EMBEDDINGS)
    path = JobFolder(tmp_path).output(0)
    lines = [
        line(row, [row + 0.5] * length).replace(b"jb-", job.id.encode() + b"-")
        for row, length in enumerate(lengths)
    ]
    failed = {"custom_id": f"{job.id}-7", "error": {"code": "x", "message": "no"}}
    lines[1:1] = [orjson.dumps(failed) + b"\n"]
    path.write_bytes(b"".join(lines))
    expected = Outcomes(0, 8, values=True, endpoint=EMBEDDINGS)
    expected.take(job.id, decoded(path, job))
    for turn in range(2):
        decoded_lines.clear()
        found = Outcomes(0, 8, values=True, endpoint=EMBEDDINGS)
        for columns in columns_of(path, job):
            found.add(columns)
        assert found.status == expected.status
        assert found.reasons == expected.reasons
        np.testing.assert_array_equal(found.answers.array(), expected.answers.array())
        assert kept_at(path).exists() == (len(set(lengths)) < 2)
        assert bool(decoded_lines) == (turn == 0 or len(set(lengths)) > 1)
