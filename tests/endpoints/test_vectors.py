"""The array that vectors are gathered in: what goes in, what comes out, and that it is there once."""

from __future__ import annotations

import base64
import json
import tracemalloc
from array import array

import numpy as np
import orjson
import pytest

from jupyter_batch import cli
from jupyter_batch.results.outcomes import Outcomes
from jupyter_batch.results.vectors import Vectors
from jupyter_batch.wire import openai, tolerant
from jupyter_batch.wire.openai import EMBEDDINGS
from tests.endpoints.test_embed import frame

ROWS, DIM = 400, 1536


def line(row: int, embedding) -> bytes:
    """A line of an output file."""
    body = {
        "object": "list",
        "model": "m",
        "data": [{"object": "embedding", "index": 0, "embedding": embedding}],
        "usage": {"prompt_tokens": 5, "total_tokens": 5},
    }
    return (
        orjson.dumps(
            {
                "id": "r",
                "custom_id": f"jb-{row}",
                "error": None,
                "response": {"status_code": 200, "request_id": "r", "body": body},
            }
        )
        + b"\n"
    )


def packed(numbers: np.ndarray) -> str:
    """In base64, as OpenAI sends them."""
    return base64.b64encode(numbers.astype("<f4").tobytes()).decode()


@pytest.mark.parametrize("form", [packed, np.ndarray.tolist], ids=["base64", "numbers"])
def test_the_memory_is_that_of_the_array(form):
    """Gathering takes no more than the float32 array itself and a little: no lists of Python floats are kept."""
    data = b"".join(line(row, form(np.full(DIM, row, dtype=np.float32))) for row in range(ROWS))
    tracemalloc.start()
    found = Outcomes(0, ROWS - 1, values=True, endpoint=EMBEDDINGS)
    blocks = openai.whole_lines(data[at : at + 65536] for at in range(0, len(data), 65536))
    found.take(
        "jb", (result for block in blocks for result in openai.decode_lines(block, EMBEDDINGS))
    )
    held, _ = tracemalloc.get_traced_memory()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    whole = found.answers.array()
    assert whole.nbytes == ROWS * DIM * 4
    assert held < whole.nbytes * 1.1
    assert peak < whole.nbytes * 1.1 + 4e6  # some lines at a time
    assert (whole == np.arange(ROWS, dtype=np.float32)[:, None]).all()
    assert sum(found.input_tokens) == 5 * ROWS


def test_both_ways_of_reading_base64_agree():
    """The typed way and the tolerant one read the same numbers; text that is no base64 is a reason."""
    numbers = np.array([0.1, -2.5, 3e-8], dtype=np.float32)
    plain = line(0, packed(numbers))
    read = openai.decode(plain, EMBEDDINGS).value
    assert isinstance(read, array)
    assert list(read) == tolerant.read(plain).value == numbers.tolist()
    for wrong in ("!!!", "YWJj", ""):  # no base64; three bytes; nothing
        result = openai.decode(line(0, wrong), EMBEDDINGS)
        assert result.value is None or list(result.value) == [], wrong
        assert wrong == "" or result.error


def test_what_goes_in_comes_out_as_float32():
    """Lists, arrays and base64's arrays; a row without a vector, and one of another length, is NaN in the array."""
    held = Vectors(5)
    assert held.array().shape == (5, 0)
    held[1] = [1.0, 2.0]
    held[2] = array("f", [3.0, 4.0])
    held[3] = [1.0, 2.0, 3.0]
    held[4] = np.array([5.0, 6.0])
    held[4] = None
    assert [None if one is None else one.tolist() for one in held] == [
        None,
        [1, 2],
        [3, 4],
        [1, 2, 3],
        None,
    ]
    assert all(one.dtype == np.float32 for one in held if one is not None)
    np.testing.assert_array_equal(
        held.array(), [[np.nan] * 2, [1, 2], [3, 4], [np.nan] * 2, [np.nan] * 2]
    )
    held[3] = [7.0, 8.0]
    assert held.array()[3].tolist() == [7, 8]
    assert len(held) == 5


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_an_exported_vector_is_whole(ending, call, home, tmp_path):
    """All numbers of a vector are in the file, whatever the form: pandas would leave out the middle of a long one."""
    import pandas as pd

    job = frame().llm.embed("text", dimensions=1200, **call).wait(60)
    path = tmp_path / f"v{ending}"
    assert cli.main(["export", job.id, str(path)]) == 0
    if ending == ".csv":
        cell = json.loads(pd.read_csv(path, index_col=0)["vector"].iloc[0])
    elif ending == ".jsonl":
        cell = json.loads(path.read_text().splitlines()[0])["vector"]
    else:
        cell = pd.read_parquet(path)["vector"].iloc[0]
    np.testing.assert_allclose(cell, job.vectors()[0], atol=1e-6)
